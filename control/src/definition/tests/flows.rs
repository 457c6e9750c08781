//! Flows and their steps, on `latency`: a policy of the request phase whose configuration can be wrong.

use turnpike_core::flow::{Flow, FlowMode, FlowSet, PathOperator};
use turnpike_core::http::Method;

use super::*;

fn step(name: &str) -> Value {
    json!({"name": name, "policy": "latency", "configuration": {"time": 1}})
}

/// A V2 or V4 API with one flow.
fn with_flow(base: Value, flow: Value) -> Value {
    with(base, "/flows", json!([flow]))
}

fn only(flows: &FlowSet) -> &Flow {
    let [flow] = &*flows.flows else {
        panic!("expected one flow, found {flows:?}");
    };
    flow
}

fn names(steps: &[turnpike_core::flow::Step]) -> Vec<&str> {
    steps.iter().map(|step| &*step.name).collect()
}

#[test]
fn a_v4_flow_is_compiled_with_its_selectors() {
    let api = api(&with_flow(
        v4(),
        json!({
            "name": "flow",
            "selectors": [
                {"type": "HTTP", "path": "/a/:id", "pathOperator": "EQUALS", "methods": ["get", "POST"]},
                {"type": "http", "path": "/second/is/ignored"},
                {"type": "condition", "condition": "{#request.method == 'GET'}"},
            ],
            "request": [
                step("one"),
                {"name": "off", "enabled": false, "policy": "no-such-policy"},
                {"name": "two", "policy": "latency", "condition": " {#x} "},
                {"name": "three", "policy": "latency", "condition": " ", "configuration": "{\"time\": 1}"},
            ],
        }),
    ));
    let flow = only(&api.processing.flows);
    assert_eq!(&*flow.name, "flow");
    assert_eq!(
        (flow.path.as_str(), flow.path.operator()),
        ("/a/:id", PathOperator::Equals)
    );
    assert!(flow.methods.contains(Method::Get) && !flow.methods.contains(Method::Put));
    let condition = flow.condition.as_ref().map(|template| template.source());
    assert_eq!(condition, Some("{#request.method == 'GET'}"));
    assert_eq!(names(&flow.request), ["one", "two", "three"]);
    let conditions = |at: usize| flow.request[at].conditions.len();
    assert_eq!((conditions(0), conditions(1), conditions(2)), (0, 1, 0));
    assert!(!api.is_plain());
}

#[test]
fn a_v2_flow_is_compiled_with_its_path_operator() {
    let api = api(&with_flow(
        v2(),
        json!({
            "name": "flow", "methods": ["GET"], "condition": "{#x}",
            "path-operator": {"path": "/a", "operator": "EQUALS"},
            "pre": [step("one"), {"policy": "latency", "configuration": "{\"time\": 2}"}],
            "post": [],
        }),
    ));
    let flow = only(&api.processing.flows);
    assert_eq!(
        (flow.path.as_str(), flow.path.operator()),
        ("/a", PathOperator::Equals)
    );
    assert!(flow.methods.contains(Method::Get) && !flow.methods.contains(Method::Put));
    assert!(flow.condition.is_some());
    assert_eq!(names(&flow.request), ["one", ""]);
}

#[test]
fn what_a_flow_leaves_out_matches_everything() {
    for flow in [
        json!({"request": [step("s")], "pre": [step("s")]}),
        json!({
            "request": [step("s")], "selectors": [{"type": "http", "pathOperator": "START_WITH"}],
            "pre": [step("s")], "path-operator": {}, "methods": [], "condition": " ",
        }),
        json!({"request": [step("s")], "selectors": null, "pre": [step("s")], "path-operator": null}),
    ] {
        for base in [v2(), v4()] {
            let api = api(&with_flow(base, flow.clone()));
            let flow = only(&api.processing.flows);
            assert_eq!(flow.path.operator(), PathOperator::StartsWith);
            assert!(flow.path.matches("") && flow.path.matches("/any/thing"));
            assert!(flow.methods.is_all() && flow.condition.is_none());
        }
    }
}

