//! The chain of flows and policies, seen from both ends: order, selection, conditions, failures, engines.

use serde_json::{Value, json};

use crate::support::client::{Response, exchange, fetch, fetch_with, request};
use crate::support::definition::{Definition, v2, v4};
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

/// A step that adds a value to a header.
fn mark(header: &str, value: &str) -> Value {
    json!({
        "name": value,
        "policy": "transform-headers",
        "enabled": true,
        "configuration": { "appendHeaders": [{ "name": header, "value": value }] },
    })
}

/// The legacy engine looks at the `scope`, which is the request's by default.
fn on_response(mut step: Value) -> Value {
    step["configuration"]["scope"] = json!("RESPONSE");
    step
}

fn when(mut step: Value, condition: &str) -> Value {
    step["condition"] = json!(condition);
    step
}

/// A V4 flow; `condition` is blank for none.
fn flow(path: &str, operator: &str, methods: &[&str], condition: &str, name: &str) -> Value {
    let mut selectors =
        vec![json!({ "type": "HTTP", "path": path, "pathOperator": operator, "methods": methods })];
    if !condition.is_empty() {
        selectors.push(json!({ "type": "CONDITION", "condition": condition }));
    }
    json!({
        "name": name,
        "enabled": true,
        "selectors": selectors,
        "request": [mark("X-Up", name)],
        "response": [mark("X-Down", name)],
    })
}

/// The same in a V2 definition.
fn flow_v2(path: &str, operator: &str, methods: &[&str], condition: &str, name: &str) -> Value {
    json!({
        "name": name,
        "enabled": true,
        "path-operator": { "path": path, "operator": operator },
        "methods": methods,
        "condition": condition,
        "pre": [mark("X-Up", name)],
        "post": [on_response(mark("X-Down", name))],
    })
}

fn with_flows(definition: Definition, flows: Value) -> Definition {
    definition.with(|definition| definition["flows"] = flows)
}

/// What was marked on the way to the backend and on the way back.
fn marks(site: &Site, response: &Response) -> (String, String) {
    let up = site.backend.last().head;
    (
        up.all("X-Up").join(" "),
        response.head.all("X-Down").join(" "),
    )
}

#[test]
fn flows_are_selected_by_path_operator_method_and_condition_on_every_engine() {
    let selections: [(&str, &str, &[&str], &str, &str); 6] = [
        ("/", "STARTS_WITH", &[], "", "all"),
        ("/a", "STARTS_WITH", &[], "", "starts"),
        ("/a", "EQUALS", &[], "", "equals"),
        ("/a/:id", "EQUALS", &["GET"], "", "parameter"),
        ("/", "STARTS_WITH", &["POST"], "", "post"),
        (
            "/",
            "STARTS_WITH",
            &[],
            "{#request.headers['X-Ask'] != null}",
            "asked",
        ),
    ];
    let flows = |of: fn(&str, &str, &[&str], &str, &str) -> Value| -> Value {
        selections
            .iter()
            .map(|(path, operator, methods, condition, name)| {
                of(path, operator, methods, condition, name)
            })
            .collect()
    };
    let site = Site::with(Start::new(), |backend| {
        vec![
            with_flows(v4("four", "/four", &backend.target("")), flows(flow)),
            with_flows(v2("two", "/two", &backend.target("")), flows(flow_v2)),
            with_flows(v2("old", "/old", &backend.target("")), flows(flow_v2))
                .with(|definition| definition["execution_mode"] = json!("v3")),
        ]
    });
    for api in ["four", "two", "old"] {
        for (method, path, ask, expected) in [
            ("GET", "/", false, "all"),
            ("GET", "/a", false, "all starts equals"),
            ("GET", "/a/", false, "all starts equals"),
            ("GET", "/ab", false, "all starts"),
            ("GET", "/a/7", false, "all starts parameter"),
            ("POST", "/a/7", false, "all starts post"),
            ("GET", "/b", true, "all asked"),
        ] {
            let fields = if ask { vec![("X-Ask", "1")] } else { vec![] };
            let response = exchange(
                site.port(),
                &request(method, &format!("/{api}{path}"), &fields, b""),
            );
            let expected = (expected.to_owned(), expected.to_owned());
            assert_eq!(marks(&site, &response), expected, "{api} {method} {path}");
        }
    }
}

