use std::sync::atomic::Ordering;

use serde_json::{Value as Json, json};

use super::*;
use crate::definition::{Engine, Processing};
use crate::el::Value;
use crate::flow::{Flow, FlowPath, FlowSet, Methods, Next, PathOperator, Run, Step, Surroundings};
use crate::policy::registry::GatewayParts;
use crate::policy::testing::{Bench, build, build_in};
use crate::quota::{CountRequest, QuotaSettings, Store};
use crate::security::ApiKeySettings;
use crate::snapshot::Platform;

const NOW_MS: u64 = 1_700_000_000_000;

fn gateway(store: Store) -> GatewayParts {
    GatewayParts {
        quotas: Arc::new(Quotas::new(QuotaSettings {
            store,
            ..QuotaSettings::default()
        })),
        ..GatewayParts::default()
    }
}

fn policy(id: &str, configuration: &Json, gateway: &GatewayParts) -> Arc<dyn Policy> {
    build_in(id, configuration, gateway, false).expect("a policy")
}

fn headers<'e>(exchange: &'e Exchange<'_>, names: [&str; 3]) -> [Option<&'e str>; 3] {
    names.map(|name| exchange.response.headers.text(name))
}

fn failure(verdict: Verdict) -> Failure {
    match verdict {
        Verdict::Fail(failure) => *failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

fn parameters(failure: &Failure) -> Vec<(&str, String)> {
    let text = |value: &Value<'static>| {
        let text = value.clone().into_text().expect("a text");
        text.unwrap_or_default().into_owned()
    };
    failure
        .parameters
        .iter()
        .map(|(name, value)| (&**name, text(value)))
        .collect()
}

fn asked(verdict: Verdict) -> CountRequest {
    match verdict {
        Verdict::Await(Need::Errand(errand)) => match *errand {
            Errand::Count(request) => request,
            other => panic!("expected a count, found {other:?}"),
        },
        other => panic!("expected an errand, found {other:?}"),
    }
}

#[test]
fn requests_pass_up_to_the_limit_and_are_refused_beyond_it() {
    let gateway = gateway(Store::Local);
    let rate = json!({"addHeaders": true, "rate": {"limit": 2, "periodTime": 10, "periodTimeUnit": "SECONDS"}});
    let quota = json!({"quota": {"limit": "2", "periodTime": 1, "periodTimeUnit": "HOURS"}});
    let spike = json!({"addHeaders": true, "spike": {"limit": 20, "periodTime": 1}});
    for (id, configuration, names, first, second, key, message, unit) in [
        (
            "rate-limit",
            rate,
            [
                "X-Rate-Limit-Limit",
                "X-Rate-Limit-Remaining",
                "X-Rate-Limit-Reset",
            ],
            ["2", "1", "1700000010000"],
            ["2", "0", "1700000010000"],
            "RATE_LIMIT_TOO_MANY_REQUESTS",
            "Rate limit exceeded! You reached the limit of 2 requests per 10 seconds",
            vec![
                ("limit", "2"),
                ("period_time", "10"),
                ("period_unit", "SECONDS"),
            ],
        ),
        (
            "quota",
            quota,
            ["X-Quota-Limit", "X-Quota-Remaining", "X-Quota-Reset"],
            ["2", "1", "1700003600000"],
            ["2", "0", "1700003600000"],
            "QUOTA_TOO_MANY_REQUESTS",
            "Quota exceeded! You reached the limit of 2 requests per 1 hours",
            vec![
                ("limit", "2"),
                ("period_time", "1"),
                ("period_unit", "HOURS"),
            ],
        ),
        (
            "spike-arrest",
            spike,
            [
                "X-Spike-Arrest-Limit",
                "X-Spike-Arrest-Slice-Period",
                "X-Spike-Arrest-Reset",
            ],
            ["2", "100ms", "1700000000100"],
            ["2", "100ms", "1700000000100"],
            "SPIKE_ARREST_TOO_MANY_REQUESTS",
            "Spike limit exceeded! You reached the limit of 2 requests per 100 ms.",
            vec![
                ("slice_limit", "2"),
                ("slice_period_time", "100"),
                ("slice_period_unit", "MILLISECONDS"),
                ("limit", "20"),
                ("period_time", "1"),
                ("period_unit", "SECONDS"),
            ],
        ),
    ] {
        let policy = policy(id, &configuration, &gateway);
        let mut bench = Bench::new();
        for expected in [first, second] {
            let mut exchange = bench.exchange();
            assert!(
                matches!(policy.on_request(&mut exchange), Verdict::Continue),
                "{id}"
            );
            assert_eq!(headers(&exchange, names), expected.map(Some), "{id}");
        }
        let mut exchange = bench.exchange();
        let failure = failure(policy.on_request(&mut exchange));
        assert_eq!((failure.status, failure.key_str()), (429, key));
        assert_eq!(failure.message.as_deref(), Some(message));
        let expected: Vec<_> = unit
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        assert_eq!(parameters(&failure), expected);
        assert_eq!(
            headers(&exchange, names),
            second.map(Some),
            "also on the refusal"
        );
    }
    assert_eq!(gateway.quotas.stats().refused.load(Ordering::Relaxed), 3);
}

#[test]
fn headers_are_added_when_asked_for_and_by_quota_unless_told_not_to() {
    for (id, configuration, header, expected) in [
        (
            "rate-limit",
            json!({"rate": {"limit": 1}}),
            "X-Rate-Limit-Limit",
            false,
        ),
        (
            "rate-limit",
            json!({"addHeaders": "true", "rate": {"limit": 1}}),
            "X-Rate-Limit-Limit",
            true,
        ),
        (
            "spike-arrest",
            json!({"spike": {"limit": 1}}),
            "X-Spike-Arrest-Limit",
            false,
        ),
        (
            "quota",
            json!({"quota": {"limit": 1}}),
            "X-Quota-Limit",
            true,
        ),
        (
            "quota",
            json!({"addHeaders": null, "quota": {"limit": 1}}),
            "X-Quota-Limit",
            true,
        ),
        (
            "quota",
            json!({"addHeaders": false, "quota": {"limit": 1}}),
            "X-Quota-Limit",
            false,
        ),
    ] {
        let policy = policy(id, &configuration, &gateway(Store::Local));
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        policy.on_request(&mut exchange);
        assert_eq!(
            exchange.response.headers.contains(header),
            expected,
            "{configuration}"
        );
    }
}

#[test]
fn quota_tells_what_it_counted() {
    let quota = policy(
        "quota",
        &json!({"quota": {"limit": 10}}),
        &gateway(Store::Local),
    );
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    quota.on_request(&mut exchange);
    let attribute = |name| {
        exchange
            .attributes
            .gateway(name)
            .and_then(|value| value.to_long().ok()?)
    };
    // A month from 14 November 2023.
    let reset = i64::try_from(NOW_MS).expect("a small number") + 30 * 86_400_000;
    for (name, value) in [
        ("quota.count", 1),
        ("quota.remaining", 9),
        ("quota.limit", 10),
        ("quota.reset.time", reset),
    ] {
        assert_eq!(attribute(name), Some(value), "{name}");
    }
}

#[test]
fn a_limit_of_an_expression_applies_when_none_is_configured() {
    for (window, limit) in [
        (json!({"limit": 10, "dynamicLimit": "7"}), "10"),
        (json!({"dynamicLimit": "7"}), "7"),
        (json!({"limit": 0, "dynamicLimit": "7"}), "7"),
    ] {
        let policy = policy("quota", &json!({"quota": window}), &gateway(Store::Local));
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        policy.on_request(&mut exchange);
        assert_eq!(
            exchange.response.headers.text("X-Quota-Limit"),
            Some(limit),
            "{window}"
        );
        let configured = exchange
            .attributes
            .gateway("quota.limit")
            .and_then(|value| value.to_long().ok()?);
        assert_eq!(
            configured,
            window["limit"].as_i64().or(Some(0)),
            "the attribute is the configured one"
        );
    }
    let nothing = policy(
        "quota",
        &json!({"quota": {"dynamicLimit": ""}}),
        &gateway(Store::Local),
    );
    let mut bench = Bench::new();
    let refused = failure(nothing.on_request(&mut bench.exchange()));
    assert_eq!(refused.status, 429, "a limit of 0 refuses everything");
}

#[test]
fn what_cannot_be_evaluated_fails_the_request_whatever_the_strategy() {
    for strategy in ["FALLBACK_PASS_TROUGH", "BLOCK_ON_INTERNAL_ERROR"] {
        for (id, member, window, key) in [
            (
                "rate-limit",
                "rate",
                json!({"limit": 0}),
                "RATE_LIMIT_SERVER_ERROR",
            ),
            (
                "rate-limit",
                "rate",
                json!({"dynamicLimit": "soon"}),
                "RATE_LIMIT_SERVER_ERROR",
            ),
            (
                "quota",
                "quota",
                json!({"limit": 1, "dynamicPeriodTime": "soon"}),
                "QUOTA_SERVER_ERROR",
            ),
            (
                "spike-arrest",
                "spike",
                json!({"dynamicLimit": "-1"}),
                "SPIKE_ARREST_SERVER_ERROR",
            ),
            (
                "spike-arrest",
                "spike",
                json!(null),
                "SPIKE_ARREST_SERVER_ERROR",
            ),
        ] {
            let policy = policy(
                id,
                &json!({"errorStrategy": strategy, member: window}),
                &gateway(Store::Local),
            );
            let mut bench = Bench::new();
            let failure = failure(policy.on_request(&mut bench.exchange()));
            assert_eq!((failure.status, failure.key_str()), (500, key), "{window}");
            assert_eq!(failure.message.as_deref(), Some("Unknown error"));
        }
    }
}

#[test]
fn a_period_of_an_expression_has_its_own_unit() {
    for (id, configuration, reset_ms) in [
        (
            "rate-limit",
            json!({"rate": {"limit": 1, "periodTime": 5, "periodTimeUnit": "MINUTES", "dynamicPeriodTime": "7"}}),
            7_000,
        ),
        (
            "rate-limit",
            json!({"rate": {"limit": 1, "periodTime": 5, "periodTimeUnit": "MINUTES", "dynamicPeriodTime": " "}}),
            300_000,
        ),
        (
            "quota",
            json!({"quota": {"limit": 1, "periodTime": 5, "dynamicPeriodTime": "2"}}),
            7_200_000,
        ),
        ("rate-limit", json!({"rate": {"limit": 1}}), 1_000),
    ] {
        let policy = policy(id, &configuration, &gateway(Store::Redis));
        let mut bench = Bench::new();
        let request = asked(policy.on_request(&mut bench.exchange()));
        assert_eq!(request.reset_at_ms, NOW_MS + reset_ms, "{configuration}");
    }
}

#[test]
fn the_counter_belongs_to_the_consumer_of_the_plan() {
    let gateway = gateway(Store::Redis);
    let bench = |window: Json| {
        let policy = policy("rate-limit", &json!({"rate": window}), &gateway);
        let mut bench = Bench::new();
        let api = Arc::clone(&bench.deployed.api);
        let mut exchange = bench.exchange();
        let before = asked(policy.on_request(&mut exchange));
        exchange
            .attributes
            .set("oauth.client_id", Value::text("client"));
        let client = asked(policy.on_request(&mut exchange));
        exchange.plan = api.plans.first();
        exchange.subscription_id = "10.1.2.3".into();
        let planned = asked(policy.on_request(&mut exchange));
        exchange.set_attribute("gravitee.attribute.resolved-path", "resolved-path");
        let flow = asked(policy.on_request(&mut exchange));
        assert_eq!(&*planned.subscription, "10.1.2.3");
        [before, client, planned, flow].map(|request| request.key.into_string())
    };
    assert_eq!(
        bench(json!({"limit": 1})),
        [
            "api:rl",
            "client:rl",
            "plan10.1.2.3:rl",
            "plan10.1.2.3:rl:148210906"
        ]
    );
    assert_eq!(
        bench(json!({"limit": 1, "key": "k"})),
        [
            "api:k:rl",
            "client:k:rl",
            "plan10.1.2.3:k:rl",
            "plan10.1.2.3:k:rl:148210906"
        ]
    );
    assert_eq!(
        bench(json!({"limit": 1, "key": "k", "useKeyOnly": true})),
        ["k:rl"; 4]
    );
    assert_eq!(
        bench(json!({"limit": 1, "key": "", "useKeyOnly": true}))[0],
        "api:rl",
        "an empty key does not count alone"
    );
}

#[test]
fn a_store_that_fails_lets_pass_or_blocks() {
    for (id, member, names, warning, text, blocked, message) in [
        (
            "rate-limit",
            "rate",
            [
                "X-Rate-Limit-Limit",
                "X-Rate-Limit-Remaining",
                "X-Rate-Limit-Reset",
            ],
            "RATE_LIMIT_NOT_APPLIED",
            "Request bypassed rate limit policy due to internal error",
            "RATE_LIMIT_BLOCK_ON_INTERNAL_ERROR",
            "Rate limit blocked the query due to internal error",
        ),
        (
            "quota",
            "quota",
            ["X-Quota-Limit", "X-Quota-Remaining", "X-Quota-Reset"],
            "QUOTA_NOT_APPLIED",
            "Request bypassed quota policy due to internal error",
            "QUOTA_BLOCK_ON_INTERNAL_ERROR",
            "Quota blocked the query due to internal error",
        ),
        (
            "spike-arrest",
            "spike",
            [
                "X-Spike-Arrest-Limit",
                "X-Spike-Arrest-Slice-Period",
                "X-Spike-Arrest-Reset",
            ],
            "SPIKE_ARREST_NOT_APPLIED",
            "Request bypassed spike arrest policy due to internal error",
            "SPIKE_ARREST_BLOCK_ON_INTERNAL_ERROR",
            "Spike arrest blocked the query due to internal error",
        ),
    ] {
        let window = json!({"limit": 10, "periodTime": 1, "periodTimeUnit": "SECONDS"});
        let shown = if id == "spike-arrest" {
            ["1", "100ms", "-1"]
        } else {
            ["10", "10", "-1"]
        };
        let answers = || {
            [
                Answer::Count(Err(CountError::Timeout(10))),
                Answer::Count(Err(CountError::NotConnected)),
                Answer::Refused,
            ]
        };
        let gateway = gateway(Store::Redis);
        let mut bench = Bench::new();
        let lets_pass = policy(id, &json!({"addHeaders": true, member: window}), &gateway);
        for answer in answers() {
            let mut exchange = bench.exchange();
            asked(lets_pass.on_request(&mut exchange));
            let verdict = lets_pass.resume(Stage::Request, &mut exchange, answer);
            assert!(matches!(verdict, Verdict::Continue), "{id}");
            assert_eq!(headers(&exchange, names), shown.map(Some));
            assert_eq!(exchange.warnings.len(), 1);
            assert_eq!(
                (&*exchange.warnings[0].key, &*exchange.warnings[0].message),
                (warning, text)
            );
            if id == "quota" {
                let remaining = exchange
                    .attributes
                    .gateway("quota.remaining")
                    .and_then(|value| value.to_long().ok()?);
                assert_eq!(remaining, Some(10));
            }
        }
        let blocks = policy(
            id,
            &json!({"errorStrategy": "BLOCK_ON_INTERNAL_ERROR", "addHeaders": true, member: window}),
            &gateway,
        );
        for answer in answers() {
            let mut exchange = bench.exchange();
            asked(blocks.on_request(&mut exchange));
            let failure = failure(blocks.resume(Stage::Request, &mut exchange, answer));
            assert_eq!((failure.status, failure.key_str()), (429, blocked));
            assert_eq!(failure.message.as_deref(), Some(message));
            assert!(exchange.warnings.is_empty());
        }
        let stats = gateway.quotas.stats();
        let figures = [
            &stats.store_failures,
            &stats.store_timeouts,
            &stats.bypassed,
            &stats.blocked,
        ];
        assert_eq!(
            figures.map(|figure| figure.load(Ordering::Relaxed)),
            [6, 2, 3, 3]
        );
    }
}

#[test]
fn the_old_engine_always_lets_pass_without_a_warning() {
    let configuration = json!({"errorStrategy": "BLOCK_ON_INTERNAL_ERROR", "rate": {"limit": 1}});
    let policy =
        build_in("rate-limit", &configuration, &GatewayParts::default(), true).expect("a policy");
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    assert!(matches!(
        policy.on_request(&mut exchange),
        Verdict::Continue
    ));
    assert!(exchange.warnings.is_empty());
}

#[test]
fn the_answer_of_the_store_decides() {
    let configuration = json!({"quota": {"limit": 10, "periodTimeUnit": "DAYS"}});
    let policy = policy("quota", &configuration, &gateway(Store::Redis));
    for (counter, passes) in [(0, true), (1, true), (10, true), (11, false)] {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let request = asked(policy.on_request(&mut exchange));
        assert_eq!(
            (request.weight, request.limit, request.reset_at_ms),
            (1, 10, NOW_MS + 86_400_000)
        );
        let answer = Answer::Count(Ok(Rate {
            counter,
            reset_at_ms: 5,
        }));
        let verdict = policy.resume(Stage::Request, &mut exchange, answer);
        assert_eq!(matches!(verdict, Verdict::Continue), passes, "{counter}");
        assert_eq!(
            exchange.response.headers.text("X-Quota-Reset"),
            Some("5"),
            "the store's own reset"
        );
    }
}

#[test]
fn configurations_that_mean_nothing_are_refused_by_their_member() {
    for (id, configuration, member) in [
        (
            "rate-limit",
            json!({"rate": {"periodTimeUnit": "MONTHS"}}),
            "rate.periodTimeUnit",
        ),
        (
            "quota",
            json!({"quota": {"periodTimeUnit": "FOREVER"}}),
            "quota.periodTimeUnit",
        ),
        (
            "spike-arrest",
            json!({"spike": {"limit": "many"}}),
            "spike.limit",
        ),
        ("quota", json!({"errorStrategy": "PANIC"}), "errorStrategy"),
        ("quota", json!({"quota": 7}), "quota"),
    ] {
        let error = build(id, &configuration).expect_err("a configuration that means nothing");
        assert_eq!(error.member, member, "{error}");
    }
}

#[test]
fn configurations_of_the_samples_are_taken() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/contracts/samples/policies"
    );
    for id in ["rate-limit", "quota", "spike-arrest"] {
        let Ok(text) = std::fs::read_to_string(format!("{folder}/{id}.samples.json")) else {
            println!("skipped: no samples of {id}");
            continue;
        };
        let samples: Json = serde_json::from_str(&text).expect("JSON");
        let mut built = 0;
        for sample in samples.as_array().into_iter().flatten() {
            let step = &sample["step"]["configuration"];
            let configuration = if step.is_null() {
                &sample["configuration"]
            } else {
                step
            };
            build(id, configuration).unwrap_or_else(|error| panic!("{configuration}: {error}"));
            built += 1;
        }
        assert!(built > 0, "{id}");
    }
}

