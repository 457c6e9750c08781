//! Policies that call, call again or call something else: callouts, retries, the circuit breaker, shadow traffic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::policy_traffic::{ENGINES, both, templates, with_other};
use crate::support::client::{exchange, fetch, fetch_with, request};
use crate::support::gateway::Start;
use crate::support::ports;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

/// How many attempts of a request with this `X-Case` came before.
fn attempt(counts: &Mutex<HashMap<String, u64>>, case: &str) -> u64 {
    let mut counts = counts.lock().expect("nobody panics while holding it");
    let count = counts.entry(case.to_owned()).or_default();
    *count += 1;
    *count - 1
}

#[test]
fn a_call_is_retried_until_its_condition_is_content_or_the_retries_are_used_up() {
    let counts = Mutex::new(HashMap::new());
    // `/fail/N`: the first N answers are 500; `/slow/N`: the first N come late; `/text/N`: the first N say `again`.
    let server = Server::start(move |asked| {
        let attempt = attempt(&counts, asked.head.field("X-Case").unwrap_or_default());
        let words: Vec<&str> = asked.target.trim_start_matches('/').split('/').collect();
        let bad = words[1].parse::<u64>().is_ok_and(|bad| attempt < bad);
        let echo = Answer::new(200, asked.body.clone());
        match (words[0], bad) {
            ("fail", true) => Answer::new(500, "failed").field("X-Attempt", &attempt.to_string()),
            ("slow", true) => echo.after(Duration::from_secs(3)),
            ("text", true) => Answer::new(200, "again"),
            _ => echo,
        }
    });
    let failed = "{#response.status >= 500}";
    let closed = format!("http://127.0.0.1:{}", ports::free());
    let site = Site::with(Start::new(), |_| {
        let retry = |name: &str, target: &str, configuration: serde_json::Value| {
            both(name, target, |api| {
                api.request("retry", configuration.clone()).response(
                    "transform-headers",
                    json!({ "appendHeaders": [{ "name": "X-Response", "value": "1" }] }),
                )
            })
        };
        let own = server.url("");
        [
            retry("plain", &own, json!({ "condition": failed, "maxRetries": 2, "timeout": 2_000 })),
            retry(
                "last",
                &own,
                json!({ "condition": failed, "maxRetries": "2", "timeout": 400, "lastResponse": true }),
            ),
            retry("quick", &own, json!({ "condition": failed, "maxRetries": 2, "timeout": 400 })),
            retry("text", &own, json!({ "condition": "{#response.content == 'again'}", "maxRetries": 2, "timeout": 2_000 })),
            retry("broken", &own, json!({ "condition": "{#response.nope}", "maxRetries": 2, "timeout": 2_000 })),
            retry("zero", &own, json!({ "condition": failed, "maxRetries": 0, "timeout": 2_000 })),
            retry("pause", &own, json!({ "condition": failed, "maxRetries": 2, "timeout": 2_000, "delay": 200 })),
            retry("closed", &closed, json!({ "condition": failed, "maxRetries": 2 })),
        ]
        .concat()
    });
    for engine in ENGINES {
        for (name, path, status, body, calls) in [
            ("plain", "fail/0", 200, "data", 1),
            ("plain", "fail/2", 200, "data", 3),
            ("plain", "fail/3", 502, "", 3),
            ("last", "fail/2", 200, "data", 3),
            ("last", "fail/9", 500, "failed", 3),
            ("last", "slow/9", 502, "", 3),
            ("quick", "slow/1", 200, "data", 2),
            ("quick", "slow/9", 502, "", 3),
            ("text", "text/1", 200, "data", 2),
            ("text", "text/9", 502, "", 3),
            ("broken", "fail/0", 502, "", 3),
            ("zero", "fail/9", 502, "", 2),
            ("pause", "fail/2", 200, "data", 3),
            ("closed", "x", 502, "", 0),
        ] {
            let case = format!("{name}-{engine}/{path}");
            let began = Instant::now();
            let response = exchange(
                site.port(),
                &request("POST", &format!("/{case}"), &[("X-Case", &case)], b"data"),
            );
            assert_eq!(
                (response.status, &*response.text()),
                (status, body),
                "{case}"
            );
            let asked: Vec<_> = server
                .asked()
                .into_iter()
                .filter(|asked| asked.head.field("X-Case") == Some(&case))
                .collect();
            // An attempt that was given up may still be on its way to the list.
            assert!(
                path.starts_with("slow") || asked.len() == calls,
                "{case}: {}",
                asked.len()
            );
            for asked in &asked {
                assert_eq!(
                    (&*asked.method, &*asked.body),
                    ("POST", &b"data"[..]),
                    "{case}"
                );
            }
            if status < 500 {
                assert_eq!(response.head.all("X-Response"), ["1"], "{case}");
                assert_eq!(response.field("X-Attempt"), None, "{case}");
            }
            if name == "pause" {
                assert!(began.elapsed() >= Duration::from_millis(400), "{case}");
            }
        }
    }
}

