//! Tests of policies that stand around the call, in the chain that drives them and in each other.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::cache::CacheResource;
use super::registry::GatewayParts;
use super::testing::{Bench, build_with};
use super::{Phase, Resource};
use crate::definition::{Engine, Processing};
use crate::error::{ErrorKey, Failure};
use crate::exchange::{Body, Call};
use crate::flow::{
    Flow, FlowMode, FlowPath, FlowSet, Methods, Next, PathOperator, Run, Step, Surroundings,
};
use crate::need::{Answer, Need};
use crate::security::ApiKeySettings;
use crate::snapshot::Platform;

/// An API whose only flow has these steps in its request phase.
fn bench(steps: &[(&str, Value)]) -> Bench {
    let resources = HashMap::from([(
        "mine".into(),
        Resource {
            kind: "cache".into(),
            instance: Arc::new(CacheResource::memory(10, 0, 0)),
        },
    )]);
    let gateway = GatewayParts::default();
    let request = steps
        .iter()
        .map(|(id, configuration)| {
            let policy = build_with(id, configuration, false, &resources, &gateway);
            Step::new(id, 0, policy.expect("a policy"), Vec::new(), Phase::Request)
        })
        .collect();
    let flow = Flow {
        name: "".into(),
        path: FlowPath::new("/", PathOperator::StartsWith).expect("a path"),
        methods: Methods::ALL,
        condition: None,
        request,
        response: [].into(),
    };
    let processing = Processing {
        flows: FlowSet {
            mode: FlowMode::Default,
            flows: [flow].into(),
        },
        ..Processing::default()
    };
    Bench::with(Engine::V4, processing, Platform::default())
}

/// What a client and a backend have seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    calls: usize,
    body: String,
    headers: usize,
}

/// Runs a request at `now_ms` against a backend that answers with these statuses in turn; 0 is no answer.
fn run(bench: &mut Bench, now_ms: u64, statuses: &[u16]) -> Seen {
    let settings = ApiKeySettings::default();
    let mut exchange = bench.exchange();
    exchange.now_ms = now_ms;
    exchange.request.body = Body::Streaming;
    let mut run = Run::new(Surroundings {
        security: &settings,
        meter: None,
    });
    let mut calls = 0;
    let mut next = run.start(&mut exchange);
    for _ in 0..50 {
        next = match next {
            Next::Respond => {
                let response = &exchange.response;
                return Seen {
                    status: response.status,
                    calls,
                    body: String::from_utf8_lossy(response.body.bytes().unwrap_or(b"streamed"))
                        .into_owned(),
                    headers: response.headers.len(),
                };
            }
            Next::Call => {
                match statuses.get(calls).copied().unwrap_or(200) {
                    0 => {
                        let failure = Failure::of(ErrorKey::GatewayClientConnectionRefused);
                        exchange.call = Call::Failed(Box::new(failure));
                    }
                    status => {
                        exchange.response.answer(status);
                        exchange
                            .response
                            .headers
                            .add("X-Own", "1")
                            .expect("a field");
                        exchange.response.body = Body::Streaming;
                        exchange.call = Call::Answered;
                    }
                }
                calls += 1;
                run.called(&mut exchange)
            }
            Next::Await(need) => {
                match need {
                    Need::RequestBody => exchange.request.body = Body::Buffered(b"asked".to_vec()),
                    Need::ResponseBody | Need::SmallResponseBody { .. } => {
                        exchange.response.body = Body::Buffered(b"answered".to_vec());
                    }
                    Need::Pause(_) | Need::Errand(_) => {}
                }
                run.answer(&mut exchange, Answer::Done)
            }
        };
    }
    panic!("the run does not end");
}

fn breaker() -> (&'static str, Value) {
    (
        "policy-circuit-breaker",
        json!({
            "failureRateThreshold": 100, "slowCallRateThreshold": 100, "slowCallDurationThreshold": 1_000,
            "windowSize": 2, "waitDurationInOpenState": 100,
        }),
    )
}

