//! Files in the subfolders: what surrounds APIs (contract sync 5.4).

use serde_json::{Map, Value};

use super::document::slug;
use super::{Problem, Syntax};

/// What a file in a subfolder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CompanionKind {
    Organization,
    Dictionary,
    SharedPolicyGroup,
}

impl CompanionKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 3] = [
        Self::Organization,
        Self::Dictionary,
        Self::SharedPolicyGroup,
    ];

    /// The subfolder that its files are in.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Organization => "organizations",
            Self::Dictionary => "dictionaries",
            Self::SharedPolicyGroup => "shared-policy-groups",
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Dictionary => "dictionary",
            Self::SharedPolicyGroup => "shared policy group",
        }
    }

    /// The kind of a file by its path below the folder of definitions.
    pub(crate) fn of(file: &str) -> Option<Self> {
        let (folder, _) = file.split_once('/')?;
        Self::ALL.into_iter().find(|kind| kind.folder() == folder)
    }
}

/// An object that surrounds APIs, as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Companion {
    pub(crate) kind: CompanionKind,
    /// `None`: the Cloud Gate's own organization.
    pub(crate) id: Option<String>,
    /// The payload of its event, without environment and dates.
    pub(crate) payload: Map<String, Value>,
}

impl Companion {
    /// Reads the text of `file`, a path such as `dictionaries/backends.yaml`.
    pub(crate) fn parse(
        kind: CompanionKind,
        file: &str,
        syntax: Syntax,
        text: &str,
    ) -> Result<Self, Problem> {
        let wrong = |member: &str, expected: &str| {
            Problem::whole(format!(
                "expected {expected} as `{member}` of a {}",
                kind.name()
            ))
        };
        let Value::Object(mut payload) = syntax.parse(text)? else {
            return Err(Problem::whole(format!(
                "expected an object: a {}",
                kind.name()
            )));
        };
        let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let mut id = match payload.get("id") {
            Some(Value::String(id)) if !id.trim().is_empty() => Some(id.clone()),
            None | Some(Value::Null | Value::String(_)) => None,
            Some(_) => return Err(wrong("id", "a text")),
        };
        let is_array = |member: &str| payload.get(member).is_some_and(Value::is_array);
        match kind {
            CompanionKind::Organization => {
                if !is_array("flows") {
                    return Err(wrong("flows", "an array"));
                }
            }
            CompanionKind::Dictionary => {
                if !payload.get("properties").is_some_and(Value::is_object) {
                    return Err(wrong("properties", "an object"));
                }
                payload.entry("key").or_insert_with(|| Value::from(stem));
                id = id.or_else(|| Some(slug(stem)));
            }
            CompanionKind::SharedPolicyGroup => {
                if !is_array("policies") {
                    return Err(wrong("policies", "an array"));
                }
                if !payload.get("phase").is_some_and(Value::is_string) {
                    return Err(wrong("phase", "REQUEST or RESPONSE"));
                }
                id = id.or_else(|| Some(slug(stem)));
            }
        }
        payload.entry("name").or_insert_with(|| Value::from(stem));
        Ok(Self { kind, id, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_subfolders_are_completed_from_their_names() {
        for (file, text, id, member, value) in [
            (
                "dictionaries/My Backends.yaml",
                "properties: {a: b}",
                Some("my-backends"),
                "key",
                "My Backends",
            ),
            (
                "dictionaries/x.json",
                r#"{"id":"d","key":"k","properties":{}}"#,
                Some("d"),
                "key",
                "k",
            ),
            ("organizations/o.json", r#"{"flows":[]}"#, None, "name", "o"),
            (
                "shared-policy-groups/g.yaml",
                "{phase: REQUEST, policies: []}",
                Some("g"),
                "name",
                "g",
            ),
        ] {
            let kind = CompanionKind::of(file).expect("a kind");
            let syntax = Syntax::of(file).expect("a syntax");
            let companion = Companion::parse(kind, file, syntax, text).expect("a companion");
            assert_eq!(companion.id.as_deref(), id, "{file}");
            assert_eq!(companion.payload[member], value, "{file}");
        }
    }

    #[test]
    fn what_is_not_of_its_kind_says_what_is_missing() {
        for (file, text, expected) in [
            (
                "dictionaries/a.json",
                "[]",
                "expected an object: a dictionary",
            ),
            (
                "dictionaries/a.json",
                "{}",
                "expected an object as `properties`",
            ),
            (
                "organizations/a.json",
                r#"{"flows":{}}"#,
                "expected an array as `flows`",
            ),
            (
                "shared-policy-groups/a.json",
                r#"{"policies":[]}"#,
                "as `phase`",
            ),
            (
                "shared-policy-groups/a.json",
                r#"{"phase":"REQUEST"}"#,
                "as `policies`",
            ),
            (
                "organizations/a.json",
                r#"{"id":7,"flows":[]}"#,
                "expected a text as `id`",
            ),
        ] {
            let kind = CompanionKind::of(file).expect("a kind");
            let problem = Companion::parse(kind, file, Syntax::Json, text).expect_err("wrong");
            assert!(
                problem.reason.contains(expected),
                "{file}: {}",
                problem.reason
            );
        }
        assert_eq!(CompanionKind::of("a.json"), None);
    }
}
