//! What gateways ask, and what they are told.

use super::*;

#[tokio::test]
async fn a_gateway_finds_version_apis_subscriptions_and_keys_over_https_and_both_base_paths() {
    let gate = Running::start(Transport::Generated, false).await;
    for number in 0..5 {
        gate.write(
            &format!("api-{number}.json"),
            &api(&format!("api-{number}"), &format!("/{number}")),
        );
    }
    gate.write(
        "subscriptions.yaml",
        "- {application: x, api: api-0, plan: Gold, keys: [{key: secret}]}\n",
    );
    let events = gate.until_apis(5).await;
    let (status, version) = gate.call("GET", "/sync/_bridge", &Value::Null).await;
    assert_eq!(
        (status, &version["version"]["MAJOR_VERSION"]),
        (StatusCode::OK, &json!("4.12.17"))
    );
    assert_eq!(gate.call("GET", "/sync", &Value::Null).await.1, version);

    let payload: Value =
        serde_json::from_str(events[0]["payload"].as_str().expect("a payload")).expect("JSON");
    assert_eq!(payload["environmentId"], ENVIRONMENT);
    assert_eq!(payload["lifecycleState"], "STARTED");
    let definition: Value =
        serde_json::from_str(payload["definition"].as_str().expect("a text")).expect("JSON");
    assert_eq!(definition["id"], payload["id"]);
    assert_eq!(events[0]["properties"]["deployment_number"], "1");
    assert!(
        events[0].get("parentId").is_none(),
        "null members are left out"
    );

    let mut paged = Vec::new();
    for page in 0..4 {
        let path = format!("/sync/eventsLatest/_search?group=API_ID&page={page}&size=2");
        let criteria = json!({"types": ["PUBLISH_API", "START_API"], "from": -30001, "environments": [ENVIRONMENT]});
        let (_, found) = gate.call("POST", &path, &criteria).await;
        paged.push(found.as_array().expect("a list").clone());
    }
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 0]);
    assert_eq!(paged.concat(), events);
    for group in ["DICTIONARY_ID", "ORGANIZATION_ID"] {
        let path = format!("/sync/_bridge/eventsLatest/_search?group={group}&page=0&size=100");
        assert_eq!(
            gate.call("POST", &path, &json!({})).await,
            (StatusCode::OK, json!([]))
        );
    }

    let criteria = json!({"plans": ["api-0-plan"], "statuses": ["ACCEPTED"], "includeWithoutEnd": true, "endingAtAfter": 1});
    let (_, found) = gate
        .call(
            "POST",
            "/sync/_bridge/subscriptions/_search?order=ASC&field=updatedAt",
            &criteria,
        )
        .await;
    assert_eq!(found[0]["referenceId"], "api-0");
    let criteria = json!({"subscriptions": [found[0]["id"]], "expireAfter": 1, "includeWithoutExpiration": true});
    let (_, keys) = gate
        .call(
            "POST",
            "/sync/_bridge/keys/_findByCriteria?order=ASC&field=updatedAt",
            &criteria,
        )
        .await;
    assert_eq!(
        (&keys[0]["key"], keys.as_array().map(Vec::len)),
        (&json!("secret"), Some(1))
    );

    std::fs::remove_file(gate.root.path().join("apis/subscriptions.yaml")).expect("removed");
    std::fs::remove_file(gate.root.path().join("apis/api-4.json")).expect("removed");
    let started = Instant::now();
    loop {
        let (_, events) = gate
            .call(
                "POST",
                "/sync/events/_search",
                &json!({"types": ["UNPUBLISH_API"]}),
            )
            .await;
        let (_, closed) = gate
            .call(
                "POST",
                "/sync/subscriptions/_search",
                &json!({"statuses": ["CLOSED"]}),
            )
            .await;
        let (_, keys) = gate
            .call(
                "POST",
                "/sync/keys/_findByCriteria",
                &json!({"includeRevoked": true}),
            )
            .await;
        if events[0]["properties"]["api_id"] == "api-4"
            && closed[0]["status"] == "CLOSED"
            && keys[0]["revoked"] == true
        {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{events} {closed} {keys}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gate.stop().await;
}

#[tokio::test]
async fn heartbeats_and_monitoring_are_kept_and_shown() {
    let gate = Running::start(Transport::Plain, false).await;
    gate.write("a.json", &api("a", "/a"));
    gate.until_apis(1).await;
    let start = json!({"id": "e1", "type": "GATEWAY_STARTED", "environments": [ENVIRONMENT], "createdAt": 1, "updatedAt": 1,
        "payload": "{\"version\":\"4.12.17\",\"hostname\":\"gw\"}", "properties": {"id": "n1", "last_heartbeat_at": "1"}});
    assert_eq!(
        gate.call("POST", "/sync/_bridge/events/_createOrPatch", &start)
            .await,
        (StatusCode::OK, start)
    );
    let beat = json!({"id": "e1", "type": "GATEWAY_STARTED", "updatedAt": 5, "properties": {"last_heartbeat_at": "5"}});
    let (_, event) = gate
        .call("POST", "/sync/_bridge/events/_createOrPatch", &beat)
        .await;
    assert_eq!(
        (&event["properties"]["id"], &event["createdAt"]),
        (&json!("n1"), &json!(1))
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/events/e1", &Value::Null)
            .await
            .1,
        event
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/events/none", &Value::Null)
            .await,
        (StatusCode::NOT_FOUND, json!(""))
    );
    assert_eq!(
        gate.call("POST", "/sync/events/_createOrPatch", &json!({"id": "x"}))
            .await
            .0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let stolen = json!({"id": "a", "type": "UNPUBLISH_API"});
    assert_eq!(
        gate.call("POST", "/sync/events/_createOrPatch", &stolen)
            .await
            .0,
        StatusCode::INTERNAL_SERVER_ERROR
    );

    let node = "/sync/_bridge/node/monitoring";
    let find = format!("{node}?nodeId=n1&type=MONITOR");
    assert_eq!(
        gate.call("GET", &find, &Value::Null).await.0,
        StatusCode::NOT_FOUND
    );
    let document =
        json!({"id": "m", "nodeId": "n1", "type": "MONITOR", "payload": "{}", "updatedAt": 1});
    assert_eq!(
        gate.call("POST", node, &document).await,
        (StatusCode::OK, document.clone())
    );
    let newer =
        json!({"id": "m", "nodeId": "n1", "type": "MONITOR", "payload": "{}", "updatedAt": 2});
    gate.call("PUT", node, &newer).await;
    assert_eq!(
        gate.call("GET", &find, &Value::Null).await,
        (StatusCode::OK, newer)
    );

    let (_, page) = gate
        .call("POST", "/sync/events/_search?page=0&size=1", &json!({}))
        .await;
    assert_eq!(
        (&page["totalElements"], &page["pageElements"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(page["content"][0]["id"], "a", "the newest comes first");
    let status: Value =
        serde_json::from_slice(gate.send("GET", "/_gate/status", &[], "").await.body())
            .expect("JSON");
    assert_eq!(status["gateways"][0]["lastHeartbeatAt"], 5);
    assert_eq!(status["gateways"][0]["hostname"], "gw");
    assert_eq!(status["apis"][0]["deploymentNumber"], 1);
    gate.stop().await;
}

#[tokio::test]
async fn environments_organizations_and_the_rest_are_answered() {
    let gate = Running::start(Transport::Plain, false).await;
    let get = async |path: &str| {
        gate.call("GET", &format!("/sync/_bridge/{path}"), &Value::Null)
            .await
    };
    let environment = json!({"id": ENVIRONMENT, "hrids": [ENVIRONMENT], "name": ENVIRONMENT, "organizationId": ORGANIZATION});
    assert_eq!(get("environments").await.1, json!([environment]));
    assert_eq!(
        get(&format!("environments/{ENVIRONMENT}")).await.1,
        environment
    );
    assert_eq!(
        get(&format!(
            "environments/_byOrganizationId?organizationId={ORGANIZATION}"
        ))
        .await
        .1,
        json!([environment])
    );
    for (query, expected) in [
        ("organizationsIds=&hrids=".to_owned(), 1),
        (
            format!("organizationsIds={ORGANIZATION}&hrids={ENVIRONMENT}"),
            1,
        ),
        (format!("organizationsIds={ORGANIZATION}&hrids=qa"), 0),
        ("organizationsIds=other&hrids=".to_owned(), 0),
    ] {
        let (_, found) = get(&format!("environments/_byOrganizationsAndHrids?{query}")).await;
        assert_eq!(found.as_array().map(Vec::len), Some(expected), "{query}");
    }
    assert_eq!(
        get(&format!(
            "environments/_organizationIds?environmentsIds={ENVIRONMENT}"
        ))
        .await
        .1,
        json!([ORGANIZATION])
    );
    assert_eq!(
        get(&format!("organizations/{ORGANIZATION}")).await.1["id"],
        ORGANIZATION
    );
    assert_eq!(
        get("organizations/other").await,
        (StatusCode::NOT_FOUND, json!(""))
    );
    assert_eq!(
        get(&format!("organizations/_byHrids?hrids={ORGANIZATION}"))
            .await
            .1[0]["id"],
        ORGANIZATION
    );
    assert!(get("installation").await.1["id"].is_string());
    assert_eq!(get("dictionaries").await.1, json!([]));
    assert_eq!(get("nowhere").await, (StatusCode::NOT_FOUND, json!("")));
    let (_, licenses) = gate
        .call(
            "POST",
            "/sync/_bridge/licenses/_search?page=0&size=100",
            &json!({}),
        )
        .await;
    assert_eq!(
        licenses,
        json!({"content": [], "pageNumber": 0, "pageElements": 0, "totalElements": 0})
    );
    assert_eq!(
        gate.call(
            "POST",
            "/sync/_bridge/accessPoints/_search?page=0&size=100",
            &json!({})
        )
        .await
        .1,
        json!([])
    );
    assert_eq!(
        gate.call("POST", "/sync/events/_search", &json!(["not criteria"]))
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    gate.stop().await;
}

#[tokio::test]
async fn the_requests_of_the_samples_are_understood() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/contracts/samples/sync");
    if !samples.is_dir() {
        eprintln!("skipped: no samples at {}", samples.display());
        return;
    }
    let read = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(samples.join(file)).expect("a sample")).expect("JSON")
    };
    let gate = Running::start(Transport::Plain, false).await;
    for file in [
        "01-root-version.json",
        "04-events-latest-api-initial.json",
        "05-events-latest-api-incremental.json",
        "06-event-dictionary.json",
        "07-event-organization.json",
        "08-event-shared-policy-group.json",
        "10-subscriptions-initial.json",
        "11-subscriptions-incremental.json",
        "12-api-keys.json",
        "16-installation.json",
        "17-access-points.json",
    ] {
        let request = &read(file)["request"];
        let (Some(method), Some(path)) = (request["method"].as_str(), request["path"].as_str())
        else {
            continue;
        };
        let (status, answer) = gate
            .call(method, &format!("/sync{path}"), &request["body"])
            .await;
        assert_eq!(status, StatusCode::OK, "{file}: {answer}");
    }
    let heartbeats = read("19-heartbeat-events.json");
    for beat in ["start", "every5s", "stop"] {
        let (status, answer) = gate
            .call(
                "POST",
                "/sync/_bridge/events/_createOrPatch",
                &heartbeats[beat],
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{beat}: {answer}");
    }
    let monitoring = read("20-node-monitoring.json");
    for (method, what) in [
        ("POST", "create"),
        ("PUT", "updateHealth"),
        ("PUT", "updateMonitor"),
    ] {
        let (status, _) = gate
            .call(
                method,
                "/sync/_bridge/node/monitoring",
                &monitoring[what]["body"],
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{what}");
    }
    gate.stop().await;
}
