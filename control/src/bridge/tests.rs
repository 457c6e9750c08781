//! The client against a fake control plane.

use std::time::Duration;

use turnpike_config::{Authentication, ProxyConfig, Secret};

use super::fake::{FakeBridge, Fault};
use super::wire::{EventCriteria, SubscriptionCriteria};
use super::{BridgeClient, BridgeErrorKind, Group, HttpClient, HttpError};
use crate::sync::test_settings;
use crate::token::BridgePath;

#[tokio::test]
async fn the_base_is_probed_once_and_kept() {
    for (base, expected) in [("/sync/_bridge", 1), ("/sync", 2)] {
        let bridge = FakeBridge::start().await;
        base.clone_into(&mut bridge.world().base);
        let mut settings = test_settings(&format!("{}/sync", bridge.url));
        settings.bridge_path = BridgePath::Probe;
        let client = BridgeClient::new(&settings).expect("a client");
        let server = client.handshake().await.expect("a handshake");
        assert_eq!(server.base, format!("{}{base}", bridge.url));
        assert_eq!(bridge.world().seen.len(), expected);
        let events = client
            .latest_events(Group::Api, 0, 10, &EventCriteria::default())
            .await
            .expect("events");
        assert!(events.is_empty());
        assert_eq!(
            bridge.world().seen.last().expect("a request").path,
            format!("{base}/eventsLatest/_search")
        );
    }
}

#[tokio::test]
async fn a_fixed_base_is_taken_as_it_is() {
    for (appends, base) in [(true, "/x/_bridge"), (false, "/x")] {
        let bridge = FakeBridge::start().await;
        base.clone_into(&mut bridge.world().base);
        let mut settings = test_settings(&format!("{}/x/", bridge.url));
        settings.bridge_path = BridgePath::Fixed(appends);
        BridgeClient::new(&settings)
            .expect("a client")
            .handshake()
            .await
            .expect("a handshake");
        assert_eq!(bridge.world().seen[0].path, base, "no slash is added");
    }
}

#[tokio::test]
async fn each_authentication_has_its_header() {
    let cases = [
        (Authentication::None, None),
        (
            Authentication::Basic {
                username: "user".to_owned(),
                password: Secret::new("pass"),
            },
            Some("Basic dXNlcjpwYXNz"),
        ),
        (
            Authentication::Jwt {
                token: Secret::new("a.b.c"),
            },
            Some("Bearer a.b.c"),
        ),
    ];
    for (authentication, header) in cases {
        let bridge = FakeBridge::start().await;
        let settings = crate::token::ControlPlaneSettings {
            authentication,
            ..test_settings(&bridge.url)
        };
        BridgeClient::new(&settings)
            .expect("a client")
            .handshake()
            .await
            .expect("a handshake");
        let world = bridge.world();
        let found = world.seen[0]
            .headers
            .get("authorization")
            .map(|value| value.to_str().expect("ASCII"));
        assert_eq!(found, header);
    }
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    let cases = [
        (Fault::Status(401, ""), BridgeErrorKind::Unauthorized),
        (
            Fault::Status(403, "Unauthorized environments"),
            BridgeErrorKind::Forbidden,
        ),
        (Fault::Status(404, ""), BridgeErrorKind::NotFound),
        (Fault::Status(400, "no"), BridgeErrorKind::Permanent),
        (Fault::Status(500, "oops"), BridgeErrorKind::Transient),
        (Fault::Status(429, ""), BridgeErrorKind::Transient),
        (Fault::Torn, BridgeErrorKind::Transient),
        (Fault::Body("<html>"), BridgeErrorKind::Transient),
        (
            Fault::Late(Duration::from_millis(1_500)),
            BridgeErrorKind::Transient,
        ),
    ];
    let bridge = FakeBridge::start().await;
    let mut settings = test_settings(&bridge.url);
    settings.client.read_timeout_ms = 1_000;
    let client = BridgeClient::new(&settings).expect("a client");
    for (fault, kind) in cases {
        bridge.world().fail("subscriptions", 1, fault.clone());
        let error = client
            .subscriptions(&SubscriptionCriteria::default())
            .await
            .expect_err("a failure");
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert!(
            error.to_string().starts_with("POST /subscriptions/_search"),
            "{error}"
        );
    }
    client
        .subscriptions(&SubscriptionCriteria::default())
        .await
        .expect("and then it works");
}

#[tokio::test]
async fn nobody_listening_is_transient() {
    let settings = test_settings("http://127.0.0.1:1");
    let error = BridgeClient::new(&settings)
        .expect("a client")
        .handshake()
        .await
        .expect_err("nobody listens");
    assert_eq!(error.kind, BridgeErrorKind::Transient);
}