#[test]
fn organization_plan_and_api_flows_run_in_the_order_of_the_engine() {
    let site = Site::with(Start::new(), |backend| {
        let plan =
            |definition: &mut Value, flow: Value| definition["plans"][0]["flows"] = json!([flow]);
        vec![
            with_flows(
                v4("four", "/four", &backend.target("")),
                json!([flow("/", "STARTS_WITH", &[], "", "api")]),
            )
            .with(|definition| plan(definition, flow("/", "STARTS_WITH", &[], "", "plan"))),
            with_flows(
                v2("two", "/two", &backend.target("")),
                json!([flow_v2("/", "STARTS_WITH", &[], "", "api")]),
            )
            .with(|definition| plan(definition, flow_v2("/", "STARTS_WITH", &[], "", "plan"))),
            with_flows(
                v2("old", "/old", &backend.target("")),
                json!([flow_v2("/", "STARTS_WITH", &[], "", "api")]),
            )
            .with(|definition| {
                plan(definition, flow_v2("/", "STARTS_WITH", &[], "", "plan"));
                definition["execution_mode"] = json!("v3");
            }),
        ]
    });
    site.plane.publish_organization(
        "DEFAULT",
        json!([flow_v2("/", "STARTS_WITH", &[], "", "organization")]),
    );
    until("the organization's flows", PATIENCE, || {
        let response = site.fetch("/four/x");
        marks(&site, &response)
            .0
            .contains("organization")
            .then_some(())
    });
    for (api, up, down) in [
        ("four", "organization plan api", "plan api organization"),
        ("two", "organization plan api", "plan api organization"),
        ("old", "organization plan api", "api plan organization"),
    ] {
        let response = site.fetch(&format!("/{api}/x"));
        assert_eq!(
            marks(&site, &response),
            (up.to_owned(), down.to_owned()),
            "{api}"
        );
    }
}

#[test]
fn the_best_flow_alone_runs_in_best_match_mode() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            with_flows(
                v4("best", "/best", &backend.target("")),
                json!([
                    flow("/", "STARTS_WITH", &[], "", "root"),
                    flow("/books", "STARTS_WITH", &[], "", "books"),
                    flow("/books/:id", "STARTS_WITH", &[], "", "book"),
                    flow(
                        "/books/7",
                        "STARTS_WITH",
                        &[],
                        "{#request.headers['X-Ask'] != null}",
                        "seven"
                    ),
                ]),
            )
            .with(|definition| {
                definition["flowExecution"] = json!({ "mode": "best-match", "matchRequired": true })
            }),
        ]
    });
    for (path, ask, expected) in [
        ("/x", false, "root"),
        ("/books", false, "books"),
        ("/books/7", false, "book"),
        ("/books/7", true, "seven"),
        ("/books/7/pages", false, "book"),
    ] {
        let fields = if ask { vec![("X-Ask", "1")] } else { vec![] };
        let response = fetch_with(site.port(), &format!("/best{path}"), &fields);
        assert_eq!(marks(&site, &response).0, expected, "{path} {ask}");
    }
}

#[test]
fn a_request_without_a_flow_is_refused_where_one_is_required() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            with_flows(
                v4("some", "/some", &backend.target("")),
                json!([flow("/a", "EQUALS", &[], "", "a")]),
            )
            .with(|definition| definition["flowExecution"] = json!({ "matchRequired": true })),
        ]
    });
    assert_eq!(site.fetch("/some/a").status, 200);
    let response = site.fetch("/some/b");
    assert_eq!((response.status, response.body.len()), (404, 0));
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    let report = site.plane.report_of(id);
    assert_eq!(report["error-key"], "FLOW_EXECUTION_FLOW_MATCHED_FAILURE");
}

