//! Policies around the call of the backend: one inside another, and under faults of either side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::policy_traffic::{ENGINES, both, with_other};
use crate::support::client::{exchange, fetch, get, request};
use crate::support::definition::{Definition, v2, v4};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::gateway::Start;
use crate::support::redis::{self, Redis};
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::tls;
use crate::support::wait::{PATIENCE, pause, until};
use crate::support::wire::chunked;

fn cached(definition: Definition) -> Definition {
    definition
        .resource("kept", "cache", json!({}))
        .request("cache", json!({ "cacheName": "kept" }))
}

fn breaker(failures: u32, wait_ms: u32) -> Value {
    json!({
        "failureRateThreshold": failures,
        "slowCallRateThreshold": 100,
        "slowCallDurationThreshold": 60_000,
        "windowSize": 10,
        "waitDurationInOpenState": wait_ms,
    })
}

#[test]
fn the_last_of_several_policies_around_a_call_is_the_outermost() {
    let faults = Server::always(Answer::new(500, "fault"));
    let mock = json!({ "content": "{#request.id}" });
    let retry = json!({ "condition": "{#response.status == 500}", "maxRetries": 3, "timeout": 10_000, "lastResponse": true });
    let site = Site::with(Start::new(), |backend| {
        [
            both("cache-last", &backend.target(""), |api| {
                cached(api.request("mock", mock.clone()))
            }),
            both("mock-last", &backend.target(""), |api| {
                cached(api).request("mock", mock.clone())
            }),
            both("retry-last", &faults.url(""), |api| {
                api.request("policy-circuit-breaker", breaker(100, 600_000))
                    .request("retry", retry.clone())
            }),
            both("breaker-last", &faults.url(""), |api| {
                api.request("retry", retry.clone())
                    .request("policy-circuit-breaker", breaker(100, 600_000))
            }),
        ]
        .concat()
    });
    for engine in ENGINES {
        let get = |name: &str| fetch(site.port(), &format!("/{name}-{engine}/x"));
        assert_eq!(get("cache-last").text(), get("cache-last").text());
        assert_ne!(get("mock-last").text(), get("mock-last").text());
        for name in ["retry-last", "breaker-last"] {
            let before = faults.asked().len();
            assert_eq!(get(name).status, 500, "{name} {engine}");
            assert_eq!(faults.asked().len() - before, 4, "{name} {engine}");
            assert_eq!(get(name).status, 503, "{name} {engine}");
            assert_eq!(faults.asked().len() - before, 4, "{name} {engine}");
        }
    }
    assert_eq!(site.backend.requests(), 0);
}

#[test]
fn only_whole_answers_are_cached_and_large_ones_pass() {
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), cached)
    });
    for engine in ENGINES {
        for path in ["cut/100/50", "cut-chunked/50"] {
            for _ in 0..3 {
                let before = site.backend.requests();
                let mut client = site.client();
                let path = format!("/some-{engine}/{path}");
                client.send(&request("GET", &path, &[], b""));
                if let Ok(response) = client.try_response() {
                    assert!(response.status >= 500, "{path} {}", response.status);
                }
                assert_eq!(site.backend.requests(), before + 1, "{path}");
            }
        }
        for (path, bytes, kept) in [
            ("bytes/1000000", 1_000_000, true),
            ("chunked/1000000", 1_000_000, true),
            ("until-close/1000000", 1_000_000, true),
            ("bytes/5000000", 5_000_000, false),
            ("chunked/5000000", 5_000_000, false),
            ("until-close/5000000", 5_000_000, false),
        ] {
            let before = site.backend.requests();
            let path = format!("/some-{engine}/{path}");
            for _ in 0..3 {
                let response = fetch(site.port(), &path);
                assert_eq!(
                    (response.status, response.body.len()),
                    (200, bytes),
                    "{path}"
                );
            }
            let asked = site.backend.requests() - before;
            assert_eq!(asked, if kept { 1 } else { 3 }, "{path}");
        }
    }
}

