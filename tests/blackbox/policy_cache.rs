//! The cache policy over both of its stores: memory, and a real Redis.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::policy_traffic::{ENGINES, both};
use crate::support::client::{Response, exchange, fetch, fetch_with, request};
use crate::support::definition::{Definition, v4};
use crate::support::gateway::Start;
use crate::support::pattern;
use crate::support::redis::{self, DATA_PASSWORD, Redis, SENTINEL_PASSWORD, Watched};
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

/// A server whose every answer is another one. The path says more: `/status/NNN`, `/type/T/S` (with that content type), `/age/SECONDS`.
fn counting() -> Server {
    let count = AtomicU64::new(0);
    Server::start(move |asked| {
        let count = count.fetch_add(1, Ordering::SeqCst);
        answer(asked, count)
    })
}

fn answer(asked: &Asked, count: u64) -> Answer {
    let path = asked.target.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let text = format!("answer {count}");
    match words[..] {
        ["status", status, ..] => Answer::new(status.parse().expect("a status"), text),
        ["type", kind, subtype, ..] => {
            let mut bytes: Vec<u8> = (0..=255).collect();
            bytes.extend_from_slice(text.as_bytes());
            Answer::new(200, bytes).field("Content-Type", &format!("{kind}/{subtype}"))
        }
        ["age", seconds, ..] => {
            Answer::new(200, text).field("Cache-Control", &format!("public, max-age={seconds}"))
        }
        _ if asked.method == "HEAD" => Answer::new(200, ""),
        _ => Answer::new(200, text)
            .field("X-Count", &count.to_string())
            .field("X-Many", "a")
            .field("X-Many", "b"),
    }
}

/// Where answers are kept.
enum Kept {
    Memory,
    Redis(u16),
    /// At the primary that a sentinel on this port names, with passwords for both.
    Watched(u16),
}

impl Kept {
    fn on(&self, definition: Definition, seconds: u32) -> Definition {
        match self {
            Self::Memory => {
                definition.resource("kept", "cache", json!({ "timeToLiveSeconds": seconds }))
            }
            Self::Redis(port) => definition.resource(
                "kept",
                "cache-redis",
                json!({
                    "timeToLiveSeconds": seconds,
                    "useSsl": false,
                    "timeout": 2_000,
                    "standalone": { "enabled": true, "host": "127.0.0.1", "port": port },
                }),
            ),
            Self::Watched(port) => definition.resource(
                "kept",
                "cache-redis",
                json!({
                    "timeToLiveSeconds": seconds,
                    "useSsl": false,
                    "timeout": 2_000,
                    "password": DATA_PASSWORD,
                    "standalone": { "enabled": false, "host": "127.0.0.1", "port": 1 },
                    "sentinel": {
                        "enabled": true,
                        "masterId": "primary",
                        "password": SENTINEL_PASSWORD,
                        "nodes": [{ "host": "127.0.0.1", "port": port }],
                    },
                }),
            ),
        }
    }

    /// The definitions of the tests of both stores.
    fn apis(&self, target: &str) -> Vec<Definition> {
        let mut all = Vec::new();
        for (name, seconds, changes) in [
            ("usual", 600, json!({})),
            ("strict", 600, json!({ "allowRefreshAction": false })),
            ("posts", 600, json!({ "methods": ["POST"] })),
            (
                "keyed",
                600,
                json!({ "key": "{#request.headers['X-Key'][0]}", "scope": "API" }),
            ),
            (
                "faults",
                600,
                json!({ "responseCondition": "{#upstreamResponse.status == 503}" }),
            ),
            (
                "broken",
                600,
                json!({ "responseCondition": "{#upstreamResponse.nope}" }),
            ),
            ("aged", 600, json!({ "useResponseCacheHeaders": true })),
            ("short", 1, json!({})),
            ("brief", 600, json!({ "timeToLiveSeconds": 1 })),
        ] {
            all.extend(both(name, target, |api| {
                let mut configuration = json!({ "cacheName": "kept" });
                for (member, value) in changes.as_object().expect("an object") {
                    configuration[member] = value.clone();
                }
                self.on(api, seconds)
                    .request("cache", configuration)
                    .response(
                        "transform-headers",
                        json!({ "appendHeaders": [{ "name": "X-Response", "value": "1" }] }),
                    )
            }));
        }
        all
    }
}