#[test]
fn a_circuit_breaker_opens_for_every_worker_and_refuses_or_redirects() {
    let status = Arc::new(AtomicU64::new(200));
    let says = Arc::clone(&status);
    let server = Server::start(move |asked| {
        let answer = Answer::new(says.load(Ordering::SeqCst) as u16, "server");
        if asked.target.starts_with("/slow") {
            answer.after(Duration::from_millis(300))
        } else {
            answer
        }
    });
    let other = Server::start(|asked| Answer::new(200, format!("other {}", asked.target)));
    let configuration = json!({
        "failureRateThreshold": 50,
        "slowCallRateThreshold": 100,
        "slowCallDurationThreshold": 20_000,
        "windowSize": 4,
        "waitDurationInOpenState": 600_000,
    });
    let redirecting = |to: &str| {
        let mut configuration = configuration.clone();
        configuration["redirectToURL"] = json!(to);
        configuration
    };
    let closed = format!("http://127.0.0.1:{}", ports::free());
    let site = Site::with(Start::new(), |_| {
        let breaker = |name: &str, target: &str, configuration: serde_json::Value| {
            both(name, target, |api| {
                templates(
                    with_other(
                        api.request("policy-circuit-breaker", configuration.clone()),
                        &other.url("/o"),
                    ),
                    json!({ "CIRCUIT_BREAKER_OPEN_STATE": { "*/*": {
                        "status": 503,
                        "propagateErrorKeyToLogs": true,
                        "body": "{#error.message} {#parameters['failure_rate']} {#parameters['slow_call_rate']}",
                    } } }),
                )
            })
        };
        let mut slow = configuration.clone();
        slow["slowCallDurationThreshold"] = json!(100);
        let own = server.url("");
        [
            breaker("fail", &own, configuration.clone()),
            breaker("slow", &own, slow),
            breaker("url", &own, redirecting(&other.url("/away"))),
            breaker("name", &own, redirecting("{#endpoints['other']}/named")),
            breaker("closed", &closed, configuration.clone()),
            breaker("bad", &own, json!({ "failureRateThreshold": 50 })),
        ]
        .concat()
    });
    for engine in ENGINES {
        let get = |path: &str| {
            let (name, rest) = path.split_once('/').expect("an API and a path");
            fetch(site.port(), &format!("/{name}-{engine}/{rest}"))
        };
        for (name, refused) in [
            ("fail", "Service temporarily unavailable 50.0 0.0"),
            ("url", "other /away"),
            ("name", "other /o/named"),
        ] {
            for (answers, calls) in [(200, 2), (500, 2)] {
                status.store(answers, Ordering::SeqCst);
                for _ in 0..calls {
                    let response = get(&format!("{name}/x"));
                    assert_eq!(u64::from(response.status), answers, "{engine} {name}");
                }
            }
            status.store(200, Ordering::SeqCst);
            let asked = server.asked().len();
            // Each connection goes to the worker that takes it.
            for _ in 0..12 {
                let response = get(&format!("{name}/x"));
                assert_eq!(
                    (response.status, &*response.text()),
                    (if name == "fail" { 503 } else { 200 }, refused),
                    "{engine} {name}"
                );
            }
            assert_eq!(server.asked().len(), asked, "{engine} {name}");
        }
        assert_eq!(get("slow/x").status, 200, "{engine}");
        let slow = get("slow/slow");
        assert_eq!(slow.status, 200, "{engine}");
        // Half of the calls were slow, which is not yet all of them.
        for _ in 0..3 {
            assert_eq!(get("slow/slow").status, 200, "{engine}");
        }
        let refused = get("slow/x");
        assert_eq!(
            (refused.status, &*refused.text()),
            (503, "Service temporarily unavailable 0.0 100.0"),
            "{engine}"
        );
        assert_eq!(get("closed/x").status, 502, "{engine}");
        let refused = get("closed/x");
        assert_eq!(refused.status, 503, "{engine}");
        let id = refused.field("X-Gravitee-Request-Id").expect("an id");
        let report = site.plane.report_of(id);
        assert_eq!(report["error-key"], "CIRCUIT_BREAKER_OPEN_STATE");
        assert_eq!(get("bad/x").status, 500, "{engine}");
    }
}