#[tokio::test]
async fn an_incompatible_version_is_told_in_the_servers_words() {
    let bridge = FakeBridge::start().await;
    let mut settings = test_settings(&bridge.url);
    "latest".clone_into(&mut settings.client_version);
    let error = BridgeClient::new(&settings)
        .expect("a client")
        .handshake()
        .await
        .expect_err("no version");
    assert!(
        error
            .to_string()
            .contains("400: Version of the bridge client is incompatible"),
        "{error}"
    );
}

#[tokio::test]
async fn objects_that_are_absent_are_none_and_large_answers_come_compressed() {
    let bridge = FakeBridge::start().await;
    for n in 0..50 {
        bridge
            .world()
            .subscriptions
            .push(super::wire::Subscription {
                id: format!("s{n}"),
                ..Default::default()
            });
    }
    let client = BridgeClient::new(&test_settings(&bridge.url)).expect("a client");
    assert_eq!(
        client
            .environment("nowhere/../x")
            .await
            .expect("no failure"),
        None
    );
    assert_eq!(
        bridge.world().seen[0].path,
        "/_bridge/environments/nowhere%2F..%2Fx"
    );
    assert_eq!(
        client
            .subscriptions(&SubscriptionCriteria::default())
            .await
            .expect("subscriptions")
            .len(),
        50
    );
    assert_eq!(
        bridge.world().seen[0].headers["accept-encoding"],
        "gzip, deflate"
    );
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_refused() {
    let bridge = FakeBridge::start().await;
    bridge.world().fail("", 1, Fault::Body("0123456789"));
    let settings = turnpike_config::HttpClientConfig {
        use_compression: false,
        ..Default::default()
    };
    let client = HttpClient::new(&settings)
        .expect("a client")
        .with_response_bytes_max(9);
    let request = http::Request::get(format!("{}/", bridge.url))
        .body(bytes::Bytes::new())
        .expect("a request");
    assert_eq!(
        client.send(request).await.expect_err("too large"),
        HttpError::TooLarge { bytes_max: 9 }
    );
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_with_its_credentials() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = proxy.local_addr().expect("an address").port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        stream
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .await
            .expect("written");
        String::from_utf8(head).expect("ASCII")
    });
    let mut settings = test_settings("http://control-plane.example:8080");
    settings.client.proxy = Some(ProxyConfig {
        host: "127.0.0.1".to_owned(),
        port,
        credentials: Some(("user".to_owned(), Secret::new("pass"))),
    });
    let error = BridgeClient::new(&settings)
        .expect("a client")
        .handshake()
        .await
        .expect_err("refused by the proxy");
    assert_eq!(error.kind, BridgeErrorKind::Transient);
    let head = asked.await.expect("a head").to_ascii_lowercase();
    assert!(
        head.starts_with("connect control-plane.example:8080 http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"),
        "{head}"
    );
}

/// A TLS server that answers one request with 200 and an empty list.
async fn tls_server(name: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let pem = certified.cert.pem();
    let key =
        rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a server");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 4_096];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
                .await;
        }
    });
    (port, pem)
}

#[tokio::test]
async fn trust_follows_the_settings() {
    let (right, right_pem) = tls_server("127.0.0.1").await;
    let (other, other_pem) = tls_server("other.example").await;
    // Port, truststore, trust all, verify the host name, expected.
    let cases = [
        ("the system's roots", right, None, false, true, false),
        (
            "its own certificate",
            right,
            Some(&right_pem),
            false,
            true,
            true,
        ),
        (
            "another certificate",
            right,
            Some(&other_pem),
            false,
            true,
            false,
        ),
        ("another name", other, Some(&other_pem), false, true, false),
        (
            "another name, not verified",
            other,
            Some(&other_pem),
            false,
            false,
            true,
        ),
        (
            "another certificate, name not verified",
            other,
            Some(&right_pem),
            false,
            false,
            false,
        ),
        ("trust all", other, None, true, true, true),
    ];
    for (case, port, truststore, trust_all, verify_hostname, works) in cases {
        let mut settings = test_settings(&format!("https://127.0.0.1:{port}"));
        settings.client.trust_all = trust_all;
        settings.client.verify_hostname = verify_hostname;
        settings.client.truststore_content = truststore.cloned();
        let client = BridgeClient::new(&settings).expect("a client");
        let outcome = client.subscriptions(&SubscriptionCriteria::default()).await;
        assert_eq!(outcome.is_ok(), works, "{case}: {outcome:?}");
    }
}

#[test]
fn a_truststore_without_certificates_is_refused_by_name() {
    let mut settings = test_settings("https://gate.example");
    settings.client.truststore_path = Some("/nonexistent/roots.pem".into());
    let error = BridgeClient::new(&settings)
        .expect_err("no file")
        .to_string();
    assert!(
        error.starts_with("truststore /nonexistent/roots.pem: "),
        "{error}"
    );
    settings.client.truststore_content = Some("aGVsbG8=".to_owned());
    let error = BridgeClient::new(&settings)
        .expect_err("no certificate")
        .to_string();
    assert!(
        error.contains("expected PEM certificates, found none"),
        "{error}"
    );
}
