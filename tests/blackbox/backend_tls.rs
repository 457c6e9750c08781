//! Backends behind TLS.

use std::io::Write as _;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange, request};
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::pattern::{bytes, digest};
use crate::support::site::Site;
use crate::support::tls;

/// The port of a server that speaks no TLS and does not wait to be asked.
fn chatterbox() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"220 hello, this is not TLS\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

fn ssl(pem: &str, more: Value) -> Value {
    let mut ssl = json!({ "trustStore": { "type": "PEM", "content": pem } });
    for (name, value) in more.as_object().into_iter().flatten() {
        ssl[name] = value.clone();
    }
    ssl
}

#[test]
fn a_backend_is_served_over_tls_when_its_certificate_is_trusted() {
    let (config, pem) = tls::server(&["127.0.0.1", "localhost"]);
    let secure = Backend::with_tls(config);
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("v4", "/v4", &secure.target("")).shared("ssl", ssl(&pem, json!({}))),
            v4("all", "/all", &secure.target("")).shared("ssl", json!({ "trustAll": true })),
            v2("v2", "/v2", &secure.target("")).with(|definition| {
                definition["proxy"]["groups"][0]["ssl"] = ssl(&pem, json!({}));
            }),
        ]
    });
    let body = bytes(1_000_000);
    for path in ["/v4/echo", "/all/echo", "/v2/echo"] {
        let response = exchange(site.port(), &request("POST", path, &[], &body));
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(response.json()["digest"], digest(&body), "{path}");
        let large = site.fetch(&path.replace("echo", "chunked/3000000"));
        assert!(large.body == bytes(3_000_000), "{path}");
    }
    // A connection is worth its handshake.
    let before = secure.connections();
    let mut client = site.client();
    for _ in 0..20 {
        let asked = crate::support::client::get("/v4/echo");
        assert_eq!(client.send(&asked).response().status, 200);
    }
    let opened = secure.connections() - before;
    assert!(opened <= 1, "{opened} connections for 20 requests in a row");
}

#[test]
fn a_certificate_that_is_not_trusted_or_names_another_host_is_a_502() {
    let (config, pem) = tls::server(&["other.example"]);
    let (_, stranger) = tls::server(&["127.0.0.1"]);
    let secure = Backend::with_tls(config);
    let plain = chatterbox();
    let target = secure.target("");
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("untrusted", "/untrusted", &target),
            v4("stranger", "/stranger", &target).shared("ssl", ssl(&stranger, json!({}))),
            v4("name", "/name", &target).shared("ssl", ssl(&pem, json!({}))),
            v4("lenient", "/lenient", &target)
                .shared("ssl", ssl(&pem, json!({ "hostnameVerifier": false }))),
            v4("plain", "/plain", &format!("https://127.0.0.1:{plain}"))
                .shared("ssl", json!({ "trustAll": true })),
        ]
    });
    for path in ["/untrusted/x", "/stranger/x", "/name/x", "/plain/x"] {
        let response: Response = site.fetch(path);
        assert_eq!(response.status, 502, "{path}: {}", response.text());
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        let report = site.plane.report_of(id);
        assert_eq!(
            report["error-key"], "GATEWAY_CLIENT_TLS_HANDSHAKE_ERROR",
            "{path}: {report:#}"
        );
    }
    assert_eq!(secure.requests(), 0);
    assert_eq!(site.fetch("/lenient/x").status, 200);
}
