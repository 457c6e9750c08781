use turnpike_core::definition::{ApiKeyPlan, ApiKeySource, PlanSecurity};

use super::*;

fn plan_ids(api: &Api) -> Vec<&str> {
    api.plans.iter().map(|plan| &*plan.id).collect()
}

fn v4_plan(id: &str, security: &str) -> Value {
    json!({"id": id, "name": id, "security": {"type": security}, "status": "published"})
}

#[test]
fn only_published_and_deprecated_plans_are_served() {
    let statuses = ["published", "DEPRECATED", "closed", "staging", "Published"];
    let mut plans: Vec<Value> = statuses
        .iter()
        .enumerate()
        .map(|(index, status)| json!({"id": index.to_string(), "security": {"type": "key-less"}, "status": status}))
        .collect();
    plans.push(json!({"id": "none", "security": {"type": "key-less"}}));
    let v4_api = api(&with(v4(), "/plans", json!(plans)));
    assert_eq!(plan_ids(&v4_api), ["0", "1", "4"]);
    for plan in &mut plans {
        plan["security"] = json!("key_less");
    }
    let v2_api = api(&with(v2(), "/plans", json!(plans)));
    assert_eq!(plan_ids(&v2_api), ["0", "1", "4"]);
}

#[test]
fn api_key_plans_come_first_and_equal_types_keep_the_order_of_the_reference() {
    // Buckets of a Java map: "p" 0, "a" and "q" 1, "b" 2.
    let plans = json!([
        v4_plan("b", "KEY_LESS"),
        v4_plan("a", "api_key"),
        v4_plan("p", "key-less"),
        v4_plan("q", "API-KEY")
    ]);
    let v4_api = api(&with(v4(), "/plans", plans));
    assert_eq!(plan_ids(&v4_api), ["a", "q", "p", "b"]);
    let v2_plan =
        |id: &str, security: &str| json!({"id": id, "security": security, "status": "published"});
    let plans = json!([
        v2_plan("b", "KEY_LESS"),
        v2_plan("q", "api_key"),
        v2_plan("a", "API_KEY"),
        v2_plan("p", "key-less")
    ]);
    let v2_api = api(&with(v2(), "/plans", plans));
    assert_eq!(plan_ids(&v2_api), ["q", "a", "b", "p"]);
}

#[test]
fn sharding_tags_choose_apis_and_plans() {
    let context = CompileContext {
        tags: ShardingTags::new(&["eu", "!test"]),
        ..CompileContext::default()
    };
    for base in [v2(), v4()] {
        let refusal =
            compile_in(&base, &context).expect_err("an API without tags satisfies no inclusion");
        assert_eq!(
            (refusal.kind, refusal.member.as_str()),
            (RefusalKind::NotEligible, "tags")
        );
        assert!(refusal.undeploys());
        let tagged = with(base, "/tags", json!(["EU"]));
        let compiled = compile_in(&tagged, &context).expect("the tags match");
        assert_eq!(compiled.tags, ["EU"]);
        let refusal = compile_in(
            &with(tagged.clone(), "/plans/0/tags", json!(["us"])),
            &context,
        )
        .expect_err("no plan");
        assert_eq!(
            (refusal.kind, refusal.member.as_str()),
            (RefusalKind::NoPlan, "plans")
        );
        compile_in(&with(tagged, "/plans/0/tags", json!(["Eu"])), &context)
            .expect("the plan's tags match");
    }
}

#[test]
fn no_plan_left_is_a_refusal_of_its_own_kind() {
    for definition in [
        with(v4(), "/plans", json!([])),
        with(v2(), "/plans", Value::Null),
        with(v4(), "/plans/0/status", json!("closed")),
        with(v2(), "/plans/0/status", json!("staging")),
        with(v2(), "/plans/0/security", json!("PALM_READING")),
        with(v4(), "/plans/0/security", Value::Null),
        with(v4(), "/plans/0/mode", json!("push")),
    ] {
        let refusal = refusal(&definition);
        assert_eq!(refusal.kind, RefusalKind::NoPlan, "{refusal}");
        assert!(refusal.undeploys());
    }
}

#[test]
fn the_configuration_of_an_api_key_plan_is_read_from_an_object_or_a_text() {
    let expected = ApiKeyPlan {
        header: Some("X-Own".into()),
        source: ApiKeySource::Bearer,
        propagate: true,
    };
    let configuration =
        json!({"apiKeyHeader": "X-Own", "source": "bearer", "propagateApiKey": true});
    let of = |definition: &Value| match &api(definition).plans[0].security {
        PlanSecurity::ApiKey(plan) => plan.clone(),
        other => panic!("expected an API-key plan, found {other:?}"),
    };
    let v4_plan = |configuration: Value| {
        with(
            v4(),
            "/plans/0/security",
            json!({"type": "api-key", "configuration": configuration}),
        )
    };
    assert_eq!(of(&v4_plan(configuration.clone())), expected);
    assert_eq!(of(&v4_plan(json!(configuration.to_string()))), expected);
    assert_eq!(of(&v4_plan(Value::Null)), ApiKeyPlan::default());
    let v2_key = with(v2(), "/plans/0/security", json!("API_KEY"));
    assert_eq!(
        of(&with(
            v2_key.clone(),
            "/plans/0/securityDefinition",
            json!(configuration.to_string())
        )),
        expected
    );
    assert_eq!(
        of(&with(
            v2_key.clone(),
            "/plans/0/securityDefinition",
            json!("")
        )),
        ApiKeyPlan::default()
    );
    assert_eq!(of(&v2_key), ApiKeyPlan::default());

    let refusal = refusal(&v4_plan(json!({"apiKeyHeader": "a b"})));
    assert_eq!(
        refusal.member,
        "plans[0].security.configuration.apiKeyHeader"
    );
}

#[test]
fn v2_drops_a_plan_that_it_cannot_read_and_v4_refuses_it() {
    let definition = with(
        v2(),
        "/plans/1",
        json!({"security": "KEY_LESS", "status": "published"}),
    );
    assert_eq!(
        notes(&definition),
        ["plans[1].id: expected a text, found nothing: the plan is left out"]
    );
    let v4_definition = with(
        v4(),
        "/plans/1",
        json!({"security": {"type": "key-less"}, "status": "published"}),
    );
    assert_eq!(refusal(&v4_definition).member, "plans[1].id");
}
