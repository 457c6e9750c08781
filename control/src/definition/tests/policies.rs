//! Configurations that a policy cannot use: every policy of the registry refuses them, and says all that an operator needs.

use turnpike_core::policy::registry::{Entry, REGISTRY, find};

use super::*;

/// A V4 definition with one step of this policy, in a phase in which it does something.
fn with_step(entry: &Entry, configuration: Value) -> Value {
    let phase = if entry.phases.request {
        "request"
    } else {
        "response"
    };
    let step = json!([{"name": "the step", "policy": entry.id, "configuration": configuration}]);
    let flow = json!({"name": "the flow", phase: step});
    with(v4(), "/flows/0", flow)
}

/// The same as V2, whose configurations are often JSON texts.
fn with_step_v2(entry: &Entry, configuration: Value) -> Value {
    let phase = if entry.phases.request { "pre" } else { "post" };
    let step = json!([{"name": "the step", "policy": entry.id, "configuration": configuration}]);
    let flow = json!({"name": "the flow", "path-operator": {"path": "/", "operator": "STARTS_WITH"}, phase: step});
    with(v2(), "/flows/0", flow)
}

/// What every refusal of a step's configuration says.
fn assert_complete(entry: &Entry, refusal: &Refusal, what: &str) {
    let text = refusal.to_string();
    let context = format!("{} with {what}: {text}", entry.id);
    assert_eq!(refusal.kind, RefusalKind::Configuration, "{context}");
    assert!(!refusal.undeploys(), "{context}");
    let step = ["request[0]", "response[0]", "pre[0]", "post[0]"]
        .map(|step| format!("flows[0].{step}.configuration"));
    assert!(
        step.iter().any(|step| refusal.member.starts_with(step)),
        "the member: {context}"
    );
    for part in [
        &format!("the policy {:?} cannot", entry.id),
        "step \"the step\" of the re",
        "flow \"the flow\"",
        "API \"Orders\", id \"api\"",
        "(hint: ",
    ] {
        assert!(text.contains(part), "{part}: {context}");
    }
    for member in entry.members {
        assert!(text.contains(member), "the hint names {member}: {context}");
    }
    assert!(!text.contains('\n'), "one line: {context}");
    assert!(text.chars().count() < 2_000, "a bounded line: {context}");
}

#[test]
fn a_configuration_that_is_no_object_is_refused_by_every_policy() {
    for entry in REGISTRY {
        for wrong in [
            json!("text"),
            json!("{\"unclosed\": "),
            json!("[]"),
            json!("7"),
            json!([]),
            json!([{}]),
            json!(["a", "b", "c"]),
            json!(7),
            json!(true),
        ] {
            for definition in [
                with_step(entry, wrong.clone()),
                with_step_v2(entry, wrong.clone()),
            ] {
                let refusal = refusal(&definition);
                assert_complete(entry, &refusal, &wrong.to_string());
                assert!(refusal.member.ends_with(".configuration"), "{refusal}");
            }
        }
    }
}

#[test]
fn nothing_written_in_four_ways_is_the_same_configuration_to_every_policy() {
    for entry in REGISTRY {
        let outcome = |configuration: Value| {
            let definition = with_step(entry, configuration);
            compile_in(&definition, &CompileContext::default()).map(|_| ())
        };
        let empty = outcome(json!({}));
        for nothing in [json!(null), json!(" "), json!("null"), json!("{}")] {
            assert_eq!(outcome(nothing), empty, "{}", entry.id);
        }
        match empty {
            Ok(()) => {}
            Err(refusal) => assert_complete(entry, &refusal, "no configuration"),
        }
    }
}

/// Members that take what they are given, whatever type it has: nothing here reads them.
const UNREAD: [(&str, &str); 3] = [
    ("json-validation", "validateUnchecked"),
    ("json-validation", "deepCheck"),
    ("policy-request-validation", "scope"),
];

#[test]
fn a_member_of_a_wrong_type_is_named_by_every_policy() {
    let wrong_for_any = [json!([[[]]]), json!({"a": [[]]}), json!("wrong")];
    let mut unread = Vec::new();
    for entry in REGISTRY {
        for &member in entry.members {
            let pointer = format!("/{}", member.replace('.', "/"));
            let refusals = wrong_for_any.iter().filter_map(|wrong| {
                let configuration = with(json!({}), &pointer, wrong.clone());
                let definition = with_step(entry, configuration);
                compile_in(&definition, &CompileContext::default()).err()
            });
            let at_member = format!(".configuration.{member}");
            match refusals
                .into_iter()
                .find(|refusal| refusal.member.contains(&at_member))
            {
                Some(refusal) => assert_complete(entry, &refusal, member),
                None => unread.push((entry.id, member)),
            }
        }
    }
    assert_eq!(unread, UNREAD);
}

