//! `rate-limit`: limits the requests of a consumer in a short time (contract policies 6).

use std::sync::Arc;

use super::limit::{HeaderNames, Kind, Limiter, Troubles};
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy};
use crate::quota::TIME_UNITS;

pub(super) const ENTRY: Entry = Entry {
    id: "rate-limit",
    phases: Phases::REQUEST,
    summary: "limits the requests of a consumer in a short time",
    members: &[
        "errorStrategy",
        "async",
        "addHeaders",
        "rate.key",
        "rate.useKeyOnly",
        "rate.limit",
        "rate.dynamicLimit",
        "rate.periodTime",
        "rate.periodTimeUnit",
        "rate.dynamicPeriodTime",
    ],
    differences: "",
    build,
};

static KIND: Kind = Kind {
    member: "rate",
    tag: "rl",
    units: TIME_UNITS,
    unit: "SECONDS",
    dynamic_unit: "SECONDS",
    too_many: "RATE_LIMIT_TOO_MANY_REQUESTS",
    exceeded: "Rate limit exceeded! You reached the limit of ",
    headers: HeaderNames {
        limit: "X-Rate-Limit-Limit",
        middle: "X-Rate-Limit-Remaining",
        reset: "X-Rate-Limit-Reset",
    },
    troubles: Troubles {
        server_error: "RATE_LIMIT_SERVER_ERROR",
        not_applied: "RATE_LIMIT_NOT_APPLIED",
        bypassed: "Request bypassed rate limit policy due to internal error",
        blocked: "RATE_LIMIT_BLOCK_ON_INTERNAL_ERROR",
        blocked_message: "Rate limit blocked the query due to internal error",
    },
    adds_headers: false,
    has_slices: false,
    has_attributes: false,
};

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    Limiter::build(&KIND, builder)
}
