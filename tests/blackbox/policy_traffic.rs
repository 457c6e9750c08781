//! Policies that change what is sent: header fields, attributes, statuses, answers of their own. Every policy is tried on both engines.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, Response, exchange, fetch, fetch_with, request};
use crate::support::definition::{Definition, endpoint, v2, v4};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

/// The engines that every policy is tried on: the APIs of one case are `/<name>-v4` and `/<name>-v2`.
pub(crate) const ENGINES: [&str; 2] = ["v4", "v2"];

/// One API for each of [`ENGINES`].
pub(crate) fn both(
    name: &str,
    target: &str,
    change: impl Fn(Definition) -> Definition,
) -> Vec<Definition> {
    let place = |engine: &str| (format!("{name}-{engine}"), format!("/{name}-{engine}"));
    let ((four, four_path), (two, two_path)) = (place("v4"), place("v2"));
    vec![
        change(v4(&four, &four_path, target)),
        change(v2(&two, &two_path, target)),
    ]
}

/// Puts response templates where the engine looks for them.
pub(crate) fn templates(definition: Definition, templates: Value) -> Definition {
    let member = if definition.is_v4() {
        "responseTemplates"
    } else {
        "response_templates"
    };
    definition.with(|definition| definition[member] = templates)
}

pub(crate) fn send(
    site: &Site,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Response {
    exchange(site.port(), &request(method, path, fields, body))
}

fn error_key(site: &Site, response: &Response) -> Value {
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    site.plane.report_of(id)["error-key"].clone()
}

#[test]
fn header_fields_are_set_added_and_removed_on_the_way_to_the_backend_and_back() {
    let server = Server::always(
        Answer::new(200, "hello")
            .field("X-Set", "old")
            .field("X-Set", "older")
            .field("X-List", "a")
            .field("X-Gone", "1")
            .field("X-Other", "1"),
    );
    let changes = |message: &str| {
        json!({
            "addHeaders": [
                { "name": "x-set", "value": "new" },
                { "name": "X-Expression", "value": format!("{{#{message}.headers['X-List'][0]}} of {{#request.method}}") },
                { "name": " ", "value": "no name" },
                { "name": null, "value": "no name" },
                { "name": "X-No-Value", "value": null },
                { "name": "X-Empty", "value": "{#context.attributes['nothing']}" },
            ],
            "appendHeaders": [
                { "name": "X-List", "value": "b" },
                { "name": "X-List", "value": "{#request.pathInfo}" },
            ],
            "removeHeaders": ["x-gone", null, ""],
        })
    };
    let keep = json!({
        "addHeaders": [{ "name": "X-Set", "value": "new" }],
        "removeHeaders": ["X-Gone"],
        "whitelistHeaders": ["x-list", "X-GONE", null],
    });
    let site = Site::with(Start::new(), |backend| {
        let mut all = both("up", &backend.target(""), |api| {
            api.request("transform-headers", changes("request"))
        });
        all.extend(both("down", &server.url(""), |api| {
            api.response("transform-headers", changes("response"))
        }));
        all.extend(both("keep-up", &backend.target(""), |api| {
            api.request("transform-headers", keep.clone())
        }));
        all.extend(both("keep-down", &server.url(""), |api| {
            api.response("transform-headers", keep.clone())
        }));
        all
    });
    let fields = [
        ("X-Set", "old"),
        ("X-List", "a"),
        ("X-Gone", "1"),
        ("X-Other", "1"),
    ];
    for engine in ENGINES {
        let up = |name: &str| {
            let path = format!("/{name}-{engine}/x");
            let response = send(&site, "POST", &path, &fields, b"data");
            assert_eq!(response.status, 200, "{name} {engine}");
            let last = site.backend.last();
            assert_eq!(last.body, b"data", "{name} {engine}");
            assert!(last.head.field("Host").is_some(), "{name} {engine}");
            last.head
        };
        let down = |name: &str| {
            let response = fetch(site.port(), &format!("/{name}-{engine}/x"));
            assert_eq!(
                (response.status, &*response.text()),
                (200, "hello"),
                "{name} {engine}"
            );
            response.head
        };
        for (head, expression) in [(up("up"), "a of POST"), (down("down"), "a of GET")] {
            assert_eq!(head.all("X-Set"), ["new"], "{engine}");
            assert_eq!(head.all("X-Expression"), [expression], "{engine}");
            assert_eq!(head.all("X-List"), ["a", "b", "/x"], "{engine}");
            assert_eq!(head.field("X-Other"), Some("1"), "{engine}");
            for absent in ["X-Gone", "X-No-Value", "X-Empty"] {
                assert_eq!(head.field(absent), None, "{absent} {engine}");
            }
        }
        for head in [up("keep-up"), down("keep-down")] {
            assert_eq!(head.all("X-List"), ["a"], "{engine}");
            for absent in ["X-Gone", "X-Set", "X-Other"] {
                assert_eq!(head.field(absent), None, "{absent} {engine}");
            }
        }
    }
}

#[test]
fn header_fields_that_frame_a_message_never_break_it() {
    let site = Site::with(Start::new(), |backend| {
        let framing = json!({ "addHeaders": [
            { "name": "Content-Length", "value": "1" },
            { "name": "Transfer-Encoding", "value": "chunked" },
        ] });
        let none = json!({ "removeHeaders": ["Content-Length", "Transfer-Encoding", "Host"] });
        let mut all = Vec::new();
        for (name, changes) in [("wrong", framing), ("none", none)] {
            all.extend(both(name, &backend.target(""), |api| {
                api.request("transform-headers", changes.clone())
                    .response("transform-headers", changes.clone())
            }));
        }
        all
    });
    for engine in ENGINES {
        for name in ["wrong", "none"] {
            let mut client = site.client();
            for path in ["bytes/100", "chunked/100"] {
                let path = format!("/{name}-{engine}/{path}");
                let response = client
                    .send(&request("POST", &path, &[], b"four"))
                    .response();
                assert_eq!((response.status, response.body.len()), (200, 100), "{path}");
                let last = site.backend.last();
                assert!(last.complete, "{path}");
                assert_eq!(last.body, b"four", "{path}");
            }
            let path = format!("/{name}-{engine}/x");
            let response = client.send(&request("GET", &path, &[], b"")).response();
            assert_eq!(response.status, 200, "{path}");
            assert_eq!(site.backend.last().body_bytes, 0, "{path}");
            assert!(client.surplus().is_empty(), "{path}");
        }
    }
}

#[test]
fn a_header_expression_that_fails_ends_the_request_with_its_key() {
    let broken = json!({ "addHeaders": [{ "name": "X-A", "value": "{#request.nope}" }] });
    let site = Site::with(Start::new(), |backend| {
        let mut all = both("up", &backend.target(""), |api| {
            api.request("transform-headers", broken.clone())
        });
        all.extend(both("down", &backend.target(""), |api| {
            api.response("transform-headers", broken.clone())
        }));
        all
    });
    for engine in ENGINES {
        for name in ["up", "down"] {
            let response = fetch(site.port(), &format!("/{name}-{engine}/x"));
            assert_eq!(
                (response.status, &*response.text()),
                (500, "Unable to apply headers transformation"),
                "{name} {engine}"
            );
            assert_eq!(error_key(&site, &response), "TRANSFORM_HEADERS_FAILURE");
        }
    }
}

/// Adds a second endpoint, `other`, in a group of its own, `other-group`.
pub(crate) fn with_other(definition: Definition, target: &str) -> Definition {
    let is_v4 = definition.is_v4();
    definition.with(|definition| {
        let groups = if is_v4 {
            &mut definition["endpointGroups"]
        } else {
            &mut definition["proxy"]["groups"]
        };
        let endpoint = if is_v4 {
            endpoint("other", target)
        } else {
            json!({ "name": "other", "target": target, "type": "http" })
        };
        let group = json!({ "name": "other-group", "type": "http-proxy", "endpoints": [endpoint] });
        groups.as_array_mut().expect("groups").push(group);
    })
}

#[test]
fn assigned_attributes_are_seen_by_later_steps_of_both_phases() {
    let assign = |phase: &str| {
        json!({ "attributes": [
            { "name": format!("{phase}-text"), "value": "plain" },
            { "name": format!("{phase}-list"), "value": "{#request.headers['X-List']}" },
            { "name": format!("{phase}-number"), "value": "{#request.headers['X-List'].size()}" },
            { "name": format!("{phase}-broken"), "value": "{#request.nope}" },
            { "name": format!("{phase}-empty"), "value": "{#context.attributes['nothing']}" },
            { "name": "", "value": "no name" },
            { "name": format!("{phase}-null"), "value": null },
            { "name": format!("{phase}-last"), "value": format!("{{#context.attributes['{phase}-text']}} again") },
        ] })
    };
    let show = |phase: &str| {
        let value = format!(
            "{{#context.attributes['{phase}-text']}} {{#context.attributes['{phase}-list'][1]}} \
             {{#context.attributes['{phase}-number'] + 1}} {{#context.attributes['{phase}-last']}} \
             {{#context.attributes['{phase}-broken'] == null}} {{#context.attributes['{phase}-empty'] == null}} \
             {{#context.attributes['{phase}-null'] == null}}"
        );
        json!({ "addHeaders": [{ "name": format!("X-{phase}"), "value": value }] })
    };
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), |api| {
            api.request("policy-assign-attributes", assign("up"))
                .request("transform-headers", show("up"))
                .response("policy-assign-attributes", assign("down"))
                .response("transform-headers", show("up"))
                .response("transform-headers", show("down"))
        })
    });
    let expected = "plain b 3 plain again true true true";
    for engine in ENGINES {
        let fields = [("X-List", "a"), ("X-List", "b")];
        let response = fetch_with(site.port(), &format!("/some-{engine}/x"), &fields);
        assert_eq!(response.status, 200, "{engine} {}", response.text());
        assert_eq!(site.backend.last().head.field("X-up"), Some(expected));
        assert_eq!(response.field("X-up"), Some(expected), "{engine}");
        assert_eq!(response.field("X-down"), Some(expected), "{engine}");
    }
}

