//! The variables that expressions see (contract expression-language 4).

use super::Exchange;
use crate::el::{Scope, Value};

impl Scope for Exchange<'_> {
    fn variable(&self, _name: &str) -> Value<'_> {
        Value::Null
    }
}
