//! Values of templates.

use std::rc::Rc;

use super::ast::Text;
use super::decimal::Decimal;
use crate::el::{Lookup, Object, Value};
use crate::exchange::Headers;

/// A value. What is missing is no value at all: `Option<Item>`.
#[derive(Debug, Clone)]
pub(super) enum Item<'a> {
    Bool(bool),
    Number(Decimal),
    Text(Text),
    List(Rc<Vec<Self>>),
    Map(Rc<Vec<(Text, Self)>>),
    Headers(&'a Headers),
    Lookup(&'a dyn Lookup),
    /// An object, and properties that it does not have itself.
    Object(&'a dyn Object, Rc<Vec<(&'static str, Self)>>),
    /// What `!` without a value stands for: empty as a text, as a list and as a map.
    Nothing,
}

impl<'a> Item<'a> {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn integer(number: usize) -> Self {
        Self::Number(Decimal::integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    /// What an expression's value is to a template; null is missing.
    pub(super) fn from_value(value: Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(flag) => Self::Bool(flag),
            Value::Int(number) => Self::Number(Decimal::integer(number.into())),
            Value::Long(number) => Self::Number(Decimal::integer(number)),
            Value::Float(number) => Self::Number(Decimal::double(number.into())?),
            Value::Double(number) => Self::Number(Decimal::double(number)?),
            Value::Text(text) => Self::text(&text),
            // A missing element stays where it is, as the empty value.
            Value::Decimal(number) => Self::Number(Decimal::parse(&number.to_string())?),
            Value::Char(character) => Self::text(character.encode_utf8(&mut [0; 4])),
            Value::List(items) | Value::Array(items) => Self::list(
                items
                    .iter()
                    .map(|item| Self::from_value(item.clone()).unwrap_or(Self::Nothing))
                    .collect(),
            ),
            Value::Map(map) => Self::Map(Rc::new(
                map.iter()
                    .filter_map(|(key, value)| {
                        Some((key.as_text()?.into(), Self::from_value(value.clone())?))
                    })
                    .collect(),
            )),
            Value::Headers(headers) => Self::Headers(headers),
            Value::Lookup(lookup) => Self::Lookup(lookup),
            Value::Params(params) => Self::Map(Rc::new(
                params
                    .names()
                    .iter()
                    .map(|key| {
                        let mut values = Vec::new();
                        params.values(key, &mut |value| values.push(Self::text(&value)));
                        ((**key).into(), Self::list(values))
                    })
                    .collect(),
            )),
            Value::Object(object) => Self::Object(object, Rc::default()),
            _ => return None,
        })
    }

    pub(super) fn from_json(value: &serde_json::Value) -> Option<Self> {
        Some(match value {
            serde_json::Value::Null => return None,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(Decimal::parse(&number.to_string())?),
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => Self::list(
                items
                    .iter()
                    .map(|item| Self::from_json(item).unwrap_or(Self::Nothing))
                    .collect(),
            ),
            serde_json::Value::Object(members) => Self::Map(Rc::new(
                members
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((name.as_str().into(), Self::from_json(value)?))
                    })
                    .collect(),
            )),
        })
    }

    /// The word for it in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Headers(_) | Self::Lookup(_) | Self::Object(..) => "a map",
            Self::Nothing => "nothing",
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(
            self,
            Self::Map(_) | Self::Headers(_) | Self::Lookup(_) | Self::Object(..) | Self::Nothing
        )
    }

    /// How many things stand in it, for the count of steps.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Text(text) => text.len() / 16,
            Self::Headers(headers) => headers.len(),
            _ => 0,
        }
    }

    /// The value of a key; the outer `None` says that it has no keys.
    pub(super) fn property(&self, name: &str) -> Option<Option<Self>> {
        Some(match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(key, _)| **key == *name)
                .map(|(_, value)| value.clone()),
            Self::Headers(headers) => {
                let values: Vec<Self> = headers
                    .values(name)
                    .map(|value| Self::text(&String::from_utf8_lossy(value)))
                    .collect();
                (!values.is_empty()).then(|| Self::list(values))
            }
            Self::Lookup(lookup) => Self::from_value(lookup.get(name)),
            Self::Object(object, more) => more
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| value.clone())
                .or_else(|| object.property(name).and_then(Self::from_value)),
            Self::Nothing => None,
            _ => return None,
        })
    }

    /// Its keys, when they can be listed.
    pub(super) fn keys(&self) -> Option<Vec<Text>> {
        Some(match self {
            Self::Map(entries) => entries.iter().map(|(key, _)| Rc::clone(key)).collect(),
            Self::Headers(headers) => {
                let mut names: Vec<Text> = Vec::new();
                for field in headers.iter() {
                    let name = String::from_utf8_lossy(field.name);
                    if !names.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
                        names.push((*name).into());
                    }
                }
                names
            }
            Self::Lookup(lookup) => lookup.keys().iter().map(|key| (**key).into()).collect(),
            Self::Nothing => Vec::new(),
            _ => return None,
        })
    }

    /// Whether it is neither empty nor nothing.
    pub(super) fn has_content(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Headers(headers) => !headers.is_empty(),
            Self::Lookup(lookup) => !lookup.keys().is_empty(),
            Self::Nothing => false,
            Self::Bool(_) | Self::Number(_) | Self::Object(..) => true,
        }
    }
}
