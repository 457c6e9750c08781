//! `rbac`: lets only users with certain roles through (contract policies 13).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_optional_bool;
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::el::Value;
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "rbac",
    phases: Phases::REQUEST,
    summary: "lets only users with certain roles through",
    members: &["roles", "strict"],
    differences: "",
    build,
};

/// Setting that names the attribute of the roles.
const ATTRIBUTE_SETTING: &str = "policy.rbac.attributes.roles";
const ATTRIBUTE: &str = "gravitee.attribute.user.roles";

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    roles: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "de_optional_bool")]
    strict: Option<bool>,
}

#[derive(Debug)]
struct Rbac {
    attribute: Box<str>,
    roles: Box<[Box<str>]>,
    strict: bool,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration { roles, strict } = builder.configuration()?;
    let attribute = builder.gateway.settings.get(ATTRIBUTE_SETTING);
    Ok(Arc::new(Rbac {
        attribute: attribute
            .map(|name| name.trim())
            .filter(|name| !name.is_empty())
            .unwrap_or(ATTRIBUTE)
            .into(),
        roles: roles.unwrap_or_default().into(),
        strict: strict.unwrap_or(true),
    }))
}

/// The roles of an attribute; `None` when it holds something else.
fn roles<'v>(value: &'v Value<'_>) -> Option<Vec<Cow<'v, str>>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::List(items) => items
            .iter()
            .map(|item| item.as_text().map(Cow::Borrowed))
            .collect(),
        Value::Text(text) => Some(match serde_json::from_str::<Vec<String>>(text) {
            Ok(roles) => roles.into_iter().map(Cow::Owned).collect(),
            Err(_) => text
                .split([' ', ','])
                .filter(|role| !role.is_empty())
                .map(Cow::Borrowed)
                .collect(),
        }),
        _ => None,
    }
}

impl Policy for Rbac {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let found = exchange
            .attributes
            .find(&self.attribute)
            .map_or_else(|| Some(Vec::new()), roles);
        let refuse = |status, key: &'static str, message: &'static str| {
            Verdict::fail(Failure::policy(status, key, message))
        };
        let Some(own) = found else {
            return refuse(400, "RBAC_INVALID_USER_ROLES", "User roles are not valid.");
        };
        if own.is_empty() {
            return refuse(
                403,
                "RBAC_NO_USER_ROLE",
                "There is no user role associated to the current request.",
            );
        }
        let has = |role: &str| own.iter().any(|own| **own == *role);
        let allowed = if self.strict {
            self.roles.iter().all(|role| has(role))
        } else {
            self.roles.iter().any(|role| has(role))
        };
        if allowed {
            Verdict::Continue
        } else {
            refuse(
                403,
                "RBAC_FORBIDDEN",
                "User is not allowed to access this route.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build, build_with_settings, failure};
    use serde_json::json;

    fn list(items: &[&'static str]) -> Value<'static> {
        Value::List(items.iter().map(|item| Value::text(item)).collect())
    }

    #[test]
    fn roles_are_compared_with_those_required() {
        let strict = json!({"roles": ["read", "write"], "strict": true});
        let default = json!({"roles": ["read", "write"]});
        let any = json!({"roles": ["read", "write"], "strict": "false"});
        for (configuration, attribute, expected) in [
            (&strict, Some(list(&["read", "write", "more"])), Ok(())),
            (&strict, Some(list(&["read"])), Err((403, "RBAC_FORBIDDEN"))),
            (
                &default,
                Some(list(&["read"])),
                Err((403, "RBAC_FORBIDDEN")),
            ),
            (&any, Some(list(&["write"])), Ok(())),
            (&any, Some(list(&["other"])), Err((403, "RBAC_FORBIDDEN"))),
            (&any, Some(list(&["READ"])), Err((403, "RBAC_FORBIDDEN"))),
            (&strict, Some(Value::text("read write")), Ok(())),
            (&strict, Some(Value::text("read, write")), Ok(())),
            (&strict, Some(Value::text(r#"["read","write"]"#)), Ok(())),
            (
                &strict,
                Some(Value::text("read")),
                Err((403, "RBAC_FORBIDDEN")),
            ),
            (
                &strict,
                Some(Value::text("")),
                Err((403, "RBAC_NO_USER_ROLE")),
            ),
            (&strict, Some(list(&[])), Err((403, "RBAC_NO_USER_ROLE"))),
            (&strict, Some(Value::Null), Err((403, "RBAC_NO_USER_ROLE"))),
            (&strict, None, Err((403, "RBAC_NO_USER_ROLE"))),
            (
                &strict,
                Some(Value::Int(7)),
                Err((400, "RBAC_INVALID_USER_ROLES")),
            ),
            (
                &strict,
                Some(Value::List([Value::Int(7)].into())),
                Err((400, "RBAC_INVALID_USER_ROLES")),
            ),
        ] {
            let policy = build("rbac", configuration).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            if let Some(value) = attribute.clone() {
                exchange
                    .attributes
                    .set("gravitee.attribute.user.roles", value);
            }
            let found = match policy.on_request(&mut exchange) {
                Verdict::Continue => Ok(()),
                verdict => {
                    let failure = failure(verdict);
                    Err((failure.status, failure.key_str().to_owned()))
                }
            };
            let expected = expected.map_err(|(status, key)| (status, key.to_owned()));
            assert_eq!(found, expected, "{configuration} {attribute:?}");
        }
    }

    #[test]
    fn the_gateway_may_name_another_attribute() {
        let configuration = json!({"roles": ["read"]});
        let settings = [("policy.rbac.attributes.roles", "my.roles")];
        let policy = build_with_settings("rbac", &configuration, &settings).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.attributes.set("my.roles", list(&["read"]));
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
    }
}