#[test]
fn the_mode_of_an_api_holds_for_its_plans_too() {
    for (base, pointer, value, expected) in [
        (
            v4(),
            "/flowExecution/mode",
            "best-match",
            FlowMode::BestMatch,
        ),
        (
            v4(),
            "/flowExecution/mode",
            "BEST_MATCH",
            FlowMode::BestMatch,
        ),
        (v4(), "/flowExecution/mode", "nonsense", FlowMode::Default),
        (v2(), "/flow_mode", "BEST_MATCH", FlowMode::BestMatch),
        (v2(), "/flowMode", "best_match", FlowMode::BestMatch),
        (v2(), "/flow_mode", "DEFAULT", FlowMode::Default),
    ] {
        let flows = json!([{"request": [step("s")], "pre": [step("s")]}]);
        let base = with(base, "/plans/0/flows", flows.clone());
        let api = api(&with(with(base, "/flows", flows), pointer, json!(value)));
        assert_eq!(api.processing.flows.mode, expected, "{pointer} {value}");
        assert_eq!(api.plans[0].flows.mode, expected, "{pointer} {value}");
        assert_eq!(names(&only(&api.plans[0].flows).request), ["s"]);
    }
}

#[test]
fn a_step_whose_policy_does_nothing_in_its_phase_is_skipped() {
    let v4_flow = json!({"response": [step("s")], "selectors": [{"type": "http", "path": "/:id"}]});
    let api_v4 = api(&with_flow(v4(), v4_flow));
    assert!(only(&api_v4.processing.flows).response.is_empty());
    let v2_flow = json!({"post": [step("s")], "path-operator": {"path": "/:id"}});
    let api_v2 = api(&with_flow(v2(), v2_flow));
    assert!(only(&api_v2.processing.flows).response.is_empty());
}

#[test]
fn flows_that_do_nothing_leave_requests_to_pass_without_the_chain() {
    for (flow, is_plain) in [
        (json!({"name": "empty"}), true),
        (json!({"response": [step("s")], "post": [step("s")]}), true),
        (
            json!({"enabled": false, "request": [step("s")], "pre": [step("s")]}),
            true,
        ),
        (json!({"request": [step("s")], "pre": [step("s")]}), false),
        (
            json!({"selectors": [{"type": "http", "path": "/:id"}], "path-operator": {"path": "/:id"}}),
            false,
        ),
        (
            json!({"selectors": [{"type": "condition", "condition": "{#x}"}], "condition": "{#x}"}),
            false,
        ),
    ] {
        for base in [v2(), v4()] {
            assert_eq!(
                api(&with_flow(base, flow.clone())).is_plain(),
                is_plain,
                "{flow}"
            );
        }
    }
    let required = with(v4(), "/flowExecution/matchRequired", json!(true));
    let api = api(&with_flow(required, json!({"name": "empty"})));
    assert!(api.processing.match_required && !api.processing.flows.is_empty());
}

#[test]
fn steps_for_messages_are_noted_and_need_no_policy() {
    let flow = json!({
        "publish": [{"policy": "no-such-policy"}, {"policy": "no-such-policy", "enabled": false}],
        "subscribe": [{"policy": "latency"}],
        "selectors": [{"type": "channel", "channel": "/"}],
    });
    let text = "has no effect: an HTTP proxy has no messages";
    assert_eq!(
        notes(&with_flow(v4(), flow)),
        [
            "flows[0].selectors[0].type: \"channel\" selects nothing on an HTTP proxy: ignored"
                .to_owned(),
            format!("flows[0].publish[0]: {text}"),
            format!("flows[0].subscribe[0]: {text}"),
        ]
    );
}

