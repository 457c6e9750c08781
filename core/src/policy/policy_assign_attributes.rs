//! `policy-assign-attributes`: sets attributes of the exchange (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{self, Named, Pair, Placement, Scope};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "policy-assign-attributes",
    phases: Phases::BOTH,
    summary: "sets attributes that other policies read",
    members: &["scope", "attributes"],
    differences: "",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    scope: Option<Scope>,
    attributes: Option<Vec<Pair>>,
}

#[derive(Debug)]
struct AssignAttributes {
    placement: Placement,
    attributes: Box<[Named]>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let attributes = pairs::named(configuration.attributes);
    Ok(Arc::new(AssignAttributes {
        placement: Placement::new(configuration.scope, builder.legacy_engine),
        needs: pairs::needs(&attributes),
        attributes,
    }))
}

impl AssignAttributes {
    fn apply(&self, exchange: &mut Exchange<'_>, phase: Phase) -> Verdict {
        if self.placement.acts_in(phase) {
            for attribute in &self.attributes {
                // What cannot be evaluated is left unset, as what is null.
                let value = match attribute.value.eval(&*exchange) {
                    Ok(value) if !value.is_null() => value.into_owned(),
                    _ => continue,
                };
                exchange.attributes.set(attribute.name.to_string(), value);
            }
        }
        Verdict::Continue
    }
}

impl Policy for AssignAttributes {
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
    use crate::el::Value;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn attributes_are_set_in_order_and_what_has_no_name_or_value_is_skipped() {
        let policy = build(
            "policy-assign-attributes",
            &json!({"attributes": [
                {"name": "a", "value": "1"},
                {"name": "b", "value": "2"},
                {"name": "a", "value": "3"},
                {"name": " ", "value": "4"},
                {"name": "c", "value": null},
            ]}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert!(matches!(
            policy.on_response(&mut exchange),
            Verdict::Continue
        ));
        for (name, value) in [("a", Some("3")), ("b", Some("2")), ("c", None)] {
            let found = exchange.attributes.get(name).and_then(Value::as_text);
            assert_eq!(found, value, "{name}");
        }
        assert_eq!(exchange.attributes.iter().count(), 2);
    }

    #[test]
    fn an_error_leaves_its_attribute_unset_and_does_not_interrupt() {
        let policy = build(
            "policy-assign-attributes",
            &json!({"attributes": [
                {"name": "a", "value": "{#request.nothing}"},
                {"name": "b", "value": "{#request.id}"},
            ]}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert!(exchange.attributes.get("a").is_none());
        let found = exchange.attributes.get("b").and_then(Value::as_text);
        assert_eq!(found, Some("request-id"));
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({"attributes": {}}), "attributes"),
            (json!({"attributes": [{"name": []}]}), "attributes[0].name"),
        ] {
            let error = build("policy-assign-attributes", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
