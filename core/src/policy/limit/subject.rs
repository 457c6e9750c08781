//! Whose requests a step counts together.

use crate::el::{ElError, Template, Value};
use crate::exchange::Exchange;
use crate::policy::BodyNeeds;
use crate::quota::CounterKey;

/// The configured part of a counter's key.
#[derive(Debug)]
pub(crate) struct Subject {
    key: Option<Template>,
    /// Whole key where only the configured one counts and it holds no expression.
    constant: Option<Box<str>>,
    only_key: bool,
    tag: &'static str,
}

impl Subject {
    pub(crate) fn new(key: Option<&str>, only_key: bool, tag: &'static str) -> Self {
        let key = key.filter(|key| !key.is_empty()).map(Template::new);
        let only_key = only_key && key.is_some();
        let constant = key
            .as_ref()
            .and_then(Template::literal)
            .filter(|_| only_key)
            .map(|literal| CounterKey::only(Some(literal), tag).into());
        Self {
            key,
            constant,
            only_key,
            tag,
        }
    }

    pub(crate) fn needs(&self) -> BodyNeeds {
        self.key.as_ref().map(Template::needs).unwrap_or_default()
    }

    /// The key of this request's counter.
    pub(crate) fn key(&self, exchange: &Exchange<'_>) -> Result<String, ElError> {
        if let Some(constant) = &self.constant {
            return Ok(constant.to_string());
        }
        let own = match &self.key {
            Some(template) => template.eval_text(exchange)?,
            None => None,
        };
        if self.only_key {
            return Ok(CounterKey::only(own.as_deref(), self.tag));
        }
        let attributes = &exchange.attributes;
        let attribute = |name| attributes.gateway(name).and_then(Value::as_text);
        let subscription = &*exchange.subscription_id;
        let key = CounterKey {
            plan: attribute("plan").or_else(|| exchange.plan.map(|plan| &*plan.id)),
            subscription: attribute("user-id")
                .or_else(|| (!subscription.is_empty()).then_some(subscription)),
            client_id: attributes.get("oauth.client_id").and_then(Value::as_text),
            api: attribute("api").unwrap_or(&exchange.api.id),
            resolved_path: attribute("resolved-path"),
        };
        Ok(key.text(own.as_deref(), self.tag))
    }
}

/// The subscription that is stored beside a counter.
pub(crate) fn subscription<'e>(exchange: &'e Exchange<'_>) -> &'e str {
    exchange
        .attributes
        .gateway("user-id")
        .and_then(Value::as_text)
        .unwrap_or(&exchange.subscription_id)
}
