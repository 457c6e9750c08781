//! `policy-circuit-breaker`: stops calling a backend that fails or is slow (contract policies 9).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::dynamic_routing::ENDPOINT;
use super::lenient::{de_number, de_optional_text};
use super::pairs;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::{Template, Value};
use crate::error::Failure;
use crate::exchange::{Call, Carry, Exchange};

pub(super) const ENTRY: Entry = Entry {
    id: "policy-circuit-breaker",
    phases: Phases::REQUEST,
    summary: "stops calling a backend that fails or is slow",
    members: &[
        "failureRateThreshold",
        "slowCallRateThreshold",
        "slowCallDurationThreshold",
        "windowSize",
        "waitDurationInOpenState",
        "redirectToURL",
    ],
    differences: "one breaker per step, also on the old engine; windowSize is at most 100000",
    build,
};

/// Outcomes that a window may hold.
const WINDOW_MAX: u64 = 100_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    #[serde(deserialize_with = "de_number")]
    failure_rate_threshold: f32,
    #[serde(deserialize_with = "de_number")]
    slow_call_rate_threshold: f32,
    #[serde(deserialize_with = "de_number")]
    slow_call_duration_threshold: i64,
    #[serde(deserialize_with = "de_number")]
    window_size: i64,
    #[serde(deserialize_with = "de_number")]
    wait_duration_in_open_state: i64,
    #[serde(rename = "redirectToURL", deserialize_with = "de_optional_text")]
    redirect_to_url: Option<String>,
}

/// Checked settings. Rates in percent, times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Settings {
    failure_rate_max: f32,
    slow_rate_max: f32,
    slow_call_ms: u64,
    window: usize,
    wait_ms: u64,
}

