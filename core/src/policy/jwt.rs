//! `jwt`: lets requests with a valid signed token through (contract policies 4). Security of a plan, or a step of a flow.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::lenient::{de_bool, de_optional_bool, de_optional_number, de_optional_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::Template;
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::need::{Answer, HttpCall, HttpOptions, SharedDocument};
use crate::report::SecurityType;
use crate::security::jwt::algorithm::Algorithm;
use crate::security::jwt::json::Json;
use crate::security::jwt::jwks::{self, KeySet};
use crate::security::jwt::keys::{Found, Given, Keys, Source, Url};
use crate::security::jwt::revocation::{self, Revoked};
use crate::security::jwt::verified::Verified;
use crate::security::jwt::{self, Token, Typ};
use crate::security::{bearer, certificate};

pub(super) const ENTRY: Entry = Entry {
    id: "jwt",
    phases: Phases::REQUEST,
    summary: "lets requests with a valid signed JSON web token through",
    members: &[
        "checkRequiredScopes",
        "clientIdClaim",
        "confirmationMethodValidation",
        "connectTimeout",
        "extractClaims",
        "followRedirects",
        "modeStrict",
        "propagateAuthHeader",
        "protectedResourceMetadata",
        "publicKeyResolver",
        "requestTimeout",
        "requiredScopes",
        "resolverParameter",
        "revocationCheck",
        "signature",
        "tokenTypValidation",
        "useSystemProxy",
        "userClaim",
    ],
    differences: "tokens with duplicate members, base64 that is not canonical, or an unknown critical header member are refused; RSA keys of fewer than 2048 bits do not verify; a token is verified again when its key set was refreshed",
    build: |builder| Ok(Arc::new(Jwt::build(builder)?)),
};

const DEFAULT_TIMEOUT_MS: u64 = 2_000;
const DEFAULT_REFRESH_SECONDS: u64 = 300;
/// Setting: milliseconds after which a key set is fetched again.
const KEY_SET_AGE_SETTING: &str = "policy.jwt.jwks.ageMax";
/// The least of them: no server is asked for its keys more often.
const KEY_SET_AGE_MS_MIN: u64 = 1_000;
/// A revocation list that could not be loaded is asked for again after this time, milliseconds.
const REVOCATION_RETRY_MS: u64 = 30_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    signature: Option<Algorithm>,
    #[serde(default)]
    public_key_resolver: Option<Resolver>,
    #[serde(default, deserialize_with = "de_optional_text")]
    resolver_parameter: Option<String>,
    #[serde(default, deserialize_with = "de_optional_number")]
    connect_timeout: Option<i64>,
    #[serde(default, deserialize_with = "de_optional_number")]
    request_timeout: Option<i64>,
    #[serde(default, deserialize_with = "de_bool")]
    follow_redirects: bool,
    #[serde(default, deserialize_with = "de_bool")]
    use_system_proxy: bool,
    #[serde(default, deserialize_with = "de_bool")]
    extract_claims: bool,
    #[serde(default, deserialize_with = "de_optional_bool")]
    propagate_auth_header: Option<bool>,
    #[serde(default, deserialize_with = "de_optional_text")]
    user_claim: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    client_id_claim: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    check_required_scopes: bool,
    #[serde(default)]
    required_scopes: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "de_optional_bool")]
    mode_strict: Option<bool>,
    #[serde(default)]
    protected_resource_metadata: Option<Metadata>,
    #[serde(default)]
    confirmation_method_validation: Option<Confirmation>,
    #[serde(default)]
    token_typ_validation: Option<TypValidation>,
    #[serde(default)]
    revocation_check: Option<RevocationCheck>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Resolver {
    GivenKey,
    GatewayKeys,
    JwksUrl,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    authorization_servers: Option<Vec<Box<str>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Confirmation {
    #[serde(default, deserialize_with = "de_bool")]
    ignore_missing: bool,
    #[serde(default)]
    certificate_bound_thumbprint: Option<BoundThumbprint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundThumbprint {
    #[serde(default, deserialize_with = "de_bool")]
    enabled: bool,
    #[serde(default, deserialize_with = "de_bool")]
    extract_certificate_from_header: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    header_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypValidation {
    #[serde(default, deserialize_with = "de_bool")]
    enabled: bool,
    #[serde(default, deserialize_with = "de_bool")]
    ignore_missing: bool,
    #[serde(default)]
    expected_values: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "de_bool")]
    ignore_case: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevocationCheck {
    #[serde(default, deserialize_with = "de_bool")]
    enabled: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    revocation_claim: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    revocation_list_url: Option<String>,
    #[serde(default, deserialize_with = "de_optional_number")]
    refresh_interval: Option<i64>,
    #[serde(default, deserialize_with = "de_optional_number")]
    connect_timeout: Option<i64>,
    #[serde(default, deserialize_with = "de_optional_number")]
    request_timeout: Option<i64>,
    #[serde(default, deserialize_with = "de_bool")]
    follow_redirects: bool,
    #[serde(default, deserialize_with = "de_bool")]
    use_system_proxy: bool,
    #[serde(default)]
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default, rename = "type", deserialize_with = "de_optional_text")]
    kind: Option<String>,
    #[serde(default)]
    basic: Option<BasicAuth>,
    #[serde(default)]
    token: Option<TokenAuth>,
}

