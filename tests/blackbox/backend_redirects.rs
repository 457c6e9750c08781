//! Endpoints that follow redirects.

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
