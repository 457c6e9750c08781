//! `quota`: limits the requests of a consumer in a long time (contract policies 6).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_bool};
use super::limit::{ErrorStrategy, HeaderNames, Kind, Limiter, Troubles, Window};
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
    has_slices: false,
    has_attributes: true,
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
    quota: Option<Window>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    Limiter::build(
        &KIND,
        builder,
        &configuration.quota.unwrap_or_default(),
        configuration.error_strategy.unwrap_or_default(),
        configuration.is_async,
        configuration.add_headers.unwrap_or(true),
    )
}
