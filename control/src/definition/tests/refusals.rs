use super::*;

/// (JSON pointer, value, member that must be named)
type Case = (&'static str, Value, &'static str);

fn step(policy: &str) -> Value {
    json!([{"name": "s", "policy": policy, "configuration": {}}])
}

fn unsupported_v4() -> Vec<Case> {
    vec![
        ("/type", json!("message"), "type"),
        ("/type", json!("NATIVE"), "type"),
        ("/type", json!("mcp-proxy"), "type"),
        (
            "/plans/0/flows/0/request",
            step("no-such-policy"),
            "plans[0].flows[0].request[0].policy",
        ),
        (
            "/flows/0/response",
            step("no-such-policy"),
            "flows[0].response[0].policy",
        ),
        (
            "/flows/1/request",
            step("no-such-policy"),
            "flows[1].request[0].policy",
        ),
        ("/failover/enabled", json!(true), "failover.enabled"),
        ("/listeners/0/type", json!("tcp"), "listeners[0].type"),
        (
            "/listeners/1/type",
            json!("subscription"),
            "listeners[1].type",
        ),
        (
            "/endpointGroups/0/services/discovery",
            json!({"type": "consul"}),
            "endpointGroups[0].services.discovery",
        ),
        (
            "/endpointGroups/0/type",
            json!("kafka"),
            "endpointGroups[0].type",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/http/version",
            json!("HTTP_2"),
            "endpointGroups[0].sharedConfiguration.http.version",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/http/followRedirects",
            json!(true),
            "endpointGroups[0].sharedConfiguration.http.followRedirects",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/proxy/enabled",
            json!(true),
            "endpointGroups[0].sharedConfiguration.proxy.enabled",
        ),
        (
            "/endpointGroups/0/endpoints/0/configuration/target",
            json!("grpc://h"),
            "endpointGroups[0].endpoints[0].configuration.target",
        ),
        (
            "/endpointGroups/0/endpoints/0/configuration/target",
            json!("https://user:hunter2@h"),
            "endpointGroups[0].endpoints[0].configuration.target",
        ),
        (
            "/endpointGroups/0/endpoints/0/configuration/target",
            json!("{#dictionaries['a']['b']}"),
            "endpointGroups[0].endpoints[0].configuration.target",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/headers",
            json!([{"name": "A", "value": "{#secrets.get('hunter2')}"}]),
            "endpointGroups[0].sharedConfiguration.headers[0].value",
        ),
    ]
}

fn unsupported_v2() -> Vec<Case> {
    vec![
        (
            "/plans/0/flows/0/pre",
            step("no-such-policy"),
            "plans[0].flows[0].pre[0].policy",
        ),
        (
            "/flows/0/post",
            step("no-such-policy"),
            "flows[0].post[0].policy",
        ),
        ("/proxy/failover", json!({}), "proxy.failover"),
        (
            "/proxy/groups/0/endpoints/0/type",
            json!("GRPC"),
            "proxy.groups[0].endpoints[0].type",
        ),
        (
            "/proxy/groups/0/endpoints/0/target",
            json!("wss://h"),
            "proxy.groups[0].endpoints[0].target",
        ),
        (
            "/proxy/groups/0/http/version",
            json!("HTTP_2"),
            "proxy.groups[0].http.version",
        ),
        (
            "/proxy/groups/0/http/followRedirects",
            json!("true"),
            "proxy.groups[0].http.followRedirects",
        ),
        (
            "/proxy/groups/0/proxy/enabled",
            json!(true),
            "proxy.groups[0].proxy.enabled",
        ),
        (
            "/proxy/groups/0/services/discovery",
            json!({"provider": "CONSUL"}),
            "proxy.groups[0].services.discovery",
        ),
        (
            "/services/discovery",
            json!({"provider": "CONSUL"}),
            "services.discovery",
        ),
        ("/gravitee", json!("1.0.0"), "gravitee"),
        ("/gravitee", json!("FEDERATED"), "gravitee"),
    ]
}

#[test]
fn what_is_not_built_refuses_the_api_by_the_member() {
    for (base, cases) in [(v4(), unsupported_v4()), (v2(), unsupported_v2())] {
        for (pointer, value, member) in cases {
            let refusal = refusal(&with(base.clone(), pointer, value));
            assert_eq!(refusal.member, member, "{refusal}");
            assert_eq!(refusal.kind, RefusalKind::Unsupported, "{refusal}");
            let text = refusal.to_string();
            assert!(text.contains("not supported"), "{text}");
            assert!(
                !text.contains("user:hunter2"),
                "credentials are not shown: {text}"
            );
            assert!(!refusal.undeploys());
        }
    }
}