/// One gateway, and the server that counts.
struct Caching {
    site: Site,
    server: Server,
}

impl Caching {
    fn start(kept: &Kept) -> Self {
        let server = counting();
        let site = Site::with(Start::new(), |_| kept.apis(&server.url("")));
        Self { site, server }
    }

    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        exchange(self.site.port(), &request(method, path, fields, body))
    }

    fn get(&self, path: &str) -> String {
        self.get_with(path, &[])
    }

    fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> String {
        fetch_with(self.site.port(), path, fields).text()
    }

    /// Asks until the entry is there (storing is not waited for) and returns it.
    fn hit(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        until(&format!("a hit of {path}"), PATIENCE, || {
            let first = self.ask(method, path, fields, body);
            let second = self.ask(method, path, fields, body);
            (first.body == second.body).then_some(second)
        })
    }

    /// Whether asking twice asks the server twice.
    fn is_never_kept(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) {
        for _ in 0..3 {
            let before = self.server.asked().len();
            self.ask(method, path, fields, body);
            assert_eq!(self.server.asked().len(), before + 1, "{method} {path}");
        }
    }
}

/// What holds for both stores.
fn caches(kept: &Kept) {
    let caching = Caching::start(kept);
    for engine in ENGINES {
        let path = |rest: &str| {
            let (name, rest) = rest.split_once('/').expect("an API and a path");
            format!("/{name}-{engine}/{rest}")
        };
        // A hit has the status, the fields and the body; response policies run once on it; the server is not asked.
        let one = path("usual/one");
        let hit = caching.hit("GET", &one, &[], b"");
        let asked = caching.server.asked().len();
        for _ in 0..8 {
            let again = caching.ask("GET", &one, &[], b"");
            assert_eq!((again.status, &again.body), (200, &hit.body), "{one}");
            assert_eq!(again.head.all("X-Many"), ["a", "b"], "{one}");
            assert_eq!(again.head.all("X-Response"), ["1"], "{one}");
            let count = again.text().replace("answer ", "");
            assert_eq!(again.field("X-Count"), Some(&*count), "{one}");
        }
        let mut client = caching.site.client();
        let head = client
            .send(&request("HEAD", &one, &[], b""))
            .response_to_head();
        assert_eq!(head.status, 200, "{one}");
        let next = client.send(&request("GET", &one, &[], b"")).response();
        assert_eq!(next.body, hit.body, "{one}");
        assert_eq!(caching.server.asked().len(), asked, "{one}");
        // Clients ask for a new answer, which is kept, or for none of the cache.
        let mut current = hit.text();
        for (fields, query) in [
            (&[("X-Gravitee-Cache", "Refresh")][..], ""),
            (&[], "?cache=REFRESH"),
        ] {
            let fresh = caching.get_with(&format!("{one}{query}"), fields);
            assert_ne!(fresh, current, "{one}{query}");
            until("the refreshed entry", PATIENCE, || {
                (caching.get(&one) == fresh).then_some(())
            });
            current = fresh;
        }
        for (fields, query) in [
            (&[("X-Gravitee-Cache", "BY_PASS")][..], ""),
            (&[], "?cache=by_pass"),
        ] {
            let passed = caching.get_with(&format!("{one}{query}"), fields);
            assert_ne!(passed, current, "{one}{query}");
            assert_eq!(caching.get(&one), current, "{one}{query}");
        }
        let ignored = caching.get_with(&one, &[("X-Gravitee-Cache", "PERHAPS")]);
        assert_eq!(ignored, current);
        for asked in caching.server.asked() {
            assert_eq!(asked.head.field("X-Gravitee-Cache"), None);
            assert!(!asked.target.contains("cache="), "{}", asked.target);
        }
        let strict = path("strict/one");
        let entry = caching.hit("GET", &strict, &[], b"").text();
        assert_eq!(
            caching.get_with(&strict, &[("X-Gravitee-Cache", "REFRESH")]),
            entry
        );
        // The query belongs to the key, in any order.
        let ordered = caching.hit("GET", &path("usual/q?a=1&b=2"), &[], b"");
        assert_eq!(caching.get(&path("usual/q?b=2&a=1")), ordered.text());
        assert_ne!(caching.get(&path("usual/q?a=1&b=3")), ordered.text());
        assert_ne!(caching.get(&path("usual/q")), ordered.text());
        // Methods.
        caching.is_never_kept("POST", &path("usual/post"), &[], b"data");
        caching.is_never_kept("GET", &path("posts/get"), &[], b"");
        let posts = path("posts/post");
        let hit = caching.hit("POST", &posts, &[], b"data");
        let mut client = caching.site.client();
        for _ in 0..2 {
            let again = client
                .send(&request("POST", &posts, &[], b"data"))
                .response();
            assert_eq!(again.body, hit.body, "{posts}");
        }
        // A key of one's own.
        let keyed = path("keyed/one");
        let a = caching.hit("GET", &keyed, &[("X-Key", "a")], b"").text();
        let b = caching.hit("GET", &keyed, &[("X-Key", "b")], b"").text();
        assert_ne!(a, b);
        assert_eq!(caching.get_with(&keyed, &[("X-Key", "a")]), a);
        // What is worth keeping.
        caching.is_never_kept("GET", &path("usual/status/503"), &[], b"");
        caching.is_never_kept("GET", &path("usual/status/404"), &[], b"");
        caching.is_never_kept("GET", &path("faults/status/200"), &[], b"");
        caching.is_never_kept("GET", &path("broken/one"), &[], b"");
        let fault = caching.hit("GET", &path("faults/status/503"), &[], b"");
        assert_eq!(fault.status, 503);
        // Bodies that are no text.
        for kind in ["application/octet-stream", "image/png"] {
            let hit = caching.hit("GET", &path(&format!("usual/type/{kind}")), &[], b"");
            assert_eq!(hit.field("Content-Type"), Some(kind));
            assert_eq!(
                hit.body[..256],
                (0..=255).collect::<Vec<u8>>()[..],
                "{kind}"
            );
        }
        // Lives.
        for aging in ["aged/age/1", "short/one", "brief/one"] {
            let path = path(aging);
            let entry = caching.hit("GET", &path, &[], b"").text();
            until(&format!("the end of {path}"), PATIENCE, || {
                (caching.get(&path) != entry).then_some(())
            });
        }
        caching.is_never_kept("GET", &path("aged/age/0"), &[], b"");
    }
}

