//! Tokens that a server accepted, remembered in a cache resource of the API (`oauthCacheResource`, contract policies 5).

use std::collections::HashMap;
use std::sync::Arc;

use super::Payload;
use crate::definition::Api;
use crate::need::Errand;
use crate::policy::cache::{CacheResource, Lookup};
use crate::policy::{ConfigError, Resource};

/// The cache resource of a policy. An entry is keyed by the token itself, and holds the payload's text.
#[derive(Debug)]
pub(crate) struct TokenCache(Arc<CacheResource>);

/// What the cache says about a token.
pub(crate) enum CacheAnswer {
    /// The payload that was remembered.
    Known(String),
    /// Nothing.
    Unknown,
    /// It is elsewhere: this asks for it.
    Ask(Errand),
}

impl TokenCache {
    /// The cache resource called `name`; `None` when the API has none of this name, which switches the cache off.
    pub(crate) fn of(
        name: &str,
        resources: &HashMap<Box<str>, Resource>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(resource) = resources.get(name) else {
            return Ok(None);
        };
        let cache = resource.get().ok_or_else(|| {
            ConfigError::new(
                "oauthCacheResource",
                format!("a resource of the type {} is no cache", resource.kind),
            )
        })?;
        Ok(Some(Self(cache)))
    }

    /// Asks for a token.
    pub(crate) fn get(&self, api: &Api, token: &str, now_ms: u64) -> CacheAnswer {
        match self.0.get(api, token, now_ms) {
            Lookup::Found(text) => CacheAnswer::Known(String::from_utf8_lossy(&text).into_owned()),
            Lookup::Missing => CacheAnswer::Unknown,
            Lookup::Ask(errand) => CacheAnswer::Ask(errand),
        }
    }

    /// Remembers a payload until its `exp`, or as long as the resource says; an errand when the cache is elsewhere.
    pub(crate) fn put(
        &self,
        api: &Api,
        token: &str,
        payload: &Payload,
        now_ms: u64,
    ) -> Option<Errand> {
        let life_ms = payload
            .expires_at()
            .and_then(|at| u64::try_from(at).ok())
            .map_or(0, |at| at.saturating_mul(1_000).saturating_sub(now_ms));
        let text = payload.text().as_bytes().into();
        self.0.put(api, token, text, life_ms, now_ms)
    }
}