#[test]
fn what_is_switched_off_is_served() {
    let off = json!({"enabled": false});
    for definition in [
        with(
            v4(),
            "/flows/0",
            json!({"enabled": false, "request": step("no-such-policy")}),
        ),
        with(
            v4(),
            "/flows/0/request",
            json!([{"policy": "no-such-policy", "enabled": false}]),
        ),
        with(
            v4(),
            "/flows/0",
            json!({"name": "empty", "request": [], "response": []}),
        ),
        with(v4(), "/listeners/0/cors", off.clone()),
        with(v4(), "/failover", off.clone()),
        with(v4(), "/failover", json!({"maxRetries": 2})),
        with(v4(), "/responseTemplates", json!({})),
        with(v4(), "/endpointGroups/0/services/discovery", off.clone()),
        with(
            v4(),
            "/plans/1",
            json!({"id": "x", "security": {"type": "jwt"}, "status": "closed"}),
        ),
        with(v4(), "/plans/0/selectionRule", json!(" ")),
        with(
            v2(),
            "/flows/0/pre",
            json!([{"policy": "no-such-policy", "enabled": "false"}]),
        ),
        with(v2(), "/proxy/cors", off.clone()),
        with(v2(), "/proxy/failover", Value::Null),
        with(v2(), "/services/discovery", off),
    ] {
        assert_eq!(notes(&definition), Vec::<String>::new());
    }
}

#[test]
fn what_has_no_effect_on_answers_is_noted_by_the_member() {
    let v4_cases: Vec<Case> = vec![
        (
            "/analytics/logging/mode/entrypoint",
            json!(true),
            "analytics.logging",
        ),
        (
            "/analytics/tracing/enabled",
            json!(true),
            "analytics.tracing",
        ),
        ("/resources", json!([{"name": "a"}]), "resources[0]"),
        (
            "/services/dynamicProperty",
            json!({"type": "http"}),
            "services.dynamicProperty",
        ),
        (
            "/endpointGroups/0/services/healthCheck",
            json!({"type": "http-health-check"}),
            "endpointGroups[0].services.healthCheck",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/http/useCompression",
            json!(true),
            "endpointGroups[0].sharedConfiguration.http.useCompression",
        ),
        (
            "/listeners/1",
            json!({"type": "carrier-pigeon"}),
            "listeners[1].type",
        ),
    ];
    let v2_cases: Vec<Case> = vec![
        (
            "/proxy/logging/mode",
            json!("CLIENT_PROXY"),
            "proxy.logging",
        ),
        ("/proxy/loggingMode", json!("CLIENT"), "proxy.loggingMode"),
        ("/resources", json!([{"name": "a"}]), "resources[0]"),
        (
            "/services/health-check",
            json!({"schedule": "* * * * * *"}),
            "services.health-check",
        ),
        (
            "/services/dynamic-property",
            json!({}),
            "services.dynamic-property",
        ),
        (
            "/proxy/groups/0/endpoints/0/healthcheck",
            json!({"inherit": true}),
            "proxy.groups[0].endpoints[0].healthcheck",
        ),
    ];
    for (base, cases) in [(v4(), v4_cases), (v2(), v2_cases)] {
        for (pointer, value, member) in cases {
            let notes = compiled(&with(base.clone(), pointer, value)).warnings;
            let members: Vec<&str> = notes.iter().map(|note| note.member.as_str()).collect();
            assert_eq!(members, [member]);
        }
    }
}