#[test]
fn a_flow_that_cannot_be_used_is_refused_by_its_member() {
    let wrong = json!({"policy": "latency", "configuration": {"time": "soon"}});
    let wrong_text = json!({"policy": "latency", "configuration": "{\"timeUnit\": \"WEEKS\"}"});
    let no_json = json!({"policy": "latency", "configuration": "{"});
    let cases = [
        (
            v4(),
            "/flows/0/request",
            json!([step("s"), wrong]),
            "flows[0].request[1].configuration.time",
        ),
        (
            v4(),
            "/flows/1/request",
            json!([wrong_text]),
            "flows[1].request[0].configuration.timeUnit",
        ),
        (
            v4(),
            "/flows/0/request",
            json!([no_json]),
            "flows[0].request[0].configuration",
        ),
        (
            v4(),
            "/plans/0/flows/0/request",
            json!([wrong]),
            "plans[0].flows[0].request[0].configuration.time",
        ),
        (
            v2(),
            "/plans/0/flows/0/pre",
            json!([wrong]),
            "plans[0].flows[0].pre[0].configuration.time",
        ),
        (
            v2(),
            "/flows/0/pre",
            json!([wrong_text]),
            "flows[0].pre[0].configuration.timeUnit",
        ),
        (
            v2(),
            "/flows/0/pre",
            json!([{"name": "s"}]),
            "flows[0].pre[0].policy",
        ),
        (
            v4(),
            "/flows/0/selectors",
            json!([{"type": "http", "path": "/a(b"}]),
            "flows[0].selectors[0].path",
        ),
        (
            v4(),
            "/flows/0/selectors",
            json!([{"type": "http", "methods": ["GET", "FETCH"]}]),
            "flows[0].selectors[0].methods[1]",
        ),
        (
            v2(),
            "/flows/0/path-operator",
            json!({"path": "/[a"}),
            "flows[0].path-operator.path",
        ),
        (
            v2(),
            "/flows/0/methods",
            json!(["get", "FETCH"]),
            "flows[0].methods[1]",
        ),
    ];
    for (base, pointer, value, member) in cases {
        let refusal = refusal(&with(base, pointer, value));
        assert_eq!(refusal.member, member, "{refusal}");
        assert!(
            !refusal.undeploys(),
            "the previous deployment stays: {refusal}"
        );
    }
}