#[derive(Deserialize)]
struct BasicAuth {
    #[serde(default, deserialize_with = "super::lenient::de_text")]
    username: String,
    #[serde(default, deserialize_with = "super::lenient::de_text")]
    password: String,
}

#[derive(Deserialize)]
struct TokenAuth {
    #[serde(default, deserialize_with = "super::lenient::de_text")]
    value: String,
}

/// The policy. Also the security of JWT plans.
#[derive(Debug)]
pub struct Jwt {
    algorithms: Box<[Algorithm]>,
    source: Source,
    key_set_age_max_ms: u64,
    typ: Typ,
    user_claim: Box<str>,
    client_id_claim: Option<Box<str>>,
    extract_claims: bool,
    propagate: bool,
    scopes: Option<Scopes>,
    binding: Option<Binding>,
    revocation: Option<Revocation>,
    authorization_servers: Option<Box<[Box<str>]>>,
    verified: Verified,
}

#[derive(Debug)]
struct Scopes {
    required: Box<[Box<str>]>,
    strict: bool,
}

#[derive(Debug)]
struct Binding {
    ignore_missing: bool,
    header: Option<Box<str>>,
}

#[derive(Debug)]
struct Revocation {
    claim: Box<str>,
    list: Arc<SharedDocument>,
    age_max_ms: u64,
}

/// What is kept while a document is fetched.
struct Waiting {
    token: Arc<Token>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Keys,
    Revocation,
}

/// Texts of a configuration.
type Texts<'p> = &'p [Box<str>];

/// What plan selection learns from a request.
#[derive(Debug)]
pub(crate) enum Presented {
    /// No token.
    Nothing,
    /// A token that cannot be used.
    Invalid,
    /// A token of this client.
    Client(Box<str>),
}

fn positive(number: Option<i64>, default: u64) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
        .unwrap_or(default)
}

/// How old key sets get; the reference's 5 minutes unless the operator wants another age.
fn key_set_age_max_ms(builder: &Builder<'_>) -> u64 {
    let age_ms = builder.gateway.settings.get(KEY_SET_AGE_SETTING);
    age_ms
        .and_then(|age_ms| age_ms.trim().parse().ok())
        .unwrap_or(jwks::AGE_MAX_MS)
        .max(KEY_SET_AGE_MS_MIN)
}

fn text_or(text: Option<String>, default: &str) -> Box<str> {
    text.filter(|text| !text.trim().is_empty())
        .map_or_else(|| default.into(), String::into_boxed_str)
}

