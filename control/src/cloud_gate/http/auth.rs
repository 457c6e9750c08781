//! Who may call: bearers of a Cloud Token that our key signed, for the environments it names (contract sync 1.1, 2.2).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AUTHORIZATION, USER_AGENT};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::answer::Refused;
use crate::cloud_gate::gate::lock;
use crate::token::Claims;

/// How bridge clients name themselves, before their version.
const CLIENT_PREFIX: &str = "gio-client-bridge/";
/// Time between two warnings of one kind: a gateway that is refused comes again every few seconds.
const WARNING_PERIOD: Duration = Duration::from_secs(60);

/// Verifies tokens.
pub(crate) struct Gatekeeper {
    key: DecodingKey,
    validation: Validation,
    environment: String,
    refusals: Sparingly,
    strangers: Sparingly,
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").finish_non_exhaustive()
    }
}

/// The bearer of an accepted token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) environments: Vec<String>,
}

impl Gatekeeper {
    /// Accepts tokens whose signature matches this public key, PEM. `environment` is the one that APIs live in.
    pub(crate) fn new(public_key_pem: &str, environment: &str) -> Result<Self, String> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&["GraviteeCloud"]);
        validation.set_audience(&["CloudGate"]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        let key = DecodingKey::from_ec_pem(public_key_pem.as_bytes())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            key,
            validation,
            environment: environment.to_owned(),
            refusals: Sparingly::default(),
            strangers: Sparingly::default(),
        })
    }

    /// The bearer, or 401. The reason goes to the log, never to the caller.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Bearer, Refused> {
        let refuse = |reason: &str| {
            self.refusals.say(|| {
                tracing::warn!(
                    "requests are refused with 401: {reason}; hint: turnpike token issue"
                );
            });
            Refused::Unauthorized
        };
        let header = headers
            .get(AUTHORIZATION)
            .ok_or_else(|| refuse("no Authorization header"))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refuse("the Authorization header is not a Bearer token"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| refuse(&format!("the Cloud Token is not acceptable: {error}")))?
            .claims;
        if claims.org.is_empty() || claims.envs.is_empty() {
            return Err(refuse(
                "the Cloud Token names no organization or no environment",
            ));
        }
        let bearer = Bearer {
            environments: claims.envs,
        };
        if !bearer.may_use(&self.environment) {
            self.strangers.say(|| {
                let environment = &self.environment;
                tracing::warn!(
                    "a gateway's Cloud Token does not name environment {environment}, so it gets no API; \
                     hint: turnpike token issue --env {environment}"
                );
            });
        }
        Ok(bearer)
    }
}

/// Says something, and then nothing for a while.
#[derive(Debug, Default)]
struct Sparingly(Mutex<Option<Instant>>);

impl Sparingly {
    fn say(&self, what: impl FnOnce()) {
        let mut last = lock(&self.0);
        if last.is_none_or(|last| last.elapsed() >= WARNING_PERIOD) {
            *last = Some(Instant::now());
            what();
        }
    }
}

impl Bearer {
    /// Narrows wanted environments to those of the token: none asked for means all of them, a foreign one is refused.
    pub(crate) fn entitle(&self, wanted: &mut Vec<String>) -> Result<(), Refused> {
        if wanted.is_empty() {
            wanted.clone_from(&self.environments);
            return Ok(());
        }
        if wanted.iter().all(|id| self.may_use(id)) {
            Ok(())
        } else {
            Err(Refused::Forbidden)
        }
    }

    /// Whether the token names this environment.
    pub(crate) fn may_use(&self, environment: &str) -> bool {
        self.environments.iter().any(|id| id == environment)
    }
}

/// Checks the version of a bridge client; other clients pass.
pub(crate) fn check_client(headers: &HeaderMap) -> Result<(), Refused> {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    match agent.strip_prefix(CLIENT_PREFIX) {
        Some(version) if !is_compatible(version) => Err(Refused::IncompatibleClient),
        _ => Ok(()),
    }
}

/// `MAJOR.MINOR.PATCH[-suffix]`, of another major than 1.
fn is_compatible(version: &str) -> bool {
    let numbers = version
        .split_once('-')
        .map_or(version, |(numbers, _)| numbers);
    let parts: Vec<&str> = numbers.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && parts[0] != "1"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{IssueRequest, SigningKey, issue};
    use http::HeaderValue;

    fn bearer(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"),
        )])
    }

    #[test]
    fn only_our_own_unexpired_tokens_for_us_are_admitted() {
        let (folder, other) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let other = SigningKey::load_or_create(other.path()).expect("a key");
        let gatekeeper = Gatekeeper::new(key.public_key_pem(), "A").expect("a gatekeeper");
        let now_s = jiff::Timestamp::now().as_second();
        let request = |lifetime_s| {
            IssueRequest::new(
                "ORG",
                vec!["A".to_owned(), "B".to_owned()],
                now_s,
                lifetime_s,
            )
        };
        let token = issue(&request(60), &key).expect("a token");
        let admitted = gatekeeper.admit(&bearer(&token)).expect("admitted");
        assert_eq!(admitted.environments, ["A", "B"]);

        let (head, signature) = token.rsplit_once('.').expect("a signature");
        let (header, _) = head.split_once('.').expect("a payload");
        let none = "eyJhbGciOiJub25lIn0";
        let payload = head.split_once('.').expect("a payload").1;
        for (what, token) in [
            (
                "another key's",
                issue(&request(60), &other).expect("a token"),
            ),
            ("expired", issue(&request(-600), &key).expect("a token")),
            ("unsigned", format!("{none}.{payload}.")),
            ("without signature", format!("{head}.")),
            ("with another payload", format!("{header}.e30.{signature}")),
            ("no token", "hello".to_owned()),
            ("empty", String::new()),
        ] {
            assert!(gatekeeper.admit(&bearer(&token)).is_err(), "{what}");
        }
        assert!(gatekeeper.admit(&HeaderMap::new()).is_err());
        let basic = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))]);
        assert!(gatekeeper.admit(&basic).is_err());
    }

    #[test]
    fn a_bearer_gets_its_own_environments_and_no_others() {
        let bearer = Bearer {
            environments: vec!["A".to_owned(), "B".to_owned()],
        };
        for (wanted, expected) in [
            (vec![], Some(vec!["A", "B"])),
            (vec!["B"], Some(vec!["B"])),
            (vec!["A", "C"], None),
            (vec!["C"], None),
        ] {
            let mut environments: Vec<String> = wanted.iter().map(|id| (*id).to_owned()).collect();
            let entitled = bearer.entitle(&mut environments);
            assert_eq!(entitled.is_ok(), expected.is_some(), "{wanted:?}");
            if let Some(expected) = expected {
                assert_eq!(environments, expected);
            }
        }
    }

    #[test]
    fn bridge_clients_of_major_1_or_without_a_version_are_incompatible_and_other_agents_pass() {
        for (agent, passes) in [
            ("gio-client-bridge/4.12.17", true),
            ("gio-client-bridge/4.12.17-SNAPSHOT", true),
            ("gio-client-bridge/10.0.0", true),
            ("gio-client-bridge/1.30.0", false),
            ("gio-client-bridge/4.12", false),
            ("gio-client-bridge/", false),
            ("gio-client-bridge/a.b.c", false),
            ("curl/8.0", true),
            ("", true),
        ] {
            let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(agent))]);
            assert_eq!(check_client(&headers).is_ok(), passes, "{agent}");
        }
    }
}