#[test]
fn an_unknown_policy_is_refused_with_all_that_finds_the_step() {
    let definition = with(
        v4(),
        "/plans/0/flows",
        json!([{"name": "Everything", "response": [{"name": "Mask", "policy": "acme-mask"}]}]),
    );
    let refusal = refusal(&definition);
    assert_eq!(refusal.kind, RefusalKind::Unsupported);
    assert_eq!(refusal.member, "plans[0].flows[0].response[0].policy");
    let text = refusal.to_string();
    for part in [
        "policy \"acme-mask\"",
        "step \"Mask\" of the response phase",
        "flow \"Everything\"",
        "plan \"Open\", id \"p\"",
        "API \"Orders\", id \"api\", deployed at 1970-01-01T00:00:00.042Z",
        "hint: `turnpike policies`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn in_groups(definition: &Value, groups: &SharedPolicyGroups) -> Result<Compiled, Refusal> {
    compile(
        &ApiInput {
            definition: &definition.to_string(),
            environment_id: "env",
            groups: Some(groups),
            ..ApiInput::default()
        },
        &CompileContext::default(),
    )
}

fn group_step(id: &str) -> Value {
    json!({
        "name": "group", "policy": "shared-policy-group-policy", "condition": "{#outer}",
        "configuration": {"sharedPolicyGroupId": id},
    })
}

#[test]
fn the_steps_of_a_shared_policy_group_take_the_place_of_the_step_that_names_it() {
    let mut groups = SharedPolicyGroups::default();
    let inner = json!([
        step("one"),
        {"name": "two", "policy": "latency", "condition": "{#inner}"},
        {"name": "off", "policy": "no-such-policy", "enabled": false},
    ]);
    assert!(groups.insert("g", "env", "REQUEST", &inner));
    assert!(
        !groups.insert("g", "env", "REQUEST", &inner),
        "nothing changed"
    );
    let mut as_text = group_step("g");
    as_text["configuration"] = json!("{\"sharedPolicyGroupId\": \"g\"}");
    for (base, member, group) in [
        (v4(), "request", group_step("g")),
        (v2(), "pre", group_step("g")),
        (v4(), "request", as_text),
    ] {
        let definition = with_flow(
            base,
            json!({member: [step("before"), group, step("after")]}),
        );
        let compiled = in_groups(&definition, &groups).expect("an API");
        assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
        let flow = only(&compiled.api.processing.flows);
        assert_eq!(names(&flow.request), ["before", "one", "two", "after"]);
        let conditions: Vec<Vec<&str>> = flow
            .request
            .iter()
            .map(|step| step.conditions.iter().map(|each| each.source()).collect())
            .collect();
        assert_eq!(
            conditions,
            [
                vec![],
                vec!["{#outer}"],
                vec!["{#outer}", "{#inner}"],
                vec![]
            ]
        );
    }
}

#[test]
fn a_group_that_is_not_there_or_nested_is_ignored_with_a_warning() {
    let mut groups = SharedPolicyGroups::default();
    groups.insert("elsewhere", "other", "REQUEST", &json!([step("s")]));
    groups.insert("response", "env", "RESPONSE", &json!([step("s")]));
    groups.insert(
        "nested",
        "env",
        "REQUEST",
        &json!([group_step("response"), step("s")]),
    );
    for (id, expected, steps) in [
        (
            "unknown",
            "there is no shared policy group \"unknown\"",
            &[][..],
        ),
        (
            "elsewhere",
            "there is no shared policy group \"elsewhere\"",
            &[],
        ),
        ("", "names no shared policy group", &[]),
        ("response", "is for another phase", &[]),
        ("nested", "a group inside a group is ignored", &["s"]),
    ] {
        let definition = with_flow(
            v4(),
            json!({"request": [group_step(id)], "selectors": [{"type": "http", "path": "/:id"}]}),
        );
        let compiled = in_groups(&definition, &groups).expect("an API");
        let [note] = &compiled.warnings[..] else {
            panic!("{id}: {:?}", compiled.warnings);
        };
        assert!(
            note.is_warning && note.text.contains(expected),
            "{id}: {note}"
        );
        assert_eq!(
            names(&only(&compiled.api.processing.flows).request),
            steps,
            "{id}"
        );
    }
    assert!(groups.remove("elsewhere", "other") && !groups.remove("elsewhere", "other"));
}

#[test]
fn flows_and_steps_are_bounded_whatever_groups_multiply_them() {
    let mut groups = SharedPolicyGroups::default();
    groups.insert("g", "env", "REQUEST", &json!(vec![step("s"); 200]));
    let many = |count: usize| with_flow(v4(), json!({"request": vec![group_step("g"); count]}));
    in_groups(&many(100), &groups).expect("as many steps as there may be");
    let refusal = in_groups(&many(101), &groups).expect_err("more steps");
    assert!(
        refusal.reason.contains("at most 20000 enabled steps"),
        "{refusal}"
    );
    let flows = |count: usize| {
        with(
            v2(),
            "/flows",
            json!(vec![json!({"pre": [step("s")]}); count]),
        )
    };
    assert_eq!(api(&flows(5_000)).processing.flows.flows.len(), 5_000);
    assert!(refusal_of(&flows(5_001)).contains("at most 5000 enabled flows"));
}

fn refusal_of(definition: &Value) -> String {
    refusal(definition).to_string()
}

#[test]
fn what_is_wrong_inside_a_group_is_refused_by_the_step_that_names_it() {
    let mut groups = SharedPolicyGroups::default();
    let wrong = json!({"policy": "latency", "configuration": {"time": "soon"}});
    groups.insert("g", "env", "REQUEST", &json!([step("s"), wrong]));
    let definition = with_flow(v4(), json!({"request": [group_step("g")]}));
    let refusal = in_groups(&definition, &groups).expect_err("a wrong configuration");
    assert_eq!(
        refusal.member,
        "flows[0].request[0](shared policy group \"g\").policies[1].configuration.time"
    );
}