impl Jwt {
    /// Builds the policy.
    pub(crate) fn build(builder: &Builder<'_>) -> Result<Self, ConfigError> {
        let Configuration {
            signature,
            public_key_resolver,
            resolver_parameter,
            connect_timeout,
            request_timeout,
            follow_redirects,
            use_system_proxy,
            extract_claims,
            propagate_auth_header,
            user_claim,
            client_id_claim,
            check_required_scopes,
            required_scopes,
            mode_strict,
            protected_resource_metadata,
            confirmation_method_validation,
            token_typ_validation,
            revocation_check,
        } = builder.configuration()?;
        let legacy = builder.legacy_engine;
        let algorithms: Box<[Algorithm]> = match signature {
            Some(algorithm) => [algorithm].into(),
            // Only the old engine takes a missing algorithm for any RSA.
            None if legacy => Algorithm::RSA.into(),
            None => [].into(),
        };
        let parameter = resolver_parameter.unwrap_or_default();
        let source = match public_key_resolver.unwrap_or(Resolver::GivenKey) {
            _ if algorithms.is_empty() => Source::Nothing("no signature algorithm is configured"),
            Resolver::GivenKey if parameter.trim().is_empty() => {
                Source::Nothing("no key is configured")
            }
            Resolver::GivenKey => Source::Given(Given::new(&algorithms, &parameter, legacy)),
            Resolver::GatewayKeys => {
                Source::gateway(&algorithms, &builder.gateway.settings, legacy)
            }
            Resolver::JwksUrl => Source::Url(Url {
                options: Arc::new(HttpOptions {
                    connect_timeout_ms: positive(connect_timeout, DEFAULT_TIMEOUT_MS),
                    timeout_ms: positive(request_timeout, DEFAULT_TIMEOUT_MS),
                    body_bytes_max: jwks::BODY_BYTES_MAX,
                    follow_redirects,
                    system_proxy: use_system_proxy,
                    ..HttpOptions::default()
                }),
                documents: Arc::clone(&builder.gateway.documents),
                template: Template::new(&parameter),
                resolved: Default::default(),
            }),
        };
        let typ = match token_typ_validation {
            Some(TypValidation {
                enabled: true,
                ignore_missing,
                expected_values,
                ignore_case,
            }) => Typ::Expected {
                values: expected_values.unwrap_or_else(|| vec!["JWT".into()]).into(),
                ignore_missing,
                ignore_case,
            },
            _ => Typ::Usual,
        };
        let binding = confirmation_method_validation.and_then(|confirmation| {
            let bound = confirmation.certificate_bound_thumbprint?;
            bound.enabled.then(|| Binding {
                ignore_missing: confirmation.ignore_missing,
                header: bound
                    .extract_certificate_from_header
                    .then(|| text_or(bound.header_name, "ssl-client-cert")),
            })
        });
        let revocation = match revocation_check {
            Some(check) if check.enabled => Some(Revocation::build(check, builder)?),
            _ => None,
        };
        Ok(Self {
            algorithms,
            source,
            key_set_age_max_ms: key_set_age_max_ms(builder),
            typ,
            user_claim: text_or(user_claim, "sub"),
            client_id_claim: client_id_claim
                .filter(|claim| !claim.trim().is_empty())
                .map(String::into_boxed_str),
            extract_claims,
            propagate: propagate_auth_header.unwrap_or(true),
            scopes: check_required_scopes.then(|| Scopes {
                required: required_scopes.unwrap_or_default().into(),
                strict: mode_strict.unwrap_or(true),
            }),
            binding,
            revocation,
            authorization_servers: protected_resource_metadata
                .and_then(|metadata| metadata.authorization_servers)
                .filter(|servers| !servers.is_empty())
                .map(Vec::into_boxed_slice),
            verified: Verified::default(),
        })
    }