#[test]
fn redis_keeps_what_it_can_hold_and_delays_a_request_by_no_more_than_its_timeout() {
    if !redis::is_installed() {
        return;
    }
    let redis = Redis::start(&[]);
    let server = Server::start(|asked| match &*asked.target {
        "/large" => Answer::new(200, vec![b'x'; 2_000_000]),
        // No text, and nothing says so: the text in which gateways share entries cannot hold it.
        "/bytes" => Answer::new(200, vec![0xff; 300]),
        _ => Answer::new(200, "small"),
    });
    let site = Site::with(Start::new(), |_| {
        both("some", &server.url(""), |api| {
            api.resource(
                "kept",
                "cache-redis",
                json!({
                    "timeToLiveSeconds": 600, "useSsl": false, "timeout": 200,
                    "standalone": { "host": "127.0.0.1", "port": redis.port },
                }),
            )
            .request("cache", json!({ "cacheName": "kept" }))
        })
    });
    for engine in ENGINES {
        let path = format!("/some-{engine}/large");
        until("a hit", PATIENCE, || {
            let before = server.asked().len();
            assert_eq!(fetch(site.port(), &path).body.len(), 2_000_000);
            (server.asked().len() == before).then_some(())
        });
    }
    for engine in ENGINES {
        for _ in 0..3 {
            let before = server.asked().len();
            let response = fetch(site.port(), &format!("/some-{engine}/bytes"));
            assert_eq!(response.body, [0xff; 300], "{engine}");
            assert_eq!(server.asked().len(), before + 1, "{engine}");
        }
    }
    redis.signal("STOP");
    for engine in ENGINES {
        let before = server.asked().len();
        let response = fetch(site.port(), &format!("/some-{engine}/x"));
        assert_eq!(
            (response.status, &*response.text()),
            (200, "small"),
            "{engine}"
        );
        assert_eq!(server.asked().len(), before + 1, "{engine}");
    }
    redis.signal("CONT");
    for engine in ENGINES {
        let path = format!("/some-{engine}/large");
        until("a hit again", PATIENCE, || {
            let before = server.asked().len();
            fetch(site.port(), &path);
            (server.asked().len() == before).then_some(())
        });
    }
}

#[test]
fn a_trial_that_its_client_gives_up_lets_another_one_try() {
    let status = Arc::new(AtomicU64::new(500));
    let says = Arc::clone(&status);
    let server = Server::start(move |asked| {
        let answer = Answer::new(says.load(Ordering::SeqCst) as u16, "server");
        if asked.target.starts_with("/slow") {
            answer.after(Duration::from_secs(60))
        } else {
            answer
        }
    });
    let site = Site::with(Start::new(), |_| {
        both("some", &server.url(""), |api| {
            api.request("policy-circuit-breaker", breaker(100, 100))
        })
    });
    for engine in ENGINES {
        let path = format!("/some-{engine}/x");
        status.store(500, Ordering::SeqCst);
        assert_eq!(fetch(site.port(), &path).status, 500, "{engine}");
        status.store(200, Ordering::SeqCst);
        let asked = server.asked().len();
        // The answer to the first request is never read: closing then resets the connection, which no client does that still waits.
        let mut requests = get("/api/x");
        requests.extend_from_slice(&get(&format!("/some-{engine}/slow")));
        let trial = until("the trial", PATIENCE, || {
            let mut client = site.client();
            client.send(&requests);
            for _ in 0..30 {
                if server.asked().len() > asked {
                    return Some(client);
                }
                pause(Duration::from_millis(10));
            }
            None
        });
        assert_eq!(fetch(site.port(), &path).status, 503, "{engine}");
        drop(trial);
        // Much sooner than the backend's own time is over.
        until("the next trial", Duration::from_secs(7), || {
            (fetch(site.port(), &path).status == 200).then_some(())
        });
    }
}

