//! JSON of tokens, read strictly: a member that appears twice, a number that no machine number holds, or too deep nesting is an error.
//! Two readers that disagree about such a text are how tokens get past checks.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::el::{Lookup, Value};

/// A JSON value that threads may share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    List(Box<[Self]>),
    Object(Object),
}

impl Json {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// As expressions see it.
    pub(crate) fn to_value(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Long(number) => Value::Long(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::from(text.to_string()),
            Self::List(items) => Value::List(items.iter().map(Self::to_value).collect()),
            Self::Object(object) => to_map(object),
        }
    }
}

/// Looked into without a copy.
impl Lookup for Object {
    fn get(&self, key: &str) -> Value<'_> {
        match member(self, key) {
            Some(Json::Text(text)) => Value::text(text),
            Some(Json::Object(object)) => Value::Lookup(object),
            Some(other) => other.to_value(),
            None => Value::Null,
        }
    }

    fn contains_key(&self, key: &str) -> bool {
        member(self, key).is_some()
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.iter()
            .map(|(name, _)| Cow::Borrowed(&**name))
            .collect()
    }
}

/// An object as expressions see it, copied.
pub(crate) fn to_map(object: &Object) -> Value<'static> {
    Value::map(
        object
            .iter()
            .map(|(name, value)| (Value::from(name.to_string()), value.to_value()))
            .collect(),
    )
}

/// Members of an object up to which duplicates are found by comparing.
const FEW_MEMBERS: usize = 16;

/// A JSON object, in the order of its members.
pub(crate) type Object = Arc<[(Box<str>, Json)]>;

/// Parses an object; nothing may follow it.
pub(crate) fn object(bytes: &[u8]) -> Result<Object, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Strict(value) =
        Strict::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    match value {
        Json::Object(members) => Ok(members),
        _ => Err("not a JSON object".to_owned()),
    }
}

/// A member of an object.
pub(crate) fn member<'v>(object: &'v Object, name: &str) -> Option<&'v Json> {
    object
        .iter()
        .find(|(own, _)| **own == *name)
        .map(|(_, value)| value)
}

/// The value at a dotted path: the flat name first, then member by member.
pub(crate) fn at_path<'v>(object: &'v Object, path: &str) -> Option<&'v Json> {
    if let Some(value) = member(object, path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match member(object, first)? {
        Json::Object(inner) => at_path(inner, rest),
        _ => None,
    }
}

struct Strict(Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Json::Long(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Json::Double(number as f64), Json::Long))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Json::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map: Vec<(Box<str>, Json)> = Vec::new();
        let mut names = HashSet::<String, foldhash::fast::RandomState>::default();
        while let Some(name) = members.next_key::<String>()? {
            let known = if map.len() < FEW_MEMBERS {
                map.iter().any(|(own, _)| **own == *name)
            } else {
                if names.is_empty() {
                    names.extend(map.iter().map(|(own, _)| own.to_string()));
                }
                !names.insert(name.clone())
            };
            if known {
                return Err(de::Error::custom("a member appears twice"));
            }
            let Strict(value) = members.next_value()?;
            map.push((name.into(), value));
        }
        Ok(Json::Object(map.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let many: String = (0..100).map(|at| format!("\"m{at}\":1,")).collect();
        let twice_behind_many = format!("{{{many}\"m7\":2}}");
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":1}}"#,
            r#"{"a":1e400}"#,
            r#"{"a":01}"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            r#"["a"]"#,
            "1",
            "",
            "{\"a\":\"\u{1}\"}",
            &deep,
            &twice_behind_many,
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_path_finds_the_flat_name_first_and_then_nested_objects() {
        let object = object(br#"{"a.b":1,"a":{"b":2,"c":{"d":3}},"x.y":{"z":4}}"#).expect("JSON");
        for (path, expected) in [
            ("a.b", Some(1)),
            ("a.c.d", Some(3)),
            ("a.c.e", None),
            ("x.y.z", None),
            ("", None),
        ] {
            let found = at_path(&object, path).and_then(|value| match value {
                Json::Long(number) => Some(*number),
                _ => None,
            });
            assert_eq!(found, expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }

        #[test]
        fn it_accepts_only_what_serde_json_accepts(text in r#"[\{\}\[\]":,a-c0-9 .e-]{0,40}"#) {
            if object(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }
}
