//! Policies that look at content, addresses and paths: what passes, what is refused with which key, and what the connection is good for
//! afterwards.

use serde_json::{Value, json};

use crate::support::backend::raw_keep;
use crate::support::client::request;
use crate::support::definition::{Definition, v2, v4};
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::talk::{Talk, in_chunks, post, with_steps};
use crate::support::wait::{PATIENCE, until};

/// The path of a backend that answers this body.
fn answering(fields: &str, body: &[u8]) -> String {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    raw_keep(&bytes)
}

#[test]
fn addresses_are_let_in_and_kept_out() {
    let policy = "ip-filtering";
    let site = with_steps(&[
        (
            "net",
            policy,
            json!({ "whitelistIps": ["10.1.0.0/16", "127.0.0.1"] }),
        ),
        (
            "small",
            policy,
            json!({ "whitelistIps": ["10.1.2.0/30"], "matchAllFromXForwardedFor": true }),
        ),
        (
            "whole",
            policy,
            json!({ "whitelistIps": ["10.1.2.0/30"], "matchAllFromXForwardedFor": true, "isInclusiveHostCount": true }),
        ),
        (
            "black",
            policy,
            json!({ "blacklistIps": ["{#request.headers['X-Bad'][0]}", "fd00::/8"], "matchAllFromXForwardedFor": true }),
        ),
        ("name", policy, json!({ "whitelistIps": ["localhost"] })),
        ("badname", policy, json!({ "blacklistIps": ["localhost"] })),
        (
            "noname",
            policy,
            json!({ "whitelistIps": ["no-such-host.invalid"] }),
        ),
        (
            "custom",
            policy,
            json!({ "useCustomIPAddress": true, "customIPAddress": "{#request.headers['X-Real-IP'][0]}", "whitelistIps": ["192.0.2.7"] }),
        ),
        (
            "list",
            policy,
            json!({ "whitelistIps": ["{#request.headers['X-More'][0]}", "192.0.2.9"] }),
        ),
        ("six", policy, json!({ "whitelistIps": ["2001:db8::/32"] })),
        (
            "mixed",
            policy,
            json!({ "whitelistIps": ["127.0.0.1,10.0.0.1", "localhost"], "lookupIpVersion": "IPV4" }),
        ),
        ("nothing", policy, json!({})),
    ]);
    let refusal = |who: &str| {
        format!(
            "Your IP ({who}) or some proxies whereby your request pass through are not allowed to reach this resource."
        )
    };
    let mut talk = Talk::with(&site);
    for (api, fields, who) in [
        (
            "list",
            &[
                ("X-Forwarded-For", "192.0.2.2"),
                ("X-More", "192.0.2.1, 192.0.2.2"),
            ][..],
            None,
        ),
        (
            "list",
            &[("X-Forwarded-For", "192.0.2.3"), ("X-More", "192.0.2.1")],
            Some("192.0.2.3"),
        ),
        ("six", &[("X-Forwarded-For", "2001:db8::7")], None),
        (
            "six",
            &[("X-Forwarded-For", "2001:db9::7")],
            Some("2001:db9::7"),
        ),
        ("six", &[("X-Forwarded-For", "10.0.0.1")], Some("10.0.0.1")),
        ("mixed", &[], None),
        (
            "mixed",
            &[("X-Forwarded-For", "10.0.0.1")],
            Some("10.0.0.1"),
        ),
        ("nothing", &[], None),
        ("net", &[][..], None),
        ("net", &[("X-Forwarded-For", "10.1.9.9")][..], None),
        ("net", &[("X-Forwarded-For", "10.2.0.1")], Some("10.2.0.1")),
        (
            "small",
            &[("X-Forwarded-For", "203.0.113.9, 10.1.2.1")],
            None,
        ),
        (
            "small",
            &[("X-Forwarded-For", "10.1.2.0")],
            Some("10.1.2.0"),
        ),
        (
            "small",
            &[("X-Forwarded-For", "10.1.2.3, 10.1.2.4")],
            Some("10.1.2.3, 10.1.2.4"),
        ),
        ("whole", &[("X-Forwarded-For", "10.1.2.3")], None),
        (
            "black",
            &[("X-Bad", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")],
            None,
        ),
        (
            "black",
            &[
                ("X-Bad", "192.0.2.1"),
                ("X-Forwarded-For", "192.0.2.2, 192.0.2.1"),
            ],
            Some("192.0.2.1"),
        ),
        (
            "black",
            &[("X-Bad", "192.0.2.1"), ("X-Forwarded-For", "fd00::1")],
            Some("fd00::1"),
        ),
        ("name", &[], None),
        (
            "name",
            &[("X-Forwarded-For", "192.0.2.1")],
            Some("192.0.2.1"),
        ),
        ("badname", &[], Some("127.0.0.1")),
        ("badname", &[("X-Forwarded-For", "192.0.2.1")], None),
        ("noname", &[], Some("127.0.0.1")),
        ("custom", &[("X-Real-IP", "192.0.2.7")], None),
        ("custom", &[("X-Real-IP", "192.0.2.8")], Some("192.0.2.8")),
    ] {
        let status = if who.is_some() { 403 } else { 200 };
        let what = format!("{api} {fields:?}");
        let bytes = request("GET", &format!("/{api}/x"), fields, b"");
        let key = if api == "noname" {
            "internal_error"
        } else {
            ""
        };
        let response = talk.expect(&what, &bytes, status, key);
        if let Some(who) = who {
            assert_eq!(response.text(), refusal(who), "{what}");
        }
    }
    // A header that should say where the client is, and is not there.
    assert_eq!(talk.get("/small/x", &[]).status, 500);
    talk.reported();
}

#[test]
fn bodies_are_written_from_templates_on_every_engine() {
    let up = json!({ "scope": "REQUEST", "body": "<#if request.content?has_content>got ${request.content}<#else>nothing</#if> for ${request.headers['X-Name'][0]}<#list 1..3 as n>;${n}</#list>" });
    let down = json!({ "scope": "RESPONSE", "body": "{\"was\":\"${response.content}\",\"plan\":\"${context.attributes['plan']}\"}" });
    let site = Site::with(
        Start::new().set("gateway.policies.bodyBytesMax", "100000"),
        |backend| {
            let both = |definition: Definition| {
                definition
                    .request("policy-assign-content", up.clone())
                    .response("policy-assign-content", down.clone())
            };
            vec![
                both(v4("four", "/four", &backend.target(""))),
                both(v2("two", "/two", &backend.target(""))),
                both(v2("old", "/old", &backend.target("")))
                    .with(|definition| definition["execution_mode"] = json!("v3")),
            ]
        },
    );
    let mut talk = Talk::with(&site);
    let named = ("X-Name", "Zoë");
    for api in ["four", "two", "old"] {
        let path = format!("/{api}{}", answering("X-Own: 1\r\n", b"old"));
        let answer = format!("{{\"was\":\"old\",\"plan\":\"{api}-plan\"}}");
        for (bytes, sent) in [
            (post(&path, &[named], b"hi"), "got hi for Zoë;1;2;3"),
            (
                in_chunks(&path, &[named], b"hi there"),
                "got hi there for Zoë;1;2;3",
            ),
            (in_chunks(&path, &[named], b""), "nothing for Zoë;1;2;3"),
            (
                request("GET", &path, &[named], b""),
                "nothing for Zoë;1;2;3",
            ),
        ] {
            let what = format!("{api} {sent}");
            let response = talk.expect(&what, &bytes, 200, "");
            assert_eq!(response.text(), answer, "{what}");
            assert_eq!(
                response.field("Content-Length"),
                Some(&*answer.len().to_string())
            );
            assert_eq!(response.field("Transfer-Encoding"), None);
            assert_eq!(response.field("X-Own"), Some("1"));
            let seen = site.backend.last();
            assert_eq!(String::from_utf8_lossy(&seen.body), sent, "{what}");
            let length = sent.len().to_string();
            assert_eq!(seen.head.all("Content-Length"), [&*length], "{what}");
            assert_eq!(seen.head.field("Transfer-Encoding"), None, "{what}");
        }
        // HEAD: the template speaks, and nobody hears it.
        let head = format!("/{api}/bytes/9");
        let response = talk.expect(api, &request("HEAD", &head, &[named], b""), 200, "");
        assert!(response.body.is_empty());
        // What the template needs is not there.
        let failed = talk.expect(api, &post(&path, &[], b"hi"), 500, "ASSIGN_CONTENT_ERROR");
        assert_eq!(failed.text(), "Unable to assign body content", "{api}");
        let after = talk.get(&path, &[named]);
        assert_eq!((after.status, after.text()), (200, answer), "{api}");
    }
    talk.reported();
}

#[test]
fn query_parameters_are_cleared_added_and_removed() {
    let policy = "transform-queryparams";
    let add = |name: &str, value: &str, append: bool| json!({ "name": name, "value": value, "appendToExistingArray": append });
    let site = with_steps(&[
        ("clear", policy, json!({ "clearAll": true })),
        (
            "swap",
            policy,
            json!({ "clearAll": true, "removeQueryParameters": ["a"], "addQueryParameters": [add("a", "new", false)] }),
        ),
        (
            "set",
            policy,
            json!({ "addQueryParameters": [add("a", "x y", false), add("e", "{#request.headers['X-E'][0]}", false), add("n", "{#context.attributes['none']}", false)] }),
        ),
        (
            "append",
            policy,
            json!({ "addQueryParameters": [add("a", "9", true)] }),
        ),
        (
            "remove",
            policy,
            json!({ "removeQueryParameters": ["a", null, "zz"] }),
        ),
    ]);
    let mut talk = Talk::with(&site);
    for (api, query, expected) in [
        ("clear", "?a=1&b=2", "/x"),
        ("clear", "", "/x"),
        ("swap", "?a=1&b=2", "/x?a=new"),
        ("set", "?a=1&a=2&b=3", "/x?a=x%20y&b=3"),
        ("set", "", "/x?a=x%20y"),
        ("append", "?a=1", "/x?a=1&a=9"),
        ("append", "", "/x?a=9"),
        ("remove", "?a=1&b=2&a=3", "/x?b=2"),
        ("remove", "?b=2", "/x?b=2"),
        ("remove", "?a=1", "/x"),
        ("set", "?a&b", "/x?a=x%20y&b"),
        ("append", "?a", "/x?a&a=9"),
        ("append", "?b=a", "/x?b=a&a=9"),
        ("remove", "?a", "/x"),
        ("remove", "?ab=1&A=2", "/x?ab=1&A=2"),
        ("remove", "?b=%20&a=%26&c=+", "/x?b=%20&c=+"),
        // Names are compared as they are written.
        ("remove", "?%61=1&b=2", "/x?%61=1&b=2"),
        ("swap", "?b=1", "/x?a=new"),
    ] {
        let response = talk.get(&format!("/{api}/x{query}"), &[]);
        assert_eq!(response.status, 200);
        assert_eq!(site.backend.last().target, expected, "{api} {query}");
    }
    let response = talk.get("/set/x", &[("X-E", "a&b=c#\u{e9}")]);
    assert_eq!(response.status, 200);
    let target = site.backend.last().target;
    assert!(target.is_ascii() && !target.contains('#'), "{target}");
}

#[test]
fn response_headers_and_bodies_are_rewritten() {
    let rule = |headers: bool, body: bool| {
        json!({
            "rewriteResponseHeaders": headers,
            "rewriteResponseBody": body,
            "fromRegex": "https?://([a-z.]*)/(?<rest>[a-z]*)",
            "toReplacement": "https://api/{#group[0]}/{#groupName['rest']}",
        })
    };
    let site = Site::with(
        Start::new().set("gateway.policies.bodyBytesMax", "100000"),
        |backend| {
            [
                ("both", true, true),
                ("heads", true, false),
                ("bodies", false, true),
            ]
            .map(|(id, headers, body)| {
                v4(id, &format!("/{id}"), &backend.target(""))
                    .response("url-rewriting", rule(headers, body))
            })
            .into()
        },
    );
    let fields =
        "Location: http://in.example/a\r\nX-Two: http://b/c http://d/e\r\nX-Two: plain\r\n";
    let body = "see http://in.example/a, http://b/c; and no more \u{20ac}";
    let path = answering(fields, body.as_bytes());
    let new_body = "see https://api/in.example/a, https://api/b/c; and no more \u{20ac}";
    let mut talk = Talk::with(&site);
    for (api, headers, bodies) in [
        ("both", true, true),
        ("heads", true, false),
        ("bodies", false, true),
    ] {
        let response = talk.get(&format!("/{api}{path}"), &[]);
        assert_eq!(response.status, 200);
        let (location, two) = if headers {
            (
                "https://api/in.example/a",
                ["https://api/b/c https://api/d/e", "plain"],
            )
        } else {
            ("http://in.example/a", ["http://b/c http://d/e", "plain"])
        };
        assert_eq!(response.field("Location"), Some(location), "{api}");
        assert_eq!(response.head.all("X-Two"), two, "{api}");
        assert_eq!(
            response.text(),
            if bodies { new_body } else { body },
            "{api}"
        );
    }
    // Bodies that hold nothing to be found: empty, binary, no UTF-8, said to be compressed.
    for (fields, body) in [
        ("", &b""[..]),
        ("", b"\x00\x01\x02\xff\xfe http://b/c"),
        (
            "Content-Encoding: gzip\r\n",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff",
        ),
    ] {
        let response = talk.get(&format!("/both{}", answering(fields, body)), &[]);
        assert_eq!((response.status, &response.body[..]), (200, body));
    }
    for path in ["/both/chunked/50000", "/both/bytes/50000"] {
        assert_eq!(talk.get(path, &[]).body.len(), 50_000);
    }
    let head = talk.say(&request("HEAD", "/both/bytes/50", &[], b""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for path in ["/both/chunked/200000", "/both/bytes/200000"] {
        let key = "GATEWAY_RESPONSE_BODY_TOO_LARGE";
        talk.expect(path, &request("GET", path, &[], b""), 502, key);
    }
    assert_eq!(talk.get("/heads/bytes/200000", &[]).body.len(), 200_000);
    talk.reported();
}

#[test]
fn bodies_are_bounded_by_what_they_announce_and_by_what_comes() {
    let site = Site::with(Start::new(), |backend| {
        let limit = json!({ "limit": 10 });
        let target = backend.target("");
        vec![
            v4("pass", "/pass", &target).request("request-content-limit", limit.clone()),
            v2("old", "/old", &target)
                .request("request-content-limit", limit.clone())
                .with(|definition| definition["execution_mode"] = json!("v3")),
            v4("held", "/held", &target)
                .request("request-content-limit", limit)
                .request(
                    "policy-assign-content",
                    json!({ "body": "<${request.content}>" }),
                ),
        ]
    });
    let mut talk = Talk::with(&site);
    let message = "The request is larger than the server is willing or able to process.";
    for api in ["pass", "held", "old"] {
        let path = format!("/{api}/x");
        let large = "REQUEST_CONTENT_LIMIT_TOO_LARGE";
        let length = |length: &str| request("POST", &path, &[("Content-Length", length)], b"");
        for (what, bytes, status, key) in [
            (
                "no length",
                request("GET", &path, &[], b""),
                411,
                "REQUEST_CONTENT_LIMIT_LENGTH_REQUIRED",
            ),
            ("empty", length("0"), 200, ""),
            ("fits", post(&path, &[], b"0123456789"), 200, ""),
            (
                "a byte too many",
                post(&path, &[], b"0123456789a"),
                413,
                large,
            ),
            ("more than an integer", length("2147483648"), 400, ""),
            (
                "chunks that fit",
                in_chunks(&path, &[], b"0123456789"),
                200,
                "",
            ),
            ("no chunks", in_chunks(&path, &[], b""), 200, ""),
            (
                "chunks too many",
                in_chunks(&path, &[], b"0123456789a"),
                413,
                large,
            ),
            (
                "chunks far too many",
                in_chunks(&path, &[], &[b'x'; 300_000]),
                413,
                large,
            ),
            ("afterwards", post(&path, &[], b"0123456789"), 200, ""),
        ] {
            let what = format!("{api}: {what}");
            let before = site.backend.requests();
            let response = talk.expect(&what, &bytes, status, key);
            if status == 413 {
                assert_eq!(response.text(), message, "{what}");
            }
            if status != 200 && !what.contains("chunks") {
                assert_eq!(site.backend.requests(), before, "{what}");
            }
        }
    }
    // A backend that waits for the rest of a body learns that none comes.
    until("every request at the backend is over", PATIENCE, || {
        (site.backend.seen().len() as u64 == site.backend.requests()).then_some(())
    });
    talk.reported();
}

#[test]
fn resources_are_filtered_by_path_and_method_whatever_the_path_looks_like() {
    let policy = "resource-filtering";
    let rule = |pattern: &str, methods: Value| json!({ "pattern": pattern, "methods": methods });
    let site = with_steps(&[
        (
            "white",
            policy,
            json!({ "whitelist": [rule("/white/open/**", json!(["GET"])), rule("/any/*", json!([]))] }),
        ),
        (
            "black",
            policy,
            json!({ "blacklist": [rule("/admin/**", json!([])), rule("/write", json!(["POST"]))] }),
        ),
        (
            "slash",
            policy,
            json!({ "blacklist": [rule("/admin/**", json!([]))], "normalizeRequestPath": true, "decodeEncodedSlash": true }),
        ),
    ]);
    let (forbidden, method) = (
        "RESOURCE_FILTERING_FORBIDDEN",
        "RESOURCE_FILTERING_METHOD_NOT_ALLOWED",
    );
    let mut talk = Talk::with(&site);
    for (verb, path, status) in [
        ("GET", "/white/open/a/b", 200),
        ("POST", "/white/open/a", 405),
        ("GET", "/white/any/a", 200),
        ("DELETE", "/white/any/a", 200),
        ("GET", "/white/any/a/b", 403),
        ("GET", "/white/open/../closed", 403),
        ("GET", "/white/open/%2e%2e/closed", 403),
        ("GET", "/white/open/..%2fclosed", 200),
        ("GET", "/black/x", 200),
        ("GET", "/black/admin/users", 403),
        ("GET", "/black/ADMIN/users", 200),
        ("GET", "/black/x/../admin/users", 403),
        ("GET", "/black/x/%2e%2E/admin/users", 403),
        ("GET", "/black/./admin/users", 403),
        ("GET", "/black/%61dmin/users", 403),
        ("GET", "/black/admin/users?x=/ok", 403),
        ("GET", "/black/admin/", 403),
        ("GET", "/black/write", 200),
        ("POST", "/black/write", 405),
        ("GET", "/slash//admin/users", 403),
        ("GET", "/slash/admin%2fusers", 403),
        ("GET", "/slash/x%2f..%2fadmin/users", 403),
    ] {
        let key = match status {
            403 => forbidden,
            405 => method,
            _ => "",
        };
        let before = site.backend.requests();
        let what = format!("{verb} {path}");
        let response = talk.expect(&what, &request(verb, path, &[], b""), status, key);
        match status {
            403 => assert_eq!(
                response.text(),
                "You're not allowed to access this resource"
            ),
            405 => assert_eq!(
                response.text(),
                "Method not allowed while accessing this resource"
            ),
            _ => assert_eq!(site.backend.requests(), before + 1, "{what}"),
        }
    }
    talk.reported();
}