#[test]
fn an_open_circuit_breaker_tries_again_after_its_time_and_closes_when_that_succeeds() {
    let status = Arc::new(AtomicU64::new(500));
    let says = Arc::clone(&status);
    let server = Server::start(move |_| Answer::new(says.load(Ordering::SeqCst) as u16, "server"));
    let site = Site::with(Start::new(), |_| {
        both("some", &server.url(""), |api| {
            api.request(
                "policy-circuit-breaker",
                json!({
                    "failureRateThreshold": 100,
                    "slowCallRateThreshold": 100,
                    "slowCallDurationThreshold": 20_000,
                    "windowSize": 2,
                    "waitDurationInOpenState": 300,
                }),
            )
        })
    });
    for engine in ENGINES {
        status.store(500, Ordering::SeqCst);
        let get = || fetch(site.port(), &format!("/some-{engine}/x")).status;
        assert_eq!(get(), 500, "{engine}");
        // The trials fail: every one of them opens it again.
        let began = server.asked().len();
        until("two failed trials", PATIENCE, || {
            get();
            (server.asked().len() >= began + 2).then_some(())
        });
        status.store(200, Ordering::SeqCst);
        until("a trial that succeeds", PATIENCE, || {
            (get() == 200).then_some(())
        });
        // Closed, with an empty window.
        for _ in 0..8 {
            assert_eq!(get(), 200, "{engine}");
        }
    }
}

#[test]
fn a_callout_sends_what_is_configured_and_keeps_what_is_answered() {
    let called = Server::start(|asked| {
        Answer::json(&json!({ "said": String::from_utf8_lossy(&asked.body), "at": asked.target }))
            .field("X-Answer", "yes")
    });
    let callout = json!({
        "method": "POST",
        "url": format!("{}{{#request.pathInfo}}?api={{#context.attributes['api']}}", called.url("/call")),
        "headers": [
            { "name": "X-Literal", "value": "1" },
            { "name": "X-From", "value": "{#request.headers['X-Who'][0]}" },
        ],
        "body": "hello {#request.headers['X-Who'][0]}",
        "variables": [
            { "name": "said", "value": "{#jsonPath(#calloutResponse.content, '$.said')}" },
            { "name": "status", "value": "{#calloutResponse.status}" },
            { "name": "answer", "value": "{#calloutResponse.headers['X-Answer'][0]}" },
            { "name": "whole", "value": "{#calloutResponse.content}" },
        ],
    });
    let show = json!({ "addHeaders": [{
        "name": "X-Shown",
        "value": "{#context.attributes['said']}, {#context.attributes['status']}, {#context.attributes['answer']}",
    }] });
    let site = Site::with(Start::new(), |backend| {
        ["request", "response"]
            .iter()
            .flat_map(|phase| {
                both(phase, &backend.target(""), |api| {
                    api.step(phase, "policy-http-callout", callout.clone())
                        .step(phase, "transform-headers", show.clone())
                })
            })
            .collect()
    });
    for engine in ENGINES {
        for phase in ["request", "response"] {
            let path = format!("/{phase}-{engine}/place");
            let response = exchange(
                site.port(),
                &request("PUT", &path, &[("X-Who", "me")], b"data"),
            );
            assert_eq!(response.status, 200, "{path}: {}", response.text());
            let backend = site.backend.last();
            assert_eq!(backend.body, b"data", "{path}");
            let shown = match phase {
                "request" => backend.head.field("X-Shown").map(str::to_owned),
                _ => response.field("X-Shown").map(str::to_owned),
            };
            assert_eq!(shown.as_deref(), Some("hello me, 200, yes"), "{path}");
            let asked = called.asked().pop().expect("a call");
            assert_eq!(
                (&*asked.method, &*asked.target),
                ("POST", &*format!("/call/place?api={phase}-{engine}"))
            );
            assert_eq!(asked.body, b"hello me");
            assert_eq!(asked.head.field("X-Literal"), Some("1"));
            assert_eq!(asked.head.field("X-From"), Some("me"));
            // The client's own fields stay with the gateway.
            assert_eq!(asked.head.field("X-Who"), None);
        }
    }
}

