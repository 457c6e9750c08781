//! Policies that say where a request goes, and as what: dynamic routing, redirections, other methods.

use serde_json::json;

use super::policy_traffic::{ENGINES, both, send, with_other};
use crate::support::client::{fetch, fetch_with, request};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;

#[test]
fn dynamic_routing_leads_to_endpoints_groups_urls_and_paths() {
    let echo = |name: &'static str| {
        Server::start(move |asked| Answer::new(200, format!("{name} {}", asked.target)))
    };
    let (own, other, away) = (echo("own"), echo("other"), echo("away"));
    let rules = json!({ "rules": [
        { "pattern": "/endpoint/(.*)", "url": "{#endpoints['other']}/got/{#group[0]}" },
        { "pattern": "/group/(?<id>[^/]+)", "url": "{#endpoints['other-group']}/named/{#groupName['id']}?own=1" },
        { "pattern": "/away/(.*)", "url": away.url("/abs/{#group[0]}?own=1") },
        { "pattern": "/inside/(.*)", "url": "/in/{#group[0]}" },
        { "pattern": "/attribute", "url": "{#endpoints['other']}/{#context.attributes['api']}" },
        { "pattern": "/a b", "url": "/decoded" },
        { "pattern": "/nobody", "url": "nobody:/x" },
        { "pattern": "/twice", "url": "/first" },
        { "pattern": "/twice", "url": "/second" },
        { "pattern": "/glued(.*)", "url": format!("{}{{#group[0]}}", away.url("")) },
        { "pattern": "/header", "url": "{#request.headers['X-Go'][0]}" },
    ] });
    let site = Site::with(Start::new(), |_| {
        let mut all = both("some", &own.url("/base"), |api| {
            with_other(
                api.request("dynamic-routing", rules.clone()),
                &other.url("/o"),
            )
        });
        all.extend(both("bad", &own.url(""), |api| {
            api.request(
                "dynamic-routing",
                json!({ "rules": [{ "pattern": "/(", "url": "/x" }] }),
            )
        }));
        all.extend(both("none", &own.url("/base"), |api| {
            api.request("dynamic-routing", json!({ "rules": [] }))
        }));
        all
    });
    for engine in ENGINES {
        for (path, status, body) in [
            ("/endpoint/a/b", 200, "other /o/got/a/b"),
            ("/group/7", 200, "other /o/named/7?own=1"),
            ("/away/x", 200, "away /abs/x?own=1"),
            ("/inside/a%2Fb", 200, "own /base/in/a%2Fb"),
            ("/attribute", 200, &*format!("other /o/some-{engine}")),
            ("/a%20b", 200, "own /base/decoded"),
            ("/twice", 200, "own /base/first"),
            ("/unknown", 400, "No routing rule is matching path"),
            ("/inside", 400, "No routing rule is matching path"),
            ("/nobody", 503, ""),
        ] {
            let response = fetch(site.port(), &format!("/some-{engine}{path}"));
            let text = if response.status == 503 {
                String::new()
            } else {
                response.text()
            };
            assert_eq!((response.status, &*text), (status, body), "{engine} {path}");
        }
        let query = fetch(site.port(), &format!("/some-{engine}/away/x?q=2"));
        let expected = match engine {
            "v4" => "away /abs/x?q=2&own=1",
            _ => "away /abs/x?own=1&q=2",
        };
        assert_eq!(query.text(), expected, "{engine}");
        let bad = fetch(site.port(), &format!("/bad-{engine}/x"));
        assert_eq!(
            (bad.status, &*bad.text()),
            (500, "Invalid pattern syntax"),
            "{engine}"
        );
        let none = fetch(site.port(), &format!("/none-{engine}/x"));
        assert_eq!(none.text(), "own /base/x", "{engine}");
    }
}

#[test]
fn what_a_client_sends_never_changes_the_host_that_a_rule_names() {
    let own = Server::start(|asked| Answer::new(200, format!("own {}", asked.target)));
    let away = Server::start(|asked| Answer::new(200, format!("away {}", asked.target)));
    let trap = Server::always(Answer::new(200, "trap"));
    let trapped = trap.url("").trim_start_matches("http://").to_owned();
    let rules = json!({ "rules": [
        { "pattern": "/inside/(.*)", "url": "/in/{#group[0]}" },
        { "pattern": "/path(/.*)", "url": "{#group[0]}" },
        { "pattern": "/away(.*)", "url": format!("{}{{#group[0]}}", away.url("")) },
        { "pattern": "/other(.*)", "url": "{#endpoints['other']}{#group[0]}" },
        { "pattern": "/header", "url": away.url("/{#request.headers['X-Go'][0]}") },
    ] });
    let site = Site::with(Start::new(), |_| {
        both("some", &own.url(""), |api| {
            with_other(api.request("dynamic-routing", rules.clone()), &away.url(""))
        })
    });
    for engine in ENGINES {
        for path in [
            format!("/inside//{trapped}/x"),
            format!("/inside/http://{trapped}/x"),
            format!("/inside/@{trapped}/x"),
            format!("/path//{trapped}/x"),
            format!("/path/@{trapped}/x"),
            format!("/away//{trapped}/x"),
            format!("/away@{trapped}/x"),
            format!("/away:80@{trapped}/x"),
            format!("/away%40{trapped}/x"),
            format!("/away.{trapped}/x"),
            format!("/away%0d%0aHost:%20{trapped}"),
            "/away/%0d%0aX-Evil:%201".to_owned(),
            "/inside/%0d%0aX-Evil:%201".to_owned(),
            format!("/other//{trapped}/x"),
            format!("/other@{trapped}/x"),
            "/other%0d%0aX-Evil:%201".to_owned(),
        ] {
            let response = fetch(site.port(), &format!("/some-{engine}{path}"));
            assert_ne!(response.text(), "trap", "{engine} {path}");
            assert!(
                matches!(response.status, 200 | 400 | 500 | 502 | 503 | 504),
                "{engine} {path} {}",
                response.status
            );
        }
        for go in [
            format!("@{trapped}/"),
            format!("//{trapped}/"),
            "a b".to_owned(),
            "a?b=c#d".to_owned(),
        ] {
            let path = format!("/some-{engine}/header");
            let response = fetch_with(site.port(), &path, &[("X-Go", &go)]);
            assert_ne!(response.text(), "trap", "{engine} {go}");
        }
    }
    assert!(trap.asked().is_empty(), "{:?}", trap.asked());
    for asked in own.asked().iter().chain(&away.asked()) {
        assert_eq!(asked.head.field("X-Evil"), None);
        assert_eq!(asked.head.all("Host").len(), 1);
        assert!(!asked.head.all("Host")[0].contains(&trapped));
    }
}

