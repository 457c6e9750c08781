//! API properties, and the one kind of expression that is evaluated at deployment: `{#properties['name']}`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use turnpike_config::Secret;

use super::decrypt::decrypt;
use super::endpoint::Fault;
use super::reader::{Node, quote};
use super::refusal::{Notes, Refusal, RefusalKind};

/// How deep `{{other}}` references between property values are followed.
const REFERENCE_DEPTH_MAX: usize = 8;

/// Longest text that an expansion may produce, bytes.
const EXPANSION_BYTES_MAX: usize = 64 << 10;

/// The properties of an API.
#[derive(Debug, Default)]
pub(super) struct Properties {
    by_key: HashMap<String, Property>,
    secret: Secret,
}

#[derive(Debug)]
struct Property {
    value: String,
    encrypted: bool,
}

/// Why a text with expressions has no value at deployment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unexpanded {
    /// An expression of another kind; what it is.
    Unsupported(String),
    /// An expression that has no value; why.
    Undefined(String),
}

impl Unexpanded {
    /// The fault of the member that has the text.
    pub(super) fn fault(self, node: &Node<'_>) -> Fault {
        match self {
            Self::Unsupported(what) => Fault::Refuse(
                Refusal::new(
                    RefusalKind::Unsupported,
                    node.path(),
                    format!("{what} is not supported yet"),
                )
                .hint("write the value out, or use `{#properties['name']}`"),
            ),
            Self::Undefined(why) => Fault::Skip(node.refuse(why)),
        }
    }
}

impl Properties {
    /// Reads `properties`: an array of `{key, value, encrypted}`, or an object from key to value. An entry without a key or a
    /// value is left out.
    pub(super) fn read(root: &Node<'_>, secret: &Secret) -> Result<Self, Refusal> {
        let mut properties = Self {
            by_key: HashMap::new(),
            secret: secret.clone(),
        };
        let Some(node) = root.member("properties") else {
            return Ok(properties);
        };
        if node.is_object() {
            for (key, value) in node.members() {
                let value = value.as_text()?.into_owned();
                properties.by_key.insert(
                    key.to_owned(),
                    Property {
                        value,
                        encrypted: false,
                    },
                );
            }
            return Ok(properties);
        }
        for item in root.objects("properties")? {
            let (Some(key), Some(value)) = (item.text("key")?, item.text("value")?) else {
                continue;
            };
            let encrypted = item.boolean("encrypted", false)?;
            properties.by_key.insert(
                key.into_owned(),
                Property {
                    value: value.into_owned(),
                    encrypted,
                },
            );
        }
        Ok(properties)
    }

    /// Every property with its value decrypted, references as written. One that cannot be decrypted is left as it is (contract
    /// api-definition 1.1).
    pub(super) fn clear(&self, notes: &mut Notes) -> BTreeMap<Box<str>, Box<str>> {
        let mut clear = BTreeMap::new();
        for (key, property) in &self.by_key {
            let value = if property.encrypted {
                decrypt(&property.value, &self.secret).unwrap_or_else(|why| {
                    let text = format!("the property {}: {why}: it is left as it is", quote(key));
                    notes.push("properties", text);
                    property.value.clone()
                })
            } else {
                property.value.clone()
            };
            clear.insert(key.as_str().into(), value.into());
        }
        clear
    }