#[test]
fn answers_are_cached_in_memory_as_configured_and_as_clients_ask() {
    caches(&Kept::Memory);
}

#[test]
fn answers_are_cached_in_redis_as_configured_and_as_clients_ask() {
    if !redis::is_installed() {
        return;
    }
    let redis = Redis::start(&[]);
    caches(&Kept::Redis(redis.port));
}

#[test]
fn workers_share_the_cache_in_memory() {
    let caching = Caching::start(&Kept::Memory);
    let first = caching.get("/usual-v4/shared");
    for _ in 0..16 {
        assert_eq!(caching.get("/usual-v4/shared"), first);
    }
    assert_eq!(caching.server.asked().len(), 1);
}

#[test]
fn applications_do_not_see_the_answers_of_each_other_unless_the_scope_is_the_api() {
    let server = counting();
    let site = Site::with(Start::new(), |_| {
        ["API", "APPLICATION"]
            .iter()
            .map(|scope| {
                v4(scope, &format!("/{scope}"), &server.url(""))
                    .api_key()
                    .resource("kept", "cache", json!({}))
                    .request("cache", json!({ "cacheName": "kept", "scope": scope }))
            })
            .collect()
    });
    for api in ["API", "APPLICATION"] {
        for application in ["one", "two"] {
            let owner = json!({ "application": application });
            site.plane.subscribe(
                api,
                &format!("{api}-{application}"),
                json!({ "subscription": owner, "key": owner }),
            );
        }
    }
    let ask = |api: &str, application: &str| {
        let key = format!("{api}-{application}");
        until("the key", PATIENCE, || {
            let response = fetch_with(
                site.port(),
                &format!("/{api}/x"),
                &[("X-Gravitee-Api-Key", &key)],
            );
            (response.status == 200).then(|| response.text())
        })
    };
    assert_eq!(ask("API", "one"), ask("API", "two"));
    assert_ne!(ask("APPLICATION", "one"), ask("APPLICATION", "two"));
    assert_eq!(ask("APPLICATION", "one"), ask("APPLICATION", "one"));
}

