//! What the policies that limit requests have in common (contract policies 6).

mod fixed_window;
mod number;
mod subject;

pub(super) use fixed_window::{HeaderNames, Kind, Limiter};
pub(super) use number::Digits;
pub(super) use subject::{Subject, subscription};

use serde::Deserialize;

use crate::el::{ElError, Scope, Template};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::policy::Verdict;
use crate::quota::{CountError, PeriodUnit, QuotaStats, Quotas};

/// What becomes of a request when the counter could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum ErrorStrategy {
    /// It is refused.
    #[serde(rename = "BLOCK_ON_INTERNAL_ERROR")]
    Block,
    /// It passes. The spelling is the reference's.
    #[default]
    #[serde(rename = "FALLBACK_PASS_TROUGH")]
    PassThrough,
}

/// Keys and texts of one policy where its counter does not answer or its configuration cannot be evaluated.
#[derive(Debug)]
pub(super) struct Troubles {
    pub(super) server_error: &'static str,
    pub(super) not_applied: &'static str,
    pub(super) bypassed: &'static str,
    pub(super) blocked: &'static str,
    pub(super) blocked_message: &'static str,
}

/// Something about the step could not be evaluated: outside of the error strategy.
pub(super) fn server_error(troubles: &Troubles, cause: impl Into<Box<str>>) -> Verdict {
    Verdict::fail(Failure::policy(500, troubles.server_error, "Unknown error").because(cause))
}

/// The counter could not be asked. `prepare` sets headers and attributes of a request that passes.
pub(super) fn store_failed(
    troubles: &Troubles,
    strategy: ErrorStrategy,
    is_legacy: bool,
    quotas: &Quotas,
    exchange: &mut Exchange<'_>,
    error: &CountError,
    prepare: impl FnOnce(&mut Exchange<'_>),
) -> Verdict {
    let stats = quotas.stats();
    QuotaStats::add(&stats.store_failures, 1);
    if matches!(error, CountError::Timeout(_)) {
        QuotaStats::add(&stats.store_timeouts, 1);
    }
    // The old engine knows neither the strategy nor the warning.
    if strategy == ErrorStrategy::Block && !is_legacy {
        QuotaStats::add(&stats.blocked, 1);
        return Verdict::fail(
            Failure::policy(429, troubles.blocked, troubles.blocked_message)
                .because(error.to_string()),
        );
    }
    QuotaStats::add(&stats.bypassed, 1);
    prepare(exchange);
    if !is_legacy {
        exchange.warn(troubles.not_applied, troubles.bypassed);
    }
    Verdict::Continue
}

/// The unit of this name; the error says which names there are.
pub(super) fn unit_named(
    units: &'static [PeriodUnit],
    name: &str,
) -> Result<&'static PeriodUnit, String> {
    units.iter().find(|unit| unit.name == name).ok_or_else(|| {
        let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
        format!("expected one of {}, found `{name}`", names.join(", "))
    })
}

/// A number that is configured, or an expression that makes one.
#[derive(Debug)]
pub(super) enum Amount {
    /// Configured.
    Fixed(i64),
    /// Evaluated for each request.
    Dynamic(Template),
    /// Neither: the reference fails the request.
    Missing,
}

impl Amount {
    /// A fixed number above 0 wins over the expression.
    pub(super) fn new(fixed: i64, dynamic: Option<&str>) -> Self {
        match dynamic {
            _ if fixed > 0 => Self::Fixed(fixed),
            Some(dynamic) => Self::Dynamic(Template::new(dynamic)),
            None => Self::Missing,
        }
    }

    /// Its value; an expression without one is 0.
    pub(super) fn value(&self, scope: &dyn Scope) -> Result<i64, ElError> {
        match self {
            Self::Fixed(fixed) => Ok(*fixed),
            Self::Dynamic(template) => Ok(template.eval_long(scope)?.unwrap_or(0)),
            Self::Missing => Err(ElError::evaluation(
                "neither a limit nor an expression for one is configured",
            )),
        }
    }

    pub(super) fn template(&self) -> Option<&Template> {
        match self {
            Self::Dynamic(template) => Some(template),
            Self::Fixed(_) | Self::Missing => None,
        }
    }
}
