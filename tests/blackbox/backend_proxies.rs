//! Backends that are reached through a forward proxy.

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::definition::v4;
use crate::support::forward_proxy::ForwardProxy;
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::tls;

fn settings(kind: &str, port: u16, credentials: Option<(&str, &str)>) -> Value {
    let mut settings = json!({ "enabled": true, "type": kind, "host": "127.0.0.1", "port": port });
    if let Some((user, password)) = credentials {
        settings["username"] = json!(user);
        settings["password"] = json!(password);
    }
    settings
}

#[test]
fn every_kind_of_proxy_leads_to_the_backend_and_looks_its_name_up() {
    let backend = Backend::start();
    for (kind, asked) in [
        ("HTTP", "GET http://backend.invalid:81/echo"),
        ("SOCKS4", "SOCKS4 backend.invalid:81"),
        ("SOCKS5", "SOCKS5 backend.invalid:81"),
    ] {
        for credentials in [None, Some(("someone", "secret"))] {
            let proxy = ForwardProxy::to(backend.port(), credentials);
            let site = Site::with(Start::new(), |_| {
                vec![
                    v4("p", "/p", "http://backend.invalid:81")
                        .shared("proxy", settings(kind, proxy.port, credentials)),
                ]
            });
            let response = site.fetch("/p/echo");
            assert_eq!(response.status, 200, "{kind} {credentials:?}");
            assert_eq!(proxy.asked(), [asked], "{kind} {credentials:?}");
            let seen = backend.last();
            assert_eq!(seen.target, "/echo", "{kind}");
            assert_eq!(
                seen.head.field("Host"),
                Some("backend.invalid:81"),
                "{kind}"
            );
        }
    }
}

#[test]
fn tls_to_the_backend_goes_through_a_tunnel() {
    let (config, authority) = tls::server(&["backend.invalid"]);
    let backend = Backend::with_tls(config);
    for (kind, asked) in [
        ("HTTP", "CONNECT backend.invalid:443"),
        ("SOCKS5", "SOCKS5 backend.invalid:443"),
    ] {
        let proxy = ForwardProxy::to(backend.port(), None);
        let site = Site::with(Start::new(), |_| {
            vec![
                v4("p", "/p", "https://backend.invalid")
                    .shared("proxy", settings(kind, proxy.port, None))
                    .shared(
                        "ssl",
                        json!({ "trustStore": { "type": "PEM", "content": authority } }),
                    ),
            ]
        });
        assert_eq!(site.fetch("/p/echo").status, 200, "{kind}");
        assert_eq!(proxy.asked(), [asked]);
    }
}

#[test]
fn a_proxy_that_refuses_is_a_bad_gateway_and_the_reason_is_reported() {
    let backend = Backend::start();
    let (config, _) = tls::server(&["backend.invalid"]);
    let secure = Backend::with_tls(config);
    for (kind, target, port, status, cause) in [
        ("SOCKS4", "http://b.invalid", backend.port(), 502, "code 93"),
        (
            "SOCKS5",
            "http://b.invalid",
            backend.port(),
            502,
            "does not accept user and password",
        ),
        (
            "HTTP",
            "https://b.invalid",
            secure.port(),
            502,
            "CONNECT with 407",
        ),
        // A plain proxy's own answer is the answer.
        ("HTTP", "http://b.invalid", backend.port(), 407, ""),
    ] {
        let proxy = ForwardProxy::to(port, Some(("someone", "secret")));
        let site = Site::with(Start::new(), |_| {
            vec![v4("p", "/p", target).shared(
                "proxy",
                settings(kind, proxy.port, Some(("someone-else", "wrong"))),
            )]
        });
        let response = site.fetch("/p/echo");
        assert_eq!(response.status, status, "{kind} {target}");
        if !cause.is_empty() {
            let id = response.field("X-Gravitee-Request-Id").expect("an id");
            let report = site.plane.report_of(id);
            assert!(report.to_string().contains(cause), "{kind}: {report}");
        }
    }
}

#[test]
fn the_system_proxy_serves_endpoints_that_ask_for_it() {
    let backend = Backend::start();
    let proxy = ForwardProxy::to(backend.port(), None);
    let start = Start::new()
        .set("system.proxy.host", "127.0.0.1")
        .set("system.proxy.port", &proxy.port.to_string());
    let site = Site::with(start, |_| {
        vec![
            v4("p", "/p", "http://backend.invalid")
                .shared("proxy", json!({ "enabled": true, "useSystemProxy": true })),
        ]
    });
    assert_eq!(site.fetch("/p/echo").status, 200);
    assert_eq!(proxy.asked(), ["GET http://backend.invalid/echo"]);
}
