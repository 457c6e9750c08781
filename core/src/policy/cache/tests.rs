use std::collections::HashMap;

use super::*;
use crate::need::{Errand, RedisPlace, RemoteCache};
use crate::policy::Resource;
use crate::policy::registry::GatewayParts;
use crate::policy::testing::{Bench, build_with};
use serde_json::{Value, json};

fn policy_on(
    resource: CacheResource,
    configuration: &Value,
    serialization: &str,
) -> Arc<dyn Policy> {
    let resources = HashMap::from([(
        "mine".into(),
        Resource {
            kind: "cache".into(),
            instance: Arc::new(resource),
        },
    )]);
    let mut gateway = GatewayParts::default();
    gateway.settings.insert(
        "policy.cache.serialization".to_owned(),
        serialization.to_owned(),
    );
    build_with("cache", configuration, false, &resources, &gateway).expect("a policy")
}

fn policy(configuration: &Value) -> Arc<dyn Policy> {
    policy_on(CacheResource::memory(100, 0, 0), configuration, "")
}

/// What the backend answers, and what the request is.
struct Play<'p> {
    policy: &'p dyn Policy,
    now_ms: u64,
    method: Method,
    path: &'p str,
    query: &'p str,
    headers: &'p [(&'p str, &'p str)],
    status: u16,
    answer_headers: &'p [(&'p str, &'p str)],
    body: &'p str,
}

impl<'p> Play<'p> {
    fn new(policy: &'p dyn Policy) -> Self {
        Self {
            policy,
            now_ms: 1_000_000,
            method: Method::Get,
            path: "/api/orders",
            query: "",
            headers: &[],
            status: 200,
            answer_headers: &[],
            body: "fresh",
        }
    }

    /// Runs the request: whether the backend was called, and the body that went out.
    fn run(&self) -> (bool, String) {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.now_ms = self.now_ms;
        exchange.request.method = self.method;
        exchange.request.path = self.path.to_owned();
        exchange.request.query = self.query.to_owned();
        for (name, value) in self.headers {
            exchange.request.headers.add(name, value).expect("a field");
        }
        exchange
            .response
            .headers
            .add("X-Prepared", "p")
            .expect("a field");
        let mut carry = match self.policy.on_request(&mut exchange) {
            Verdict::Wrap(carry) => carry,
            Verdict::Continue => None,
            other => panic!("{other:?}"),
        };
        assert!(!exchange.request.headers.contains(ACTION_HEADER));
        let is_wrapped = carry.is_some();
        exchange.carry = carry.take();
        if is_wrapped {
            match self.policy.before_call(&mut exchange) {
                Verdict::Continue => {}
                Verdict::Interrupt => {
                    let Body::Buffered(body) = &exchange.response.body else {
                        panic!("a hit has a body");
                    };
                    assert!(exchange.response.headers.contains("X-Prepared"));
                    return (false, String::from_utf8(body.clone()).expect("text"));
                }
                other => panic!("{other:?}"),
            }
        }
        exchange.response.answer(self.status);
        for (name, value) in self.answer_headers {
            exchange.response.headers.add(name, value).expect("a field");
        }
        exchange.response.body = Body::Streaming;
        exchange.call = Call::Answered;
        if is_wrapped {
            match self.policy.after_call(&mut exchange) {
                Verdict::Continue => {}
                Verdict::Await(Need::SmallResponseBody { bytes_max }) => {
                    if self.body.len() <= bytes_max {
                        exchange.response.body = Body::Buffered(self.body.as_bytes().to_vec());
                    }
                    let verdict = self
                        .policy
                        .resume(Stage::AfterCall, &mut exchange, Answer::Done);
                    assert!(matches!(verdict, Verdict::Continue));
                }
                other => panic!("{other:?}"),
            }
        }
        (true, self.body.to_owned())
    }

    /// Whether the backend is called by the same request once more.
    fn calls_again(&self) -> bool {
        assert!(self.run().0, "the first request calls the backend");
        self.run().0
    }
}

