//! Which keys a token is verified with (contract policies 4.4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::algorithm::{Algorithm, Key};
use super::jwks::{self, KeySet};
use super::token::Token;
use crate::el::{Needs, Template};
use crate::exchange::Exchange;
use crate::need::documents::Documents;
use crate::need::{HttpCall, HttpOptions, SharedDocument};

/// Settings of gateway keys: `policy.jwt.issuer.<issuer>.<key id>`.
pub(crate) const GATEWAY_KEY_PREFIX: &str = "policy.jwt.issuer.";
/// Keys or documents of one policy that expressions may choose among.
const RESOLVED_MAX: usize = 100;
/// Bytes of a key text or URL that an expression makes at most.
const RESOLVED_BYTES_MAX: usize = 64 * 1_024;

/// Keys that a token may be verified with.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// Configured keys; the key id of the token says nothing.
    Given(Arc<[Key]>),
    /// A published set.
    Set(Arc<KeySet>),
}

impl Keys {
    /// Whether these are the very keys that `other` are.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Given(one), Self::Given(other)) => Arc::ptr_eq(one, other),
            (Self::Set(one), Self::Set(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Whether one of the keys made the token's signature with `algorithm`.
    pub(crate) fn verify(&self, algorithm: Algorithm, token: &Token) -> bool {
        let Some(signature) = token.signature() else {
            return false;
        };
        let made = |key: &Key| key.verifies(token.signed(), &signature);
        match self {
            Self::Given(keys) => keys
                .iter()
                .filter(|key| key.algorithm() == algorithm)
                .any(made),
            Self::Set(set) => set
                .candidates(algorithm, token.header_text("kid"))
                .any(made),
        }
    }
}

/// Where keys come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A key in the configuration.
    Given(Given),
    /// The gateway's settings: keys by issuer.
    Gateway(HashMap<Box<str>, Arc<[Key]>>),
    /// A published set.
    Url(Url),
    /// No usable configuration: every token is refused.
    Nothing(&'static str),
}

/// What a source answers.
pub(crate) enum Found {
    Keys(Keys),
    /// The keys are what this document holds.
    Document(Arc<SharedDocument>),
    /// The token cannot be verified.
    Refused(String),
    /// The configuration cannot be evaluated.
    Broken(String),
}

/// A key in the configuration, possibly made by an expression.
pub(crate) struct Given {
    algorithms: Box<[Algorithm]>,
    /// Also take base64 without armour.
    bare: bool,
    template: Option<Template>,
    resolved: Resolved<Result<Arc<[Key]>, String>>,
}

/// Key texts never show.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl Given {
    pub(crate) fn new(algorithms: &[Algorithm], parameter: &str, bare: bool) -> Self {
        let template = Template::new(parameter);
        let is_literal = template.literal().is_some();
        let given = Self {
            algorithms: algorithms.into(),
            bare,
            template: (!is_literal).then_some(template),
            resolved: Resolved::default(),
        };
        if is_literal {
            given.resolved.put("", given.build(parameter));
        }
        given
    }

    /// The bodies that the expression reads.
    pub(crate) fn needs(&self) -> Needs {
        self.template
            .as_ref()
            .map(Template::needs)
            .unwrap_or_default()
    }

    fn build(&self, text: &str) -> Result<Arc<[Key]>, String> {
        self.algorithms
            .iter()
            .map(|algorithm| Key::from_text(*algorithm, text, self.bare))
            .collect()
    }

    fn find(&self, exchange: &Exchange<'_>) -> Found {
        let resolved = match &self.template {
            None => Ok(self.resolved.get("")),
            Some(template) => resolve(template, exchange).map(|text| {
                self.resolved.get(&text).or_else(|| {
                    let built = self.build(&text);
                    self.resolved.put(&text, built.clone());
                    Some(built)
                })
            }),
        };
        match resolved {
            Ok(Some(Ok(keys))) => Found::Keys(Keys::Given(keys)),
            Ok(Some(Err(error))) => Found::Refused(format!("the configured key: {error}")),
            Ok(None) => Found::Refused("no key is configured".to_owned()),
            Err(error) => Found::Broken(error),
        }
    }
}

/// A URL of a key set, possibly made by an expression.
#[derive(Debug)]
pub(crate) struct Url {
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) documents: Arc<Documents>,
    pub(crate) template: Template,
    pub(crate) resolved: Resolved<Arc<SharedDocument>>,
}