#[test]
fn slices_and_months_of_the_samples_are_reproduced() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/contracts/samples/policies/ratelimit-redis-vectors.handmade.json"
    );
    let Ok(text) = std::fs::read_to_string(file) else {
        println!("skipped: no vectors");
        return;
    };
    let vectors: Json = serde_json::from_str(&text).expect("JSON");
    let mut checked = 0;
    for vector in vectors["spike_slices"].as_array().into_iter().flatten() {
        let unit = crate::quota::TIME_UNITS
            .iter()
            .find(|unit| unit.name == vector["unit"]);
        let period = Period {
            amount: vector["period"].as_i64().expect("a number"),
            unit: unit.expect("a unit"),
        };
        let slice = Slice::of(vector["limit"].as_i64().expect("a number"), period.as_ms())
            .expect("a slice");
        assert_eq!(Some(slice.hits), vector["slice_limit"].as_i64(), "{vector}");
        assert_eq!(
            Some(slice.period_ms),
            vector["slice_ms"].as_u64(),
            "{vector}"
        );
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn only_the_old_engine_counts_per_path_of_the_flow() {
    let gateway = gateway(Store::Redis);
    for (engine, expected) in [
        (
            Engine::V2Legacy,
            format!("plan10.1.2.3:rl:{}", crate::quota::java_hash("/orders")),
        ),
        (Engine::V2Emulation, "plan10.1.2.3:rl".to_owned()),
        (Engine::V4, "plan10.1.2.3:rl".to_owned()),
    ] {
        let limit = policy("rate-limit", &json!({"rate": {"limit": 1}}), &gateway);
        let (index, _) = crate::policy::registry::find("rate-limit").expect("an entry");
        let flow = Flow {
            name: "".into(),
            path: FlowPath::new("/orders", PathOperator::StartsWith).expect("a path"),
            methods: Methods::ALL,
            condition: None,
            request: [Step::new("", index, limit, Vec::new(), Phase::Request)].into(),
            response: [].into(),
        };
        let processing = Processing {
            flows: FlowSet {
                flows: [flow].into(),
                ..FlowSet::default()
            },
            ..Processing::default()
        };
        let mut bench = Bench::with(engine, processing, Platform::default());
        let security = ApiKeySettings::default();
        let mut exchange = bench.exchange();
        let mut run = Run::new(Surroundings {
            security: &security,
            meter: None,
        });
        let Next::Await(Need::Errand(errand)) = run.start(&mut exchange) else {
            panic!("the limit asks the store");
        };
        let Errand::Count(request) = *errand else {
            panic!("a count");
        };
        assert_eq!(*request.key, *expected, "{engine:?}");
    }
}
