//! `latency`: waits before the request goes on (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;

use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::exchange::Exchange;
use crate::need::Need;

pub(super) const ENTRY: Entry = Entry {
    id: "latency",
    phases: Phases::REQUEST,
    summary: "waits before the request goes on",
    members: &["time", "timeUnit"],
    differences: "",
    build,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default = "default_time")]
    time: u64,
    #[serde(default)]
    time_unit: Unit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Unit {
    #[default]
    Milliseconds,
    Seconds,
}

fn default_time() -> u64 {
    100
}

#[derive(Debug)]
struct Latency {
    pause_ms: u64,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration { time, time_unit } = builder.configuration()?;
    let pause_ms = match time_unit {
        Unit::Milliseconds => time,
        Unit::Seconds => time.saturating_mul(1_000),
    };
    Ok(Arc::new(Latency { pause_ms }))
}

impl Policy for Latency {
    fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Await(Need::Pause(self.pause_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn the_request_waits_as_long_as_configured() {
        for (configuration, pause_ms) in [
            (json!(null), 100),
            (json!({"time": 7}), 7),
            (json!({"time": 2, "timeUnit": "SECONDS"}), 2_000),
        ] {
            let policy = build("latency", &configuration).expect("a policy");
            let mut bench = Bench::new();
            assert!(
                matches!(policy.on_request(&mut bench.exchange()), Verdict::Await(Need::Pause(found)) if found == pause_ms),
                "{configuration}"
            );
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        let error = build("latency", &json!({"time": "soon"})).expect_err("no number");
        assert_eq!(error.member, "time");
        let error = build("latency", &json!({"timeUnit": "WEEKS"})).expect_err("no such unit");
        assert_eq!(error.member, "timeUnit");
    }
}
