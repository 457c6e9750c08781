use std::sync::Arc;

use super::*;
use crate::definition::{ApiKeyPlan, ApiKeySource, Engine};

const NOW_MS: u64 = 1_000;

/// A request as lists of headers and parameters.
#[derive(Default)]
struct Request {
    headers: Vec<(&'static str, &'static str)>,
    parameters: Vec<(&'static str, &'static str)>,
}

impl Credentials for Request {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_bytes())
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.as_bytes())
    }
}

fn request(
    headers: &[(&'static str, &'static str)],
    parameters: &[(&'static str, &'static str)],
) -> Request {
    Request {
        headers: headers.to_vec(),
        parameters: parameters.to_vec(),
    }
}

fn with_key(key: &'static str) -> Request {
    request(&[("x-gravitee-api-key", key)], &[])
}

fn plan(id: &str, security: PlanSecurity) -> Plan {
    Plan {
        id: id.into(),
        name: id.into(),
        security,
        selection_rule: None,
        flows: Default::default(),
    }
}

fn gateway_key(failure: &Failure) -> ErrorKey {
    match failure.key {
        Some(crate::error::FailureKey::Gateway(key)) => key,
        _ => panic!("{failure:?} has no key of the gateway"),
    }
}

fn key_plan(id: &str, configuration: ApiKeyPlan) -> Plan {
    plan(id, PlanSecurity::ApiKey(configuration))
}

fn gold() -> Plan {
    key_plan("gold", ApiKeyPlan::default())
}

fn open() -> Plan {
    plan("open", PlanSecurity::KeyLess)
}

fn api(plans: Vec<Plan>) -> Api {
    Api {
        id: "api".into(),
        name: "api".into(),
        version: "1".into(),
        environment_id: "".into(),
        organization_id: "".into(),
        engine: Engine::V4,
        deployed_at_ms: 0,
        revision: "".into(),
        listeners: [].into(),
        plans: plans.into(),
        groups: [].into(),
        analytics: true,
        reject_null_byte: false,
        processing: Default::default(),
    }
}

/// Keys named for what is particular about them; all on plan `gold` unless the name says otherwise.
fn store() -> Subscriptions {
    let mut store = Subscriptions::default();
    let mut add = |name: &str, plan_id: &str, starting_at_ms, ending_at_ms, expire_at_ms| {
        let subscription = Arc::new(Subscription {
            id: format!("subscription-{name}").into(),
            plan_id: plan_id.into(),
            application_id: format!("application-{name}").into(),
            starting_at_ms,
            ending_at_ms,
            ..Subscription::default()
        });
        store.keys.insert(
            name.into(),
            ApiKey {
                subscription,
                expire_at_ms,
            },
        );
    };
    add("good", "gold", None, None, None);
    add(
        "dated",
        "gold",
        Some(NOW_MS - 1),
        Some(NOW_MS + 1),
        Some(NOW_MS + 1),
    );
    add("silver", "silver", None, None, None);
    add("gone", "withdrawn", None, None, None);
    add("future", "gold", Some(NOW_MS), None, None);
    add("ended", "gold", None, Some(NOW_MS), None);
    add("expired", "gold", None, None, Some(NOW_MS));
    add(
        "expired-and-ended",
        "gold",
        None,
        Some(NOW_MS - 1),
        Some(NOW_MS - 1),
    );
    add("expired-silver", "silver", None, None, Some(NOW_MS - 1));
    store
}

/// Plan and application of the grant, or error key and cause.
fn answer(
    plans: Vec<Plan>,
    request: &Request,
    settings: &ApiKeySettings,
) -> Result<(String, String), (ErrorKey, String)> {
    match select(&api(plans), &store(), request, settings, NOW_MS) {
        Ok(grant) => Ok((grant.plan.id.to_string(), grant.application_id.to_owned())),
        Err(failure) => {
            assert_eq!(
                (failure.status, failure.message.as_deref()),
                (401, Some("Unauthorized"))
            );
            Err((
                gateway_key(&failure),
                failure.cause.expect("a cause").into(),
            ))
        }
    }
}

