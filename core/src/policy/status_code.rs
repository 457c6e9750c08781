//! `status-code`: maps the status of responses (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_number;
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "status-code",
    phases: Phases::RESPONSE,
    summary: "maps the status of responses",
    members: &["statusMappings"],
    differences: "a status outside 200 to 599 is refused at deployment",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    status_mappings: Option<Vec<Mapping>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mapping {
    #[serde(deserialize_with = "de_number")]
    input_status_code: u16,
    #[serde(deserialize_with = "de_number")]
    output_status_code: u16,
}

#[derive(Debug)]
struct StatusCode {
    mappings: Box<[(u16, u16)]>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let mut mappings = Vec::new();
    for (index, mapping) in configuration
        .status_mappings
        .into_iter()
        .flatten()
        .enumerate()
    {
        // What is below 200 announces a response and cannot be one.
        if !(200..=599).contains(&mapping.output_status_code) {
            return Err(ConfigError::new(
                format!("statusMappings[{index}].outputStatusCode"),
                format!("200 to 599, not {}", mapping.output_status_code),
            ));
        }
        mappings.push((mapping.input_status_code, mapping.output_status_code));
    }
    Ok(Arc::new(StatusCode {
        mappings: mappings.into(),
    }))
}

impl Policy for StatusCode {
    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let response = &mut exchange.response;
        if let Some((_, output)) = self
            .mappings
            .iter()
            .find(|(input, _)| *input == response.status)
        {
            response.status = *output;
            response.reason.clear();
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn a_listed_status_is_replaced_and_any_other_stays() {
        let policy = build(
            "status-code",
            &json!({"statusMappings": [
                {"inputStatusCode": 201, "outputStatusCode": "200"},
                {"inputStatusCode": 200, "outputStatusCode": 202},
                {"inputStatusCode": 515, "outputStatusCode": 505},
            ]}),
        )
        .expect("a policy");
        for (status, expected) in [(201, 200), (200, 202), (515, 505), (404, 404)] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.response.status = status;
            exchange.response.reason = b"As It Was".to_vec();
            assert!(matches!(
                policy.on_response(&mut exchange),
                Verdict::Continue
            ));
            assert_eq!(exchange.response.status, expected);
            assert_eq!(exchange.response.reason.is_empty(), status != expected);
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (
                json!({"statusMappings": [{"inputStatusCode": 200, "outputStatusCode": 100}]}),
                "statusMappings[0].outputStatusCode",
            ),
            (
                json!({"statusMappings": [{"inputStatusCode": "many"}]}),
                "statusMappings[0].inputStatusCode",
            ),
        ] {
            let error = build("status-code", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
        assert!(build("status-code", &json!(null)).is_ok());
    }
}
