//! `policy-basic-authentication`: asks for a user name and a password (contract policies 13), and the resource that knows users.

use std::any::Any;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::lenient::{de_optional_text, de_text};
use super::registry::Entry;
use super::resource::{ResourceBuilder, ResourceEntry};
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::el::Value;
use crate::error::Failure;
use crate::exchange::{Exchange, is_field_value};
use crate::security::jwt::algorithm::BASE64_LENIENT;

pub(super) const ENTRY: Entry = Entry {
    id: "policy-basic-authentication",
    phases: Phases::REQUEST,
    summary: "asks for a user name and a password",
    members: &["authenticationProviders", "realm"],
    differences: "users are known to the resource auth-provider-inline-resource only",
    build,
};

/// Resource `auth-provider-inline-resource`: users in the definition of the API.
pub(super) const INLINE: ResourceEntry = ResourceEntry {
    kind: "auth-provider-inline-resource",
    summary: "users and passwords in the definition of the API",
    build: build_users,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    authentication_providers: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "de_optional_text")]
    realm: Option<String>,
}

#[derive(Deserialize)]
struct UsersConfiguration {
    #[serde(default)]
    users: Option<Vec<UserConfiguration>>,
}

#[derive(Deserialize)]
struct UserConfiguration {
    #[serde(default, deserialize_with = "de_text")]
    username: String,
    #[serde(default, deserialize_with = "de_text")]
    password: String,
    #[serde(default)]
    roles: Option<Vec<Box<str>>>,
}

/// The users of a resource. Only digests of their passwords are kept.
struct Users(Box<[User]>);

struct User {
    name: Box<str>,
    password: [u8; 32],
    roles: Box<[Box<str>]>,
}

/// Users and passwords never show.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

impl Users {
    /// The user of this name and password. Takes as long for a wrong password as for a right one.
    fn find(&self, name: &str, password: &str) -> Option<&User> {
        let digest: [u8; 32] = Sha256::digest(password.as_bytes()).into();
        self.0.iter().find(|user| {
            verify_slices_are_equal(&user.password, &digest).is_ok() && *user.name == *name
        })
    }
}