#[test]
fn large_and_chunked_bodies_are_replayed_and_copied_whole() {
    let counts = AtomicU64::new(0);
    let flaky = Server::start(move |asked| {
        // Every other answer is a fault.
        match counts.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Answer::new(500, "fault"),
            _ => Answer::new(200, asked.body.len().to_string()),
        }
    });
    let shadow = Server::always(Answer::new(200, ""));
    let site = Site::with(Start::new(), |backend| {
        [
            both("retry", &flaky.url(""), |api| {
                api.request(
                    "retry",
                    json!({ "condition": "{#response.status == 500}", "timeout": 20_000 }),
                )
            }),
            both("copy", &backend.target(""), |api| {
                with_other(
                    api.request("traffic-shadowing", json!({ "target": "other:" })),
                    &shadow.url(""),
                )
            }),
        ]
        .concat()
    });
    let body = vec![b'x'; 1_500_000];
    for engine in ENGINES {
        for is_chunked in [false, true] {
            let send = |path: &str| {
                let bytes = if is_chunked {
                    let fields = [("Transfer-Encoding", "chunked")];
                    let mut bytes = request("POST", path, &fields, b"");
                    bytes.extend_from_slice(&chunked(&body));
                    bytes
                } else {
                    request("POST", path, &[], &body)
                };
                exchange(site.port(), &bytes)
            };
            let response = send(&format!("/retry-{engine}/x"));
            assert_eq!((response.status, &*response.text()), (200, "1500000"));
            let before = shadow.asked().len();
            assert_eq!(send(&format!("/copy-{engine}/x")).status, 200);
            assert_eq!(site.backend.last().body_bytes, 1_500_000);
            let copy = until("the copy", PATIENCE, || shadow.asked().get(before).cloned());
            assert!(
                copy.body == body,
                "{engine} {is_chunked}: {}",
                copy.body.len()
            );
        }
    }
}

#[test]
fn routing_and_redirects_go_through_the_proxy_of_the_endpoint() {
    let server = Server::start(|asked| match &*asked.target {
        "/away" => Answer::new(302, "").field("Location", "http://third.invalid:83/landed?x=1"),
        "/fails" => Answer::new(500, "fault"),
        _ => Answer::new(
            200,
            format!("{:?} {}", asked.head.all("Host"), asked.target),
        ),
    });
    let port: u16 = server
        .url("")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let proxy = ForwardProxy::to(port, None);
    let through =
        json!({ "enabled": true, "type": "SOCKS5", "host": "127.0.0.1", "port": proxy.port });
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("some", "/some", "http://first.invalid:81")
                .shared("proxy", through)
                .http(json!({ "followRedirects": true }))
                .request(
                    "transform-headers",
                    json!({ "addHeaders": [{ "name": "X-Up", "value": "1" }] }),
                )
                .request(
                    "dynamic-routing",
                    json!({ "rules": [
                    { "pattern": "/other/(.*)", "url": "http://second.invalid:82/{#group[0]}" },
                    { "pattern": "/(.*)", "url": "/{#group[0]}" },
                ] }),
                )
                .request(
                    "retry",
                    json!({ "condition": "{#response.status == 500}", "timeout": 10_000 }),
                )
                .response(
                    "transform-headers",
                    json!({ "appendHeaders": [{ "name": "X-Down", "value": "1" }] }),
                ),
        ]
    });
    for (path, status, body) in [
        ("x", 200, "[\"first.invalid:81\"] /x"),
        ("other/x?q=1", 200, "[\"second.invalid:82\"] /x?q=1"),
        ("other/away", 200, "[\"third.invalid:83\"] /landed?x=1"),
        ("fails", 502, ""),
    ] {
        let response = fetch(site.port(), &format!("/some/{path}"));
        assert_eq!(
            (response.status, &*response.text()),
            (status, body),
            "{path}"
        );
        if status == 200 {
            assert_eq!(response.head.all("X-Down"), ["1"], "{path}");
        }
    }
    let mut asked = proxy.asked();
    asked.sort();
    asked.dedup();
    assert_eq!(
        asked,
        [
            "SOCKS5 first.invalid:81",
            "SOCKS5 second.invalid:82",
            "SOCKS5 third.invalid:83"
        ]
    );
    let last: Vec<_> = server.asked().into_iter().rev().take(2).collect();
    assert!(last.iter().all(|asked| asked.target == "/fails"));
    for asked in server.asked() {
        assert_eq!(asked.head.all("X-Up"), ["1"], "{}", asked.target);
    }
}

