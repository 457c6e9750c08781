//! Endpoints that follow redirects.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::client::{exchange, fetch, request};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;

fn to(status: u16, location: &str) -> Answer {
    Answer::new(status, "moved").field("Location", location)
}

#[test]
fn a_redirect_is_followed_as_its_status_and_method_allow() {
    let other = Server::always(Answer::new(200, "other"));
    let elsewhere = other.url("/there?x=1");
    let server = Server::start(move |asked| {
        let path = asked.target.split('?').next().unwrap_or_default();
        match path {
            "/base/same" => to(302, "/landed"),
            "/base/relative" => to(307, "landed"),
            "/base/other" => to(301, &elsewhere),
            "/base/see" => to(303, "/landed"),
            "/base/nowhere" => Answer::new(302, "moved"),
            "/base/loop" => to(302, "/base/loop"),
            "/base/mail" => to(302, "mailto:someone@example.com"),
            _ => Answer::new(200, format!("{} {}", asked.method, asked.target)),
        }
    });
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("on", "/on", &server.url("/base")).http(json!({ "followRedirects": true })),
            v4("off", "/off", &server.url("/base")),
        ]
    });
    for (method, path, status, body) in [
        ("GET", "/on/same?q=1", 200, "GET /landed"),
        ("GET", "/on/relative", 200, "GET /base/landed"),
        ("GET", "/on/other?q=1", 200, "other"),
        ("GET", "/on/see", 200, "GET /landed"),
        ("POST", "/on/see", 200, "GET /landed"),
        ("POST", "/on/same", 302, "moved"),
        ("DELETE", "/on/relative", 307, "moved"),
        ("GET", "/on/nowhere", 302, "moved"),
        ("GET", "/on/mail", 302, "moved"),
        ("GET", "/off/same", 302, "moved"),
    ] {
        let payload: &[u8] = if method == "POST" { b"data" } else { b"" };
        let response = exchange(site.port(), &request(method, path, &[], payload));
        assert_eq!(
            (response.status, &*response.text()),
            (status, body),
            "{method} {path}"
        );
    }
    assert!(
        other
            .asked()
            .iter()
            .all(|asked| asked.target == "/there?x=1")
    );
    let before = server.asked().len();
    let response = fetch(site.port(), "/on/loop");
    assert_eq!(response.status, 302, "the last redirect is the answer");
    assert_eq!(server.asked().len() - before, 17);
}

#[test]
fn credentials_stay_with_the_origin_that_they_were_sent_to() {
    let other = Server::always(Answer::new(200, "other"));
    let elsewhere = other.url("/there");
    let server = Server::start(move |asked| match &*asked.target {
        "/away" => to(302, &elsewhere),
        "/near" => to(302, "/landed"),
        _ => Answer::new(200, ""),
    });
    let site = Site::with(Start::new(), |_| {
        vec![v4("on", "/on", &server.url("")).http(json!({ "followRedirects": true }))]
    });
    let fields = [
        ("Authorization", "Bearer secret"),
        ("Cookie", "a=b"),
        ("X-Kept", "1"),
    ];
    for path in ["/on/away", "/on/near"] {
        let response = exchange(site.port(), &request("GET", path, &fields, b""));
        assert_eq!(response.status, 200, "{path}");
    }
    let away = other.asked().pop().expect("a request").head;
    assert_eq!(
        (away.field("Authorization"), away.field("Cookie")),
        (None, None)
    );
    assert_eq!(away.field("X-Kept"), Some("1"));
    let near = server.asked().pop().expect("a request").head;
    assert_eq!(near.field("Authorization"), Some("Bearer secret"));
    assert_eq!(near.field("Cookie"), None);
}

#[test]
fn what_is_the_endpoints_own_stays_with_its_origin() {
    let other = Server::always(Answer::new(200, "other"));
    let elsewhere = other.url("/there");
    let server = Server::start(move |asked| match &*asked.target {
        "/away" => to(302, &elsewhere),
        "/near" => to(302, "/landed"),
        _ => Answer::new(200, ""),
    });
    let headers = json!([
        { "name": "Authorization", "value": "Basic endpoint" },
        { "name": "Host", "value": "inner.example" },
        { "name": "X-Kept", "value": "1" },
    ]);
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("own", "/own", &server.url(""))
                .http(json!({ "followRedirects": true }))
                .shared("headers", headers.clone()),
            v4("host", "/host", &server.url(""))
                .http(json!({ "followRedirects": true, "propagateClientHost": true })),
        ]
    });
    for path in ["/own/near", "/own/away", "/host/away"] {
        let response = exchange(site.port(), &request("GET", path, &[], b""));
        assert_eq!(response.status, 200, "{path}");
    }
    let near = &server.asked()[1].head;
    assert_eq!(near.field("Authorization"), Some("Basic endpoint"));
    assert_eq!(near.field("Host"), Some("inner.example"));
    let authority = other.url("").replace("http://", "");
    let away = other.asked();
    assert_eq!(away.len(), 2);
    for asked in &away {
        assert_eq!(asked.head.field("Authorization"), None);
        assert_eq!(asked.head.field("Host"), Some(&*authority));
    }
    assert_eq!(away[0].head.field("X-Kept"), Some("1"));
}

#[test]
fn a_user_in_a_location_is_not_sent_on() {
    let other = Server::always(Answer::new(200, "other"));
    let elsewhere = other
        .url("/there")
        .replace("http://", "http://user:secret@");
    let server = Server::always(to(302, &elsewhere));
    let site = Site::with(Start::new(), |_| {
        vec![v4("on", "/on", &server.url("")).http(json!({ "followRedirects": true }))]
    });
    let response = fetch(site.port(), "/on/x");
    assert_eq!((response.status, &*response.text()), (200, "other"));
    let asked = other.asked().pop().expect("a request");
    assert_eq!(asked.target, "/there");
    assert_eq!(asked.head.field("Authorization"), None);
    let authority = other.url("").replace("http://", "");
    assert_eq!(asked.head.field("Host"), Some(&*authority));
}

#[test]
fn a_call_that_is_made_again_has_the_credentials_of_the_first() {
    let busy = AtomicBool::new(true);
    let other = Server::start(move |_| match busy.swap(false, Ordering::SeqCst) {
        true => Answer::new(503, "busy"),
        false => Answer::new(200, "other"),
    });
    let server = Server::always(to(302, &other.url("/there")));
    let site = Site::with(Start::new(), |_| {
        vec![
            v4("on", "/on", &server.url(""))
                .http(json!({ "followRedirects": true }))
                .request(
                    "retry",
                    json!({ "condition": "{#response.status == 503}", "maxRetries": 1, "timeout": 5_000 }),
                ),
        ]
    });
    let fields = [("Authorization", "Bearer secret"), ("Cookie", "a=b")];
    let response = exchange(site.port(), &request("GET", "/on/x", &fields, b""));
    assert_eq!((response.status, &*response.text()), (200, "other"));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert_eq!(asked.head.field("Authorization"), Some("Bearer secret"));
        assert_eq!(asked.head.field("Cookie"), Some("a=b"));
    }
    for asked in other.asked() {
        assert_eq!(asked.head.field("Authorization"), None);
        assert_eq!(asked.head.field("Cookie"), None);
    }
}
