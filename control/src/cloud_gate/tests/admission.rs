//! Who is let in, and to what.

use super::*;

#[tokio::test]
async fn strangers_and_foreign_environments_are_refused() {
    let gate = Running::start(Transport::Plain, false).await;
    for path in [
        "/sync",
        "/sync/_bridge",
        "/sync/eventsLatest/_search",
        "/reports",
    ] {
        let answer = gate.send("POST", path, &[], "{}").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let foreign = json!({"environments": ["another"]});
    for path in [
        "eventsLatest/_search?group=API_ID",
        "events/_search",
        "subscriptions/_search",
        "keys/_findByCriteria",
    ] {
        let answer = gate
            .call("POST", &format!("/sync/_bridge/{path}"), &foreign)
            .await;
        assert_eq!(
            answer,
            (StatusCode::FORBIDDEN, json!("Unauthorized environments")),
            "{path}"
        );
    }
    let event = json!({"id": "e", "type": "GATEWAY_STARTED", "environments": ["another"]});
    assert_eq!(
        gate.call("POST", "/sync/_bridge/events/_createOrPatch", &event)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/environments/another", &Value::Null)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    let agent = [("user-agent", "gio-client-bridge/1.30.0")];
    let answer = gate.send("GET", "/sync/_bridge", &agent, "").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.body(),
        "Version of the bridge client is incompatible with bridge server"
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_token_for_another_environment_sees_no_api_and_no_key() {
    let gate = Running::start(Transport::Plain, false).await;
    gate.write("a.json", &api("a", "/a"));
    gate.write(
        "subscriptions.yaml",
        "- {application: x, api: a, plan: Gold, keys: [{key: secret}]}\n",
    );
    gate.until_apis(1).await;
    let key = SigningKey::load_or_create(&gate.root.path().join("data")).expect("the key");
    let gate = Running {
        token: token(&key, &["another"]),
        ..gate
    };
    for path in [
        "eventsLatest/_search?group=API_ID",
        "events/_search",
        "subscriptions/_search",
        "keys/_findByCriteria",
    ] {
        assert_eq!(
            gate.call("POST", &format!("/sync/{path}"), &json!({}))
                .await,
            (StatusCode::OK, json!([])),
            "{path}"
        );
    }
    assert_eq!(
        gate.call("GET", "/sync/environments", &Value::Null).await.1,
        json!([])
    );
    assert_eq!(
        gate.call("GET", "/sync/events/a", &Value::Null).await.0,
        StatusCode::FORBIDDEN
    );
    gate.stop().await;
}
