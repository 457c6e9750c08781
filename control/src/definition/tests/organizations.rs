//! Flows of organizations.

use turnpike_core::flow::FlowMode;

use super::*;

fn flow(name: &str, consumers: Value) -> Value {
    json!({"name": name, "pre": [{"policy": "latency"}], "consumers": consumers})
}

fn kept(context: &CompileContext, flows: Value) -> Vec<String> {
    let record = json!({"id": "org", "flowMode": "BEST_MATCH", "flows": flows});
    let (flows, _) = compile_organization(&record, context).expect("flows");
    assert_eq!(flows.reactive.mode, FlowMode::BestMatch);
    assert_eq!(flows.legacy.flows.len(), flows.reactive.flows.len());
    flows
        .reactive
        .flows
        .iter()
        .map(|flow| flow.name.to_string())
        .collect()
}

#[test]
fn flows_for_other_sharding_tags_are_not_ours() {
    let tag = json!([{"consumerType": "TAG", "consumerId": "EU"}]);
    let cases: [(&[&str], Value, bool); 6] = [
        (&[], tag.clone(), true),
        (&["eu"], tag.clone(), true),
        (&["us"], tag.clone(), false),
        (&["!eu"], tag, false),
        (&["us"], json!([]), true),
        (
            &["us"],
            json!([{"consumerType": "GROUP", "consumerId": "us"}]),
            false,
        ),
    ];
    for (tags, consumers, ours) in cases {
        let context = CompileContext {
            tags: ShardingTags::new(tags),
            ..CompileContext::default()
        };
        let found = kept(&context, json!([flow("f", consumers.clone())]));
        assert_eq!(found.len(), usize::from(ours), "{tags:?} {consumers}");
    }
}

#[test]
fn an_organization_without_flows_that_do_something_has_none() {
    for flows in [
        json!(null),
        json!([]),
        json!([{"enabled": false, "pre": [{"policy": "no-such-policy"}]}]),
        json!([{"pre": [{"policy": "no-such-policy", "enabled": false}], "post": []}]),
    ] {
        assert!(
            kept(&CompileContext::default(), flows.clone()).is_empty(),
            "{flows}"
        );
    }
}

#[test]
fn a_wrong_flow_is_refused_by_its_place_in_what_was_sent() {
    let context = CompileContext {
        tags: ShardingTags::new(&["eu"]),
        ..CompileContext::default()
    };
    let record = json!({"id": "org", "flows": [
        flow("not ours", json!([{"consumerType": "TAG", "consumerId": "us"}])),
        {"name": "ours", "post": [{"name": "s", "policy": "no-such-policy"}]},
    ]});
    let refusal = compile_organization(&record, &context).expect_err("an unknown policy");
    assert_eq!(refusal.member, "flows[1].post[0].policy");
    assert!(
        refusal.to_string().contains("organization \"org\""),
        "{refusal}"
    );
}
