//! `oauth2`: lets requests through whose access token an authorization server accepts (contract policies 5). Security of a plan, or a
//! step of a flow.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_bool, de_optional_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::{Template, Value};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::need::{Answer, Errand, Need};
use crate::report::SecurityType;
use crate::security::bearer;
use crate::security::oauth2::{
    AuthorizationServer, CacheAnswer, Introspected, Introspection, Payload, Secret, TokenCache,
};

pub(super) const ENTRY: Entry = Entry {
    id: "oauth2",
    phases: Phases::REQUEST,
    summary: "lets requests through whose access token an authorization server accepts",
    members: &[
        "checkRequiredScopes",
        "extractPayload",
        "modeStrict",
        "oauthCacheResource",
        "oauthResource",
        "propagateAuthHeader",
        "requiredScopes",
    ],
    differences: "characters that no token is made of are escaped on their way to the authorization server",
    build: |builder| Ok(Arc::new(OAuth2::build(builder)?)),
};

/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 64 * 1_024;
const CHALLENGE: &str = "Bearer realm=\"gravitee.io\"";
/// The old engine's, for a token that the server rejects and a server that cannot be asked.
const CHALLENGE_LEGACY: &str = "Bearer realm=gravitee.io";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_optional_text")]
    oauth_resource: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    oauth_cache_resource: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    extract_payload: bool,
    #[serde(default, deserialize_with = "de_bool")]
    check_required_scopes: bool,
    #[serde(default)]
    required_scopes: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "de_optional_bool")]
    mode_strict: Option<bool>,
    #[serde(default, deserialize_with = "de_optional_bool")]
    propagate_auth_header: Option<bool>,
}

/// The policy. Also the security of OAuth2 plans.
#[derive(Debug)]
pub struct OAuth2 {
    resource: Template,
    servers: HashMap<Box<str>, Arc<AuthorizationServer>>,
    cache: Option<TokenCache>,
    extract_payload: bool,
    scopes: Option<(Box<[Box<str>]>, bool)>,
    propagate: bool,
    legacy: bool,
}

/// What is kept while a token is looked up.
struct Waiting {
    resource: Box<str>,
    server: Arc<AuthorizationServer>,
    token: Secret,
    in_cache: bool,
}

/// A server and the name of its resource.
type NamedServer = (Box<str>, Arc<AuthorizationServer>);

/// What plan selection learns from a request.
#[derive(Debug)]
pub(crate) enum Presented {
    /// No token, or nobody to ask about it.
    Nothing,
    /// A token that cannot be used.
    Invalid,
    /// A token of this client.
    Client(Box<str>),
    /// The server has to be asked first.
    Wait(Need),
    /// The server could not be asked.
    Unavailable(Box<str>),
}

/// How far a look-up came.
enum Step {
    Done(Introspection),
    Wait(Need),
}

impl OAuth2 {
    /// Builds the policy.
    pub(crate) fn build(builder: &Builder<'_>) -> Result<Self, ConfigError> {
        let Configuration {
            oauth_resource,
            oauth_cache_resource,
            extract_payload,
            check_required_scopes,
            required_scopes,
            mode_strict,
            propagate_auth_header,
        } = builder.configuration()?;
        let servers = builder
            .resources
            .iter()
            .filter_map(|(name, resource)| Some((name.clone(), resource.get()?)))
            .collect();
        let cache = oauth_cache_resource
            .filter(|name| !name.trim().is_empty())
            .map(|name| TokenCache::of(&name, builder.resources))
            .transpose()?
            .flatten();
        Ok(Self {
            resource: Template::new(&oauth_resource.unwrap_or_default()),
            servers,
            cache,
            extract_payload,
            scopes: check_required_scopes.then(|| {
                (
                    required_scopes.unwrap_or_default().into(),
                    mode_strict.unwrap_or(true),
                )
            }),
            propagate: propagate_auth_header.unwrap_or(true),
            legacy: builder.legacy_engine,
        })
    }

    /// Scopes that a token must have, for the challenge.
    pub(crate) fn challenge(&self) -> String {
        match &self.scopes {
            Some((scopes, _)) if !scopes.is_empty() => {
                format!("Bearer scope=\"{}\"", scopes.join(" "))
            }
            _ => "Bearer".to_owned(),
        }
    }

    /// The authorization server's address, and the scopes asked for, for the metadata of the protected resource.
    pub(crate) fn metadata(&self, exchange: &Exchange<'_>) -> Option<(String, &[Box<str>])> {
        let (_, server) = self.server(exchange).ok()??;
        let scopes = self.scopes.as_ref().map_or(&[][..], |(scopes, _)| scopes);
        Some((server.address(exchange)?, scopes))
    }

    fn server(&self, exchange: &Exchange<'_>) -> Result<Option<NamedServer>, String> {
        let name = self
            .resource
            .eval_text(exchange)
            .map_err(|error| format!("oauthResource: {error}"))?
            .unwrap_or_default();
        Ok(self
            .servers
            .get(&*name)
            .map(|server| (Box::from(&*name), Arc::clone(server))))
    }