#[test]
fn conditions_of_steps_skip_fail_softly_or_fail_the_request() {
    for (condition, status, expected) in [
        ("", 200, "first second"),
        ("{#request.method == 'GET'}", 200, "first second"),
        ("{#request.method == 'POST'}", 200, "first"),
        ("{#context.attributes['nothing']}", 200, "first"),
        // It cannot be evaluated: the step is skipped, with a warning.
        ("{#request.nope}", 200, "first"),
        // It cannot be read: the request fails.
        ("{#request.method ==}", 500, ""),
    ] {
        let site = Site::with(Start::new(), |backend| {
            let mut only = flow("/", "STARTS_WITH", &[], "", "first");
            only["request"] = json!([
                mark("X-Up", "first"),
                when(mark("X-Up", "second"), condition)
            ]);
            vec![with_flows(
                v4("some", "/some", &backend.target("")),
                json!([only]),
            )]
        });
        let response = site.fetch("/some/x");
        assert_eq!(response.status, status, "{condition}");
        if status == 200 {
            assert_eq!(marks(&site, &response).0, expected, "{condition}");
        } else {
            assert_eq!(site.backend.requests(), 0, "{condition}");
        }
        if condition.contains("nope") {
            let id = response.field("X-Gravitee-Request-Id").expect("an id");
            let report = site.plane.report_of(id).to_string();
            assert!(report.contains("EXPRESSION_EVALUATION_ERROR"), "{report}");
        }
    }
}

#[test]
fn a_shared_policy_group_runs_in_the_place_of_its_step_and_follows_its_changes() {
    let site = Site::with(Start::new(), |backend| {
        let group = |condition: &str| {
            json!({
                "name": "group",
                "policy": "shared-policy-group-policy",
                "enabled": true,
                "condition": condition,
                "configuration": { "sharedPolicyGroupId": "group" },
            })
        };
        let unknown = json!({
            "name": "unknown",
            "policy": "shared-policy-group-policy",
            "enabled": true,
            "configuration": { "sharedPolicyGroupId": "nobody" },
        });
        let mut only = flow("/", "STARTS_WITH", &[], "", "flow");
        only["request"] = json!([
            mark("X-Up", "before"),
            group("{#request.headers['X-Skip'] == null}"),
            unknown,
            mark("X-Up", "after"),
        ]);
        vec![with_flows(
            v4("some", "/some", &backend.target("")),
            json!([only]),
        )]
    });
    let up = |fields: &[(&str, &str)]| {
        let response = fetch_with(site.port(), "/some/x", fields);
        assert_eq!(response.status, 200);
        marks(&site, &response).0
    };
    assert_eq!(up(&[]), "before after", "the group is not there yet");
    for steps in [&["one", "two"][..], &["three"]] {
        let marked: Value = steps.iter().map(|name| mark("X-Up", name)).collect();
        site.plane.deploy_group("group", "REQUEST", marked);
        let expected = format!("before {} after", steps.join(" "));
        until("the group's steps", PATIENCE, || {
            (up(&[]) == expected).then_some(())
        });
        assert_eq!(up(&[("X-Skip", "1")]), "before after");
    }
}

