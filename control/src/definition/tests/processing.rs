//! What happens to requests besides flows: CORS, response templates, properties, path mappings, selection rules, resources.

use super::*;
use turnpike_core::flow::PathMapping;

fn cors_of(base: Value, pointer: &str, cors: Value) -> Compiled {
    compiled(&with(base, pointer, cors))
}

#[test]
fn cors_is_read_from_both_forms() {
    let written = json!({
        "enabled": true,
        "allowOrigin": ["*", "https://a.example", "https://[a-z]+.example.com", "(broken"],
        "allowMethods": ["GET"], "allowHeaders": ["X-A"], "exposeHeaders": ["X-B"],
        "maxAge": 60, "allowCredentials": true, "runPolicies": true, "allowPrivateNetwork": true,
    });
    for (base, pointer, place) in [
        (v4(), "/listeners/0/cors", "listeners[0].cors"),
        (v2(), "/proxy/cors", "proxy.cors"),
    ] {
        let compiled = cors_of(base, pointer, written.clone());
        let cors = compiled.api.processing.cors.as_ref().expect("CORS");
        assert_eq!(cors.origins.len(), 4);
        let [pattern] = &*cors.origin_patterns else {
            panic!("{:?}", cors.origin_patterns);
        };
        assert!(pattern.is_match("https://shop.example.com"));
        assert!(!pattern.is_match("https://shop.example.com.evil"));
        assert_eq!((&*cors.methods[0], &*cors.headers[0]), ("GET", "X-A"));
        assert_eq!(
            (&*cors.expose_headers[0], cors.max_age_s),
            ("X-B", Some(60))
        );
        assert!(cors.credentials && cors.run_policies && cors.private_network);
        let [note] = &compiled.warnings[..] else {
            panic!("{:?}", compiled.warnings);
        };
        assert_eq!(note.member, format!("{place}.allowOrigin[3]"));
        assert!(!compiled.api.is_plain());
    }
}

#[test]
fn cors_that_says_little_has_the_defaults_and_only_the_first_listener_counts() {
    let compiled = cors_of(
        v4(),
        "/listeners/0/cors",
        json!({"enabled": true, "maxAge": -1}),
    );
    let cors = compiled.api.processing.cors.as_ref().expect("CORS");
    assert!(cors.origins.is_empty() && cors.methods.is_empty() && cors.headers.is_empty());
    assert_eq!(cors.max_age_s, None);
    assert!(!cors.credentials && !cors.run_policies && !cors.private_network);
    let off = json!({"enabled": false, "allowOrigin": 7});
    assert!(
        cors_of(v4(), "/listeners/0/cors", off)
            .api
            .processing
            .cors
            .is_none()
    );
    let mut second = v4()["listeners"][0].clone();
    second["paths"][0]["path"] = json!("/other");
    second["cors"] = json!({"enabled": true});
    assert!(
        api(&with(v4(), "/listeners/1", second))
            .processing
            .cors
            .is_none()
    );
}

#[test]
fn response_templates_are_read_from_both_forms() {
    let written = json!({
        "DEFAULT": {"*/*": {"status": 400, "body": "{#error.message}", "headers": {"X-A": "1"}, "propagateErrorKeyToLogs": true}},
        "API_KEY_MISSING": {"application/json": {"status": "403", "body": ""}, "text/plain": {}},
    });
    for (base, pointer) in [(v4(), "/responseTemplates"), (v2(), "/response_templates")] {
        let compiled = compiled(&with(base, pointer, written.clone()));
        let templates = &compiled.api.processing.templates.by_key;
        let shown: Vec<String> = templates
            .iter()
            .flat_map(|(key, of_key)| {
                of_key.iter().map(move |template| {
                    let body = template.body.as_ref().map(|body| body.source());
                    format!(
                        "{key} {} {} {body:?} {:?} {}",
                        template.media,
                        template.status,
                        template.headers,
                        template.propagate_error_key
                    )
                })
            })
            .collect();
        assert_eq!(
            shown,
            [
                "API_KEY_MISSING application/json 403 None [] false",
                "API_KEY_MISSING text/plain 500 None [] false",
                "DEFAULT */* 400 Some(\"{#error.message}\") [(\"X-A\", \"1\")] true",
            ]
        );
        assert_eq!(compiled.warnings.len(), 1, "the missing status is noted");
        assert!(!compiled.api.is_plain());
    }
}

#[test]
fn a_template_that_cannot_be_sent_is_refused() {
    for (template, member) in [
        (json!({"status": 99}), "responseTemplates.K.*/*.status"),
        (
            json!({"status": 200, "headers": {"a b": "1"}}),
            "responseTemplates.K.*/*.headers.a b",
        ),
        (
            json!({"status": 200, "headers": {"A": "1\r\nB: 2"}}),
            "responseTemplates.K.*/*.headers.A",
        ),
        (json!("text"), "responseTemplates.K.*/*"),
    ] {
        let refusal = refusal(&with(
            v4(),
            "/responseTemplates",
            json!({"K": {"*/*": template}}),
        ));
        assert_eq!(refusal.member, member, "{refusal}");
    }
}