#[test]
fn a_cache_that_is_not_there_fails_the_requests_that_would_use_it() {
    let site = Site::with(Start::new(), |backend| {
        both("some", &backend.target(""), |api| {
            api.request("cache", json!({ "cacheName": "missing" }))
        })
    });
    for engine in ENGINES {
        let path = format!("/some-{engine}/x");
        let response = fetch(site.port(), &path);
        assert_eq!(
            (response.status, &*response.text()),
            (500, "No cache has been defined with name missing"),
            "{engine}"
        );
        let post = exchange(site.port(), &request("POST", &path, &[], b"data"));
        assert_eq!(post.status, 200, "{engine}");
    }
}

/// Java's hash of a text.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[test]
fn gateways_share_entries_in_redis_and_do_without_it_while_it_is_away() {
    if !redis::is_installed() {
        return;
    }
    let mut redis = Redis::start(&[]);
    let caching = Caching::start(&Kept::Redis(redis.port));
    let second = Start::new().control_plane(&caching.site.plane).ready();
    caching.hit("GET", "/usual-v4/shared", &[], b"");
    // The first lookup of a gateway may come before its connection.
    until("an entry of the other gateway", PATIENCE, || {
        let other = fetch(second.port, "/usual-v4/shared").text();
        (other == caching.get("/usual-v4/shared")).then_some(())
    });
    let key = |path: &str| format!("gravitee:usual-v4:1:{}:0", java_hash(path));
    let shared = key("/usual-v4/shared");
    assert_eq!(redis.command(&["EXISTS", &shared]), ":1", "{shared}");
    let life = redis.command(&["PTTL", &shared]);
    let life: i64 = life.trim_start_matches(':').parse().expect("a number");
    assert!((1..=600_000).contains(&life), "{life}");
    // What an older gateway wrote is served; what nobody can read is replaced.
    let old: Value = json!({ "status": 203, "headers": { "X-Old": ["1"] }, "content": { "buffer": "from before" } });
    redis.command(&["SET", &key("/usual-v4/old"), &old.to_string()]);
    let old = fetch(caching.site.port(), "/usual-v4/old");
    assert_eq!((old.status, old.field("X-Old")), (203, Some("1")));
    assert_eq!(old.text(), "from before");
    redis.command(&["SET", &key("/usual-v4/garbage"), "garbage"]);
    assert!(caching.get("/usual-v4/garbage").starts_with("answer"));
    caching.hit("GET", "/usual-v4/garbage", &[], b"");
    // Without Redis every request is answered by the server.
    redis.kill();
    for _ in 0..5 {
        let before = caching.server.asked().len();
        let response = fetch(caching.site.port(), "/usual-v4/shared");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(caching.server.asked().len(), before + 1);
    }
    redis.restart();
    caching.hit("GET", "/usual-v4/shared", &[], b"");
}

/// A gateway whose policies may have 100,000 bytes of a body in memory, and a cache in it.
fn with_small_bodies() -> Site {
    let start = Start::new().set("gateway.policies.bodyBytesMax", "100000");
    Site::with(start, |backend| {
        let target = backend.target("");
        let caching = |name: &str| {
            Kept::Memory
                .on(v4(name, &format!("/{name}"), &target), 600)
                .request("cache", json!({ "cacheName": "kept" }))
        };
        let header = json!({ "addHeaders": [{ "name": "X-Response", "value": "1" }] });
        vec![
            caching("kept").response("transform-headers", header),
            caching("read").response(
                "policy-assign-content",
                json!({ "scope": "RESPONSE", "body": "<${response.content}>" }),
            ),
        ]
    })
}

