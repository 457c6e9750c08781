//! Tokens that a server accepted, remembered in a cache resource of the API (`oauthCacheResource`, contract policies 5).

use std::collections::HashMap;

use super::Payload;
use crate::need::Errand;
use crate::policy::{ConfigError, Resource};

/// The cache resource of a policy.
#[derive(Debug)]
pub(crate) struct TokenCache {}

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
        let _ = (name, resources);
        Ok(None)
    }

    pub(crate) fn get(&self, token: &str, now_ms: u64) -> CacheAnswer {
        let _ = (token, now_ms);
        CacheAnswer::Unknown
    }

    /// Remembers a payload; an errand when the cache is elsewhere.
    pub(crate) fn put(&self, token: &str, payload: &Payload, now_ms: u64) -> Option<Errand> {
        let _ = (token, payload, now_ms);
        None
    }
}