#[test]
fn properties_are_decrypted_and_a_broken_one_stays_as_it_is() {
    let context = CompileContext {
        encryption_secret: Secret::new("vvLJ4Q8Khvv9tm2tIPdkGEdmgKUruAL6"),
        ..CompileContext::default()
    };
    let properties = json!([
        {"key": "plain", "value": "{{other}}"},
        {"key": "secret", "value": "S10bPJyWxQaH9Fqc6ohZoQ==", "encrypted": true},
        {"key": "damaged", "value": "AAAA", "encrypted": true},
    ]);
    for base in [v2(), v4()] {
        let compiled =
            compile_in(&with(base, "/properties", properties.clone()), &context).expect("an API");
        let found: Vec<_> = compiled
            .api
            .processing
            .properties
            .0
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        assert_eq!(
            found,
            [
                ("damaged", "AAAA"),
                ("plain", "{{other}}"),
                ("secret", "real.host")
            ]
        );
        assert_eq!(compiled.warnings.len(), 1);
        assert!(!compiled.warnings[0].text.contains("AAAA"));
        assert!(compiled.api.is_plain(), "properties alone need no chain");
        let shown = format!("{:?}", compiled.api);
        assert!(
            shown.contains("damaged") && !shown.contains("real.host"),
            "{shown}"
        );
    }
}

#[test]
fn path_mappings_are_read_from_both_forms() {
    for (base, pointer) in [
        (v4(), "/listeners/0/pathMappings"),
        (v2(), "/path_mappings"),
    ] {
        let api = api(&with(base, pointer, json!(["/a/:id", ""])));
        let found: Vec<&str> = api
            .processing
            .path_mappings
            .iter()
            .map(PathMapping::as_str)
            .collect();
        assert_eq!(found, ["/a/:id", ""]);
    }
}

#[test]
fn paths_with_parameters_are_collected_from_the_api_and_its_plans() {
    let flow = |path: &str| json!([{"selectors": [{"type": "http", "path": path}], "path-operator": {"path": path}}]);
    for base in [v2(), v4()] {
        for (pointer, path, is_empty) in [
            ("/flows", "/:id", false),
            ("/plans/0/flows", "/:id", false),
            ("/flows", "/id", true),
        ] {
            let api = api(&with(base.clone(), pointer, flow(path)));
            assert_eq!(
                api.processing.path_parameters.is_empty(),
                is_empty,
                "{pointer} {path}"
            );
        }
    }
}

#[test]
fn a_selection_rule_may_lack_its_braces() {
    for (written, expected) in [
        (
            "#request.method == 'GET'",
            Some("{#request.method == 'GET'}"),
        ),
        (" #a ", Some("{#a}")),
        ("{#a}", Some("{#a}")),
        (" ", None),
    ] {
        for base in [v2(), v4()] {
            let api = api(&with(base, "/plans/0/selectionRule", json!(written)));
            let rule = api.plans[0]
                .selection_rule
                .as_ref()
                .map(|rule| rule.source());
            assert_eq!(rule, expected, "{written:?}");
            assert_eq!(api.is_plain(), expected.is_none());
        }
    }
}

#[test]
fn resources_of_unknown_types_are_noted_and_disabled_ones_are_not() {
    let resources = json!([
        {"name": "one", "type": "carrier-pigeon", "configuration": {}},
        {"name": "off", "type": "carrier-pigeon", "enabled": false},
        {"type": "cache"},
    ]);
    for base in [v2(), v4()] {
        let notes = notes(&with(base, "/resources", resources.clone()));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[0].starts_with("resources[0].type: \"carrier-pigeon\""),
            "{notes:?}"
        );
        assert!(
            notes[1].starts_with("resources[2]: has no name or no type"),
            "{notes:?}"
        );
    }
}

#[test]
fn settings_below_policy_reach_policies_and_are_not_shown() {
    let mut config = Config::default();
    let secret = |text: &str| Secret::new(text);
    config.policies.settings = vec![("policy.jwt.issuer.a.default".to_owned(), secret("hunter2"))];
    config.policies.environment = vec![("AWS_REGION".to_owned(), secret("hunter3"))];
    let context = CompileContext::new(&config, Default::default());
    assert_eq!(
        context
            .gateway
            .settings
            .get("policy.jwt.issuer.a.default")
            .map(String::as_str),
        Some("hunter2")
    );
    let shown = format!("{context:?}");
    assert!(
        shown.contains("AWS_REGION") && !shown.contains("hunter"),
        "{shown}"
    );
}

#[test]
fn an_endpoint_that_follows_redirects_needs_the_chain() {
    for (base, pointer) in [
        (
            v4(),
            "/endpointGroups/0/sharedConfiguration/http/followRedirects",
        ),
        (v2(), "/proxy/groups/0/http/followRedirects"),
    ] {
        let api = api(&with(base, pointer, json!(true)));
        assert!(api.processing.redirects.is_some() && !api.is_plain());
    }
}
