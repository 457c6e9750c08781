use super::limits::Budget;
use super::{ElError, Value};
pub(super) fn evaluate<'a>(
    _text: &str,
    _expression: &str,
    _kind: Option<&str>,
    _budget: &mut Budget<'_>,
) -> Result<Value<'a>, ElError> {
    Err(ElError::evaluation("not yet"))
}