#[test]
fn statuses_are_mapped_and_the_rest_stays() {
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), |api| {
            api.response(
                "status-code",
                json!({ "statusMappings": [
                    { "inputStatusCode": 404, "outputStatusCode": 200 },
                    { "inputStatusCode": "500", "outputStatusCode": "503" },
                    { "inputStatusCode": 200, "outputStatusCode": 201 },
                    { "inputStatusCode": 201, "outputStatusCode": 202 },
                    { "inputStatusCode": 204, "outputStatusCode": 200 },
                    { "inputStatusCode": 410, "outputStatusCode": 204 },
                ] }),
            )
        })
    });
    for engine in ENGINES {
        let mut client = site.client();
        for (from, to) in [
            (404, 200),
            (500, 503),
            (200, 201),
            (201, 202),
            (403, 403),
            (204, 200),
            (410, 204),
            (404, 200),
        ] {
            let path = format!("/some-{engine}/status/{from}");
            let response = client.send(&request("GET", &path, &[], b"")).response();
            assert_eq!(response.status, to, "{engine} {from}");
            assert!(client.surplus().is_empty(), "{engine} {from}");
        }
    }
}

#[test]
fn an_interruption_is_rendered_as_its_failure_or_by_the_template_of_its_key() {
    let interrupt = |key: &str| {
        json!({
            "errorKey": key,
            "message": "stopped on purpose",
            "variables": [
                { "name": "who", "value": "{#request.headers['X-Who'][0]}" },
                { "name": "broken", "value": "{#request.nope}" },
            ],
        })
    };
    let site = Site::with(Start::new(), |backend| {
        let rules = json!({ "KNOWN": { "*/*": {
            "status": 409,
            "headers": { "X-Template": "yes" },
            "body": "{#error.key}: {#error.message} for {#parameters['who']}",
        } } });
        let mut all = Vec::new();
        for (name, key) in [("known", "KNOWN"), ("unknown", "UNKNOWN")] {
            for phase in ["request", "response"] {
                all.extend(both(
                    &format!("{name}-{phase}"),
                    &backend.target(""),
                    |api| {
                        templates(
                            api.step(phase, "policy-interrupt", interrupt(key)),
                            rules.clone(),
                        )
                    },
                ));
            }
        }
        all
    });
    for engine in ENGINES {
        for phase in ["request", "response"] {
            let before = site.backend.requests();
            let ask = |name: &str, accept: &str| {
                fetch_with(
                    site.port(),
                    &format!("/{name}-{phase}-{engine}/x"),
                    &[("X-Who", "me"), ("Accept", accept)],
                )
            };
            let known = ask("known", "text/plain");
            assert_eq!(
                (known.status, &*known.text()),
                (409, "KNOWN: stopped on purpose for me"),
                "{engine} {phase}"
            );
            assert_eq!(known.field("X-Template"), Some("yes"), "{engine} {phase}");
            let plain = ask("unknown", "text/plain");
            assert_eq!(
                (plain.status, &*plain.text()),
                (500, "stopped on purpose"),
                "{engine} {phase}"
            );
            let json = ask("unknown", "application/json");
            assert_eq!(
                json.json(),
                json!({ "message": "stopped on purpose", "http_status_code": 500 })
            );
            assert_eq!(error_key(&site, &json), "UNKNOWN", "{engine} {phase}");
            let asked = site.backend.requests() - before;
            assert_eq!(asked, if phase == "request" { 0 } else { 3 }, "{engine}");
        }
    }
}

