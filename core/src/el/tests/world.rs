//! A scope with everything that expressions of a gateway see, without a gateway.

use std::borrow::Cow;

use crate::el::{ElError, Lookup, MultiLookup, Object, Scope, Value};
use crate::exchange::Headers;

/// What a property holds.
#[derive(Debug)]
pub(super) enum Slot {
    Value(Value<'static>),
    Headers(Headers),
    Params(Params),
    Bean(Bean),
    Attributes(Attributes),
    Properties(Properties),
}

impl Slot {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Value(value) => value.clone(),
            Self::Headers(headers) => Value::Headers(headers),
            Self::Params(params) => Value::Params(params),
            Self::Bean(bean) => Value::Object(bean),
            Self::Attributes(attributes) => Value::Lookup(attributes),
            Self::Properties(properties) => Value::Lookup(properties),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Bean {
    kind: &'static str,
    pub(super) slots: Vec<(String, Slot)>,
}

impl Object for Bean {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        self.slots
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, slot)| slot.value())
    }
}

#[derive(Debug)]
pub(super) struct Params(Vec<(String, Vec<String>)>);

impl MultiLookup for Params {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(Cow<'a, str>)) {
        for value in self
            .0
            .iter()
            .filter(|(own, _)| own == name)
            .flat_map(|(_, values)| values)
        {
            each(Cow::Borrowed(value));
        }
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        self.0
            .iter()
            .map(|(name, _)| Cow::Borrowed(&**name))
            .collect()
    }
}

/// Attributes whose prefix may be left out.
#[derive(Debug)]
pub(super) struct Attributes(Vec<(String, Value<'static>)>);

impl Attributes {
    fn find(&self, key: &str) -> Option<&Value<'static>> {
        let full = format!("gravitee.attribute.{key}");
        let by = |wanted: &str| self.0.iter().find(|(own, _)| own == wanted);
        by(key).or_else(|| by(&full)).map(|(_, value)| value)
    }
}

impl Lookup for Attributes {
    fn get(&self, key: &str) -> Value<'_> {
        self.find(key).cloned().unwrap_or_default()
    }

    fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.0
            .iter()
            .map(|(name, _)| Cow::Borrowed(&**name))
            .collect()
    }
}

/// Properties that refer to each other.
#[derive(Debug)]
pub(super) struct Properties(Vec<(String, String)>);

impl Lookup for Properties {
    fn get(&self, key: &str) -> Value<'_> {
        self.try_get(key).unwrap_or_default()
    }

    fn try_get(&self, key: &str) -> Result<Value<'_>, ElError> {
        let Some((_, value)) = self.0.iter().find(|(own, _)| own == key) else {
            return Ok(Value::Null);
        };
        let Some((before, rest)) = value.split_once("{{") else {
            return Ok(Value::text(value));
        };
        let (name, after) = rest.split_once("}}").expect("a reference with an end");
        match self.try_get(name)? {
            Value::Text(inner) => Ok(Value::from(format!("{before}{inner}{after}"))),
            _ => Err(ElError::runtime("a property is missing")),
        }
    }

    fn contains_key(&self, key: &str) -> bool {
        self.0.iter().any(|(own, _)| own == key)
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.0
            .iter()
            .map(|(name, _)| Cow::Borrowed(&**name))
            .collect()
    }

    fn converts_keys(&self) -> bool {
        true
    }
}

/// The variables.
#[derive(Debug)]
pub(super) struct World(Bean);

impl Scope for World {
    fn variable(&self, name: &str) -> Value<'_> {
        self.0.property(name).unwrap_or_default()
    }

    fn now_ms(&self) -> u64 {
        1_700_000_000_123
    }

    fn random(&self) -> u64 {
        0x1234_5678_9abc_def0
    }
}

fn entries(value: &Value<'static>) -> Vec<(String, Value<'static>)> {
    match value {
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| (key.as_text().expect("a text key").to_owned(), value.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

fn texts(value: &Value<'static>) -> Vec<String> {
    value
        .to_list()
        .expect("a list")
        .iter()
        .map(|item| item.as_text().expect("text").to_owned())
        .collect()
}

fn headers(value: &Value<'static>) -> Slot {
    let mut headers = Headers::default();
    for (name, values) in entries(value) {
        for value in texts(&values) {
            headers.add(&name, value).expect("a header");
        }
    }
    Slot::Headers(headers)
}

fn properties(value: &Value<'static>) -> Slot {
    Slot::Properties(Properties(
        entries(value)
            .into_iter()
            .map(|(name, value)| (name, value.as_text().expect("text").to_owned()))
            .collect(),
    ))
}

fn split(path: &str) -> Slot {
    Slot::Value(Value::array(
        path.split('/')
            .map(|part| Value::from(part.to_owned()))
            .collect(),
    ))
}

fn message(kind: &'static str, value: &Value<'static>) -> Slot {
    let mut slots = Vec::new();
    for (name, value) in entries(value) {
        let slot = match &*name {
            "headers" => headers(&value),
            "params" | "pathParams" => Slot::Params(Params(
                entries(&value)
                    .into_iter()
                    .map(|(name, values)| (name, texts(&values)))
                    .collect(),
            )),
            "attributes" if kind == "context" => Slot::Attributes(Attributes(entries(&value))),
            "properties" => properties(&value),
            _ => {
                if let ("path" | "pathInfo", Some(path)) = (&*name, value.as_text()) {
                    slots.push((format!("{name}s"), split(path)));
                }
                Slot::Value(value)
            }
        };
        slots.push((name, slot));
    }
    Slot::Bean(Bean { kind, slots })
}

impl World {
    /// Variables from JSON: those of the gateway become what they are there, others stay maps and lists.
    pub(super) fn new(variables: &Value<'static>) -> Self {
        let mut bean = Bean {
            kind: "world",
            slots: Vec::new(),
        };
        for (name, value) in entries(variables) {
            let slot = match &*name {
                "request" => message("request", &value),
                "response" => message("response", &value),
                "context" => message("context", &value),
                "api" => message("api", &value),
                "subscription" => message("subscription", &value),
                "node" => message("node", &value),
                "error" => message("error", &value),
                "message" => message("message", &value),
                "properties" => properties(&value),
                _ => Slot::Value(value),
            };
            bean.slots.push((name, slot));
        }
        Self(bean)
    }
}