#[track_caller]
fn assert_granted(plans: Vec<Plan>, request: &Request, plan: &str, application: &str) {
    let granted = answer(plans, request, &ApiKeySettings::default());
    assert_eq!(granted, Ok((plan.to_owned(), application.to_owned())));
}

#[track_caller]
fn assert_refused(plans: Vec<Plan>, request: &Request, key: ErrorKey, cause_part: &str) {
    let (refused, cause) = answer(plans, request, &ApiKeySettings::default()).expect_err("refused");
    assert_eq!(refused, key, "{cause}");
    assert!(cause.contains(cause_part), "{cause}");
}

#[test]
fn a_key_less_plan_takes_a_request_without_credentials() {
    assert_granted(vec![open()], &Request::default(), "open", "1");
    assert_granted(vec![gold(), open()], &Request::default(), "open", "1");
    // Nobody looks for a key where there are only key-less plans.
    assert_granted(vec![open()], &with_key("nonsense"), "open", "1");
}

#[test]
fn a_good_key_in_the_header_or_else_in_the_query_is_granted_to_its_application() {
    for request in [
        with_key("good"),
        request(&[("X-GRAVITEE-API-KEY", "good")], &[]),
        request(&[], &[("api-key", "good")]),
        request(
            &[("x-gravitee-api-key", "good")],
            &[("api-key", "nonsense")],
        ),
        request(
            &[
                ("x-gravitee-api-key", "good"),
                ("x-gravitee-api-key", "nonsense"),
            ],
            &[],
        ),
    ] {
        assert_granted(vec![gold(), open()], &request, "gold", "application-good");
    }
    assert_granted(
        vec![gold()],
        &with_key("dated"),
        "gold",
        "application-dated",
    );
}

#[test]
fn a_bad_key_is_refused_and_never_falls_back_to_key_less() {
    use ErrorKey::{ApiKeyInvalid, GatewayPlanUnresolvable as Unresolvable};
    for (key, error, cause) in [
        ("", Unresolvable, "token is invalid"),
        (" \t", Unresolvable, "token is invalid"),
        ("nonsense", Unresolvable, "not authorized"),
        ("GOOD", Unresolvable, "not authorized"),
        ("good\0", Unresolvable, "not authorized"),
        ("good ", Unresolvable, "not authorized"),
        ("silver", Unresolvable, "not authorized"),
        ("gone", Unresolvable, "not authorized"),
        ("future", Unresolvable, "not yet started"),
        ("ended", Unresolvable, "Access has expired"),
        ("expired-and-ended", Unresolvable, "Access has expired"),
        ("expired-silver", Unresolvable, "not authorized"),
        ("expired", ApiKeyInvalid, "has expired"),
    ] {
        for plans in [vec![gold()], vec![gold(), open()]] {
            assert_refused(plans, &with_key(key), error, cause);
        }
    }
    assert_refused(
        vec![gold()],
        &Request::default(),
        Unresolvable,
        "did not include",
    );
}

#[test]
fn a_bad_key_first_is_not_saved_by_a_good_one_elsewhere() {
    use ErrorKey::GatewayPlanUnresolvable as Unresolvable;
    let first_wins = [
        request(&[("x-gravitee-api-key", "")], &[("api-key", "good")]),
        request(
            &[("x-gravitee-api-key", "nonsense")],
            &[("api-key", "good")],
        ),
        request(
            &[
                ("x-gravitee-api-key", "nonsense"),
                ("x-gravitee-api-key", "good"),
            ],
            &[],
        ),
        request(&[], &[("api-key", ""), ("api-key", "good")]),
    ];
    for request in first_wins {
        assert_refused(vec![gold(), open()], &request, Unresolvable, "");
    }
    let other = || {
        key_plan(
            "other",
            ApiKeyPlan {
                header: Some("X-Other".into()),
                ..ApiKeyPlan::default()
            },
        )
    };
    let two_headers = request(
        &[("X-Other", "nonsense"), ("X-Gravitee-Api-Key", "good")],
        &[],
    );
    assert_refused(
        vec![other(), gold()],
        &two_headers,
        Unresolvable,
        "not authorized",
    );
    // Without the first header the second plan is free to look.
    assert_granted(
        vec![other(), gold()],
        &with_key("good"),
        "gold",
        "application-good",
    );
}

