use super::limits::Budget;
use super::{ElError, Value};
#[derive(Debug)]
pub(super) struct JsonPath;
impl JsonPath {
    pub(super) fn parse(_text: &str) -> Result<Self, ElError> {
        Ok(Self)
    }
    pub(super) fn read<'a>(
        &self,
        _root: &Value<'a>,
        _budget: &mut Budget<'_>,
    ) -> Result<Value<'a>, ElError> {
        Err(ElError::evaluation("not yet"))
    }
}