    fn token<'e>(&self, exchange: &'e Exchange<'_>) -> Option<Cow<'e, str>> {
        if self.legacy {
            let authorization = exchange.request.headers.values("authorization");
            return authorization
                .into_iter()
                .find_map(crate::security::bearer_token)
                .map(String::from_utf8_lossy);
        }
        bearer::extract(&exchange.request)
    }

    /// Whether the request has a token, and one that can be asked about: all that the legacy engine selects a plan by.
    pub(crate) fn presents_token(&self, exchange: &Exchange<'_>) -> Option<bool> {
        self.token(exchange)
            .map(|token| !token.trim().is_empty() && token.len() <= TOKEN_BYTES_MAX)
    }

    /// What plan selection goes by: the client that the server names.
    pub(crate) fn present(&self, exchange: &mut Exchange<'_>) -> Presented {
        let (resource, server) = match self.server(exchange) {
            Ok(Some(found)) => found,
            Ok(None) => return Presented::Nothing,
            Err(cause) => return Presented::Unavailable(cause.into()),
        };
        let token = match self.token(exchange) {
            None => return Presented::Nothing,
            Some(token) if token.trim().is_empty() || token.len() > TOKEN_BYTES_MAX => {
                return Presented::Invalid;
            }
            Some(token) => Secret(token.into()),
        };
        let step = self.look_up(exchange, resource, server, token);
        Self::presented(step)
    }

    /// Goes on after [`Presented::Wait`].
    pub(crate) fn present_resumed(&self, exchange: &mut Exchange<'_>, answer: Answer) -> Presented {
        let step = self.go_on(exchange, answer);
        Self::presented(step)
    }

    fn presented(step: Step) -> Presented {
        match step {
            Step::Wait(need) => Presented::Wait(need),
            Step::Done(Introspection::Accepted(payload)) => match payload.client_id() {
                Some(id) => Presented::Client(id.into()),
                None => Presented::Invalid,
            },
            Step::Done(Introspection::Rejected(_)) => Presented::Invalid,
            Step::Done(Introspection::Unavailable(cause)) => Presented::Unavailable(cause),
        }
    }

    /// Looks a token up: in what the exchange knows, in the cache, at the server.
    fn look_up(
        &self,
        exchange: &mut Exchange<'_>,
        resource: Box<str>,
        server: Arc<AuthorizationServer>,
        token: Secret,
    ) -> Step {
        let known = exchange
            .tokens
            .introspected
            .iter()
            .find(|known| known.resource == resource && known.token == token);
        if let Some(known) = known {
            return Step::Done(known.result.clone());
        }
        let mut waiting = Waiting {
            resource,
            server,
            token,
            in_cache: false,
        };
        if let Some(cache) = &self.cache {
            match cache.get(exchange.api, &waiting.token.0, exchange.now_ms) {
                CacheAnswer::Known(text) => {
                    let payload = Arc::new(Payload::new(text));
                    return self.remember(exchange, waiting, Introspection::Accepted(payload));
                }
                CacheAnswer::Unknown => {}
                CacheAnswer::Ask(errand) => {
                    waiting.in_cache = true;
                    exchange.carry = Some(Box::new(waiting));
                    return Step::Wait(Need::Errand(Box::new(errand)));
                }
            }
        }
        Self::ask(exchange, waiting)
    }

    fn ask(exchange: &mut Exchange<'_>, waiting: Waiting) -> Step {
        match waiting.server.introspect(exchange, &waiting.token.0) {
            Ok(call) => {
                exchange.carry = Some(Box::new(waiting));
                Step::Wait(Need::Errand(Box::new(Errand::Http(Box::new(call)))))
            }
            Err(cause) => Step::Done(Introspection::Unavailable(cause.into())),
        }
    }

    fn go_on(&self, exchange: &mut Exchange<'_>, answer: Answer) -> Step {
        let Some(waiting) = exchange.take_carried::<Waiting>() else {
            return Step::Done(Introspection::Unavailable("the token was lost".into()));
        };
        match answer {
            Answer::Cache(Some(bytes)) if waiting.in_cache => {
                let payload = Payload::new(String::from_utf8_lossy(&bytes));
                self.remember(
                    exchange,
                    waiting,
                    Introspection::Accepted(Arc::new(payload)),
                )
            }
            Answer::Http(reply) if !waiting.in_cache => {
                let result = waiting.server.read(reply);
                if let (Introspection::Accepted(payload), Some(cache)) = (&result, &self.cache) {
                    let now_ms = exchange.now_ms;
                    if let Some(errand) = cache.put(exchange.api, &waiting.token.0, payload, now_ms)
                    {
                        exchange.detached.push(errand);
                    }
                }
                self.remember(exchange, waiting, result)
            }
            _ if waiting.in_cache => Self::ask(
                exchange,
                Waiting {
                    in_cache: false,
                    ..waiting
                },
            ),
            _ => self.remember(
                exchange,
                waiting,
                Introspection::Unavailable("the authorization server was not asked".into()),
            ),
        }
    }