#[test]
fn a_key_that_is_not_text_is_refused() {
    struct Bytes;
    impl Credentials for Bytes {
        fn header(&self, _: &str) -> Option<&[u8]> {
            Some(b"good\xff")
        }
        fn parameter(&self, _: &str) -> Option<&[u8]> {
            None
        }
    }
    let (api, store, settings) = (
        api(vec![gold(), open()]),
        store(),
        ApiKeySettings::default(),
    );
    let failure = select(&api, &store, &Bytes, &settings, NOW_MS).expect_err("refused");
    assert_eq!(failure.key_str(), "GATEWAY_PLAN_UNRESOLVABLE");
}

#[test]
fn of_several_api_key_plans_the_one_of_the_subscription_is_selected() {
    let silver = || key_plan("silver", ApiKeyPlan::default());
    assert_granted(
        vec![gold(), silver(), open()],
        &with_key("silver"),
        "silver",
        "application-silver",
    );
    assert_granted(
        vec![silver(), gold(), open()],
        &with_key("silver"),
        "silver",
        "application-silver",
    );
    assert_granted(
        vec![silver(), gold()],
        &with_key("good"),
        "gold",
        "application-good",
    );
    assert_refused(
        vec![gold(), silver()],
        &with_key("expired-silver"),
        ErrorKey::ApiKeyInvalid,
        "has expired",
    );
    assert_refused(
        vec![gold(), silver()],
        &with_key("gone"),
        ErrorKey::GatewayPlanUnresolvable,
        "not authorized",
    );
}

#[test]
fn a_plan_finds_its_key_only_where_it_is_configured_to_look() {
    let of = |source| {
        vec![
            key_plan(
                "gold",
                ApiKeyPlan {
                    source,
                    ..ApiKeyPlan::default()
                },
            ),
            open(),
        ]
    };
    let custom = || {
        vec![
            key_plan(
                "gold",
                ApiKeyPlan {
                    header: Some("X-Own".into()),
                    ..ApiKeyPlan::default()
                },
            ),
            open(),
        ]
    };
    let bearer = || request(&[("authorization", "bearer good")], &[]);
    let query = || request(&[], &[("api-key", "good")]);
    let own = || request(&[("x-own", "good")], &[]);
    for (plans, request, plan) in [
        (of(ApiKeySource::Header), with_key("good"), "gold"),
        (of(ApiKeySource::Header), query(), "gold"),
        (of(ApiKeySource::Header), bearer(), "open"),
        (of(ApiKeySource::Bearer), bearer(), "gold"),
        (of(ApiKeySource::Bearer), with_key("good"), "open"),
        (of(ApiKeySource::Bearer), query(), "open"),
        (
            of(ApiKeySource::Bearer),
            request(&[("authorization", "Basic good")], &[]),
            "open",
        ),
        (of(ApiKeySource::QueryParameter), query(), "gold"),
        (of(ApiKeySource::QueryParameter), with_key("good"), "open"),
        (custom(), own(), "gold"),
        (custom(), query(), "gold"),
        (custom(), with_key("good"), "open"),
    ] {
        let granted = answer(plans, &request, &ApiKeySettings::default()).map(|(plan, _)| plan);
        assert_eq!(granted.as_deref(), Ok(plan));
    }
    let empty_bearer = request(&[("authorization", "Bearer ")], &[]);
    assert_refused(
        of(ApiKeySource::Bearer),
        &empty_bearer,
        ErrorKey::GatewayPlanUnresolvable,
        "token is invalid",
    );
}

#[test]
fn an_empty_setting_switches_a_place_off() {
    let header_only = ApiKeySettings {
        parameter: None,
        ..ApiKeySettings::default()
    };
    let query_only = ApiKeySettings {
        header: None,
        ..ApiKeySettings::default()
    };
    let query = request(&[], &[("api-key", "good")]);
    for (settings, request, plan) in [
        (&header_only, &with_key("good"), "gold"),
        (&header_only, &query, "open"),
        (&query_only, &with_key("good"), "open"),
        (&query_only, &query, "gold"),
    ] {
        let granted = answer(vec![gold(), open()], request, settings).map(|(plan, _)| plan);
        assert_eq!(granted.as_deref(), Ok(plan));
    }
}

