//! `token-bucket-rate-limit`: a steady rate with bursts (contract policies 6.8).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_number, de_optional_text, de_text};
use super::limit::{
    Amount, Digits, ErrorStrategy, Subject, Troubles, server_error, store_failed, subscription,
    unit_named,
};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::ElError;
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::need::{Answer, Errand, Need};
use crate::quota::{
    CountError, Period, QuotaStats, Quotas, TIME_UNITS, TokenHit, Tokens, TokensCounted,
};

pub(super) const ENTRY: Entry = Entry {
    id: "token-bucket-rate-limit",
    phases: Phases::REQUEST,
    summary: "limits the requests of a consumer to a steady rate with bursts",
    members: &[
        "refillRate",
        "dynamicRefillRate",
        "refillPeriodTime",
        "refillPeriodTimeUnit",
        "burstCapacity",
        "dynamicBurstCapacity",
        "key",
        "useKeyOnly",
        "async",
        "addHeaders",
        "errorStrategy",
    ],
    differences: "",
    build,
};

static TROUBLES: Troubles = Troubles {
    server_error: "TOKEN_BUCKET_RATE_LIMIT_SERVER_ERROR",
    not_applied: "TOKEN_BUCKET_RATE_LIMIT_NOT_APPLIED",
    bypassed: "Request bypassed token bucket rate limit policy due to internal error",
    blocked: "TOKEN_BUCKET_RATE_LIMIT_BLOCK_ON_INTERNAL_ERROR",
    blocked_message: "Token bucket rate limit blocked the query due to internal error",
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_number")]
    refill_rate: i64,
    #[serde(default, deserialize_with = "de_optional_text")]
    dynamic_refill_rate: Option<String>,
    #[serde(default, deserialize_with = "de_number")]
    refill_period_time: i64,
    #[serde(default, deserialize_with = "de_text")]
    refill_period_time_unit: String,
    #[serde(default, deserialize_with = "de_number")]
    burst_capacity: i64,
    #[serde(default, deserialize_with = "de_optional_text")]
    dynamic_burst_capacity: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    use_key_only: bool,
    #[serde(default, rename = "async", deserialize_with = "de_bool")]
    is_async: bool,
    #[serde(default, deserialize_with = "de_bool")]
    add_headers: bool,
    #[serde(default)]
    error_strategy: Option<ErrorStrategy>,
}

#[derive(Debug)]
struct TokenBucket {
    quotas: Arc<Quotas>,
    refill: Amount,
    capacity: Amount,
    period: Period,
    subject: Subject,
    is_async: bool,
    add_headers: bool,
    strategy: ErrorStrategy,
    is_legacy: bool,
}

/// What applies to one request.
#[derive(Debug, Clone, Copy)]
struct Terms {
    refill: u64,
    capacity: u64,
    now_ms: u64,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let name = match configuration.refill_period_time_unit.trim() {
        "" => "SECONDS",
        name => name,
    };
    let unit = unit_named(TIME_UNITS, name)
        .map_err(|reason| ConfigError::new("refillPeriodTimeUnit", reason))?;
    let period = Period {
        amount: configuration.refill_period_time.max(1),
        unit,
    };
    Ok(Arc::new(TokenBucket {
        quotas: Arc::clone(&builder.gateway.quotas),
        refill: Amount::new(
            configuration.refill_rate,
            configuration.dynamic_refill_rate.as_deref(),
        ),
        capacity: Amount::new(
            configuration.burst_capacity,
            configuration.dynamic_burst_capacity.as_deref(),
        ),
        period,
        subject: Subject::new(
            configuration.key.as_deref(),
            configuration.use_key_only,
            "tb",
        ),
        is_async: configuration.is_async,
        add_headers: configuration.add_headers,
        strategy: configuration.error_strategy.unwrap_or_default(),
        is_legacy: builder.legacy_engine,
    }))
}

impl TokenBucket {
    fn terms(&self, exchange: &Exchange<'_>) -> Result<(Terms, String), ElError> {
        let amount = |amount: &Amount| {
            u64::try_from(amount.value(exchange)?)
                .map_err(|_| ElError::evaluation("the rate or the capacity is negative"))
        };
        let terms = Terms {
            refill: amount(&self.refill)?,
            capacity: amount(&self.capacity)?,
            now_ms: exchange.now_ms,
        };
        Ok((terms, self.subject.key(exchange)?))
    }

    /// Milliseconds until a token is earned, at least 1.
    fn token_ms(&self, terms: &Terms) -> u64 {
        let period_ms = self.period.as_ms();
        if terms.refill == 0 {
            return period_ms.max(1);
        }
        period_ms.div_ceil(terms.refill).max(1)
    }

    fn decide(
        &self,
        exchange: &mut Exchange<'_>,
        terms: &Terms,
        result: Result<Tokens, CountError>,
    ) -> Verdict {
        let tokens = match result {
            Ok(tokens) => tokens,
            Err(error) => {
                return store_failed(
                    &TROUBLES,
                    self.strategy,
                    self.is_legacy,
                    &self.quotas,
                    exchange,
                    &error,
                    |exchange| self.set_headers(exchange, terms, terms.capacity, -1),
                );
            }
        };
        let wait_ms = self.token_ms(terms);
        let reset = number(terms.now_ms.saturating_add(wait_ms));
        self.set_headers(exchange, terms, tokens.left, reset);
        if tokens.allowed {
            return Verdict::Continue;
        }
        if self.add_headers {
            let seconds = Digits::of(number(wait_ms.div_ceil(1_000)));
            let _ = exchange.response.headers.set("Retry-After", seconds);
        }
        QuotaStats::add(&self.quotas.stats().refused, 1);
        let unit = self.period.unit;
        let amount = self.period.amount;
        let message = format!(
            "Rate limit exceeded! You reached the limit of {} requests per {amount} {}",
            terms.refill, unit.lower
        );
        Verdict::fail(
            Failure::policy(429, "TOKEN_BUCKET_RATE_LIMIT_TOO_MANY_REQUESTS", message)
                .with("limit", number(terms.capacity))
                .with("refill_rate", number(terms.refill))
                .with("period_time", amount)
                .with("period_unit", unit.lower),
        )
    }

