//! Attributes of an exchange (contract request-lifecycle 14): what policies tell each other, and expressions read.

use std::borrow::Cow;

use crate::el::Value;

/// Prefix of the gateway's own attributes. Expressions may leave it out.
pub const ATTRIBUTE_PREFIX: &str = "gravitee.attribute.";

/// Attributes that an exchange may hold; more are refused.
pub const ATTRIBUTES_MAX: usize = 1_024;

/// Attributes that policies set, by their full names. The gateway's own (`api`, `plan`, `application`, …) are not stored here: they
/// are read from the exchange when they are asked for, and one that is set here hides them.
#[derive(Debug, Default)]
pub struct Attributes {
    entries: Vec<(Cow<'static, str>, Value<'static>)>,
}

impl Attributes {
    /// The value of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Value<'static>> {
        self.entries
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    }

    /// The value of `gravitee.attribute.<name>`.
    pub fn gateway(&self, name: &str) -> Option<&Value<'static>> {
        self.entries
            .iter()
            .find(|(own, _)| own.strip_prefix(ATTRIBUTE_PREFIX) == Some(name))
            .map(|(_, value)| value)
    }

    /// The value that an expression sees: `name`, else `gravitee.attribute.<name>`.
    pub fn find(&self, name: &str) -> Option<&Value<'static>> {
        self.get(name).or_else(|| self.gateway(name))
    }

    /// Sets an attribute. False when there are too many: it is not set then.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: Value<'static>) -> bool {
        let name = name.into();
        if let Some((_, own)) = self.entries.iter_mut().find(|(own, _)| *own == name) {
            *own = value;
            return true;
        }
        if self.entries.len() >= ATTRIBUTES_MAX {
            return false;
        }
        self.entries.push((name, value));
        true
    }

    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(own, _)| own != name);
    }

    /// Every attribute that was set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'static>)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_may_leave_the_prefix_out() {
        let mut attributes = Attributes::default();
        attributes.set("gravitee.attribute.plan", Value::text("gold"));
        assert_eq!(
            attributes.find("plan").and_then(Value::as_text),
            Some("gold")
        );
        assert!(attributes.get("plan").is_none());
        attributes.set("plan", Value::text("mine"));
        assert_eq!(
            attributes.find("plan").and_then(Value::as_text),
            Some("mine")
        );
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let mut attributes = Attributes::default();
        for index in 0..ATTRIBUTES_MAX {
            assert!(attributes.set(format!("a{index}"), Value::Null));
        }
        assert!(!attributes.set("one-more", Value::Null));
        assert!(
            attributes.set("a0", Value::Bool(true)),
            "known names may change"
        );
    }
}