#[test]
fn latency_waits_before_the_backend_is_asked() {
    let site = Site::with(Start::new(), |backend| {
        let mut all = both("ms", &backend.target(""), |api| {
            api.request("latency", json!({ "time": 250 }))
        });
        all.extend(both("s", &backend.target(""), |api| {
            api.request("latency", json!({ "time": 1, "timeUnit": "SECONDS" }))
        }));
        all
    });
    let began = Instant::now();
    let mut open: Vec<(Client, u64)> = ENGINES
        .iter()
        .flat_map(|engine| {
            [
                (format!("/ms-{engine}/x"), 250),
                (format!("/s-{engine}/x"), 1_000),
            ]
        })
        .map(|(path, least)| {
            let mut client = site.client();
            client.send(&request("POST", &path, &[], b"data"));
            (client, least)
        })
        .collect();
    open.sort_by_key(|(_, least)| *least);
    for (mut client, least) in open {
        assert_eq!(client.response().status, 200);
        assert!(began.elapsed() >= Duration::from_millis(least), "{least}");
        assert_eq!(site.backend.last().body, b"data");
    }
}

#[test]
fn a_mock_answers_in_the_place_of_the_backend() {
    let cases = [
        (
            "plain",
            json!({ "status": 418, "content": "tea" }),
            418,
            "tea",
            Some("text/plain"),
        ),
        (
            "json",
            json!({ "status": "201", "content": "{\"got\": \"{#request.content}\"}" }),
            201,
            "{\"got\": \"data\"}",
            Some("application/json"),
        ),
        (
            "xml",
            json!({ "content": "<a/>" }),
            200,
            "<a/>",
            Some("text/xml"),
        ),
        (
            "own",
            json!({
                "content": "<a/>",
                "headers": [
                    { "name": "Content-Type", "value": "text/own" },
                    { "name": "X-Method", "value": "{#request.method}" },
                    { "name": "X-Broken", "value": "{#request.nope}" },
                ],
            }),
            200,
            "<a/>",
            Some("text/own"),
        ),
        ("empty", json!({ "status": 202 }), 202, "", None),
    ];
    let site = Site::with(Start::new(), |backend| {
        let mut all = Vec::new();
        for (name, configuration, ..) in &cases {
            all.extend(both(name, &backend.target(""), |api| {
                api.request("mock", configuration.clone()).response(
                    "transform-headers",
                    json!({ "addHeaders": [{ "name": "X-Response", "value": "1" }] }),
                )
            }));
        }
        all.extend(both("broken", &backend.target(""), |api| {
            api.request("mock", json!({ "content": "{#request.nope}" }))
        }));
        all
    });
    for engine in ENGINES {
        let mut client = site.client();
        for (name, _, status, body, content_type) in &cases {
            let path = format!("/{name}-{engine}/x");
            let response = client
                .send(&request("POST", &path, &[], b"data"))
                .response();
            assert_eq!(
                (response.status, &*response.text()),
                (*status, *body),
                "{path}"
            );
            assert_eq!(response.field("Content-Type"), *content_type, "{path}");
            let length = body.len().to_string();
            assert_eq!(response.field("Content-Length"), Some(&*length), "{path}");
            assert_eq!(response.field("X-Response"), Some("1"), "{path}");
            if *name == "own" {
                assert_eq!(response.field("X-Method"), Some("POST"), "{path}");
                assert_eq!(response.field("X-Broken"), None, "{path}");
            }
        }
        let path = format!("/plain-{engine}/x");
        let head = client
            .send(&request("HEAD", &path, &[], b""))
            .response_to_head();
        assert_eq!(
            (head.status, head.field("Content-Length")),
            (418, Some("3"))
        );
        assert!(client.surplus().is_empty());
        let broken = fetch(site.port(), &format!("/broken-{engine}/x"));
        assert_eq!(broken.status, 500, "{engine}");
        assert!(
            broken.text().contains("nope"),
            "{engine}: {}",
            broken.text()
        );
    }
    assert_eq!(site.backend.requests(), 0);
}