#[test]
fn only_the_listed_methods_are_cached() {
    for (methods, method, cached) in [
        (json!(null), Method::Get, true),
        (json!([]), Method::Head, true),
        (json!(null), Method::Post, false),
        (json!(["POST"]), Method::Post, true),
        (json!(["POST"]), Method::Get, false),
    ] {
        let policy = policy(&json!({"cacheName": "mine", "methods": methods}));
        let play = Play {
            method,
            ..Play::new(&*policy)
        };
        assert_eq!(play.calls_again(), !cached, "{methods} {method:?}");
    }
}

#[test]
fn only_good_answers_are_stored_unless_a_condition_says_otherwise() {
    for (condition, status, cached) in [
        (json!(null), 200, true),
        (json!(null), 299, true),
        (json!(null), 503, false),
        (json!("true"), 503, true),
        (json!("false"), 200, false),
        (json!("neither"), 200, false),
    ] {
        let policy = policy(&json!({"cacheName": "mine", "responseCondition": condition}));
        let play = Play {
            status,
            ..Play::new(&*policy)
        };
        assert_eq!(play.calls_again(), !cached, "{condition} {status}");
    }
    let condition =
        json!({"cacheName": "mine", "responseCondition": "{#upstreamResponse.status == 201}"});
    let policy = policy(&condition);
    let play = |status| Play {
        status,
        ..Play::new(&*policy)
    };
    assert!(play(200).calls_again());
    assert!(!play(201).calls_again());
}

#[test]
fn the_client_may_refresh_and_by_pass() {
    let policy = policy(&json!({"cacheName": "mine"}));
    let stored = Play::new(&*policy);
    assert_eq!(stored.run(), (true, "fresh".to_owned()));
    for (headers, query) in [
        (&[("x-gravitee-cache", "by_pass")][..], ""),
        (&[][..], "cache=BY_PASS"),
    ] {
        let play = Play {
            headers,
            query,
            body: "other",
            ..Play::new(&*policy)
        };
        assert!(play.run().0);
        assert_eq!(stored.run(), (false, "fresh".to_owned()), "not stored");
    }
    for (headers, query, body) in [
        (&[("X-Gravitee-Cache", "refresh")][..], "", "second"),
        (&[][..], "cache=REFRESH", "third"),
    ] {
        let play = Play {
            headers,
            query,
            body,
            ..Play::new(&*policy)
        };
        assert!(play.run().0);
        assert_eq!(stored.run(), (false, body.to_owned()));
    }
    let ignored = Play {
        query: "cache=perhaps",
        ..Play::new(&*policy)
    };
    assert!(!ignored.run().0);
    let fixed = self::policy(&json!({"cacheName": "mine", "allowRefreshAction": false}));
    let play = Play {
        headers: &[("X-Gravitee-Cache", "REFRESH")],
        ..Play::new(&*fixed)
    };
    assert!(!play.calls_again());
}

#[test]
fn the_key_depends_on_path_and_query_but_not_on_its_order() {
    let policy = policy(&json!({"cacheName": "mine"}));
    let play = |path, query| Play {
        path,
        query,
        ..Play::new(&*policy)
    };
    assert!(play("/api/a", "x=1&y=2&x=0").run().0);
    assert!(!play("/api/a", "x=0&x=1&y=2").run().0);
    assert!(!play("/api/a", "y=2&x=1&x=0").run().0);
    assert!(play("/api/a", "x=1&y=2").run().0);
    assert!(play("/api/b", "x=1&y=2&x=0").run().0);
}

