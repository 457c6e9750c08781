//! `retry`: calls the backend again when it fails (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_number, de_optional_text};
use super::pairs;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::Template;
use crate::error::Failure;
use crate::exchange::{Call, Exchange};
use crate::need::{Answer, Need};

pub(super) const ENTRY: Entry = Entry {
    id: "retry",
    phases: Phases::REQUEST,
    summary: "calls the backend again when it fails",
    members: &[
        "condition",
        "maxRetries",
        "delay",
        "timeout",
        "lastResponse",
    ],
    differences: "",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    #[serde(deserialize_with = "de_optional_text")]
    condition: Option<String>,
    #[serde(deserialize_with = "de_number")]
    max_retries: u32,
    #[serde(deserialize_with = "de_number")]
    delay: u64,
    #[serde(deserialize_with = "de_number")]
    timeout: u64,
    #[serde(deserialize_with = "de_bool")]
    last_response: bool,
}

#[derive(Debug)]
struct Retry {
    condition: Option<Template>,
    retries_max: u32,
    delay_ms: u64,
    timeout_ms: u64,
    last_response: bool,
}

/// What is remembered of the attempts of one exchange.
#[derive(Debug, Default)]
struct Attempts {
    /// Attempts that have begun.
    begun: u32,
    /// The limit of an attempt that surrounds this one, milliseconds.
    outer_timeout_ms: u64,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    Ok(Arc::new(Retry {
        condition: pairs::template(configuration.condition),
        retries_max: configuration.max_retries.max(1),
        delay_ms: configuration.delay,
        timeout_ms: match configuration.timeout {
            0 => 1_000,
            timeout => timeout,
        },
        last_response: configuration.last_response,
    }))
}

impl Retry {
    /// Again, unless there were enough attempts: then 502.
    fn again(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let begun = exchange
            .carried::<Attempts>()
            .map_or(u32::MAX, |attempts| attempts.begun);
        if begun <= self.retries_max {
            return Verdict::Again(self.delay_ms);
        }
        let cause = match &exchange.call {
            Call::Failed(failure) => failure.cause.clone(),
            Call::Open | Call::Answered => None,
        };
        let cause = cause.unwrap_or_else(|| "the condition still holds".into());
        Verdict::fail(Failure::status(502).because(format!(
            "retry failed after {} retries: {cause}",
            self.retries_max
        )))
    }

    fn judge(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if matches!(exchange.call, Call::Failed(_)) {
            return self.again(exchange);
        }
        let Some(condition) = &self.condition else {
            return Verdict::Continue;
        };
        if condition.needs().response_body && exchange.response.body.is_streaming() {
            return Verdict::Await(Need::ResponseBody);
        }
        match condition.eval_bool(&*exchange) {
            Ok(None | Some(false)) => Verdict::Continue,
            Ok(Some(true)) => {
                let begun = exchange
                    .carried::<Attempts>()
                    .map_or(u32::MAX, |attempts| attempts.begun);
                if self.last_response && begun > self.retries_max {
                    return Verdict::Continue;
                }
                self.again(exchange)
            }
            Err(_) => self.again(exchange),
        }
    }
}

impl Policy for Retry {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        BodyNeeds {
            request_body: phase == Phase::Request,
            response_body: false,
        }
    }

    fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Wrap(Some(Box::<Attempts>::default()))
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let outer = exchange.attempt_timeout_ms;
        if let Some(attempts) = exchange.carried::<Attempts>() {
            attempts.begun = attempts.begun.saturating_add(1);
            attempts.outer_timeout_ms = outer;
        }
        exchange.attempt_timeout_ms = match outer {
            0 => self.timeout_ms,
            outer => outer.min(self.timeout_ms),
        };
        Verdict::Continue
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        exchange.attempt_timeout_ms = exchange
            .carried::<Attempts>()
            .map_or(0, |attempts| attempts.outer_timeout_ms);
        self.judge(exchange)
    }

    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, _answer: Answer) -> Verdict {
        match stage {
            Stage::AfterCall if exchange.response.body.is_streaming() => self.again(exchange),
            Stage::AfterCall => self.judge(exchange),
            Stage::Request | Stage::Response | Stage::BeforeCall => Verdict::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::{Value, json};

    /// Plays attempts that end as told: a status, or `None` for a failure. Returns the calls made and how it ended.
    fn play(configuration: &Value, ends: &[Option<u16>]) -> (usize, Result<u16, u16>) {
        let policy = build("retry", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let Verdict::Wrap(carry) = policy.on_request(&mut exchange) else {
            panic!("retry stands around the call");
        };
        exchange.carry = carry;
        for (index, end) in ends.iter().enumerate() {
            assert!(matches!(
                policy.before_call(&mut exchange),
                Verdict::Continue
            ));
            assert_eq!(exchange.attempt_timeout_ms, 500);
            exchange.call = match end {
                Some(status) => {
                    exchange.response.status = *status;
                    Call::Answered
                }
                None => Call::Failed(Box::new(Failure::status(504))),
            };
            match policy.after_call(&mut exchange) {
                Verdict::Again(delay) => {
                    assert_eq!(delay, 7);
                    exchange.response.forget();
                }
                Verdict::Continue => return (index + 1, Ok(exchange.response.status)),
                Verdict::Fail(failure) => {
                    assert!(failure.key.is_none() && failure.message.is_none());
                    return (index + 1, Err(failure.status));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(exchange.attempt_timeout_ms, 0);
        }
        panic!("more calls than told");
    }

    #[test]
    fn a_failed_call_is_made_again_until_the_limit() {
        let mut configuration = json!({"delay": 7, "timeout": 500, "maxRetries": 3});
        for last_response in [false, true] {
            configuration["lastResponse"] = json!(last_response);
            assert_eq!(play(&configuration, &[Some(200)]), (1, Ok(200)));
            assert_eq!(play(&configuration, &[None, None, Some(200)]), (3, Ok(200)));
            assert_eq!(play(&configuration, &[None; 4]), (4, Err(502)));
        }
        let configuration = json!({"delay": "7", "timeout": "500", "maxRetries": 0});
        assert_eq!(play(&configuration, &[None; 2]), (2, Err(502)), "0 means 1");
    }

    #[test]
    fn a_condition_that_holds_asks_for_another_call() {
        let mut configuration =
            json!({"condition": "true", "delay": 7, "timeout": 500, "maxRetries": 2});
        assert_eq!(play(&configuration, &[Some(500); 3]), (3, Err(502)));
        configuration["lastResponse"] = json!(true);
        assert_eq!(play(&configuration, &[Some(500); 3]), (3, Ok(500)));
        assert_eq!(
            play(&configuration, &[None, Some(500), None]),
            (3, Err(502))
        );
        configuration["condition"] = json!("false");
        assert_eq!(play(&configuration, &[Some(500)]), (1, Ok(500)));
        configuration["condition"] = json!("{#response.status > 500}");
        assert_eq!(play(&configuration, &[Some(503), Some(500)]), (2, Ok(500)));
    }

    #[test]
    fn the_request_body_is_kept_for_the_next_call() {
        let policy = build("retry", &json!(null)).expect("a policy");
        assert!(policy.body_needs(Phase::Request).request_body);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        for member in ["maxRetries", "delay", "timeout"] {
            let error = build("retry", &json!({member: -1})).expect_err("a negative number");
            assert_eq!(error.member, member);
        }
        let error = build("retry", &json!({"lastResponse": "maybe"})).expect_err("no boolean");
        assert_eq!(error.member, "lastResponse");
    }
}
