//! Limits of so many requests in a window that opens with the first of them: `rate-limit`, `quota` and `spike-arrest`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::subject::subscription;
use super::{
    Amount, Digits, ErrorStrategy, Subject, Troubles, server_error, store_failed, unit_named,
};
use crate::el::{ElError, Template};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::need::{Answer, Errand, Need};
use crate::policy::lenient::{de_bool, de_number, de_optional_bool, de_optional_text};
use crate::policy::{BodyNeeds, Builder, ConfigError, Phase, Policy, Stage, Verdict};
use crate::quota::{CountError, Counted, Hit, Period, PeriodUnit, QuotaStats, Quotas, Rate, Slice};

/// What the three policies have in their configuration beside their [`Window`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    error_strategy: Option<ErrorStrategy>,
    #[serde(default, rename = "async", deserialize_with = "de_bool")]
    is_async: bool,
    #[serde(default, deserialize_with = "de_optional_bool")]
    add_headers: Option<bool>,
}

/// `rate`, `quota` or `spike` of a configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Window {
    #[serde(deserialize_with = "de_optional_text")]
    key: Option<String>,
    #[serde(deserialize_with = "de_bool")]
    use_key_only: bool,
    #[serde(deserialize_with = "de_number")]
    limit: i64,
    #[serde(deserialize_with = "de_optional_text")]
    dynamic_limit: Option<String>,
    #[serde(deserialize_with = "de_number")]
    period_time: i64,
    #[serde(deserialize_with = "de_optional_text")]
    period_time_unit: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    dynamic_period_time: Option<String>,
}

/// Headers of one policy.
#[derive(Debug)]
pub(crate) struct HeaderNames {
    pub(crate) limit: &'static str,
    /// What is left; the length of a slice for `spike-arrest`.
    pub(crate) middle: &'static str,
    pub(crate) reset: &'static str,
}

/// What tells one of the three policies from the others.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Member of the configuration that holds the [`Window`].
    pub(crate) member: &'static str,
    /// Type in the counter's key.
    pub(crate) tag: &'static str,
    /// Units by name.
    pub(crate) units: &'static [PeriodUnit],
    /// Unit when none is configured.
    pub(crate) unit: &'static str,
    /// Unit of a period that is evaluated.
    pub(crate) dynamic_unit: &'static str,
    pub(crate) too_many: &'static str,
    /// Message of a refusal, up to the limit.
    pub(crate) exceeded: &'static str,
    pub(crate) headers: HeaderNames,
    pub(crate) troubles: Troubles,
    /// Headers are added where the configuration does not say.
    pub(crate) adds_headers: bool,
    /// The period is cut into slices.
    pub(crate) has_slices: bool,
    /// Attributes `quota.*` are set.
    pub(crate) has_attributes: bool,
}

#[derive(Debug)]
enum PeriodSource {
    Fixed(Period),
    Dynamic(Template, &'static PeriodUnit),
}

/// What applies to one request.
#[derive(Debug, Clone, Copy)]
struct Terms {
    limit: i64,
    period: Period,
    /// Only for `spike-arrest`.
    slice: Option<Slice>,
}

impl Terms {
    /// Hits that one window takes.
    fn allowed(&self) -> i64 {
        self.slice.map_or(self.limit, |slice| slice.hits)
    }
}

/// One step.
#[derive(Debug)]
pub(crate) struct Limiter {
    kind: &'static Kind,
    quotas: Arc<Quotas>,
    strategy: ErrorStrategy,
    is_async: bool,
    add_headers: bool,
    is_legacy: bool,
    subject: Subject,
    limit: Amount,
    /// What the attribute `quota.limit` says: the configured limit.
    static_limit: i64,
    period: PeriodSource,
}

impl Limiter {
    /// A step of `kind`, from its configuration.
    pub(crate) fn build(
        kind: &'static Kind,
        builder: &Builder<'_>,
    ) -> Result<Arc<dyn Policy>, ConfigError> {
        let configuration: Configuration = builder.configuration()?;
        let window: Window = builder.member(kind.member)?;
        let unit = |name: &str| {
            unit_named(kind.units, name).map_err(|reason| {
                ConfigError::new(format!("{}.periodTimeUnit", kind.member), reason)
            })
        };
        let named = window.period_time_unit.as_deref().map(str::trim);
        let named = named.filter(|name| !name.is_empty());
        let fixed = Period {
            amount: window.period_time.max(1),
            unit: unit(named.unwrap_or(kind.unit))?,
        };
        let dynamic = window.dynamic_period_time.as_deref();
        let period = match dynamic.filter(|text| !text.trim().is_empty()) {
            Some(text) => PeriodSource::Dynamic(Template::new(text), unit(kind.dynamic_unit)?),
            None => PeriodSource::Fixed(fixed),
        };
        Ok(Arc::new(Self {
            kind,
            quotas: Arc::clone(&builder.gateway.quotas),
            strategy: configuration.error_strategy.unwrap_or_default(),
            is_async: configuration.is_async,
            add_headers: configuration.add_headers.unwrap_or(kind.adds_headers),
            is_legacy: builder.legacy_engine,
            subject: Subject::new(window.key.as_deref(), window.use_key_only, kind.tag),
            limit: Amount::new(window.limit, window.dynamic_limit.as_deref()),
            static_limit: window.limit,
            period,
        }))
    }