    /// The token of the request, taken apart without being verified: from here on the attribute `jwt`.
    fn read(&self, exchange: &mut Exchange<'_>) -> Option<Result<Arc<Token>, Cow<'static, str>>> {
        let raw = bearer::extract(&exchange.request)?;
        if raw.is_empty() {
            return Some(Err("the token is empty".into()));
        }
        if let Some(token) = &exchange.tokens.jwt
            && token.raw() == raw
        {
            return Some(Ok(Arc::clone(token)));
        }
        let token = match self.verified.parsed(&raw) {
            Some(token) => token,
            None => match Token::parse(&raw) {
                Ok(token) => Arc::new(token),
                Err(error) => return Some(Err(error)),
            },
        };
        drop(raw);
        exchange.tokens.jwt = Some(Arc::clone(&token));
        Some(Ok(token))
    }

    /// What plan selection goes by: the client id, which is not verified yet.
    pub(crate) fn present(&self, exchange: &mut Exchange<'_>) -> Presented {
        match self.read(exchange) {
            None => Presented::Nothing,
            Some(Err(_)) => Presented::Invalid,
            Some(Ok(token)) => match self.client_id(&token) {
                Some(id) => Presented::Client(id.into()),
                None => Presented::Invalid,
            },
        }
    }

    fn client_id<'t>(&self, token: &'t Token) -> Option<&'t str> {
        token
            .client_id(self.client_id_claim.as_deref())
            .filter(|id| !id.is_empty())
    }

    /// `WWW-Authenticate` of a request for which no plan was found.
    pub(crate) fn challenge(&self, exchange: &Exchange<'_>) -> String {
        if self.authorization_servers.is_none() {
            return "Bearer".to_owned();
        }
        let request = &exchange.request;
        format!(
            "Bearer resource_metadata=\"{}://{}/.well-known/oauth-protected-resource{}\"",
            if request.tls { "https" } else { "http" },
            request.host,
            request.path
        )
    }

    /// Authorization servers for the metadata of the protected resource, and the scopes asked for.
    pub(crate) fn metadata(&self) -> Option<(Texts<'_>, Texts<'_>)> {
        let servers = self.authorization_servers.as_deref()?;
        let scopes = self
            .scopes
            .as_ref()
            .map_or(&[][..], |scopes| &scopes.required);
        Some((servers, scopes))
    }

    fn judge(&self, exchange: &mut Exchange<'_>, waiting: Waiting, waited: bool) -> Verdict {
        let Waiting { token, place } = waiting;
        if place == Place::Keys {
            let keys = match self.source.find(exchange, &token) {
                Found::Keys(keys) => keys,
                Found::Refused(cause) => return invalid(cause),
                Found::Broken(cause) => return broken("JWT_POLICY_ERROR", cause),
                Found::Document(document) => {
                    // A header that is refused anyway fetches nothing.
                    if let Err(cause) = jwt::check_header(&token, &self.algorithms, &self.typ) {
                        return invalid(cause);
                    }
                    match document.read(exchange, self.key_set_age_max_ms) {
                        Some(content) => match Arc::clone(&content.parsed).downcast::<KeySet>() {
                            Ok(set) => Keys::Set(set),
                            Err(_) => {
                                return broken("JWT_POLICY_ERROR", "not a key set");
                            }
                        },
                        None if waited
                            || document.failed_within(
                                crate::need::documents::RETRY_MS,
                                exchange.now_ms,
                            ) =>
                        {
                            return broken(
                                "JWT_JWKS_RESOLUTION_ERROR",
                                "the key set could not be loaded",
                            );
                        }
                        None => {
                            let need = document.need();
                            exchange.carry = Some(Box::new(Waiting {
                                token,
                                place: Place::Keys,
                            }));
                            return Verdict::Await(need);
                        }
                    }
                }
            };
            if !self.verified.holds(token.raw(), &keys, exchange.now_ms) {
                let now_ms = exchange.now_ms;
                if let Err(cause) = jwt::verify(&token, &self.algorithms, &self.typ, &keys, now_ms)
                {
                    return invalid(cause);
                }
                self.verified.put(&token, keys, now_ms);
            }
        }
        let waited = waited && place == Place::Revocation;
        if let Some(revocation) = &self.revocation {
            match revocation.judge(exchange, &token, waited) {
                RevocationVerdict::Good => {}
                RevocationVerdict::Revoked => {
                    return unauthorized("JWT_REVOKED", "the token is revoked");
                }
                RevocationVerdict::Wait => {
                    exchange.carry = Some(Box::new(Waiting {
                        token,
                        place: Place::Revocation,
                    }));
                    return Verdict::Await(revocation.list.need());
                }
            }
        }
        self.admit(exchange, &token)
    }

    /// The checks that are made for every request, and what a good token leaves behind.
    fn admit(&self, exchange: &mut Exchange<'_>, token: &Token) -> Verdict {
        if let Some(binding) = &self.binding
            && !binding.holds(exchange, token)
        {
            self.verified.remove(token.raw());
            return unauthorized(
                "JWT_INVALID_CERTIFICATE_BOUND_THUMBPRINT",
                "the token is bound to another certificate",
            );
        }
        if let Some(Scopes { required, strict }) = &self.scopes
            && !token.has_scopes(required, *strict)
        {
            return unauthorized("JWT_INSUFFICIENT_SCOPE", "the token lacks a required scope");
        }
        exchange.set_attribute("jwt.token", token.raw().to_owned());
        if let Some(client_id) = self.client_id(token) {
            exchange.set_attribute("oauth.client_id", client_id.to_owned());
            exchange.security_token = Cow::Owned(client_id.to_owned());
        }
        exchange.security_type = SecurityType::Jwt;
        let user = token
            .user(&self.user_claim)
            .or_else(|| token.claim_text("sub").map(Cow::Borrowed));
        if let Some(user) = user {
            exchange.user = Some(user.into());
        }
        if self.extract_claims {
            exchange.set_attribute("jwt.claims", jwt::json::to_map(&token.claims));
        }
        if !self.propagate {
            exchange.request.headers.remove("authorization");
        }
        Verdict::Continue
    }
}

impl Policy for Jwt {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        match (&self.source, phase) {
            (Source::Given(given), Phase::Request) => given.needs(),
            (Source::Url(url), Phase::Request) => url.template.needs(),
            _ => BodyNeeds::default(),
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        match self.read(exchange) {
            None => unauthorized("JWT_MISSING_TOKEN", "no token was presented"),
            Some(Err(cause)) => invalid(cause),
            Some(Ok(token)) => {
                let place = Place::Keys;
                self.judge(exchange, Waiting { token, place }, false)
            }
        }
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, _answer: Answer) -> Verdict {
        match exchange.take_carried() {
            Some(waiting) => self.judge(exchange, waiting, true),
            None => broken("JWT_POLICY_ERROR", "the token was lost"),
        }
    }
}