#[test]
fn a_member_of_the_wrong_type_or_a_missing_one_is_named() {
    let v4_cases: Vec<Case> = vec![
        ("/id", Value::Null, "id"),
        ("/name", json!({}), "name"),
        ("/listeners", json!([]), "listeners"),
        ("/listeners", json!({}), "listeners"),
        ("/listeners/0/paths", json!([]), "listeners[0].paths"),
        ("/listeners/0/paths/0", json!("x"), "listeners[0].paths[0]"),
        (
            "/listeners/0/paths/0/path",
            json!([]),
            "listeners[0].paths[0].path",
        ),
        ("/endpointGroups", Value::Null, "endpointGroups"),
        (
            "/endpointGroups/0/endpoints",
            json!(1),
            "endpointGroups[0].endpoints",
        ),
        (
            "/endpointGroups/0/endpoints/0/weight",
            json!("heavy"),
            "endpointGroups[0].endpoints[0].weight",
        ),
        (
            "/endpointGroups/0/loadBalancer/type",
            json!("astrology"),
            "endpointGroups[0].loadBalancer.type",
        ),
        ("/plans", json!({"p": {}}), "plans"),
        ("/plans/0", json!("p"), "plans[0]"),
        (
            "/plans/0/security/type",
            json!("palm-reading"),
            "plans[0].security.type",
        ),
        (
            "/plans/0/flows/0/enabled",
            json!("maybe"),
            "plans[0].flows[0].enabled",
        ),
        ("/flows", json!("x"), "flows"),
        ("/tags", json!([[]]), "tags[0]"),
        ("/type", json!("toaster"), "type"),
        (
            "/endpointGroups/0/sharedConfiguration/headers",
            json!([{"name": "A\r\nB", "value": "x"}]),
            "endpointGroups[0].sharedConfiguration.headers[0].value",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/headers",
            json!([{"name": "A", "value": "x\r\nContent-Length: 0"}]),
            "endpointGroups[0].sharedConfiguration.headers[0].value",
        ),
        (
            "/endpointGroups/0/sharedConfiguration/headers",
            json!([{"name": "Transfer-Encoding", "value": "chunked"}]),
            "endpointGroups[0].sharedConfiguration.headers[0].value",
        ),
    ];
    let v2_cases: Vec<Case> = vec![
        ("/proxy", Value::Null, "proxy"),
        ("/proxy/virtual_hosts", json!([]), "proxy.virtual_hosts"),
        (
            "/proxy/groups/0/load_balancing/type",
            json!("x"),
            "proxy.groups[0].load_balancing.type",
        ),
        (
            "/proxy/groups/0/endpoints/0/name",
            Value::Null,
            "proxy.groups[0].endpoints[0].name",
        ),
        (
            "/proxy/groups/0/endpoints/0/target",
            Value::Null,
            "proxy.groups[0].endpoints[0].target",
        ),
        (
            "/proxy/groups/0/endpoints/1",
            json!({"name": "one", "target": "http://h"}),
            "proxy.groups[0].endpoints[1].name",
        ),
        (
            "/proxy/groups/0/endpoints/1",
            json!({"name": "group", "target": "http://h"}),
            "proxy.groups[0].endpoints[1].name",
        ),
        ("/proxy/groups/1", json!({"name": "group"}), "proxy.groups"),
        (
            "/proxy/groups/0/headers",
            json!({"A B": "x"}),
            "proxy.groups[0].headers.A B",
        ),
        (
            "/proxy/groups/0/hostHeader",
            json!("a\nb"),
            "proxy.groups[0].hostHeader",
        ),
    ];
    for (base, cases) in [(v4(), v4_cases), (v2(), v2_cases)] {
        for (pointer, value, member) in cases {
            let refusal = refusal(&with(base.clone(), pointer, value));
            assert_eq!(
                (refusal.member.as_str(), refusal.kind),
                (member, RefusalKind::Invalid),
                "{refusal}"
            );
        }
    }
}

#[test]
fn a_text_that_is_not_a_definition_is_refused_with_its_place() {
    let context = CompileContext::default();
    for (text, expected) in [
        ("", "line 1 column 0"),
        ("{\n  \"id\": x}", "line 2 column 9"),
        ("[]", "found an array"),
        ("{}{}", "trailing characters"),
        (&"[".repeat(100_000), "recursion limit"),
        (
            &" ".repeat(DEFINITION_BYTES_MAX + 1),
            "at most 8388608 bytes",
        ),
    ] {
        let refusal = compile(
            &ApiInput {
                definition: text,
                ..ApiInput::default()
            },
            &context,
        )
        .expect_err("not JSON");
        assert_eq!(
            (refusal.kind, refusal.member.as_str()),
            (RefusalKind::Malformed, "definition")
        );
        assert!(refusal.reason.contains(expected), "{refusal}");
    }
}

#[test]
fn the_record_decides_the_version_and_without_it_the_text_does() {
    let of = |definition: &Value, version: Option<&str>| {
        let text = definition.to_string();
        let input = ApiInput {
            definition: &text,
            definition_version: version,
            ..ApiInput::default()
        };
        compile(&input, &CompileContext::default()).map(|compiled| compiled.api.engine)
    };
    assert_eq!(of(&v4(), None), Ok(Engine::V4));
    assert_eq!(of(&v4(), Some("V4")), Ok(Engine::V4));
    assert_eq!(
        of(
            &with(
                with(v4(), "/definitionVersion", Value::Null),
                "/gravitee",
                json!("4.0.0")
            ),
            None
        ),
        Ok(Engine::V4)
    );
    assert_eq!(of(&v2(), None), Ok(Engine::V2Emulation));
    assert_eq!(of(&v2(), Some("2.0.0")), Ok(Engine::V2Emulation));
    assert_eq!(
        of(&with(v2(), "/gravitee", Value::Null), None),
        Ok(Engine::V2Emulation)
    );
    assert_eq!(
        of(&with(v2(), "/execution_mode", json!("jupiter")), None),
        Ok(Engine::V2Emulation)
    );
    assert_eq!(
        of(&with(v2(), "/execution_mode", json!("v3")), None),
        Ok(Engine::V2Legacy)
    );
    assert_eq!(
        of(&with(v2(), "/execution_mode", Value::Null), None),
        Ok(Engine::V2Legacy)
    );
    let refusal = of(&v4(), Some("V2")).expect_err("a V2 plan names its security in a text");
    assert_eq!(refusal.kind, RefusalKind::NoPlan);
}

#[test]
fn an_export_of_the_console_is_recognised() {
    let refusal = refusal(&json!({"definitionVersion": "V4", "api": v4(), "plans": []}));
    assert_eq!(refusal.member, "id");
    assert!(
        refusal
            .to_string()
            .contains("export of the management console"),
        "{refusal}"
    );
}