#[test]
fn a_malformed_configuration_refuses_the_api_and_names_the_member() {
    let cases = [
        (
            "transform-headers",
            json!({ "addHeaders": "X" }),
            "addHeaders",
        ),
        (
            "transform-headers",
            json!({ "appendHeaders": [{ "name": "X-A", "value": "1" }, { "name": "a b", "value": "1" }] }),
            "appendHeaders[1].name",
        ),
        (
            "transform-headers",
            json!({ "removeHeaders": [{}] }),
            "removeHeaders[0]",
        ),
        ("transform-headers", json!({ "scope": "NOWHERE" }), "scope"),
        (
            "cache",
            json!({ "cacheName": "c", "methods": ["NO SUCH"] }),
            "methods[0]",
        ),
        (
            "cache",
            json!({ "cacheName": "c", "scope": "WORLD" }),
            "scope",
        ),
        (
            "cache",
            json!({ "cacheName": "c", "timeToLiveSeconds": "soon" }),
            "timeToLiveSeconds",
        ),
        (
            "policy-circuit-breaker",
            json!({ "windowSize": "wide" }),
            "windowSize",
        ),
        (
            "policy-circuit-breaker",
            json!({ "windowSize": 1_000_000 }),
            "windowSize",
        ),
        ("aws-lambda", json!({}), "function"),
        (
            "aws-lambda",
            json!({ "function": "f", "region": "a/b" }),
            "region",
        ),
        (
            "aws-lambda",
            json!({ "function": "f", "invocationType": "Later" }),
            "invocationType",
        ),
        (
            "aws-lambda",
            json!({ "function": "f", "ssl": { "trustStorePath": "/x" } }),
            "ssl.trustStorePath",
        ),
        ("mock", json!({ "status": 99 }), "status"),
        (
            "mock",
            json!({ "headers": [{ "name": "a:b", "value": "1" }] }),
            "headers[0].name",
        ),
        ("retry", json!({ "maxRetries": -1 }), "maxRetries"),
        ("retry", json!({ "lastResponse": "maybe" }), "lastResponse"),
        ("policy-http-callout", json!({ "method": "GET" }), "url"),
        (
            "policy-http-callout",
            json!({ "url": "http://a", "method": "NO SUCH" }),
            "method",
        ),
        (
            "policy-http-callout",
            json!({ "url": "http://a", "exitOnError": true, "errorStatusCode": 42 }),
            "errorStatusCode",
        ),
        (
            "policy-http-callout",
            json!({ "url": "http://a", "variables": [1] }),
            "variables[0]",
        ),
        (
            "traffic-shadowing",
            json!({ "target": "x", "headers": [{ "name": "\n", "value": "1" }, { "name": "a b", "value": "1" }] }),
            "headers[1].name",
        ),
        (
            "dynamic-routing",
            json!({ "rules": [{ "pattern": {}, "url": "/x" }] }),
            "rules[0].pattern",
        ),
        ("dynamic-routing", json!({ "rules": 7 }), "rules"),
        ("policy-override-request-method", json!({}), "method"),
        (
            "policy-override-request-method",
            json!({ "method": "NO SUCH" }),
            "method",
        ),
        (
            "policy-assign-attributes",
            json!({ "attributes": [7] }),
            "attributes[0]",
        ),
        ("policy-interrupt", json!({ "errorKey": {} }), "errorKey"),
        (
            "status-code",
            json!({ "statusMappings": [{ "inputStatusCode": 200, "outputStatusCode": 100 }] }),
            "statusMappings[0].outputStatusCode",
        ),
        (
            "status-code",
            json!({ "statusMappings": {} }),
            "statusMappings",
        ),
        (
            "http-redirect",
            json!({ "rules": [{ "path": "/", "status": 200 }] }),
            "rules[0].status",
        ),
        ("latency", json!({ "time": -1 }), "time"),
        (
            "latency",
            json!({ "time": 1, "timeUnit": "DAYS" }),
            "timeUnit",
        ),
    ];
    let site = Site::with(Start::new(), |backend| {
        cases
            .iter()
            .enumerate()
            .flat_map(|(at, (policy, configuration, _))| {
                let phase = if *policy == "status-code" {
                    "response"
                } else {
                    "request"
                };
                both(&format!("bad-{at}"), &backend.target(""), |api| {
                    api.step(phase, policy, configuration.clone())
                })
            })
            .collect()
    });
    let mut wrong = Vec::new();
    for (at, (policy, configuration, member)) in cases.iter().enumerate() {
        for engine in ENGINES {
            let api = format!("bad-{at}-{engine}");
            let reason = until(
                &format!("the refusal of {policy} {configuration}"),
                PATIENCE,
                || {
                    let known = site.gateway.refusal(&api);
                    known.or_else(|| {
                        (site.fetch(&format!("/{api}/x")).status != 404).then(String::new)
                    })
                },
            );
            if !reason.contains(&format!("configuration.{member}: ")) {
                wrong.push(format!("{engine} {policy} {configuration}: {reason:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(site.fetch("/api/x").status, 200);
}