impl Binding {
    fn holds(&self, exchange: &Exchange<'_>, token: &Token) -> bool {
        let bound = match token.claim("cnf") {
            Some(Json::Object(confirmation)) => {
                jwt::json::member(confirmation, "x5t#S256").and_then(Json::as_text)
            }
            _ => None,
        };
        let Some(bound) = bound.filter(|bound| !bound.trim().is_empty()) else {
            return self.ignore_missing;
        };
        let presented = match &self.header {
            Some(header) => certificate::from_header(&exchange.request, header)
                .map(|der| certificate::thumbprint(&der)),
            None => exchange
                .request
                .certificate
                .as_ref()
                .map(|presented| certificate::thumbprint(&presented.der)),
        };
        presented.is_some_and(|presented| presented == bound)
    }
}

enum RevocationVerdict {
    Good,
    Revoked,
    Wait,
}

impl Revocation {
    fn build(check: RevocationCheck, builder: &Builder<'_>) -> Result<Self, ConfigError> {
        let member = "revocationCheck.revocationListUrl";
        let url = check.revocation_list_url.unwrap_or_default();
        let url = url.trim();
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(ConfigError::new(member, "an absolute URL is needed"));
        }
        let mut headers = Vec::new();
        let auth = check.auth.as_ref();
        match auth.and_then(|auth| auth.kind.as_deref()).unwrap_or("none") {
            "none" | "" => {}
            "basic" => {
                let BasicAuth { username, password } = auth
                    .and_then(|auth| auth.basic.as_ref())
                    .ok_or_else(|| ConfigError::new("revocationCheck.auth.basic", "is missing"))?;
                let pair = STANDARD.encode(format!("{username}:{password}"));
                headers.push((Cow::Borrowed("Authorization"), format!("Basic {pair}")));
            }
            "token" => {
                let TokenAuth { value } = auth
                    .and_then(|auth| auth.token.as_ref())
                    .ok_or_else(|| ConfigError::new("revocationCheck.auth.token", "is missing"))?;
                headers.push((Cow::Borrowed("Authorization"), format!("Bearer {value}")));
            }
            _ => {
                return Err(ConfigError::new(
                    "revocationCheck.auth.type",
                    "must be none, basic or token",
                ));
            }
        }
        let call = HttpCall {
            method: "GET".into(),
            url: url.into(),
            headers,
            body: Vec::new(),
            options: Arc::new(HttpOptions {
                connect_timeout_ms: positive(check.connect_timeout, DEFAULT_TIMEOUT_MS),
                timeout_ms: positive(check.request_timeout, DEFAULT_TIMEOUT_MS),
                body_bytes_max: revocation::BODY_BYTES_MAX,
                follow_redirects: check.follow_redirects,
                system_proxy: check.use_system_proxy,
                ..HttpOptions::default()
            }),
        };
        let list = builder
            .gateway
            .documents
            .get("revocation", call, revocation::parse)
            .ok_or_else(|| ConfigError::new(member, "too many revocation lists"))?;
        Ok(Self {
            claim: text_or(check.revocation_claim, "jti"),
            list,
            age_max_ms: positive(check.refresh_interval, DEFAULT_REFRESH_SECONDS)
                .saturating_mul(1_000),
        })
    }

    fn judge(&self, exchange: &mut Exchange<'_>, token: &Token, waited: bool) -> RevocationVerdict {
        let Some(content) = self.list.read(exchange, self.age_max_ms) else {
            if !waited && !self.list.has_failed() {
                return RevocationVerdict::Wait;
            }
            self.list.refresh(exchange, REVOCATION_RETRY_MS);
            return RevocationVerdict::Good;
        };
        let is_revoked = token.claim_text(&self.claim).is_some_and(|value| {
            content
                .parsed
                .downcast_ref::<Revoked>()
                .is_some_and(|revoked| revoked.contains(value))
        });
        if is_revoked {
            RevocationVerdict::Revoked
        } else {
            RevocationVerdict::Good
        }
    }
}

fn unauthorized(key: &'static str, cause: impl Into<Box<str>>) -> Verdict {
    Verdict::fail(Failure::policy(401, key, "Unauthorized").because(cause))
}

fn invalid(cause: impl Into<Box<str>>) -> Verdict {
    unauthorized("JWT_INVALID_TOKEN", cause)
}

fn broken(key: &'static str, cause: impl Into<Box<str>>) -> Verdict {
    Verdict::fail(Failure::policy(500, key, "Internal Server Error").because(cause))
}

#[cfg(test)]
mod tests;