    /// Replaces the expressions in a text (contract expression-language 1).
    pub(super) fn expand(&self, text: &str) -> Result<String, Unexpanded> {
        if text.trim_start().starts_with("secret://") {
            return Err(Unexpanded::Unsupported("a secret reference".to_owned()));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = expression_start(rest) {
            out.push_str(&rest[..at]);
            let Some((key, after)) = property_expression(&rest[at..]) else {
                let shown = quote(rest[at..].split_inclusive('}').next().unwrap_or_default());
                return Err(Unexpanded::Unsupported(format!("the expression {shown}")));
            };
            out.push_str(&self.value(key, 0)?);
            if out.len() > EXPANSION_BYTES_MAX {
                return Err(Unexpanded::Undefined(format!(
                    "its properties make it longer than {EXPANSION_BYTES_MAX} bytes"
                )));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// A property's value with its `{{other}}` references replaced.
    fn value(&self, key: &str, depth: usize) -> Result<String, Unexpanded> {
        let Some(property) = self.by_key.get(key) else {
            return Err(Unexpanded::Undefined(format!(
                "the property {} is not defined",
                quote(key)
            )));
        };
        let value = if property.encrypted {
            let clear = decrypt(&property.value, &self.secret);
            Cow::Owned(clear.map_err(|why| {
                Unexpanded::Undefined(format!("the property {}: {why}", quote(key)))
            })?)
        } else {
            Cow::Borrowed(property.value.as_str())
        };
        let mut out = String::new();
        let mut rest = &*value;
        while let Some((before, reference, after)) = split_reference(rest) {
            if depth == REFERENCE_DEPTH_MAX {
                let key = quote(key);
                return Err(Unexpanded::Undefined(format!(
                    "references from {key} go deeper than {REFERENCE_DEPTH_MAX}"
                )));
            }
            out.push_str(before);
            out.push_str(&self.value(reference, depth + 1)?);
            if out.len() > EXPANSION_BYTES_MAX {
                return Err(Unexpanded::Undefined(format!(
                    "property {} is longer than {EXPANSION_BYTES_MAX} bytes",
                    quote(key)
                )));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Where the next expression begins: `{`, spaces, then `#`, `T` or `(`.
fn expression_start(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| {
        text[at + 1..]
            .trim_start_matches(' ')
            .starts_with(['#', 'T', '('])
    })
}

/// Reads `{#properties['key']}` or `{#api.properties["key"]}`: the key, and the text behind the expression.
fn property_expression(text: &str) -> Option<(&str, &str)> {
    let spaces = |text: &'_ str| text.len() - text.trim_start_matches(' ').len();
    let inside = text.strip_prefix('{')?;
    let inside = inside[spaces(inside)..].strip_prefix('#')?;
    let inside = inside
        .strip_prefix("api.")
        .unwrap_or(inside)
        .strip_prefix("properties")?;
    let inside = inside[spaces(inside)..].strip_prefix('[')?;
    let inside = &inside[spaces(inside)..];
    let mark = inside
        .chars()
        .next()
        .filter(|mark| matches!(mark, '\'' | '"'))?;
    let (key, behind) = inside[1..].split_once(mark)?;
    let behind = behind[spaces(behind)..].strip_prefix(']')?;
    let behind = behind[spaces(behind)..].strip_prefix('}')?;
    (!key.contains(['{', '}'])).then_some((key, behind))
}

/// Splits at the first `{{name}}`.
fn split_reference(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name.trim(), after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::reader::Reading;
    use super::*;

    fn secret() -> Secret {
        Secret::new("vvLJ4Q8Khvv9tm2tIPdkGEdmgKUruAL6")
    }

    fn expand(text: &str) -> Result<String, Unexpanded> {
        let definition = json!({"properties": [
            {"key": "host", "value": "backend.local"},
            {"key": "a b", "value": 7},
            {"key": "url", "value": "http://{{host}}:{{ a b }}"},
            {"key": "broken", "value": "{{nowhere}}"},
            {"key": "loop", "value": "{{loop}}"},
            {"key": "bomb", "value": "{{bomb2}}{{bomb2}}"},
            {"key": "bomb2", "value": "x".repeat(40_000)},
            {"key": "secret", "value": "S10bPJyWxQaH9Fqc6ohZoQ==", "encrypted": true},
            {"key": "damaged", "value": "AAAA", "encrypted": "true"},
            {"key": "no value"},
            null,
        ]});
        Properties::read(&Node::root(&definition, Reading::Strict), &secret())
            .expect("properties")
            .expand(text)
    }

    #[test]
    fn property_expressions_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("http://h/{id}?{1}", "http://h/{id}?{1}"),
            ("http://{#properties['host']}/x", "http://backend.local/x"),
            ("{ # properties['host']}", ""),
            (
                "{  #properties[ \"host\" ] }{#api.properties['a b']}",
                "backend.local7",
            ),
            ("{#properties['secret']}", "real.host"),
            ("{#properties['url']}/", "http://backend.local:7/"),
        ] {
            if expected.is_empty() && !text.is_empty() {
                assert!(
                    matches!(expand(text), Err(Unexpanded::Unsupported(_))),
                    "{text}"
                );
            } else {
                assert_eq!(expand(text), Ok(expected.to_owned()), "{text}");
            }
        }
    }

    #[test]
    fn other_expressions_are_named_as_unsupported() {
        for text in [
            "{#dictionaries['a']['b']}",
            "{#secrets.get('/a')}",
            "{T(java.lang.Math).random()}",
            "{(1)}",
            "{#properties['host'] + 'x'}",
            "{#properties[#x]}",
            "{#properties['host'",
            "{#",
            "secret://vault/x",
        ] {
            assert!(
                matches!(expand(text), Err(Unexpanded::Unsupported(_))),
                "{text}: {:?}",
                expand(text)
            );
        }
    }

    #[test]
    fn properties_without_a_value_leave_the_text_undefined() {
        for key in ["missing", "broken", "loop", "bomb", "no value", "damaged"] {
            let text = format!("{{#properties['{key}']}}");
            assert!(
                matches!(expand(&text), Err(Unexpanded::Undefined(_))),
                "{key}"
            );
        }
    }

    #[test]
    fn properties_may_be_an_object() {
        let definition = json!({"properties": {"a": "1", "b": null}});
        let properties = Properties::read(&Node::root(&definition, Reading::Coercing), &secret())
            .expect("properties");
        assert_eq!(properties.expand("{#properties['a']}"), Ok("1".to_owned()));
    }
}