#[test]
fn expressions_see_properties_dictionaries_and_the_exchange() {
    let shown = [
        ("X-Property", "{#api.properties['greeting']}", "hello world"),
        ("X-Properties", "{#properties['greeting']}", "hello world"),
        (
            "X-Api",
            "{#api.id} {#api.name} {#api.version}",
            "some some 1",
        ),
        (
            "X-Path",
            "{#request.path} {#request.pathInfo} {#request.contextPath}",
            "/some/items/7 /items/7 /some/",
        ),
        ("X-Parameter", "{#request.params['q'][0]}", "a b"),
        ("X-Path-Parameter", "{#request.pathParams['id'][0]}", "7"),
        (
            "X-Attribute",
            "{#context.attributes['plan']} {#context.attributes['application']}",
            "some-plan 1",
        ),
        (
            "X-Method",
            "{#request.method} {#request.scheme} {#request.version}",
            "GET http HTTP_1_1",
        ),
        ("X-Remote", "{#request.remoteAddress}", "127.0.0.1"),
        ("X-Dictionary", "{#dictionaries['words']['a']}", "apple"),
        ("X-Length", "{#request.headers['X-Text'][0].length()}", "5"),
    ];
    let headers: Value = shown
        .iter()
        .map(|(name, value, _)| json!({ "name": name, "value": value }))
        .collect();
    let site = Site::with(Start::new(), |backend| {
        let mut only = flow("/items/:id", "EQUALS", &[], "", "items");
        only["request"] = json!([{
            "name": "show",
            "policy": "transform-headers",
            "enabled": true,
            "configuration": { "addHeaders": headers },
        }]);
        vec![
            with_flows(v4("some", "/some", &backend.target("")), json!([only])).with(
                |definition| {
                    definition["properties"] = json!([
                        { "key": "greeting", "value": "hello {{who}}" },
                        { "key": "who", "value": "world" },
                    ]);
                },
            ),
        ]
    });
    site.plane
        .publish_dictionary("words", json!({ "a": "apple" }));
    let ask = || fetch_with(site.port(), "/some/items/7?q=a+b", &[("X-Text", "12345")]);
    // Without the dictionary its entry is looked up in nothing, which is an error.
    until("the dictionary", PATIENCE, || {
        (ask().status == 200).then_some(())
    });
    let head = site.backend.last().head;
    for (name, expression, expected) in shown {
        assert_eq!(head.field(name), Some(expected), "{expression}");
    }
}

#[test]
fn client_data_is_never_read_as_an_expression_and_control_characters_are_never_sent() {
    let site = Site::with(Start::new(), |backend| {
        vec![v4("some", "/some", &backend.target("")).request(
            "transform-headers",
            json!({ "addHeaders": [
                    { "name": "X-Seen", "value": "{#request.headers['X-Text'][0]}" },
                    { "name": "X-Decoded", "value": "{#request.params['p'][0]}" },
                ] }),
        )]
    });
    let text = "{#request.method} {T(java.lang.Runtime)}";
    let response = fetch_with(site.port(), "/some/x?p=1", &[("X-Text", text)]);
    assert_eq!(response.status, 200);
    assert_eq!(site.backend.last().head.field("X-Seen"), Some(text));
    let before = site.backend.requests();
    let response = fetch_with(
        site.port(),
        "/some/x?p=a%0d%0aX-Evil:%201",
        &[("X-Text", "t")],
    );
    if site.backend.requests() > before {
        let head = site.backend.last().head;
        assert_eq!(head.field("X-Evil"), None);
        assert_eq!(head.field("X-Decoded"), None);
    } else {
        assert_eq!(response.status, 500);
    }
}

#[test]
fn response_templates_answer_failures_by_key_and_media_type() {
    let site =
        Site::with(Start::new(), |backend| {
            vec![
            v4("some", "/some", &backend.target("")).api_key().with(|definition| {
                definition["responseTemplates"] = json!({
                    "GATEWAY_PLAN_UNRESOLVABLE": {
                        "application/json": {
                            "status": 412,
                            "headers": { "X-Template": "json" },
                            "body": "{\"why\":\"{#error.key}\",\"was\":{#error.statusCode}}",
                        },
                        "*/*": { "status": 413, "body": "any" },
                    },
                });
            }),
        ]
        });
    let json = fetch_with(site.port(), "/some/x", &[("Accept", "application/json")]);
    assert_eq!((json.status, json.field("X-Template")), (412, Some("json")));
    assert_eq!(
        json.text(),
        "{\"why\":\"GATEWAY_PLAN_UNRESOLVABLE\",\"was\":401}"
    );
    assert_eq!(json.field("Content-Type"), Some("application/json"));
    assert!(json.closes());
    let any = fetch(site.port(), "/some/x");
    assert_eq!((any.status, any.text()), (413, "any".to_owned()));
}