#[test]
fn a_callout_ends_the_request_only_where_it_is_told_to() {
    let called = Server::start(|asked| match &*asked.target {
        "/bad" => Answer::new(503, "bad"),
        _ => Answer::new(200, "good"),
    });
    let closed = format!("http://127.0.0.1:{}/", ports::free());
    let condition = "{#calloutResponse.status >= 400}";
    let cases = [
        // Another status is no error by itself.
        ("status", json!({ "url": called.url("/bad") }), 200, "", ""),
        (
            "exit",
            json!({
                "url": called.url("/bad"), "exitOnError": true, "errorCondition": condition,
                "errorStatusCode": 418, "errorContent": "it said {#calloutResponse.content}",
            }),
            418,
            "CALLOUT_EXIT_ON_ERROR",
            "it said bad",
        ),
        (
            "usual",
            json!({ "url": called.url("/bad"), "exitOnError": true, "errorCondition": condition }),
            500,
            "CALLOUT_EXIT_ON_ERROR",
            "Request is terminated.",
        ),
        (
            "content",
            json!({ "url": called.url("/good"), "exitOnError": true, "errorCondition": condition }),
            200,
            "",
            "",
        ),
        (
            "off",
            json!({ "url": called.url("/bad"), "exitOnError": false, "errorCondition": condition }),
            200,
            "",
            "",
        ),
        (
            "away",
            json!({ "url": closed, "exitOnError": true, "errorStatusCode": 599 }),
            599,
            "CALLOUT_HTTP_ERROR",
            "*",
        ),
        ("away-off", json!({ "url": closed }), 500, "*", "*"),
        (
            "forget",
            json!({ "url": closed, "fireAndForget": true }),
            200,
            "",
            "",
        ),
    ];
    let site = Site::with(Start::new(), |backend| {
        let mut all = Vec::new();
        for (name, configuration, ..) in &cases {
            for phase in ["request", "response"] {
                all.extend(both(
                    &format!("{name}-{phase}"),
                    &backend.target(""),
                    |api| api.step(phase, "policy-http-callout", configuration.clone()),
                ));
            }
        }
        all
    });
    let mut reported = Vec::new();
    for engine in ENGINES {
        for phase in ["request", "response"] {
            for (name, _, status, key, text) in &cases {
                let path = format!("/{name}-{phase}-{engine}/x");
                let response = fetch(site.port(), &path);
                assert_eq!(response.status, *status, "{path}: {}", response.text());
                if *status == 200 {
                    continue;
                }
                if *text != "*" {
                    assert_eq!(response.text(), *text, "{path}");
                }
                if *key != "*" {
                    let id = response.field("X-Gravitee-Request-Id").expect("an id");
                    reported.push((id.to_owned(), *key, path));
                }
            }
        }
    }
    for (id, key, path) in reported {
        assert_eq!(site.plane.report_of(&id)["error-key"], *key, "{path}");
    }
}

#[test]
fn nobody_waits_for_a_callout_that_is_to_be_forgotten_and_a_slow_one_ends_with_the_request() {
    let called = Server::always(Answer::new(200, "late").after(Duration::from_secs(10)));
    let site = Site::with(Start::new().set("http.requestTimeout", "1500"), |backend| {
        let mut all = Vec::new();
        for phase in ["request", "response"] {
            for (name, forget) in [("forget", true), ("wait", false)] {
                all.extend(both(&format!("{name}-{phase}"), &backend.target(""), |api| {
                    api.step(
                        phase,
                        "policy-http-callout",
                        json!({
                            "url": called.url(&format!("/{name}")),
                            "fireAndForget": forget,
                            "variables": [{ "name": "late", "value": "{#calloutResponse.content}" }],
                        }),
                    )
                }));
            }
        }
        all
    });
    for engine in ENGINES {
        for phase in ["request", "response"] {
            let before = called.asked().len();
            let forgotten = fetch(site.port(), &format!("/forget-{phase}-{engine}/x"));
            assert_eq!(forgotten.status, 200, "{engine} {phase}");
            until("the call that nobody waits for", PATIENCE, || {
                (called.asked().len() > before).then_some(())
            });
            let slow = fetch(site.port(), &format!("/wait-{phase}-{engine}/x"));
            assert_eq!(
                (slow.status, &*slow.text()),
                (504, "Request timeout"),
                "{engine} {phase}"
            );
        }
    }
}