#[test]
fn an_overridden_method_is_framed_as_each_side_expects() {
    let site = Site::with(Start::new(), |backend| {
        ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]
            .iter()
            .flat_map(|method| {
                both(&format!("as-{method}"), &backend.target(""), |api| {
                    api.request(
                        "policy-override-request-method",
                        json!({ "method": method }),
                    )
                })
            })
            .collect()
    });
    for engine in ENGINES {
        for (client_method, method, body) in [
            ("GET", "POST", ""),
            ("POST", "GET", "data"),
            ("PUT", "DELETE", "data"),
            ("GET", "OPTIONS", ""),
            ("POST", "HEAD", "data"),
            ("GET", "HEAD", ""),
            ("HEAD", "GET", ""),
            ("HEAD", "POST", ""),
        ] {
            let case = format!("{engine}: {client_method} as {method}");
            for place in ["bytes/50", "chunked/50"] {
                if method == "HEAD" && place.starts_with("chunked") {
                    continue;
                }
                let mut client = site.client();
                let path = format!("/as-{method}-{engine}/{place}");
                client.send(&request(client_method, &path, &[], body.as_bytes()));
                let response = if client_method == "HEAD" {
                    client.response_to_head()
                } else {
                    client.response()
                };
                assert_eq!(response.status, 200, "{case} {place}");
                let expected = match (client_method, method) {
                    ("HEAD", _) | (_, "HEAD") => 0,
                    _ => 50,
                };
                assert_eq!(response.body.len(), expected, "{case} {place}");
                let last = site.backend.last();
                assert_eq!(last.method, method, "{case}");
                assert_eq!(last.body, body.as_bytes(), "{case}");
                // The connections of both sides are in step: the next exchange is an ordinary one.
                let next = client
                    .send(&request("GET", "/api/next", &[], b""))
                    .response();
                assert_eq!(next.json()["target"], "/next", "{case}");
                let again = fetch(site.port(), &format!("/as-GET-{engine}/again"));
                assert_eq!(again.json()["target"], "/again", "{case}");
            }
        }
    }
}

#[test]
fn a_redirection_names_its_location_and_the_backend_is_not_asked() {
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), |api| {
            api.request(
                "http-redirect",
                json!({ "rules": [
                    { "path": "/old/(.*)", "location": "https://new.example/{#group[0]}", "status": "302" },
                    { "path": "/named/(?<id>\\d+)", "location": "/items?id={#groupName['id']}" },
                    { "path": "/api", "location": "/{#context.attributes['api']}", "status": 308 },
                ] }),
            )
            .response(
                "transform-headers",
                json!({ "addHeaders": [{ "name": "X-Response", "value": "1" }] }),
            )
        })
    });
    for engine in ENGINES {
        let before = site.backend.requests();
        for (path, status, location) in [
            ("/old/a/b", 302, "https://new.example/a/b"),
            ("/named/7", 301, "/items?id=7"),
            ("/api", 308, &*format!("/some-{engine}")),
            (
                "/old/%0D%0AX-Evil:%201",
                302,
                "https://new.example/%0D%0AX-Evil:%201",
            ),
        ] {
            let path = format!("/some-{engine}{path}");
            let response = send(&site, "POST", &path, &[], b"data");
            assert_eq!(
                (response.status, response.field("Location")),
                (status, Some(location)),
                "{path}"
            );
            assert!(response.body.is_empty(), "{path}");
            assert_eq!(response.field("X-Evil"), None, "{path}");
            assert_eq!(response.field("X-Response"), None, "{path}");
        }
        assert_eq!(site.backend.requests(), before, "{engine}");
        let passes = fetch(site.port(), &format!("/some-{engine}/named/x"));
        assert_eq!(passes.json()["target"], "/named/x", "{engine}");
    }
}
