//! What an authorization server says about a token.

use serde_json::Value;

/// The answer of an introspection.
pub struct Payload {
    text: Box<str>,
    /// `None` when the text is not a JSON object.
    members: Option<serde_json::Map<String, Value>>,
}

/// It tells who the user is.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload").finish_non_exhaustive()
    }
}

impl Payload {
    /// Reads an answer.
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        let members = match serde_json::from_str(&text) {
            Ok(Value::Object(members)) => Some(members),
            _ => None,
        };
        Self { text, members }
    }

    /// The answer as it came.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.members.is_some()
    }

    fn member(&self, name: &str) -> Option<&Value> {
        self.members.as_ref()?.get(name)
    }

    /// A member as text, when it is not blank.
    pub(crate) fn member_text(&self, name: &str) -> Option<String> {
        let text = match self.member(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }

    /// `client_id`, or else `aud`, when it is not blank; of several audiences the first one.
    pub(crate) fn client_id(&self) -> Option<String> {
        self.member_text("client_id")
            .or_else(|| match self.member("aud")? {
                Value::Array(items) => items.first()?.as_str().map(str::to_owned),
                _ => self.member_text("aud"),
            })
            .filter(|id| !id.trim().is_empty())
    }

    /// `active`; `None` when it is absent.
    pub(crate) fn active(&self) -> Option<bool> {
        Some(match self.member("active")? {
            Value::Bool(flag) => *flag,
            Value::String(text) => text.trim() == "true",
            Value::Number(number) => number.as_i64().is_some_and(|number| number != 0),
            _ => false,
        })
    }

    /// `exp`, Unix seconds.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        match self.member("exp")? {
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_f64().map(|seconds| seconds as i64)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// `scope`, or else `scp`: the elements of a list, or a text divided at single spaces.
    pub(crate) fn scopes(&self) -> Vec<&str> {
        let claim = ["scope", "scp"]
            .into_iter()
            .find_map(|name| self.member(name).filter(|value| !value.is_null()));
        match claim {
            Some(Value::String(text)) if !text.is_empty() => {
                let mut scopes: Vec<_> = text.split(' ').collect();
                while scopes.last().is_some_and(|scope| scope.is_empty()) {
                    scopes.pop();
                }
                scopes
            }
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the token may do what is required: all of it, or, not strictly, some of it.
    pub(crate) fn has_scopes(&self, required: &[Box<str>], strict: bool) -> bool {
        if required.is_empty() {
            return true;
        }
        let scopes = self.scopes();
        let has = |scope: &str| scopes.contains(&scope);
        if strict {
            required.iter().all(|scope| has(scope))
        } else {
            required.iter().any(|scope| has(scope))
        }
    }
}