    fn remember(
        &self,
        exchange: &mut Exchange<'_>,
        waiting: Waiting,
        result: Introspection,
    ) -> Step {
        exchange.tokens.introspected.push(Introspected {
            resource: waiting.resource,
            token: waiting.token,
            result: result.clone(),
        });
        Step::Done(result)
    }

    fn judge(&self, exchange: &mut Exchange<'_>, step: Step) -> Verdict {
        let rejected_challenge = if self.legacy {
            CHALLENGE_LEGACY
        } else {
            CHALLENGE
        };
        let payload = match step {
            Step::Wait(need) => return Verdict::Await(need),
            Step::Done(Introspection::Accepted(payload)) => payload,
            Step::Done(Introspection::Rejected(cause)) => {
                return refuse(
                    exchange,
                    rejected_challenge,
                    "OAUTH2_INVALID_ACCESS_TOKEN",
                    &cause,
                );
            }
            Step::Done(Introspection::Unavailable(cause)) => {
                challenge(exchange, rejected_challenge);
                return Verdict::fail(
                    Failure::policy(503, "OAUTH2_SERVER_UNAVAILABLE", "temporarily_unavailable")
                        .because(cause),
                );
            }
        };
        if !payload.is_readable() {
            return refuse(
                exchange,
                CHALLENGE,
                "OAUTH2_INVALID_SERVER_RESPONSE",
                "the payload is not a JSON object",
            );
        }
        if let Some((scopes, strict)) = &self.scopes
            && !payload.has_scopes(scopes, *strict)
        {
            return refuse(
                exchange,
                CHALLENGE,
                "OAUTH2_INSUFFICIENT_SCOPE",
                "the token lacks a required scope",
            );
        }
        self.admit(exchange, &payload)
    }

    fn admit(&self, exchange: &mut Exchange<'_>, payload: &Payload) -> Verdict {
        let token = self
            .token(exchange)
            .map(Cow::into_owned)
            .unwrap_or_default();
        exchange.set_attribute("oauth.access_token", token.clone());
        exchange.set_attribute("oauth.token", token);
        exchange.security_type = SecurityType::OAuth2;
        if let Some(client_id) = payload.client_id() {
            exchange.set_attribute("oauth.client_id", client_id.clone());
            exchange.security_token = Cow::Owned(client_id);
        }
        let user_claim = match self.server(exchange) {
            Ok(Some((_, server))) => payload.member_text(server.user_claim()),
            _ => None,
        };
        if let Some(user) = user_claim {
            exchange.user = Some(user.into());
        }
        let roles: Vec<Value<'static>> = payload
            .scopes()
            .into_iter()
            .map(|scope| Value::from(scope.to_owned()))
            .collect();
        exchange.set_attribute("gravitee.attribute.user.roles", Value::List(roles.into()));
        if self.extract_payload {
            exchange.set_attribute("oauth.payload", payload.text().to_owned());
        }
        if !self.propagate {
            exchange.request.headers.remove("authorization");
        }
        Verdict::Continue
    }
}

impl Policy for OAuth2 {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        match phase {
            Phase::Request => self.resource.needs(),
            Phase::Response => BodyNeeds::default(),
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let (resource, server) = match self.server(exchange) {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Verdict::fail(
                    Failure::policy(401, "OAUTH2_MISSING_SERVER", "Unauthorized")
                        .because("the API has no such OAuth2 resource"),
                );
            }
            Err(cause) => return Verdict::fail(Failure::internal().because(cause)),
        };
        let token = match self.token(exchange) {
            None => {
                return refuse(
                    exchange,
                    CHALLENGE,
                    "OAUTH2_MISSING_HEADER",
                    "no token was presented",
                );
            }
            Some(token) if token.trim().is_empty() => {
                return refuse(
                    exchange,
                    CHALLENGE,
                    "OAUTH2_MISSING_ACCESS_TOKEN",
                    "the token is empty",
                );
            }
            Some(token) if token.len() > TOKEN_BYTES_MAX => {
                return refuse(
                    exchange,
                    CHALLENGE,
                    "OAUTH2_INVALID_ACCESS_TOKEN",
                    "the token is too long",
                );
            }
            Some(token) => Secret(token.into()),
        };
        let step = self.look_up(exchange, resource, server, token);
        self.judge(exchange, step)
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let step = self.go_on(exchange, answer);
        self.judge(exchange, step)
    }
}

fn challenge(exchange: &mut Exchange<'_>, value: &str) {
    let _ = exchange.response.headers.add("WWW-Authenticate", value);
}

fn refuse(exchange: &mut Exchange<'_>, value: &str, key: &'static str, cause: &str) -> Verdict {
    challenge(exchange, value);
    Verdict::fail(Failure::policy(401, key, "Unauthorized").because(cause))
}

#[cfg(test)]
mod tests;