#[test]
fn keys_are_those_of_other_gateways() {
    // Hashes as Java computes them.
    assert_eq!(java_hash(""), 0);
    assert_eq!(java_hash("/api/orders"), -650_057_239);
    assert_eq!(java_hash("a=[1]"), 91_487_851);
    assert_eq!(java_hash("Ä\u{1f600}"), 1_961_255);
    for (configuration, expected) in [
        (json!({}), "api:1:-650057239:91487851"),
        (json!({"scope": "API"}), "api:-650057239:91487851"),
        (json!({"key": "own"}), "api:1:-650057239:91487851:own"),
    ] {
        let policy = policy_on(redis(), &configuration_of(&configuration), "");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let Verdict::Wrap(carry) = policy.on_request(&mut exchange) else {
            panic!("the cache stands around the call");
        };
        exchange.carry = carry;
        let verdict = policy.before_call(&mut exchange);
        let Verdict::Await(Need::Errand(errand)) = verdict else {
            panic!("{verdict:?}");
        };
        assert!(matches!(*errand, Errand::CacheGet { key, .. } if *key == *expected));
    }
}

fn configuration_of(more: &Value) -> Value {
    let mut configuration = json!({"cacheName": "mine"});
    for (name, value) in more.as_object().expect("an object") {
        configuration[name] = value.clone();
    }
    configuration
}

fn redis() -> CacheResource {
    CacheResource::redis(
        RemoteCache {
            place: RedisPlace::Standalone {
                host: "localhost".into(),
                port: 1,
            },
            password: None,
            username: None,
            tls: false,
            trust_all: false,
            timeout_ms: 1,
        },
        0,
        false,
    )
}

#[test]
fn an_entry_lives_as_long_as_the_shortest_of_its_limits() {
    let now_ms = 784_111_000_000;
    for (configuration, headers, seconds) in [
        (json!({"timeToLiveSeconds": 5}), &[][..], 5),
        (json!({}), &[][..], 600),
        (
            json!({"timeToLiveSeconds": 5}),
            &[("Cache-Control", "max-age=2")][..],
            5,
        ),
        (
            json!({"timeToLiveSeconds": 5, "useResponseCacheHeaders": true}),
            &[
                ("Cache-Control", "max-age=3, s-maxage=2"),
                ("Cache-Control", "s-maxage=1"),
            ][..],
            2,
        ),
        (
            json!({"timeToLiveSeconds": 5, "useResponseCacheHeaders": true}),
            &[("Cache-Control", "max-age=9")][..],
            5,
        ),
        (
            json!({"timeToLiveSeconds": 900, "useResponseCacheHeaders": true}),
            &[("Expires", "Sun, 06 Nov 1994 08:49:37 GMT")][..],
            777,
        ),
        (
            json!({"timeToLiveSeconds": 5, "useResponseCacheHeaders": true}),
            &[("Expires", "Sun, 06 Nov 1984 08:49:37 GMT")][..],
            5,
        ),
    ] {
        let policy = policy(&configuration_of(&configuration));
        let mut play = Play {
            now_ms,
            answer_headers: headers,
            ..Play::new(&*policy)
        };
        assert!(play.run().0);
        play.now_ms = now_ms + seconds * 1_000 - 1;
        assert!(!play.run().0, "{configuration} {headers:?}");
        play.now_ms += 1;
        assert!(play.run().0, "{configuration} {headers:?}");
    }
    let policy = policy(&configuration_of(&json!({"useResponseCacheHeaders": true})));
    let play = Play {
        answer_headers: &[("Cache-Control", "max-age=0")],
        ..Play::new(&*policy)
    };
    assert!(play.calls_again(), "what is old at once is not stored");
}

#[test]
fn what_cannot_be_kept_in_memory_is_not_stored() {
    let (small, large) = ("a".repeat(BODY_BYTES_MAX), "a".repeat(BODY_BYTES_MAX + 1));
    let stream = [("Content-Type", "Text/Event-Stream; charset=utf-8")];
    for (headers, body, stored) in [
        (&[][..], &*small, true),
        (&[], &large, false),
        (&stream, "data: 1", false),
    ] {
        let policy = policy(&json!({"cacheName": "mine"}));
        let play = Play {
            answer_headers: headers,
            body,
            ..Play::new(&*policy)
        };
        assert_eq!(play.calls_again(), !stored, "{} bytes", body.len());
    }
}

