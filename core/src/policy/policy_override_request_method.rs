//! `policy-override-request-method`: the backend is called with another method (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_text;
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::exchange::Exchange;
use crate::http::Method;

pub(super) const ENTRY: Entry = Entry {
    id: "policy-override-request-method",
    phases: Phases::REQUEST,
    summary: "calls the backend with another method",
    members: &["method"],
    differences: "",
    build,
};

/// Attribute of the method to forward.
const METHOD: &str = "gravitee.attribute.request.method";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(deserialize_with = "de_text")]
    method: String,
}

#[derive(Debug)]
struct OverrideMethod {
    method: Method,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration { method } = builder.configuration()?;
    match Method::of(method.as_bytes()) {
        Method::Other => Err(ConfigError::new(
            "method",
            format!("a method such as GET, not {method:?}"),
        )),
        method => Ok(Arc::new(OverrideMethod { method })),
    }
}

impl Policy for OverrideMethod {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        exchange.request.method = self.method;
        exchange.set_attribute(METHOD, self.method.as_str());
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::el::Value;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn the_method_is_replaced_in_the_request_and_in_its_attribute() {
        let policy =
            build("policy-override-request-method", &json!({"method": "POST"})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert_eq!(exchange.request.method, Method::Post);
        assert_eq!(
            exchange
                .attributes
                .find("request.method")
                .and_then(Value::as_text),
            Some("POST")
        );
    }

    #[test]
    fn a_method_that_is_unknown_or_absent_is_refused() {
        for configuration in [
            json!({"method": "FETCH"}),
            json!(null),
            json!({"method": []}),
        ] {
            let error =
                build("policy-override-request-method", &configuration).expect_err("unusable");
            assert_eq!(error.member, "method");
        }
    }
}