fn build_users(builder: &ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError> {
    let UsersConfiguration { users } = builder.configuration()?;
    let users = users
        .unwrap_or_default()
        .into_iter()
        .map(|user| User {
            name: user.username.into(),
            password: Sha256::digest(user.password.as_bytes()).into(),
            roles: user.roles.unwrap_or_default().into(),
        })
        .collect();
    Ok(Arc::new(Users(users)))
}

#[derive(Debug)]
struct BasicAuthentication {
    providers: Box<[Arc<Users>]>,
    challenge: String,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration {
        authentication_providers,
        realm,
    } = builder.configuration()?;
    let realm = realm.unwrap_or_else(|| "gravitee.io".to_owned());
    if !is_field_value(realm.as_bytes()) {
        return Err(ConfigError::new("realm", "holds a control character"));
    }
    let mut providers = Vec::new();
    for (index, name) in authentication_providers.iter().flatten().enumerate() {
        // A provider that is not there knows nobody.
        if let Some(resource) = builder.resources.get(name) {
            providers.push(resource.get::<Users>().ok_or_else(|| {
                ConfigError::new(
                    format!("authenticationProviders[{index}]"),
                    format!(
                        "a resource of the type {} cannot authenticate users",
                        resource.kind
                    ),
                )
            })?);
        }
    }
    let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(Arc::new(BasicAuthentication {
        providers: providers.into(),
        challenge: format!("Basic realm=\"{realm}\""),
    }))
}

impl BasicAuthentication {
    fn refuse(&self, exchange: &mut Exchange<'_>, message: &'static str) -> Verdict {
        let _ = exchange
            .response
            .headers
            .set("WWW-Authenticate", &self.challenge);
        Verdict::fail(Failure::status(401).saying(message))
    }
}

/// The text behind `Basic`, in any case.
fn basic(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Basic".len())?;
    (scheme.eq_ignore_ascii_case(b"Basic") && rest.first() == Some(&b' '))
        .then(|| rest.trim_ascii())
}

impl Policy for BasicAuthentication {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.providers.is_empty() {
            return self.refuse(exchange, "No authentication provider has been provided");
        }
        let Some(encoded) = exchange
            .request
            .headers
            .values("authorization")
            .find_map(basic)
        else {
            return self.refuse(exchange, "Unauthorized");
        };
        let Ok(decoded) = BASE64_LENIENT.decode(encoded) else {
            return Verdict::fail(Failure::internal().because("the credentials are not base64"));
        };
        let decoded = String::from_utf8_lossy(&decoded);
        // Without a colon, or with nothing before it, there is no password, and nobody has none.
        let user = decoded
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .and_then(|(name, password)| {
                self.providers
                    .iter()
                    .find_map(|users| users.find(name, password))
            });
        let Some(user) = user else {
            return self.refuse(exchange, "Unauthorized");
        };
        exchange.user = Some(user.name.clone());
        if !user.roles.is_empty() {
            let roles: Vec<Value<'static>> = user
                .roles
                .iter()
                .map(|role| Value::from(role.to_string()))
                .collect();
            exchange.set_attribute("gravitee.attribute.user.roles", Value::List(roles.into()));
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Resource;
    use crate::policy::registry::{self, GatewayParts};
    use crate::policy::resource;
    use crate::policy::testing::{Bench, failure};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value as Json, json};
    use std::collections::HashMap;

    fn users(names: &[(&str, &str)]) -> Resource {
        let users: Vec<_> = names
            .iter()
            .map(|(name, password)| {
                json!({"username": name, "password": password, "roles": ["reader"]})
            })
            .collect();
        let entry = resource::find("auth-provider-inline-resource").expect("a known type");
        let instance = (entry.build)(&ResourceBuilder {
            name: "users",
            api_id: "api",
            configuration: &json!({"users": users}),
            gateway: &GatewayParts::default(),
        });
        Resource {
            kind: entry.kind.into(),
            instance: instance.expect("users"),
        }
    }

    fn policy(configuration: &Json) -> Result<Arc<dyn Policy>, ConfigError> {
        let other = Resource {
            kind: "cache".into(),
            instance: Arc::new(7_u8),
        };
        let resources: HashMap<Box<str>, Resource> = [
            (
                "first".into(),
                users(&[("alice", "wonder:land"), ("empty", "")]),
            ),
            ("second".into(), users(&[("bob", "builder")])),
            ("cache".into(), other),
        ]
        .into();
        let (_, entry) = registry::find("policy-basic-authentication").expect("a policy");
        (entry.build)(&Builder {
            configuration,
            legacy_engine: false,
            resources: &resources,
            gateway: &GatewayParts::default(),
        })
    }

    #[test]
    fn users_are_asked_for_name_and_password() {
        let both =
            json!({"authenticationProviders": ["first", "missing", "second"], "realm": "a\"b"});
        let none = json!({"authenticationProviders": ["missing"]});
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (configuration, header, expected) in [
            (&both, Some(encoded("alice:wonder:land")), Ok("alice")),
            (
                &both,
                Some(encoded("bob:builder").replace("Basic", "bAsIc")),
                Ok("bob"),
            ),
            (&both, Some(encoded("empty:")), Ok("empty")),
            (
                &both,
                Some(encoded("alice:wrong")),
                Err((401, "Unauthorized")),
            ),
            (
                &both,
                Some(encoded("alice:builder")),
                Err((401, "Unauthorized")),
            ),
            (&both, Some(encoded("alice")), Err((401, "Unauthorized"))),
            (&both, Some(encoded("empty")), Err((401, "Unauthorized"))),
            (&both, Some(encoded(":builder")), Err((401, "Unauthorized"))),
            (&both, Some("Basic".to_owned()), Err((401, "Unauthorized"))),
            (
                &both,
                Some("Bearer abc".to_owned()),
                Err((401, "Unauthorized")),
            ),
            (&both, None, Err((401, "Unauthorized"))),
            (
                &both,
                Some("Basic %%%".to_owned()),
                Err((500, "Internal Server Error")),
            ),
            (
                &none,
                Some(encoded("bob:builder")),
                Err((401, "No authentication provider has been provided")),
            ),
        ] {
            let policy = policy(configuration).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            if let Some(value) = &header {
                exchange
                    .request
                    .headers
                    .set("Authorization", value)
                    .expect("a header");
            }
            match (policy.on_request(&mut exchange), expected) {
                (Verdict::Continue, Ok(user)) => {
                    assert_eq!(exchange.user.as_deref(), Some(user));
                    assert!(exchange.attributes.find("user.roles").is_some());
                }
                (verdict, Err((status, message))) => {
                    let failure = failure(verdict);
                    assert_eq!(
                        (failure.status, failure.message.as_deref()),
                        (status, Some(message))
                    );
                    assert_eq!(failure.key_str(), "", "{header:?}");
                    let challenge = exchange.response.headers.text("WWW-Authenticate");
                    assert_eq!(challenge.is_some(), status == 401, "{header:?}");
                }
                (verdict, _) => panic!("{header:?}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn a_resource_that_knows_no_users_is_refused_by_name() {
        let error =
            policy(&json!({"authenticationProviders": ["first", "cache"]})).expect_err("no users");
        assert_eq!(error.member, "authenticationProviders[1]");
        assert!(error.reason.contains("cache"));
    }
}