#[test]
fn the_grant_tells_who_came_and_what_is_not_forwarded() {
    let header = Some("X-Gravitee-Api-Key");
    let parameter = Some("api-key");
    for (configuration, strip) in [
        (ApiKeyPlan::default(), Strip::ApiKey { header, parameter }),
        (
            ApiKeyPlan {
                header: Some("X-Own".into()),
                ..ApiKeyPlan::default()
            },
            Strip::ApiKey {
                header: Some("X-Own"),
                parameter,
            },
        ),
        (
            ApiKeyPlan {
                source: ApiKeySource::Bearer,
                ..ApiKeyPlan::default()
            },
            Strip::ApiKey {
                header: Some("Authorization"),
                parameter: None,
            },
        ),
        (
            ApiKeyPlan {
                source: ApiKeySource::QueryParameter,
                ..ApiKeyPlan::default()
            },
            Strip::ApiKey {
                header: None,
                parameter,
            },
        ),
        (
            ApiKeyPlan {
                propagate: true,
                ..ApiKeyPlan::default()
            },
            Strip::Nothing,
        ),
    ] {
        let everywhere = request(
            &[
                ("x-gravitee-api-key", "good"),
                ("x-own", "good"),
                ("authorization", "Bearer good"),
            ],
            &[("api-key", "good")],
        );
        let (api, store, settings) = (
            api(vec![key_plan("gold", configuration)]),
            store(),
            ApiKeySettings::default(),
        );
        let grant = select(&api, &store, &everywhere, &settings, NOW_MS).expect("granted");
        assert_eq!(grant.strip, strip);
        assert_eq!(grant.key, Some("good"));
        assert_eq!(grant.subscription_id, Some("subscription-good"));
    }
}

#[test]
fn without_subscription_validation_the_policy_alone_judges_the_key() {
    let settings = ApiKeySettings {
        validate_subscription: false,
        ..ApiKeySettings::default()
    };
    let plans = || vec![gold(), key_plan("silver", ApiKeyPlan::default()), open()];
    for (key, expected) in [
        ("good", Ok("gold")),
        ("ended", Ok("gold")),
        ("future", Ok("gold")),
        // The first plan takes the key, the key's own plan is reported.
        ("silver", Ok("silver")),
        ("gone", Ok("gold")),
        ("expired", Err(ErrorKey::ApiKeyInvalid)),
        ("nonsense", Err(ErrorKey::ApiKeyInvalid)),
        ("", Err(ErrorKey::GatewayPlanUnresolvable)),
    ] {
        let answer = answer(plans(), &with_key(key), &settings);
        let answer = answer
            .as_ref()
            .map(|(plan, _)| plan.as_str())
            .map_err(|(key, _)| *key);
        assert_eq!(answer, expected, "{key}");
    }
    let keyless = answer(plans(), &Request::default(), &settings);
    assert_eq!(keyless, Ok(("open".to_owned(), "1".to_owned())));
}

#[test]
fn clients_are_told_why_no_plan_passed_only_where_that_is_wanted() {
    for (key, reason) in [
        (None, "The request did not include an authentication token"),
        (Some(""), "The provided authentication token is invalid"),
        (
            Some("ended"),
            "Access has expired for the provided credentials",
        ),
        (
            Some("silver"),
            "The provided credentials are not authorized",
        ),
    ] {
        for verbose_401 in [false, true] {
            let settings = ApiKeySettings {
                verbose_401,
                ..ApiKeySettings::default()
            };
            let request = key.map(with_key).unwrap_or_default();
            let failure = select(&api(vec![gold()]), &store(), &request, &settings, NOW_MS)
                .expect_err("refused");
            let expected = if verbose_401 { reason } else { "Unauthorized" };
            assert_eq!(failure.message.as_deref(), Some(expected));
        }
    }
}
