//! Members that many policies share: lists of names with values, and the old engine's `scope`.

use serde::Deserialize;

use super::lenient::de_optional_text;
use super::{BodyNeeds, ConfigError, Phase};
use crate::el::Template;
use crate::exchange::is_token;

/// `{name, value}`, as headers, attributes and variables are configured.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pair {
    #[serde(deserialize_with = "de_optional_text")]
    pub(crate) name: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    pub(crate) value: Option<String>,
}

/// A name with the template of its value.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    pub(crate) value: Template,
}

/// The entries that have a name and a value; the others are left out, as the reference skips them.
pub(crate) fn named(pairs: Option<Vec<Pair>>) -> Box<[Named]> {
    pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| {
            let name = pair.name.filter(|name| !name.trim().is_empty())?;
            Some(Named {
                name: name.into(),
                value: Template::new(&pair.value?),
            })
        })
        .collect()
}

/// As [`named`], where every name must be a header name.
pub(crate) fn headers(member: &str, pairs: Option<Vec<Pair>>) -> Result<Box<[Named]>, ConfigError> {
    for (index, pair) in pairs.iter().flatten().enumerate() {
        if let Some(name) = &pair.name
            && !name.trim().is_empty()
            && pair.value.is_some()
            && !is_token(name.as_bytes())
        {
            return Err(ConfigError::new(
                format!("{member}[{index}].name"),
                format!("{name:?} is not a header name"),
            ));
        }
    }
    Ok(named(pairs))
}

/// The bodies that the values read.
pub(crate) fn needs(values: &[Named]) -> BodyNeeds {
    values.iter().fold(BodyNeeds::default(), |needs, named| {
        needs.and(named.value.needs())
    })
}

/// What a phase may wait for: there is no response body before the response.
pub(crate) fn needs_in(phase: Phase, needs: BodyNeeds) -> BodyNeeds {
    BodyNeeds {
        request_body: needs.request_body,
        response_body: needs.response_body && phase == Phase::Response,
    }
}

/// A text that means nothing when it is empty.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// A template; an absent or blank text is none.
pub(crate) fn template(text: Option<String>) -> Option<Template> {
    filled(text).map(|text| Template::new(&text))
}

/// `scope`: honoured by the old engine only (contract policies 1.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Scope {
    #[default]
    Request,
    Response,
    RequestContent,
    ResponseContent,
}

/// Where a step with a `scope` acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    scope: Option<Scope>,
}

impl Placement {
    pub(crate) fn new(scope: Option<Scope>, legacy_engine: bool) -> Self {
        Self {
            scope: legacy_engine.then(|| scope.unwrap_or_default()),
        }
    }

    /// Whether the old engine runs it.
    pub(crate) fn is_legacy(self) -> bool {
        self.scope.is_some()
    }

    /// Whether it acts in this phase.
    pub(crate) fn acts_in(self, phase: Phase) -> bool {
        match self.scope {
            None => true,
            Some(Scope::Request | Scope::RequestContent) => phase == Phase::Request,
            Some(Scope::Response | Scope::ResponseContent) => phase == Phase::Response,
        }
    }

    /// The bodies that the scope waits for, and those that `needs` names.
    pub(crate) fn needs(self, phase: Phase, needs: BodyNeeds) -> BodyNeeds {
        if !self.acts_in(phase) {
            return BodyNeeds::default();
        }
        let scope = BodyNeeds {
            request_body: self.scope == Some(Scope::RequestContent),
            response_body: self.scope == Some(Scope::ResponseContent),
        };
        needs_in(phase, scope.and(needs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_counts_on_the_old_engine_only() {
        let both = Placement::new(Some(Scope::Response), false);
        assert!(both.acts_in(Phase::Request) && both.acts_in(Phase::Response));
        let legacy = Placement::new(Some(Scope::ResponseContent), true);
        assert!(!legacy.acts_in(Phase::Request) && legacy.acts_in(Phase::Response));
        assert!(
            legacy
                .needs(Phase::Response, BodyNeeds::default())
                .response_body
        );
        let default = Placement::new(None, true);
        assert!(default.acts_in(Phase::Request) && !default.acts_in(Phase::Response));
    }

    #[test]
    fn entries_without_name_or_value_are_left_out() {
        let pair = |name: Option<&str>, value: Option<&str>| Pair {
            name: name.map(str::to_owned),
            value: value.map(str::to_owned),
        };
        let kept = named(Some(vec![
            pair(Some("a"), Some("1")),
            pair(Some(" "), Some("2")),
            pair(None, Some("3")),
            pair(Some("d"), None),
        ]));
        assert_eq!(kept.len(), 1);
        assert!(headers("headers", Some(vec![pair(Some("a b"), None)])).is_ok());
        let error = headers("headers", Some(vec![pair(Some("a b"), Some("1"))]));
        assert_eq!(error.expect_err("no name").member, "headers[0].name");
    }
}
