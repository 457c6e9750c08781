//! `policy-interrupt`: ends the request with a failure of its own (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_optional_text;
use super::pairs::{self, Named, Pair, Placement, Scope};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::{Failure, FailureKey};
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "policy-interrupt",
    phases: Phases::BOTH,
    summary: "ends the request with a failure that a response template renders",
    members: &["scope", "errorKey", "message", "variables"],
    differences: "",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    scope: Option<Scope>,
    #[serde(deserialize_with = "de_optional_text")]
    error_key: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    message: Option<String>,
    variables: Option<Vec<Pair>>,
}

#[derive(Debug)]
struct Interrupt {
    placement: Placement,
    key: Option<Box<str>>,
    message: Option<Box<str>>,
    variables: Box<[Named]>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let variables = pairs::named(configuration.variables);
    Ok(Arc::new(Interrupt {
        placement: Placement::new(configuration.scope, builder.legacy_engine),
        key: pairs::filled(configuration.error_key).map(Into::into),
        message: configuration.message.map(Into::into),
        needs: pairs::needs(&variables),
        variables,
    }))
}

impl Interrupt {
    fn apply(&self, exchange: &Exchange<'_>, phase: Phase) -> Verdict {
        if !self.placement.acts_in(phase) {
            return Verdict::Continue;
        }
        let mut failure = Failure::status(500);
        failure.key = self
            .key
            .as_ref()
            .map(|key| FailureKey::Policy(key.to_string().into()));
        failure.message = self
            .message
            .as_ref()
            .map(|message| message.to_string().into());
        for variable in &self.variables {
            if let Ok(value) = variable.value.eval(exchange) {
                failure = failure.with(variable.name.to_string(), value.into_owned());
            }
        }
        Verdict::fail(failure)
    }
}

impl Policy for Interrupt {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        self.placement.needs(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.apply(exchange, Phase::Request)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.apply(exchange, Phase::Response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build, build_legacy};
    use serde_json::json;

    #[test]
    fn the_failure_has_the_configured_key_message_and_parameters() {
        let policy = build(
            "policy-interrupt",
            &json!({"errorKey": "MY_KEY", "message": "No.", "variables": [{"name": "why", "value": "because"}, {"name": "none"}]}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        for phase in [Phase::Request, Phase::Response] {
            let mut exchange = bench.exchange();
            let verdict = match phase {
                Phase::Request => policy.on_request(&mut exchange),
                Phase::Response => policy.on_response(&mut exchange),
            };
            let Verdict::Fail(failure) = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!((failure.status, failure.key_str()), (500, "MY_KEY"));
            assert_eq!(failure.message.as_deref(), Some("No."));
            assert_eq!(failure.parameters.len(), 1);
            assert_eq!(failure.parameters[0].0, "why");
            assert_eq!(failure.parameters[0].1.as_text(), Some("because"));
        }
    }

    #[test]
    fn on_the_old_engine_the_scope_decides() {
        for (scope, request) in [
            ("REQUEST", true),
            ("REQUEST_CONTENT", true),
            ("RESPONSE", false),
            ("RESPONSE_CONTENT", false),
        ] {
            let policy =
                build_legacy("policy-interrupt", &json!({"scope": scope})).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            let in_request = matches!(policy.on_request(&mut exchange), Verdict::Fail(_));
            let in_response = matches!(policy.on_response(&mut exchange), Verdict::Fail(_));
            assert_eq!((in_request, in_response), (request, !request), "{scope}");
            assert_eq!(
                policy.body_needs(Phase::Request).request_body,
                scope == "REQUEST_CONTENT"
            );
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({"scope": "NEVER"}), "scope"),
            (json!({"variables": [{"name": {}}]}), "variables[0].name"),
        ] {
            let error = build("policy-interrupt", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
