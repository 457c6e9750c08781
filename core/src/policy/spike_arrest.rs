//! `spike-arrest`: spreads the requests of a consumer over a time (contract policies 6).

use std::sync::Arc;

use super::limit::{HeaderNames, Kind, Limiter, Troubles};
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy};
use crate::quota::TIME_UNITS;

pub(super) const ENTRY: Entry = Entry {
    id: "spike-arrest",
    phases: Phases::REQUEST,
    summary: "spreads the requests of a consumer over a time",
    members: &[
        "errorStrategy",
        "async",
        "addHeaders",
        "spike.key",
        "spike.useKeyOnly",
        "spike.limit",
        "spike.dynamicLimit",
        "spike.periodTime",
        "spike.periodTimeUnit",
        "spike.dynamicPeriodTime",
    ],
    differences: "",
    build,
};

static KIND: Kind = Kind {
    member: "spike",
    tag: "sa",
    units: TIME_UNITS,
    unit: "SECONDS",
    dynamic_unit: "SECONDS",
    too_many: "SPIKE_ARREST_TOO_MANY_REQUESTS",
    exceeded: "Spike limit exceeded! You reached the limit of ",
    headers: HeaderNames {
        limit: "X-Spike-Arrest-Limit",
        middle: "X-Spike-Arrest-Slice-Period",
        reset: "X-Spike-Arrest-Reset",
    },
    troubles: Troubles {
        server_error: "SPIKE_ARREST_SERVER_ERROR",
        not_applied: "SPIKE_ARREST_NOT_APPLIED",
        bypassed: "Request bypassed spike arrest policy due to internal error",
        blocked: "SPIKE_ARREST_BLOCK_ON_INTERNAL_ERROR",
        blocked_message: "Spike arrest blocked the query due to internal error",
    },
    adds_headers: false,
    has_slices: true,
    has_attributes: false,
};

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    Limiter::build(&KIND, builder)
}
