//! `quota`: limits the requests of a consumer in a long time (contract policies 6).

use std::sync::Arc;

use super::limit::{HeaderNames, Kind, Limiter, Troubles};
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy};
use crate::quota::CHRONO_UNITS;

pub(super) const ENTRY: Entry = Entry {
    id: "quota",
    phases: Phases::REQUEST,
    summary: "limits the requests of a consumer in a long time",
    members: &[
        "errorStrategy",
        "async",
        "addHeaders",
        "quota.key",
        "quota.useKeyOnly",
        "quota.limit",
        "quota.dynamicLimit",
        "quota.periodTime",
        "quota.periodTimeUnit",
        "quota.dynamicPeriodTime",
    ],
    differences: "",
    build,
};

static KIND: Kind = Kind {
    member: "quota",
    tag: "q",
    units: CHRONO_UNITS,
    unit: "MONTHS",
    dynamic_unit: "HOURS",
    too_many: "QUOTA_TOO_MANY_REQUESTS",
    exceeded: "Quota exceeded! You reached the limit of ",
    headers: HeaderNames {
        limit: "X-Quota-Limit",
        middle: "X-Quota-Remaining",
        reset: "X-Quota-Reset",
    },
    troubles: Troubles {
        server_error: "QUOTA_SERVER_ERROR",
        not_applied: "QUOTA_NOT_APPLIED",
        bypassed: "Request bypassed quota policy due to internal error",
        blocked: "QUOTA_BLOCK_ON_INTERNAL_ERROR",
        blocked_message: "Quota blocked the query due to internal error",
    },
    adds_headers: true,
    has_slices: false,
    has_attributes: true,
};

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    Limiter::build(&KIND, builder)
}
