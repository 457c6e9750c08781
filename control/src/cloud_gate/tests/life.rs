//! Start, transports, restart.

use super::*;

#[tokio::test]
async fn http2_and_plain_http_are_served() {
    for (transport, http2) in [(Transport::Generated, true), (Transport::Plain, false)] {
        let gate = Running::start(transport, http2).await;
        assert_eq!(
            gate.call("GET", "/sync/_bridge", &Value::Null).await.0,
            StatusCode::OK
        );
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_taken_port_a_locked_folder_and_a_missing_folder_are_named() {
    let gate = Running::start(Transport::Plain, false).await;
    let again = CloudGate::bind(options(gate.root.path(), Transport::Plain)).await;
    assert!(matches!(again, Err(GateError::Locked { .. })), "{again:?}");
    let address = gate.url.trim_start_matches("http://").to_owned();
    let other = CloudGateOptions {
        data: gate.root.path().join("other"),
        listen: address.clone(),
        ..options(gate.root.path(), Transport::Plain)
    };
    let error = CloudGate::bind(other).await.expect_err("taken").to_string();
    assert!(error == format!("cannot listen on {address}"), "{error}");
    let root = gate.stop().await;
    let nowhere = CloudGateOptions {
        definitions: root.path().join("nowhere"),
        ..options(root.path(), Transport::Plain)
    };
    let error = CloudGate::bind(nowhere)
        .await
        .expect_err("missing")
        .to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_restart_keeps_certificate_key_and_deployments() {
    let gate = Running::start(Transport::Generated, false).await;
    gate.write("a.json", &api("a", "/a"));
    let before = gate.until_apis(1).await;
    let certificate =
        std::fs::read(gate.root.path().join("data/certificate.pem")).expect("a certificate");
    let token = gate.token.clone();
    let root = gate.stop().await;
    let again = CloudGate::bind(options(root.path(), Transport::Generated))
        .await
        .expect("bound");
    assert_eq!(
        std::fs::read(again.certificate_path().expect("a path")).expect("a certificate"),
        certificate
    );
    let mut headers = http::HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        format!("Bearer {token}").parse().expect("a header"),
    );
    assert!(again.gatekeeper.admit(&headers).is_ok());
    assert_eq!(
        serde_json::to_value(&again.gate.ledger().apis["a"].event).expect("JSON"),
        before[0]
    );
}
