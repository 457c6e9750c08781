//! `spike-arrest`: spreads the requests of a consumer over a time (contract policies 6).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_bool};
use super::limit::{ErrorStrategy, HeaderNames, Kind, Limiter, Troubles, Window};
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
    has_slices: true,
    has_attributes: false,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    error_strategy: Option<ErrorStrategy>,
    #[serde(default, rename = "async", deserialize_with = "de_bool")]
    is_async: bool,
    #[serde(default, deserialize_with = "de_optional_bool")]
    add_headers: Option<bool>,
    #[serde(default)]
    spike: Option<Window>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    Limiter::build(
        &KIND,
        builder,
        &configuration.spike.unwrap_or_default(),
        configuration.error_strategy.unwrap_or_default(),
        configuration.is_async,
        configuration.add_headers.unwrap_or(false),
    )
}
