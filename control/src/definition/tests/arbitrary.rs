//! Whatever a control plane sends, the compiler answers.

use proptest::prelude::*;

use super::*;

/// Any JSON, with the names and values that definitions use made likely.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "http",
        "proxy",
        "published",
        "key-less",
        "API_KEY",
        "PEM",
        "JKS",
        "https://h",
        "http://{#properties['a']}",
        "{#",
        "{T(",
        "true",
        "-1",
        "/",
        "//",
        "a\r\nb",
        "{{a}}",
        "[]",
        "{}",
        "{\"http\":{}}",
        "\u{0}",
        "é",
        "HTTP_2",
        "latency",
        "shared-policy-group-policy",
        "(",
        "/dev/zero",
    ])
    .prop_map(|word| json!(word));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words,
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names = prop::sample::select(vec![
            "id",
            "name",
            "type",
            "path",
            "paths",
            "target",
            "http",
            "ssl",
            "headers",
            "enabled",
            "services",
            "security",
            "value",
            "key",
            "content",
            "trustStore",
            "flows",
            "status",
            "tags",
            "plans",
            "endpoints",
            "configuration",
            "policy",
            "condition",
            "selectors",
            "request",
            "pre",
            "path-operator",
            "methods",
            "resources",
            "cors",
            "allowOrigin",
            "responseTemplates",
            "response_templates",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..4).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

/// A definition that exercises most members.
fn full(v2_form: bool) -> Value {
    let ssl = json!({"trustAll": false, "trustStore": {"type": "PEM", "content": "x"}, "keyStore": {"type": "NONE"}});
    let headers = json!([{"name": "A", "value": "{#properties['a']}"}]);
    let base = if v2_form {
        let base = with(v2_base(), "/proxy/groups/0/ssl", ssl);
        with(base, "/proxy/groups/0/headers", headers)
    } else {
        let base = with(v4_base(), "/endpointGroups/0/sharedConfiguration/ssl", ssl);
        with(
            base,
            "/endpointGroups/0/sharedConfiguration/headers",
            headers,
        )
    };
    let base = with(
        base,
        "/properties",
        json!([{"key": "a", "value": "b", "encrypted": false}]),
    );
    with(
        base,
        "/flows",
        json!([{"enabled": true, "pre": [{"enabled": false}], "request": [{"enabled": false}]}]),
    )
}

fn v2_base() -> Value {
    with(
        v2(),
        "/proxy/groups/0/endpoints/0/target",
        json!("https://backend"),
    )
}

fn v4_base() -> Value {
    with(
        v4(),
        "/endpointGroups/0/endpoints/0/configuration/target",
        json!("https://backend"),
    )
}

/// Pointers to every value inside.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    if !at.is_empty() {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, member)| pointers(member, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn check(definition: &Value) {
    match compile_in(definition, &CompileContext::default()) {
        Ok(compiled) => {
            let api = compiled.api;
            assert!(
                !api.id.is_empty()
                    && !api.listeners.is_empty()
                    && !api.plans.is_empty()
                    && !api.groups.is_empty()
            );
            for endpoint in api.groups.iter().flat_map(|group| &group.endpoints) {
                assert!(
                    endpoint.weight >= 1
                        && endpoint.connector.port >= 1
                        && endpoint.connector.options.connections_max >= 1
                );
                assert!(endpoint.target_path.is_empty() || endpoint.target_path.starts_with('/'));
                let sent = [
                    &*endpoint.target_path,
                    &*endpoint.connector.authority,
                    endpoint.target_query.as_deref().unwrap_or(""),
                ];
                assert!(
                    sent.iter()
                        .all(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
                );
                assert!(
                    endpoint.headers.iter().all(
                        |(name, value)| !name.is_empty() && !value.contains(['\r', '\n', '\0'])
                    )
                );
            }
        }
        Err(refusal) => assert!(
            !refusal.member.is_empty() && !refusal.reason.is_empty(),
            "{refusal:?}"
        ),
    }
}

#[test]
fn each_member_may_be_missing_or_of_any_type() {
    for v2_form in [true, false] {
        let base = full(v2_form);
        let mut at = Vec::new();
        pointers(&base, "", &mut at);
        assert!(at.len() > 30);
        for pointer in at {
            for value in [
                Value::Null,
                json!(true),
                json!(-1),
                json!(1e300),
                json!(""),
                json!("x"),
                json!([]),
                json!([[]]),
                json!({}),
                json!([{}]),
            ] {
                let mut mutated = base.clone();
                *mutated.pointer_mut(&pointer).expect("it was listed") = value;
                check(&mutated);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_definition_never_panics(v2_form: bool, changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)) {
        let mut definition = full(v2_form);
        for (index, value) in changes {
            let mut at = Vec::new();
            pointers(&definition, "", &mut at);
            let pointer = &at[index.index(at.len())];
            if let Some(place) = definition.pointer_mut(pointer) {
                *place = value;
            }
            if at.len() < 2 { break; }
        }
        check(&definition);
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,64}") {
        let input = ApiInput { definition: &text, ..ApiInput::default() };
        prop_assert!(compile(&input, &CompileContext::default()).is_err());
    }
}