    fn set_headers(&self, exchange: &mut Exchange<'_>, terms: &Terms, left: u64, reset: i64) {
        if !self.add_headers {
            return;
        }
        let headers = &mut exchange.response.headers;
        // What does not fit any more is left out.
        let _ = headers.set("X-Rate-Limit-Limit", Digits::of(number(terms.capacity)));
        let _ = headers.set("X-Rate-Limit-Remaining", Digits::of(number(left)));
        let _ = headers.set("X-Rate-Limit-Reset", Digits::of(reset));
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Policy for TokenBucket {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        if phase == Phase::Response {
            return BodyNeeds::default();
        }
        [&self.refill, &self.capacity]
            .into_iter()
            .filter_map(Amount::template)
            .fold(self.subject.needs(), |needs, template| {
                needs.and(template.needs())
            })
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let (terms, key) = match self.terms(exchange) {
            Ok(terms) => terms,
            Err(error) => return server_error(&TROUBLES, error.to_string()),
        };
        let counted = self.quotas.take(&TokenHit {
            key: &key,
            capacity: terms.capacity,
            refill: terms.refill,
            period_ms: self.period.as_ms(),
            subscription: subscription(exchange),
            is_async: self.is_async,
            now_ms: terms.now_ms,
        });
        match counted {
            TokensCounted::Now(result) => self.decide(exchange, &terms, result),
            TokensCounted::Ask(request) => {
                exchange.carry = Some(Box::new(terms));
                Verdict::Await(Need::Errand(Box::new(Errand::TakeToken(request))))
            }
        }
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let Some(terms) = exchange.take_carried::<Terms>() else {
            return server_error(&TROUBLES, "the terms of the limit are lost");
        };
        let result = match answer {
            Answer::Tokens(result) => result,
            _ => Err(CountError::NotConnected),
        };
        self.decide(exchange, &terms, result)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::registry::GatewayParts;
    use crate::policy::testing::{Bench, build, build_in};
    use crate::quota::{QuotaSettings, Store};

    fn gateway(store: Store) -> GatewayParts {
        GatewayParts {
            quotas: Arc::new(Quotas::new(QuotaSettings {
                store,
                ..QuotaSettings::default()
            })),
            ..GatewayParts::default()
        }
    }

    fn header<'e>(exchange: &'e Exchange<'_>, name: &str) -> Option<&'e str> {
        exchange.response.headers.text(name)
    }

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_tokens() {
        let configuration = json!({"refillRate": 2, "burstCapacity": 3, "addHeaders": true});
        let gateway = gateway(Store::Local);
        let policy =
            build_in("token-bucket-rate-limit", &configuration, &gateway, false).expect("a policy");
        let mut bench = Bench::new();
        for left in ["2", "1", "0"] {
            let mut exchange = bench.exchange();
            assert!(matches!(
                policy.on_request(&mut exchange),
                Verdict::Continue
            ));
            assert_eq!(header(&exchange, "X-Rate-Limit-Limit"), Some("3"));
            assert_eq!(header(&exchange, "X-Rate-Limit-Remaining"), Some(left));
            assert_eq!(
                header(&exchange, "X-Rate-Limit-Reset"),
                Some("1700000000500")
            );
            assert_eq!(header(&exchange, "Retry-After"), None);
        }
        let mut exchange = bench.exchange();
        let Verdict::Fail(failure) = policy.on_request(&mut exchange) else {
            panic!("the bucket is empty");
        };
        assert_eq!(
            (failure.status, failure.key_str()),
            (429, "TOKEN_BUCKET_RATE_LIMIT_TOO_MANY_REQUESTS")
        );
        assert_eq!(header(&exchange, "Retry-After"), Some("1"));
        let mut later = bench.exchange();
        later.now_ms += 500;
        assert!(matches!(policy.on_request(&mut later), Verdict::Continue));
    }

    #[test]
    fn the_store_is_asked_under_the_key_of_the_consumer() {
        let configuration = json!({
            "refillRate": "5", "refillPeriodTime": 2, "refillPeriodTimeUnit": "MINUTES", "burstCapacity": 9, "key": "k",
        });
        let gateway = gateway(Store::Redis);
        let policy =
            build_in("token-bucket-rate-limit", &configuration, &gateway, false).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let Verdict::Await(Need::Errand(errand)) = policy.on_request(&mut exchange) else {
            panic!("an errand");
        };
        let Errand::TakeToken(request) = *errand else {
            panic!("a take");
        };
        assert_eq!(&*request.key, "api:k:tb");
        assert_eq!(
            (
                request.tokens,
                request.capacity,
                request.refill,
                request.period_ms
            ),
            (1, 9, 5, 120_000)
        );
        let answer = Answer::Tokens(Err(CountError::Timeout(10)));
        assert!(matches!(
            policy.resume(Stage::Request, &mut exchange, answer),
            Verdict::Continue
        ));
        assert_eq!(
            exchange.warnings[0].key,
            "TOKEN_BUCKET_RATE_LIMIT_NOT_APPLIED"
        );
    }

    #[test]
    fn a_wrong_unit_is_refused() {
        let error = build(
            "token-bucket-rate-limit",
            &json!({"refillPeriodTimeUnit": "MONTHS"}),
        )
        .expect_err("no such unit");
        assert_eq!(error.member, "refillPeriodTimeUnit");
    }
}