fn retry() -> (&'static str, Value) {
    ("retry", json!({"maxRetries": 2, "lastResponse": true}))
}

#[test]
fn a_retried_call_reaches_the_client_once() {
    let mut bench = bench(&[retry()]);
    let seen = run(&mut bench, 1, &[0, 0, 204]);
    assert_eq!((seen.status, seen.calls, seen.headers), (204, 3, 1));
    let seen = run(&mut bench, 1, &[0, 0, 0]);
    assert_eq!((seen.status, seen.calls, &*seen.body), (502, 3, ""));
}

#[test]
fn a_breaker_inside_a_retry_counts_every_attempt() {
    let mut bench = bench(&[breaker(), retry()]);
    let seen = run(&mut bench, 1, &[200]);
    assert_eq!((seen.status, seen.calls), (200, 1));
    let seen = run(&mut bench, 1, &[0, 0, 200]);
    assert_eq!((seen.status, seen.calls), (200, 3), "open, but under way");
    assert_eq!(run(&mut bench, 2, &[]).status, 503);
}

#[test]
fn a_breaker_around_a_retry_counts_the_end_alone() {
    let mut bench = bench(&[retry(), breaker()]);
    assert_eq!(run(&mut bench, 1, &[0, 0, 200]).status, 200);
    assert_eq!(run(&mut bench, 1, &[0, 0, 200]).status, 200);
    assert_eq!(run(&mut bench, 1, &[0, 0, 0]).status, 502);
    assert_eq!(run(&mut bench, 1, &[0, 0, 0]).status, 502);
    assert_eq!(run(&mut bench, 2, &[]).status, 503);
}

#[test]
fn a_cache_that_answers_gives_the_trial_of_a_breaker_back() {
    let mut bench = bench(&[breaker(), ("cache", json!({"cacheName": "mine"}))]);
    let first = run(&mut bench, 1, &[200]);
    assert_eq!(
        (first.calls, &*first.body, first.headers),
        (1, "answered", 1)
    );
    let hit = run(&mut bench, 1, &[]);
    assert_eq!(hit, Seen { calls: 0, ..first });
    // Another path fails twice, so that the breaker opens; then its trial is answered by the cache, over and over.
    let other = |bench: &mut Bench, now_ms, statuses: &[u16]| {
        let api = Arc::get_mut(&mut bench.deployed.api).expect("the only owner");
        api.id = "other".into();
        let seen = run(bench, now_ms, statuses);
        let api = Arc::get_mut(&mut bench.deployed.api).expect("the only owner");
        api.id = "api".into();
        seen.status
    };
    assert_eq!(other(&mut bench, 2, &[500]), 500);
    assert_eq!(other(&mut bench, 2, &[500]), 500);
    assert_eq!(other(&mut bench, 2, &[500]), 503);
    for _ in 0..3 {
        let hit = run(&mut bench, 102, &[]);
        assert_eq!((hit.status, hit.calls), (200, 0));
    }
    assert_eq!(other(&mut bench, 102, &[200]), 200, "the trial is free");
}

#[test]
fn a_mock_answers_whatever_stands_around_it() {
    let mut bench = bench(&[
        ("mock", json!({"status": 203, "content": "mocked"})),
        ("cache", json!({"cacheName": "mine"})),
        (
            "retry",
            json!({"condition": "true", "maxRetries": 2, "lastResponse": true}),
        ),
    ]);
    for _ in 0..2 {
        let seen = run(&mut bench, 1, &[]);
        assert_eq!((seen.status, seen.calls, &*seen.body), (203, 0, "mocked"));
        assert!(seen.headers <= 2, "{seen:?}");
    }
}

#[test]
fn an_error_of_a_mock_is_retried_and_then_answered() {
    let mut bench = bench(&[("mock", json!({"content": "{#request.nothing}"})), retry()]);
    assert_eq!(run(&mut bench, 1, &[]).status, 502);
}