// Patterns of `dynamic-routing` and `http-redirect` and texts of schemas are read with each request, as in the reference.
#[test]
fn a_missing_member_a_bad_pattern_and_a_value_out_of_range_are_named() {
    let constraint = json!({"type": "PATTERN", "parameters": ["("]});
    let rule = json!({"input": "a", "constraint": constraint});
    for (id, configuration, member) in [
        ("aws-lambda", json!({}), "function"),
        (
            "http-redirect",
            json!({"rules": [{"path": "/", "location": "/", "status": 200}]}),
            "rules[0].status",
        ),
        ("json-validation", json!({}), "schema"),
        ("mock", json!({"status": 42}), "status"),
        ("policy-generate-jwt", json!({}), "content"),
        ("policy-http-callout", json!({}), "url"),
        (
            "policy-http-callout",
            json!({"url": "http://h", "method": "FETCH"}),
            "method",
        ),
        ("policy-override-request-method", json!({}), "method"),
        (
            "policy-request-validation",
            json!({"rules": [rule]}),
            "rules[0].constraint.parameters[0]",
        ),
        (
            "policy-request-validation",
            json!({"rules": [{"input": "a"}]}),
            "rules[0].constraint",
        ),
        ("regex-threat-protection", json!({}), "regex"),
        ("regex-threat-protection", json!({"regex": "[a"}), "regex"),
        (
            "regex-threat-protection",
            json!({"regex": "(?<a>x)\\k<b>"}),
            "regex",
        ),
        (
            "regex-threat-protection",
            json!({"regex": "((a{1000}){1000}){1000}"}),
            "regex",
        ),
        (
            "resource-filtering",
            json!({"whitelist": [{"pattern": "/", "methods": ["no"]}]}),
            "whitelist[0].methods[0]",
        ),
        (
            "status-code",
            json!({"statusMappings": [{"inputStatusCode": 200, "outputStatusCode": 7}]}),
            "statusMappings[0].outputStatusCode",
        ),
        (
            "rate-limit",
            json!({"rate": {"limit": 1, "periodTime": 1, "periodTimeUnit": "AGES"}}),
            "rate.periodTimeUnit",
        ),
        ("url-rewriting", json!({}), "fromRegex"),
        (
            "url-rewriting",
            json!({"fromRegex": "(?<", "toReplacement": ""}),
            "fromRegex",
        ),
    ] {
        let what = configuration.to_string();
        let (_, entry) = find(id).expect("a policy");
        let refusal = refusal(&with_step(entry, configuration));
        assert_complete(entry, &refusal, &what);
        let end = format!(".configuration.{member}");
        assert!(refusal.member.ends_with(&end), "{member}: {refusal}");
    }
}

#[test]
fn a_plan_whose_security_cannot_be_configured_is_named() {
    let security = json!({"type": "jwt", "configuration": {"signature": []}});
    let refusal = refusal(&with(v4(), "/plans/0/security", security));
    assert_eq!(refusal.member, "plans[0].security.configuration.signature");
    let text = refusal.to_string();
    for part in [
        "the policy \"jwt\" cannot",
        "plan \"Open\" of API \"Orders\"",
        "(hint: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn no_value_of_any_member_of_any_policy_is_a_panic_or_an_incomplete_refusal() {
    let long = "x".repeat(100_000);
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let values = [
        json!("("),
        json!("{#"),
        json!("{#request.headers['a'}"),
        json!("\u{0}\r\n"),
        json!(long),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(true),
        json!([]),
        json!([[]]),
        json!([1, "a", null, {}]),
        json!([{"name": [], "value": {}, "pattern": "(", "status": "x"}]),
        json!({}),
        json!({"a": {"b": []}}),
        deep,
    ];
    for entry in REGISTRY {
        for member in entry.members {
            let pointer = format!("/{}", member.replace('.', "/"));
            for value in &values {
                let configuration = with(json!({}), &pointer, value.clone());
                let definition = with_step(entry, configuration);
                if let Err(refusal) = compile_in(&definition, &CompileContext::default()) {
                    assert_complete(entry, &refusal, member);
                }
            }
        }
    }
}