    /// What applies to this request, and the key of its counter.
    fn terms(&self, exchange: &Exchange<'_>) -> Result<(Terms, String), ElError> {
        let limit = self.limit.value(exchange)?;
        let period = match &self.period {
            PeriodSource::Fixed(period) => *period,
            PeriodSource::Dynamic(template, unit) => Period {
                amount: template
                    .eval_long(exchange)?
                    .ok_or_else(|| ElError::evaluation("the period has no value"))?
                    .max(1),
                unit,
            },
        };
        let slice = if self.kind.has_slices {
            let slice = Slice::of(limit, period.as_ms());
            Some(slice.ok_or_else(|| ElError::evaluation("the limit is negative"))?)
        } else {
            None
        };
        let terms = Terms {
            limit,
            period,
            slice,
        };
        Ok((terms, self.subject.key(exchange)?))
    }

    fn decide(
        &self,
        exchange: &mut Exchange<'_>,
        terms: &Terms,
        result: Result<Rate, CountError>,
    ) -> Verdict {
        let rate = match result {
            Ok(rate) => rate,
            Err(error) => {
                return store_failed(
                    &self.kind.troubles,
                    self.strategy,
                    self.is_legacy,
                    &self.quotas,
                    exchange,
                    &error,
                    |exchange| {
                        self.set_headers(exchange, terms, terms.limit, -1);
                        if self.kind.has_attributes {
                            exchange
                                .set_attribute("gravitee.attribute.quota.remaining", terms.limit);
                            exchange.set_attribute("gravitee.attribute.quota.limit", terms.limit);
                        }
                    },
                );
            }
        };
        let reset = i64::try_from(rate.reset_at_ms).unwrap_or(i64::MAX);
        let remaining = terms.limit.saturating_sub(rate.counter).max(0);
        self.set_headers(exchange, terms, remaining, reset);
        if self.kind.has_attributes {
            exchange.set_attribute("gravitee.attribute.quota.count", rate.counter);
            exchange.set_attribute("gravitee.attribute.quota.remaining", remaining);
            exchange.set_attribute("gravitee.attribute.quota.limit", self.static_limit);
            exchange.set_attribute("gravitee.attribute.quota.reset.time", reset);
        }
        if rate.counter <= terms.allowed() {
            return Verdict::Continue;
        }
        QuotaStats::add(&self.quotas.stats().refused, 1);
        Verdict::fail(self.refusal(terms))
    }

    fn set_headers(&self, exchange: &mut Exchange<'_>, terms: &Terms, remaining: i64, reset: i64) {
        if !self.add_headers {
            return;
        }
        let (limit, middle) = match terms.slice {
            Some(slice) => (
                Digits::of(slice.hits),
                Digits::milliseconds(i64::try_from(slice.period_ms).unwrap_or(i64::MAX)),
            ),
            None => (Digits::of(terms.limit), Digits::of(remaining)),
        };
        let names = &self.kind.headers;
        let headers = &mut exchange.response.headers;
        // What does not fit any more is left out.
        let _ = headers.set(names.limit, limit);
        let _ = headers.set(names.middle, middle);
        let _ = headers.set(names.reset, Digits::of(reset));
    }

    fn refusal(&self, terms: &Terms) -> Failure {
        let Period { amount, unit } = terms.period;
        let exceeded = self.kind.exceeded;
        let failure = match terms.slice {
            None => Failure::policy(
                429,
                self.kind.too_many,
                Cow::Owned(format!(
                    "{exceeded}{} requests per {amount} {}",
                    terms.limit, unit.lower
                )),
            ),
            Some(slice) => {
                let period_ms = i64::try_from(slice.period_ms).unwrap_or(i64::MAX);
                Failure::policy(
                    429,
                    self.kind.too_many,
                    Cow::Owned(format!(
                        "{exceeded}{} requests per {period_ms} ms.",
                        slice.hits
                    )),
                )
                .with("slice_limit", slice.hits)
                .with("slice_period_time", period_ms)
                .with("slice_period_unit", "MILLISECONDS")
            }
        };
        failure
            .with("limit", terms.limit)
            .with("period_time", amount)
            .with("period_unit", unit.name)
    }
}

impl Policy for Limiter {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        if phase == Phase::Response {
            return BodyNeeds::default();
        }
        let mut needs = self.subject.needs();
        if let Some(limit) = self.limit.template() {
            needs = needs.and(limit.needs());
        }
        if let PeriodSource::Dynamic(period, _) = &self.period {
            needs = needs.and(period.needs());
        }
        needs
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let (terms, key) = match self.terms(exchange) {
            Ok(terms) => terms,
            Err(error) => return server_error(&self.kind.troubles, error.to_string()),
        };
        let arrival_ms = exchange.request.timestamp_ms;
        let reset_at_ms = match terms.slice {
            Some(slice) => arrival_ms.saturating_add(slice.period_ms),
            None => terms.period.end(arrival_ms, self.quotas.zone()),
        };
        let counted = self.quotas.count(&Hit {
            key: &key,
            limit: terms.allowed(),
            reset_at_ms,
            subscription: subscription(exchange),
            is_async: self.is_async,
            now_ms: exchange.now_ms,
        });
        match counted {
            Counted::Now(result) => self.decide(exchange, &terms, result),
            Counted::NowAndSend(rate, request) => {
                exchange.detached.push(Errand::Count(request));
                self.decide(exchange, &terms, Ok(rate))
            }
            Counted::Ask(request) => {
                exchange.carry = Some(Box::new(terms));
                Verdict::Await(Need::Errand(Box::new(Errand::Count(request))))
            }
        }
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let Some(terms) = exchange.take_carried::<Terms>() else {
            return server_error(&self.kind.troubles, "the terms of the limit are lost");
        };
        let result = match answer {
            Answer::Count(result) => result,
            // The queue to the control thread is full, or it has ended.
            _ => Err(CountError::NotConnected),
        };
        self.decide(exchange, &terms, result)
    }
}

#[cfg(test)]
#[path = "fixed_window_tests.rs"]
mod tests;