#[test]
fn callouts_use_the_system_proxy_where_they_are_told_to_and_their_answers_are_bounded() {
    let called = Server::start(|asked| match &*asked.target {
        "/huge" => Answer::new(200, vec![b'x'; 6 << 20]),
        "/large" => Answer::new(200, vec![b'x'; 2 << 20]),
        _ => Answer::new(200, "called"),
    });
    let port: u16 = called
        .url("")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let proxy = ForwardProxy::to(port, None);
    let (config, _) = tls::server(&["localhost"]);
    let secure = crate::support::backend::Backend::with_tls(config);
    let start = Start::new()
        .set("system.proxy.host", "127.0.0.1")
        .set("system.proxy.port", &proxy.port.to_string());
    let site = Site::with(start, |backend| {
        let callout = |name: &str, url: &str, by_proxy: bool| {
            both(name, &backend.target(""), |api| {
                api.request(
                    "policy-http-callout",
                    json!({
                        "url": url, "useSystemProxy": by_proxy, "exitOnError": true, "errorStatusCode": 418,
                        "variables": [{ "name": "length", "value": "{#calloutResponse.content.length()}" }],
                    }),
                )
                .request(
                    "transform-headers",
                    json!({ "addHeaders": [{ "name": "X-Length", "value": "{#context.attributes['length']}" }] }),
                )
            })
        };
        [
            callout("proxy", "http://callout.invalid:84/x", true),
            callout(
                "secure",
                &secure
                    .target("/status/200")
                    .replace("127.0.0.1", "localhost"),
                false,
            ),
            callout("large", &called.url("/large"), false),
            callout("huge", &called.url("/huge"), false),
        ]
        .concat()
    });
    for engine in ENGINES {
        for (name, status, length) in [
            ("proxy", 200, Some("6")),
            ("secure", 200, None),
            ("large", 200, Some("2097152")),
            ("huge", 418, None),
        ] {
            let response = fetch(site.port(), &format!("/{name}-{engine}/x"));
            assert_eq!(
                response.status,
                status,
                "{name} {engine}: {}",
                response.text()
            );
            if let Some(length) = length {
                assert_eq!(site.backend.last().head.field("X-Length"), Some(length));
            }
        }
    }
    assert!(!proxy.asked().is_empty());
    assert!(
        proxy
            .asked()
            .iter()
            .all(|asked| asked == "GET http://callout.invalid:84/x")
    );
}

#[test]
fn a_scope_counts_on_the_old_engine_only() {
    let mark =
        |scope: &str| json!({ "scope": scope, "addHeaders": [{ "name": "X-Mark", "value": "1" }] });
    let site = Site::with(Start::new(), |backend| {
        let mut all = Vec::new();
        for (name, scope) in [("request", "REQUEST"), ("response", "RESPONSE")] {
            let steps = |api: Definition| {
                api.request("transform-headers", mark(scope))
                    .response("transform-headers", mark(scope))
            };
            all.extend(both(name, &backend.target(""), steps));
            let id = format!("{name}-v3");
            let old = v2(&id, &format!("/{id}"), &backend.target(""));
            all.push(steps(old).with(|definition| definition["execution_mode"] = json!("v3")));
        }
        all
    });
    for (name, up, down) in [
        ("request-v4", true, true),
        ("response-v4", true, true),
        ("request-v2", true, true),
        ("response-v2", true, true),
        ("request-v3", true, false),
        ("response-v3", false, true),
    ] {
        let response = fetch(site.port(), &format!("/{name}/x"));
        assert_eq!(response.status, 200, "{name}");
        let backend = site.backend.last().head;
        assert_eq!(
            (
                backend.field("X-Mark").is_some(),
                response.field("X-Mark").is_some()
            ),
            (up, down),
            "{name}"
        );
    }
}