#[test]
fn a_shared_cache_is_asked_and_told_through_errands() {
    for (serialization, first) in [("text", b'{'), ("BINARY", b'{'), ("FRAME", 1)] {
        let policy = policy_on(redis(), &json!({"cacheName": "mine"}), serialization);
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let Verdict::Wrap(carry) = policy.on_request(&mut exchange) else {
            panic!("the cache stands around the call");
        };
        exchange.carry = carry;
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Await(_)
        ));
        let verdict = policy.resume(Stage::BeforeCall, &mut exchange, Answer::Cache(None));
        assert!(matches!(verdict, Verdict::Continue));
        exchange
            .response
            .headers
            .add("X-Prepared", "p")
            .expect("a field");
        exchange.response.answer(200);
        exchange.response.headers.add("X-A", "a").expect("a field");
        exchange
            .response
            .headers
            .add("Content-Length", "4")
            .expect("a field");
        exchange.response.body = Body::Buffered(b"body".to_vec());
        exchange.call = Call::Answered;
        assert!(matches!(
            policy.after_call(&mut exchange),
            Verdict::Continue
        ));
        let Some(Errand::CachePut { value, ttl_ms, .. }) = exchange.detached.pop() else {
            panic!("the answer is stored");
        };
        assert_eq!((value.first(), ttl_ms), (Some(&first), 600_000));

        // Another exchange finds it.
        let mut exchange = bench.exchange();
        let Verdict::Wrap(carry) = policy.on_request(&mut exchange) else {
            panic!("the cache stands around the call");
        };
        exchange.carry = carry;
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Await(_)
        ));
        let answer = Answer::Cache(Some(value.to_vec()));
        let verdict = policy.resume(Stage::BeforeCall, &mut exchange, answer);
        assert!(matches!(verdict, Verdict::Interrupt));
        assert_eq!(exchange.response.status, 200);
        assert_eq!(exchange.response.body, Body::Buffered(b"body".to_vec()));
        let names: Vec<_> = exchange
            .response
            .headers
            .iter()
            .map(|f| f.name.to_vec())
            .collect();
        assert_eq!(names, [b"X-A".to_vec()]);
        // What was served is not stored again.
        exchange.call = Call::Answered;
        assert!(matches!(
            policy.after_call(&mut exchange),
            Verdict::Continue
        ));
        assert!(exchange.detached.is_empty());
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_removed_and_the_backend_is_called() {
    let policy = policy_on(redis(), &json!({"cacheName": "mine"}), "");
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    let Verdict::Wrap(carry) = policy.on_request(&mut exchange) else {
        panic!("the cache stands around the call");
    };
    exchange.carry = carry;
    assert!(matches!(
        policy.before_call(&mut exchange),
        Verdict::Await(_)
    ));
    let answer = Answer::Cache(Some(b"?".to_vec()));
    let verdict = policy.resume(Stage::BeforeCall, &mut exchange, answer);
    assert!(matches!(verdict, Verdict::Continue));
    assert!(matches!(exchange.detached[..], [Errand::CacheEvict { .. }]));
}

#[test]
fn a_cache_that_the_api_does_not_have_fails_the_request() {
    let policy = build_with(
        "cache",
        &json!({"cacheName": "other"}),
        false,
        &HashMap::new(),
        &GatewayParts::default(),
    )
    .expect("a policy");
    let mut bench = Bench::new();
    let Verdict::Fail(failure) = policy.on_request(&mut bench.exchange()) else {
        panic!("no cache");
    };
    assert_eq!(failure.status, 500);
    assert!(failure.key.is_none());
    assert_eq!(
        failure.message.as_deref(),
        Some("No cache has been defined with name other")
    );
}

#[test]
fn a_configuration_that_cannot_be_used_names_its_member() {
    for (configuration, member) in [
        (json!({"timeToLiveSeconds": "soon"}), "timeToLiveSeconds"),
        (json!({"methods": ["FETCH"]}), "methods[0]"),
        (json!({"scope": "PLAN"}), "scope"),
    ] {
        let error = crate::policy::testing::build("cache", &configuration).expect_err("unusable");
        assert_eq!(error.member, member);
    }
}