#[test]
fn a_response_that_is_too_large_to_be_stored_is_passed_on_as_it_comes() {
    let site = with_small_bodies();
    let mut client = site.client();
    let mut passed = 0;
    for kind in ["bytes", "chunked", "until-close"] {
        for length in [100_000, 100_001, 165_000, 1_000_000] {
            let path = format!("/kept/{kind}/{length}");
            let expected = pattern::bytes(length);
            let before = site.backend.requests();
            for _ in 0..3 {
                let response = client.send(&request("GET", &path, &[], b"")).response();
                assert_eq!(response.status, 200, "{path}: {}", response.text());
                assert_eq!(response.field("X-Response"), Some("1"), "{path}");
                assert!(response.body == expected, "{path}");
            }
            let asked = site.backend.requests() - before;
            let is_kept = length <= 100_000;
            assert_eq!(asked, if is_kept { 1 } else { 3 }, "{path}");
            passed += if is_kept { 0 } else { 3 };
        }
    }
    let name = "gateway_worker_bodies_not_kept_total";
    until("the counter", PATIENCE, || {
        (site.gateway.metric(name, &[]) == f64::from(passed)).then_some(())
    });
    // Bodies with an end give their connections back.
    let before = site.backend.connections();
    for _ in 0..5 {
        client.send(&request("GET", "/kept/chunked/200000", &[], b""));
        assert_eq!(client.response().status, 200);
    }
    assert!(site.backend.connections() <= before + 1);
    // A client of HTTP/1.0 knows no chunks.
    let old = b"GET /kept/chunked/200000 HTTP/1.0\r\nHost: a\r\n\r\n";
    let old = site.client().send(old).response();
    assert!(old.status == 200 && old.body == pattern::bytes(200_000));
}

#[test]
fn a_response_that_is_too_large_to_be_stored_still_fails_as_others_do() {
    let site = with_small_bodies();
    // Another policy must see the body.
    for kind in ["bytes", "chunked"] {
        let response = fetch(site.port(), &format!("/read/{kind}/200000"));
        assert_eq!(response.status, 502, "{kind}");
        site.expect_key(&response, "GATEWAY_RESPONSE_BODY_TOO_LARGE");
    }
    // The backend breaks off: nobody must take the response for complete.
    for path in ["/kept/cut-chunked/300000", "/kept/cut/300000/200000"] {
        let mut client = site.client();
        client.send(&request("GET", path, &[], b""));
        let response = client.try_response();
        assert!(response.is_err(), "{path}");
    }
    site.reports_are_as_expected();
}

#[test]
fn a_cache_follows_the_primary_that_sentinels_name() {
    if !redis::is_installed() {
        return;
    }
    let mut watched = Watched::start(1);
    let caching = Caching::start(&Kept::Watched(watched.sentinels[0].port));
    let entry = caching.hit("GET", "/usual-v4/one", &[], b"").text();
    watched.fail_over(0);
    // The former primary has the entry as well, but takes no new ones.
    until("a connection to the new primary", PATIENCE, || {
        let output = caching.site.gateway.process.output();
        let port = watched.servers[watched.primary].port;
        output
            .contains(&format!("connected to Redis at 127.0.0.1:{port}"))
            .then_some(())
    });
    assert_eq!(caching.get("/usual-v4/one"), entry);
    caching.hit("GET", "/usual-v4/two", &[], b"");
    let key = format!("gravitee:usual-v4:1:{}:0", java_hash("/usual-v4/two"));
    let primary = &watched.servers[watched.primary];
    assert_eq!(primary.command_as(DATA_PASSWORD, &["EXISTS", &key]), ":1");
    let output = caching.site.gateway.process.output();
    assert!(!output.contains(DATA_PASSWORD) && !output.contains(SENTINEL_PASSWORD));
}

#[test]
fn a_cache_with_another_password_keeps_nothing_and_says_which_setting_to_look_at() {
    if !redis::is_installed() {
        return;
    }
    let redis = Redis::start(&["requirepass right"]);
    let server = counting();
    let site = Site::with(Start::new(), |_| {
        let kept = json!({
            "useSsl": false, "password": "TOPSECRET", "host": "127.0.0.1", "port": redis.port,
        });
        vec![
            v4("some", "/some", &server.url(""))
                .resource("kept", "cache-redis", kept)
                .request("cache", json!({ "cacheName": "kept" })),
        ]
    });
    let output = until("a connection that is refused", PATIENCE, || {
        assert_eq!(site.fetch("/some/x").status, 200);
        let output = site.gateway.process.output();
        output.contains("no connection to Redis").then_some(output)
    });
    assert!(
        output.contains("`username` and `password` of the resource"),
        "{output}"
    );
    let before = server.asked().len();
    for _ in 0..3 {
        assert_eq!(site.fetch("/some/x").status, 200);
    }
    assert_eq!(server.asked().len(), before + 3);
    assert!(!site.gateway.process.output().contains("TOPSECRET"));
}