impl Settings {
    fn new(configuration: &Configuration) -> Result<Self, String> {
        let rate = |member: &str, rate: f32| match rate {
            rate if rate > 0.0 && rate <= 100.0 => Ok(rate),
            rate => Err(format!("{member}: above 0 and at most 100, not {rate}")),
        };
        let number = |member: &str, number: i64| match u64::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{member}: above 0, not {number}")),
        };
        Ok(Self {
            failure_rate_max: rate("failureRateThreshold", configuration.failure_rate_threshold)?,
            slow_rate_max: rate(
                "slowCallRateThreshold",
                configuration.slow_call_rate_threshold,
            )?,
            slow_call_ms: number(
                "slowCallDurationThreshold",
                configuration.slow_call_duration_threshold,
            )?,
            window: number("windowSize", configuration.window_size)? as usize,
            wait_ms: number(
                "waitDurationInOpenState",
                configuration.wait_duration_in_open_state,
            )?,
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Outcome {
    failed: bool,
    slow: bool,
}

/// The last outcomes, at most as many as the window is wide.
#[derive(Debug, Default)]
struct Window {
    outcomes: Vec<Outcome>,
    /// Where the oldest one lies once the window is full.
    oldest: usize,
    failed: usize,
    slow: usize,
}

impl Window {
    fn clear(&mut self) {
        self.outcomes.clear();
        self.oldest = 0;
        self.failed = 0;
        self.slow = 0;
    }

    fn record(&mut self, outcome: Outcome, width: usize) {
        self.failed += usize::from(outcome.failed);
        self.slow += usize::from(outcome.slow);
        if self.outcomes.len() < width {
            self.outcomes.push(outcome);
            return;
        }
        if let Some(place) = self.outcomes.get_mut(self.oldest) {
            let out = std::mem::replace(place, outcome);
            self.failed -= usize::from(out.failed);
            self.slow -= usize::from(out.slow);
        }
        self.oldest = (self.oldest + 1) % width.max(1);
    }

    /// Failure rate and slow rate, percent; -1 without an outcome.
    fn rates(&self) -> (f32, f32) {
        let rate = |count: usize| match self.outcomes.len() {
            0 => -1.0,
            all => count as f32 * 100.0 / all as f32,
        };
        (rate(self.failed), rate(self.slow))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// No call before this time, Unix milliseconds.
    Open(u64),
    /// One trial decides; whether it is under way.
    HalfOpen(bool),
}

#[derive(Debug)]
struct Inner {
    state: State,
    window: Window,
    /// Counts half-open periods, so that only the trial of the present one decides.
    period: u64,
}

/// One breaker, shared by every worker.
#[derive(Debug)]
struct Breaker {
    settings: Settings,
    inner: Mutex<Inner>,
}

/// The permission to call. When it is dropped without an outcome the trial is free again.
#[derive(Debug)]
struct Permit {
    breaker: Arc<Breaker>,
    /// The half-open period whose trial this is.
    trial: Option<u64>,
    /// When the call began, Unix milliseconds.
    began_ms: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(period) = self.trial {
            let mut inner = self.breaker.lock();
            if inner.period == period && inner.state == State::HalfOpen(true) {
                inner.state = State::HalfOpen(false);
            }
        }
    }
}

impl Breaker {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            inner: Mutex::new(Inner {
                state: State::Closed,
                window: Window::default(),
                period: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permission, or the failure rate and slow rate, percent, with which calls are refused.
    fn permit(self: &Arc<Self>, now_ms: u64) -> Result<Permit, (f32, f32)> {
        let mut inner = self.lock();
        let trial = match inner.state {
            State::Closed => None,
            State::Open(until_ms) if now_ms < until_ms => return Err(inner.window.rates()),
            State::HalfOpen(true) => return Err(inner.window.rates()),
            State::Open(_) => {
                inner.period += 1;
                inner.window.clear();
                inner.state = State::HalfOpen(true);
                Some(inner.period)
            }
            State::HalfOpen(false) => {
                inner.state = State::HalfOpen(true);
                Some(inner.period)
            }
        };
        Ok(Permit {
            breaker: Arc::clone(self),
            trial,
            began_ms: now_ms,
        })
    }

    fn record(&self, outcome: Outcome, trial: &mut Option<u64>, now_ms: u64) {
        let settings = &self.settings;
        let mut inner = self.lock();
        let exceeds = |window: &Window| {
            let (failed, slow) = window.rates();
            failed >= settings.failure_rate_max || slow >= settings.slow_rate_max
        };
        match inner.state {
            State::Closed => {
                inner.window.record(outcome, settings.window);
                if exceeds(&inner.window) {
                    inner.state = State::Open(now_ms.saturating_add(settings.wait_ms));
                }
            }
            // A call that began before.
            State::Open(_) => inner.window.record(outcome, settings.window),
            State::HalfOpen(_) => {
                if *trial != Some(inner.period) {
                    return;
                }
                inner.window.record(outcome, 1);
                inner.state = if exceeds(&inner.window) {
                    State::Open(now_ms.saturating_add(settings.wait_ms))
                } else {
                    inner.window.clear();
                    State::Closed
                };
                *trial = None;
            }
        }
    }
}

#[derive(Debug)]
struct CircuitBreaker {
    /// The breaker, or what is wrong with its settings: the reference deploys such a step and fails its requests.
    breaker: Result<Arc<Breaker>, Box<str>>,
    redirect_to: Option<Template>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    if configuration.window_size > WINDOW_MAX as i64 {
        return Err(ConfigError::new(
            "windowSize",
            format!("at most {WINDOW_MAX}, not {}", configuration.window_size),
        ));
    }
    Ok(Arc::new(CircuitBreaker {
        breaker: Settings::new(&configuration)
            .map(|settings| Arc::new(Breaker::new(settings)))
            .map_err(Into::into),
        redirect_to: pairs::template(configuration.redirect_to_url),
    }))
}

impl Policy for CircuitBreaker {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        let needs = self.redirect_to.as_ref().map(Template::needs);
        pairs::needs_in(phase, needs.unwrap_or_default())
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let breaker = match &self.breaker {
            Ok(breaker) => breaker,
            Err(reason) => return Verdict::fail(Failure::internal().because(reason.clone())),
        };
        let (failure_rate, slow_rate) = match breaker.permit(exchange.now_ms) {
            Ok(permit) => return Verdict::Wrap(Some(Box::new(permit))),
            Err(rates) => rates,
        };
        let Some(redirect_to) = &self.redirect_to else {
            return Verdict::fail(
                Failure::policy(
                    503,
                    "CIRCUIT_BREAKER_OPEN_STATE",
                    "Service temporarily unavailable",
                )
                .with("failure_rate", Value::Float(failure_rate))
                .with("slow_call_rate", Value::Float(slow_rate)),
            );
        };
        let url = match redirect_to.eval_text(&*exchange) {
            Ok(Some(url)) => url.into_owned(),
            Ok(None) => {
                return Verdict::fail(
                    Failure::internal().because("redirectToURL: the expression has no value"),
                );
            }
            Err(error) => {
                return Verdict::fail(
                    Failure::internal().because(format!("redirectToURL: {error}")),
                );
            }
        };
        exchange.set_attribute(ENDPOINT, url);
        Verdict::Continue
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let now_ms = exchange.now_ms;
        if let Some(permit) = exchange.carried::<Permit>() {
            permit.began_ms = now_ms;
        }
        Verdict::Continue
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let now_ms = exchange.now_ms;
        let failed = match &exchange.call {
            Call::Failed(_) => true,
            Call::Open | Call::Answered => exchange.response.status >= 500,
        };
        if let Some(permit) = exchange.carried::<Permit>() {
            let breaker = Arc::clone(&permit.breaker);
            let outcome = Outcome {
                failed,
                slow: now_ms.saturating_sub(permit.began_ms) > breaker.settings.slow_call_ms,
            };
            breaker.record(outcome, &mut permit.trial, now_ms);
        }
        Verdict::Continue
    }

    fn cancel_call(&self, carry: Carry) {
        // The permit gives itself back.
        drop(carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::json;

    fn configuration() -> serde_json::Value {
        json!({
            "failureRateThreshold": 50, "slowCallRateThreshold": 100, "slowCallDurationThreshold": 10,
            "windowSize": 4, "waitDurationInOpenState": 100,
        })
    }

    /// A client of one breaker, at a time that it sets.
    struct Client {
        policy: Arc<dyn Policy>,
        now_ms: u64,
    }

    impl Client {
        fn new() -> Self {
            Self {
                policy: build("policy-circuit-breaker", &configuration()).expect("a policy"),
                now_ms: 1_000,
            }
        }

        /// Asks for the permission to call: the carry, or the failure.
        fn ask(&self) -> Result<Carry, Box<Failure>> {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.now_ms = self.now_ms;
            match self.policy.on_request(&mut exchange) {
                Verdict::Wrap(carry) => Ok(carry),
                Verdict::Fail(failure) => Err(failure),
                other => panic!("{other:?}"),
            }
        }

        fn finish(&self, carry: Carry, status: u16, took_ms: u64) {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.carry = carry;
            exchange.now_ms = self.now_ms - took_ms;
            assert!(matches!(
                self.policy.before_call(&mut exchange),
                Verdict::Continue
            ));
            exchange.now_ms = self.now_ms;
            exchange.call = match status {
                0 => Call::Failed(Box::new(Failure::status(502))),
                status => {
                    exchange.response.status = status;
                    Call::Answered
                }
            };
            assert!(matches!(
                self.policy.after_call(&mut exchange),
                Verdict::Continue
            ));
        }

        /// A whole call: whether it was allowed.
        fn call(&self, status: u16, took_ms: u64) -> bool {
            match self.ask() {
                Ok(carry) => {
                    self.finish(carry, status, took_ms);
                    true
                }
                Err(failure) => {
                    assert_eq!(failure.status, 503);
                    assert_eq!(failure.key_str(), "CIRCUIT_BREAKER_OPEN_STATE");
                    assert_eq!(
                        failure.message.as_deref(),
                        Some("Service temporarily unavailable")
                    );
                    false
                }
            }
        }
    }

    #[test]
    fn failures_open_the_breaker_and_a_good_trial_closes_it() {
        for status in [500, 503, 0] {
            let mut client = Client::new();
            assert!(client.call(200, 0) && client.call(404, 0) && client.call(200, 0));
            assert!(client.call(status, 0), "one of four");
            assert!(
                client.call(status, 0),
                "the fifth falls on a window of two of four"
            );
            assert!(!client.call(200, 0), "open");
            client.now_ms += 99;
            assert!(!client.call(200, 0), "still open");
            client.now_ms += 1;
            assert!(client.call(200, 0), "the trial");
            assert!(
                client.call(200, 0) && client.call(200, 0),
                "closed with an empty window"
            );
        }
    }

    #[test]
    fn slow_calls_open_the_breaker() {
        let client = Client::new();
        assert!(client.call(200, 10), "not slow at the limit");
        for _ in 0..4 {
            assert!(client.call(200, 11));
        }
        assert!(!client.call(200, 0));
    }

    #[test]
    fn a_bad_trial_opens_the_breaker_again_and_others_are_refused_meanwhile() {
        let mut client = Client::new();
        assert!(client.call(500, 0));
        client.now_ms += 100;
        let trial = client.ask().expect("the trial");
        let refused = client.ask().expect_err("one trial only");
        let rates: Vec<_> = refused.parameters.iter().map(|(_, value)| value).collect();
        assert!(
            matches!(rates[..], [Value::Float(a), Value::Float(b)] if *a == -1.0 && *b == -1.0)
        );
        client.finish(trial, 500, 0);
        assert!(!client.call(200, 0));
        client.now_ms += 100;
        assert!(client.call(200, 0));
    }

    #[test]
    fn a_trial_that_is_given_up_is_free_for_the_next() {
        let mut client = Client::new();
        assert!(client.call(500, 0));
        client.now_ms += 100;
        let trial = client.ask().expect("the trial");
        client.policy.cancel_call(trial);
        let trial = client.ask().expect("the trial is free");
        drop(trial);
        assert!(client.call(200, 0));
        assert!(client.call(200, 0));
    }

    #[test]
    fn a_late_outcome_of_an_earlier_call_does_not_decide_the_trial() {
        let mut client = Client::new();
        let late = client.ask().expect("closed");
        assert!(client.call(500, 0));
        client.now_ms += 100;
        let trial = client.ask().expect("the trial");
        client.finish(late, 200, 0);
        assert!(client.ask().is_err(), "the trial is still under way");
        client.finish(trial, 200, 0);
        assert!(client.ask().is_ok());
    }

    #[test]
    fn an_open_breaker_redirects_when_it_is_told_to() {
        let mut configuration = configuration();
        configuration["redirectToURL"] = json!("http://other.example.com");
        let client = Client {
            policy: build("policy-circuit-breaker", &configuration).expect("a policy"),
            now_ms: 1,
        };
        let mut bench = Bench::new();
        let carry = client.ask().expect("closed");
        client.finish(carry, 500, 0);
        let mut exchange = bench.exchange();
        exchange.now_ms = 2;
        assert!(matches!(
            client.policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert_eq!(
            exchange
                .attributes
                .find("request.endpoint")
                .and_then(Value::as_text),
            Some("http://other.example.com")
        );
    }

    #[test]
    fn settings_out_of_range_fail_requests_and_name_their_member() {
        for member in [
            "failureRateThreshold",
            "slowCallRateThreshold",
            "slowCallDurationThreshold",
            "windowSize",
            "waitDurationInOpenState",
        ] {
            let mut configuration = configuration();
            configuration[member] = json!(0);
            let policy = build("policy-circuit-breaker", &configuration).expect("a policy");
            let mut bench = Bench::new();
            let Verdict::Fail(failure) = policy.on_request(&mut bench.exchange()) else {
                panic!("{member}");
            };
            assert_eq!(failure.status, 500);
            assert!(failure.cause.is_some_and(|cause| cause.starts_with(member)));
            configuration[member] = json!("many");
            let error = build("policy-circuit-breaker", &configuration).expect_err("no number");
            assert_eq!(error.member, member);
        }
        let mut configuration = configuration();
        configuration["windowSize"] = json!(WINDOW_MAX + 1);
        let error = build("policy-circuit-breaker", &configuration).expect_err("too wide");
        assert_eq!(error.member, "windowSize");
    }

    proptest! {
        #[test]
        fn the_window_counts_what_it_holds(
            outcomes in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..50),
            width in 1_usize..8,
        ) {
            let mut window = Window::default();
            for (failed, slow) in &outcomes {
                window.record(Outcome { failed: *failed, slow: *slow }, width);
            }
            let held = &outcomes[outcomes.len().saturating_sub(width)..];
            prop_assert_eq!(window.outcomes.len(), held.len());
            prop_assert_eq!(window.failed, held.iter().filter(|(failed, _)| *failed).count());
            prop_assert_eq!(window.slow, held.iter().filter(|(_, slow)| *slow).count());
        }
    }
}