#[test]
fn answers_without_a_body_and_answers_that_are_replaced_keep_both_connections_in_step() {
    let function = Server::always(Answer::new(200, "from the function"));
    let start = Start::new()
        .environment("AWS_ENDPOINT_URL_LAMBDA", &function.url(""))
        .environment("AWS_ACCESS_KEY_ID", "a")
        .environment("AWS_SECRET_ACCESS_KEY", "b");
    let site = Site::with(start, |backend| {
        let target = backend.target("");
        [
            both("function", &target, |api| {
                api.response(
                    "aws-lambda",
                    json!({ "function": "f", "sendToConsumer": true }),
                )
            }),
            both("first", &target, |api| {
                api.request(
                    "aws-lambda",
                    json!({ "function": "f", "sendToConsumer": true }),
                )
            }),
            both("interrupt", &target, |api| {
                api.response(
                    "policy-interrupt",
                    json!({ "errorKey": "KEY", "message": "no" }),
                )
            }),
            both("cache", &target, cached),
            both("retry", &target, |api| {
                api.request(
                    "retry",
                    json!({ "condition": "{#response.status == 500}", "timeout": 10_000 }),
                )
            }),
            both("redirect", &target, |api| {
                api.request(
                    "http-redirect",
                    json!({ "rules": [{ "path": "/.*", "location": "/y" }] }),
                )
            }),
            both("shadow", &target, |api| {
                api.request("traffic-shadowing", json!({ "target": "default:" }))
            }),
        ]
        .concat()
    });
    for engine in ENGINES {
        for (name, fixed) in [
            ("function", Some((200, "from the function"))),
            ("first", Some((200, "from the function"))),
            ("interrupt", Some((500, "no"))),
            ("redirect", Some((301, ""))),
            ("cache", None),
            ("retry", None),
            ("shadow", None),
        ] {
            let mut client = site.client();
            for (path, status, bytes) in [
                ("bytes/200000", 200, 200_000),
                ("chunked/200000", 200, 200_000),
                ("status/204", 204, 0),
                ("status/304", 304, 0),
                ("until-close/10", 200, 10),
            ] {
                for method in ["HEAD", "GET", "POST"] {
                    if method == "HEAD" && path.starts_with("chunked") | path.starts_with("until") {
                        // The backend would send the body that HEAD must not have.
                        continue;
                    }
                    // An answer to HEAD is kept as one to GET would be: a path of its own.
                    let path = format!("/{name}-{engine}/{path}?{method}");
                    let body: &[u8] = if method == "POST" { b"data" } else { b"" };
                    client.send(&request(method, &path, &[], body));
                    let response = if method == "HEAD" {
                        client.response_to_head()
                    } else {
                        client.response()
                    };
                    let wanted = fixed.map_or(status, |(status, _)| status);
                    assert_eq!(response.status, wanted, "{method} {path}");
                    let wanted = match (method, fixed) {
                        ("HEAD", _) => 0,
                        (_, Some((_, text))) => text.len(),
                        (_, None) => bytes,
                    };
                    assert_eq!(response.body.len(), wanted, "{method} {path}");
                    assert!(client.surplus().is_empty(), "{method} {path}");
                    if response.closes() {
                        client = site.client();
                    }
                }
            }
        }
    }
}