#[test]
fn preflights_are_answered_before_security_and_ordinary_responses_are_marked() {
    let cors = json!({
        "enabled": true,
        "allowOrigin": ["https://good.example"],
        "allowMethods": ["GET", "POST"],
        "allowHeaders": ["X-One"],
        "exposeHeaders": ["X-Shown"],
        "allowCredentials": true,
        "maxAge": 60,
    });
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("some", "/some", &backend.target(""))
                .api_key()
                .with(|definition| definition["listeners"][0]["cors"] = cors.clone()),
        ]
    });
    site.plane.subscribe("some", "key", json!({}));
    let preflight = |origin: &str, method: &str| {
        let fields = [
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
        ];
        exchange(site.port(), &request("OPTIONS", "/some/x", &fields, b""))
    };
    let allowed = preflight("https://good.example", "GET");
    assert_eq!((allowed.status, allowed.body.len()), (200, 0));
    for (name, value) in [
        ("Access-Control-Allow-Origin", "https://good.example"),
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Allow-Headers", "X-One"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Max-Age", "60"),
    ] {
        assert_eq!(allowed.field(name), Some(value), "{name}");
    }
    for (origin, method) in [
        ("https://evil.example", "GET"),
        ("https://good.example", "PUT"),
    ] {
        let refused = preflight(origin, method);
        assert_eq!(
            (refused.status, refused.body.len()),
            (400, 0),
            "{origin} {method}"
        );
    }
    assert_eq!(site.backend.requests(), 0);
    let response = until("the key", PATIENCE, || {
        let fields = [
            ("Origin", "https://good.example"),
            ("X-Gravitee-Api-Key", "key"),
        ];
        Some(fetch_with(site.port(), "/some/x", &fields)).filter(|response| response.status == 200)
    });
    assert_eq!(
        response.field("Access-Control-Allow-Origin"),
        Some("https://good.example")
    );
    assert_eq!(
        response.field("Access-Control-Expose-Headers"),
        Some("X-Shown")
    );
    let refused = fetch_with(
        site.port(),
        "/some/x",
        &[("Origin", "https://good.example")],
    );
    assert_eq!(refused.status, 401, "an ordinary request needs its key");
    assert_eq!(
        refused.field("Access-Control-Allow-Origin"),
        Some("https://good.example")
    );
}

#[test]
fn a_slow_policy_is_ended_by_the_request_timeout() {
    let site = Site::with(Start::new().set("http.requestTimeout", "300"), |backend| {
        vec![
            v4("some", "/some", &backend.target(""))
                .request("latency", json!({ "time": 60, "timeUnit": "SECONDS" })),
        ]
    });
    for (accept, body) in [
        (None, "Request timeout"),
        (
            Some("application/json"),
            "{\"message\":\"Request timeout\",\"http_status_code\":504}",
        ),
    ] {
        let fields: Vec<(&str, &str)> = accept
            .map(|accept| ("Accept", accept))
            .into_iter()
            .collect();
        let response = fetch_with(site.port(), "/some/x", &fields);
        assert_eq!((response.status, response.text()), (504, body.to_owned()));
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        assert_eq!(site.plane.report_of(id)["error-key"], "REQUEST_TIMEOUT");
    }
    assert_eq!(site.backend.requests(), 0);
}

#[test]
fn an_unknown_policy_refuses_its_api_and_the_previous_version_stays() {
    let site = Site::with(Start::new(), |backend| {
        vec![v4("some", "/some", &backend.target("")).request(
            "transform-headers",
            json!({ "addHeaders": [{ "name": "X-Version", "value": "1" }] }),
        )]
    });
    assert_eq!(site.fetch("/some/x").status, 200);
    let bad = v4("some", "/some", &site.backend.target("")).request("no-such-policy", json!({}));
    site.plane.deploy(&bad);
    until("the refusal in the log", PATIENCE, || {
        let output = site.gateway.process.output();
        (output.contains("no-such-policy") && output.contains("some")).then_some(())
    });
    assert_eq!(site.fetch("/some/x").status, 200);
    assert_eq!(site.backend.last().head.field("X-Version"), Some("1"));
    // A step that is switched off needs no policy.
    let off = bad.with(|definition| definition["flows"][0]["request"][0]["enabled"] = json!(false));
    site.plane.deploy(&off);
    until("the new version", PATIENCE, || {
        let _ = site.fetch("/some/x");
        site.backend
            .last()
            .head
            .field("X-Version")
            .is_none()
            .then_some(())
    });
}