#[test]
fn a_copy_of_the_traffic_goes_to_another_endpoint_and_never_harms_the_request() {
    let shadow = Server::start(|asked| match &*asked.target {
        "/shadow/fault" => Answer::new(500, "shadow"),
        "/shadow/late" => Answer::new(200, "shadow").after(Duration::from_secs(5)),
        _ => Answer::new(200, "shadow"),
    });
    let closed = format!("http://127.0.0.1:{}", ports::free());
    let site = Site::with(Start::new(), |backend| {
        let shadowing = |name: &str, target: &str, to: &str| {
            both(name, &backend.target("/main"), |api| {
                let configuration = json!({
                    "target": to,
                    "headers": [
                        { "name": "X-Copy", "value": "{#request.method}" },
                        { "name": "X-Broken", "value": "{#request.nope}" },
                    ],
                });
                with_other(api.request("traffic-shadowing", configuration), target)
            })
        };
        [
            shadowing("some", &shadow.url("/shadow"), "{#endpoints['other']}"),
            shadowing("named", &shadow.url("/shadow"), "other-group"),
            shadowing("closed", &closed, "other:"),
            shadowing("unknown", &shadow.url("/shadow"), "nobody:"),
        ]
        .concat()
    });
    for engine in ENGINES {
        for (api, rest) in [
            ("some", "x?a=1"),
            ("some", "fault"),
            ("some", "late"),
            ("named", "x"),
            ("closed", "x"),
            ("unknown", "x"),
        ] {
            let copies = shadow.asked().len();
            let case = format!("/{api}-{engine}/{rest}");
            let fields = [("X-Client", "1"), ("Host", "client.example")];
            let response = exchange(site.port(), &request("POST", &case, &fields[..1], b"data"));
            assert_eq!(response.status, 200, "{case}");
            assert_eq!(response.json()["target"], format!("/main/{rest}"), "{case}");
            let own = site.backend.last();
            assert_eq!(own.body, b"data", "{case}");
            assert_eq!(own.head.field("X-Copy"), None, "{case}");
            if matches!(api, "closed" | "unknown") {
                assert_eq!(shadow.asked().len(), copies, "{case}");
                continue;
            }
            let copy = until(&format!("the copy of {case}"), PATIENCE, || {
                shadow.asked().get(copies).cloned()
            });
            assert_eq!(
                (&*copy.method, &*copy.target, &*copy.body),
                ("POST", &*format!("/shadow/{rest}"), &b"data"[..]),
                "{case}"
            );
            assert_eq!(copy.head.field("X-Copy"), Some("POST"), "{case}");
            assert_eq!(copy.head.field("X-Broken"), None, "{case}");
            assert_eq!(copy.head.field("X-Client"), Some("1"), "{case}");
            let host = shadow.url("").replace("http://", "");
            assert_eq!(copy.head.all("Host"), [&*host], "{case}");
        }
    }
}

#[test]
fn dynamic_routing_keeps_its_endpoint_across_retries_and_stays_out_of_the_copy() {
    let counts = Mutex::new(HashMap::new());
    let other = Server::start(move |asked| match attempt(&counts, &asked.target) {
        0 => Answer::new(500, "failed"),
        _ => Answer::new(200, format!("other {}", asked.target)),
    });
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), |api| {
            with_other(
                api.request(
                    "dynamic-routing",
                    json!({ "rules": [{ "pattern": "/(.*)", "url": "{#endpoints['other']}/routed/{#group[0]}" }] }),
                )
                .request(
                    "retry",
                    json!({ "condition": "{#response.status == 500}", "maxRetries": 1, "timeout": 5_000 }),
                )
                .request("traffic-shadowing", json!({ "target": "default:" })),
                &other.url("/o"),
            )
        })
    });
    for engine in ENGINES {
        let before = site.backend.requests();
        let rest = format!("case-{engine}");
        let response = fetch_with(site.port(), &format!("/some-{engine}/{rest}"), &[]);
        assert_eq!(
            (response.status, response.text()),
            (200, format!("other /o/routed/{rest}"))
        );
        until("the copy", PATIENCE, || {
            (site.backend.requests() > before).then_some(())
        });
        assert_eq!(site.backend.last().target, format!("/{rest}"));
    }
}