impl Url {
    fn find(&self, exchange: &Exchange<'_>) -> Found {
        let url = match resolve(&self.template, exchange) {
            Ok(url) => url,
            Err(error) => return Found::Broken(error),
        };
        if let Some(document) = self.resolved.get(&url) {
            return Found::Document(document);
        }
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Found::Broken("the URL of the key set is not absolute".to_owned());
        }
        let call = HttpCall {
            method: "GET".into(),
            url: url.as_str().into(),
            headers: Vec::new(),
            body: Vec::new(),
            options: Arc::clone(&self.options),
        };
        match self.documents.get("jwks", call, jwks::parse) {
            Some(document) => {
                self.resolved.put(&url, Arc::clone(&document));
                Found::Document(document)
            }
            None => Found::Broken("too many key sets".to_owned()),
        }
    }
}

fn resolve(template: &Template, exchange: &Exchange<'_>) -> Result<String, String> {
    let text = template
        .eval_text(exchange)
        .map_err(|error| format!("the resolver parameter: {error}"))?
        .unwrap_or_default();
    if text.len() > RESOLVED_BYTES_MAX {
        return Err("the resolver parameter is too long".to_owned());
    }
    Ok(text.into_owned())
}

/// What texts resolved to, a bounded number.
#[derive(Debug)]
pub(crate) struct Resolved<T>(Mutex<HashMap<Box<str>, T, foldhash::fast::RandomState>>);

impl<T> Default for Resolved<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Resolved<T> {
    fn get(&self, text: &str) -> Option<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(text)
            .cloned()
    }

    fn put(&self, text: &str, value: T) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= RESOLVED_MAX {
            entries.clear();
        }
        entries.insert(text.into(), value);
    }
}

impl Source {
    /// The gateway's own keys: those that can be read, by issuer.
    pub(crate) fn gateway(
        algorithms: &[Algorithm],
        settings: &HashMap<String, String>,
        bare: bool,
    ) -> Self {
        let mut issuers: HashMap<Box<str>, Vec<Key>> = HashMap::new();
        let mut names: Vec<_> = settings
            .iter()
            .filter_map(|(name, text)| {
                // Dots belong to the issuer: the last segment is the key id.
                let (issuer, _) = name.strip_prefix(GATEWAY_KEY_PREFIX)?.rsplit_once('.')?;
                Some((name, issuer, text))
            })
            .collect();
        names.sort_unstable();
        for (_, issuer, text) in names {
            let keys = algorithms
                .iter()
                .filter_map(|algorithm| Key::from_text(*algorithm, text, bare).ok());
            issuers.entry(issuer.into()).or_default().extend(keys);
        }
        Self::Gateway(
            issuers
                .into_iter()
                .map(|(issuer, keys)| (issuer, keys.into()))
                .collect(),
        )
    }

    /// The keys for a token.
    pub(crate) fn find(&self, exchange: &Exchange<'_>, token: &Token) -> Found {
        match self {
            Self::Given(given) => given.find(exchange),
            Self::Gateway(issuers) => {
                let issuer = token.claim_text("iss").unwrap_or("default");
                match issuers.get(issuer) {
                    Some(keys) => Found::Keys(Keys::Given(Arc::clone(keys))),
                    None => Found::Refused("the gateway has no key of the issuer".to_owned()),
                }
            }
            Self::Url(url) => url.find(exchange),
            Self::Nothing(reason) => Found::Refused((*reason).to_owned()),
        }
    }
}
