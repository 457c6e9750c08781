//! The security chain of an exchange with policies: as [`super::select`], for plans that may wait or have a selection rule.

use std::borrow::Cow;

use super::{ApiKeySettings, Credentials, Strip, bearer_token, select};
use crate::error::Failure;
use crate::exchange::{Exchange, Request};
use crate::need::{Answer, Need};
use crate::report::SecurityType;

/// How far the chain has come.
#[derive(Debug)]
pub enum Selection {
    /// A plan was selected and let the request in; the exchange knows the consumer.
    Granted,
    /// The request is refused.
    Failed(Box<Failure>),
    /// A plan waits.
    Await(Need),
    /// The response is prepared: nothing else runs (`/.well-known/oauth-protected-resource`).
    Interrupt,
}

/// The security chain of one exchange.
#[derive(Debug, Default)]
pub struct Selector {}

impl Selector {
    /// Begins, or goes on until a plan waits or all is decided.
    pub fn advance<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &'a ApiKeySettings,
    ) -> Selection {
        let grant = match select(
            exchange.api,
            exchange.subscriptions,
            &*exchange.request,
            settings,
            exchange.request.timestamp_ms,
        ) {
            Ok(grant) => grant,
            Err(failure) => return Selection::Failed(Box::new(failure)),
        };
        exchange.plan = Some(grant.plan);
        exchange.application_id = Cow::Borrowed(grant.application_id);
        exchange.subscription_id = match grant.subscription_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(exchange.request.remote.clone()),
        };
        if let Some(key) = grant.key {
            exchange.api_key = Some(Cow::Borrowed(key));
            exchange.security_type = SecurityType::ApiKey;
            exchange.security_token = Cow::Borrowed(key);
        }
        if let Strip::ApiKey { header, parameter } = grant.strip {
            if let Some(header) = header {
                exchange.request.headers.remove(header);
            }
            if let Some(parameter) = parameter
                && exchange.request.parameter(parameter).is_some()
            {
                exchange.request.remove_parameter(parameter);
            }
        }
        Selection::Granted
    }

    /// Goes on with what a plan waited for.
    pub fn resume<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &'a ApiKeySettings,
        answer: Answer,
    ) -> Selection {
        drop(answer);
        self.advance(exchange, settings)
    }
}

impl Credentials for Request {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        Self::parameter(self, name).map(str::as_bytes)
    }

    fn bearer(&self) -> Option<&[u8]> {
        self.headers.values("authorization").find_map(bearer_token)
    }
}
