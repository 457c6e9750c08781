//! Policies that judge requests and responses by their content: rules, schemas, limits, patterns; bodies of every kind; configurations that
//! cannot be read.

use serde_json::{Value, json};

use crate::support::backend::raw_keep;
use crate::support::client::request;
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::talk::{Talk, in_chunks, post, with_steps};
use crate::support::wait::{PATIENCE, until};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn requests_are_checked_against_rules() {
    let rule = |input: &str, required: bool, kind: &str, parameters: Value| json!({ "input": input, "isRequired": required, "constraint": { "type": kind, "parameters": parameters } });
    let age = "{#request.jsonContent['age']}";
    let site = with_steps(&[
        (
            "rules",
            "policy-request-validation",
            json!({ "rules": [
                rule("{#request.headers['X-Mail']?.[0]}", false, "MAIL", json!([])),
                rule("{#request.params['n']?.[0]}", false, "PATTERN", json!(["^[a-z]+$"])),
                rule("{#request.params['d']?.[0]}", false, "DATE", json!(["yyyy-MM-dd"])),
                rule("{#request.params['e']?.[0]}", false, "ENUM", json!(["a", "b"])),
                rule("{#request.params['s']?.[0]}", false, "SIZE", json!(["2", "3"])),
            ] }),
        ),
        (
            "body",
            "policy-request-validation",
            json!({ "scope": "REQUEST_CONTENT", "status": "422", "rules": [
                rule(age, true, "NOT_NULL", json!([])),
                rule(age, true, "MIN", json!(["18"])),
                rule(age, true, "MAX", json!(["99"])),
            ] }),
        ),
    ]);
    let mut talk = Talk::with(&site);
    let key = "REQUEST_VALIDATION_INVALID";
    for (query, mail, complaint) in [
        ("", "", None),
        ("?n=abc&d=2024-02-29&e=b&s=abc", "a.b@example.com", None),
        (
            "?n=ABC",
            "",
            Some("'{#request.params['n']?.[0]}' is not valid (pattern: '^[a-z]+$')"),
        ),
        (
            "?d=2023-02-29",
            "",
            Some("'{#request.params['d']?.[0]}' is not valid (format: 'yyyy-MM-dd')"),
        ),
        (
            "?e=c",
            "",
            Some("'{#request.params['e']?.[0]}' not included in ENUM"),
        ),
        (
            "?s=a",
            "",
            Some(
                "'{#request.params['s']?.[0]}' length must be higher or equals to '2' and lower or equals to '3'",
            ),
        ),
        (
            "",
            "nobody",
            Some("{#request.headers['X-Mail']?.[0]} is not a valid email."),
        ),
    ] {
        let what = format!("{query} {mail}");
        let fields = if mail.is_empty() {
            vec![]
        } else {
            vec![("X-Mail", mail)]
        };
        let bytes = request("GET", &format!("/rules/x{query}"), &fields, b"");
        let (status, key) = complaint.map_or((200, ""), |_| (400, key));
        let response = talk.expect(&what, &bytes, status, key);
        if let Some(complaint) = complaint {
            let told = response.json();
            assert_eq!(
                told["message"],
                "Request is not valid according to constraint rules"
            );
            assert_eq!(told["constraints"], json!([complaint]), "{what}");
        }
    }
    for (body, status, broken) in [
        (&br#"{"age":18}"#[..], 200, 0),
        (br#"{"age":17}"#, 422, 1),
        (br#"{"age":100}"#, 422, 1),
        (br#"{"age":"x"}"#, 422, 2),
        (br#"{}"#, 422, 3),
    ] {
        let what = String::from_utf8_lossy(body).into_owned();
        for bytes in [
            post("/body/x", &[JSON], body),
            in_chunks("/body/x", &[JSON], body),
        ] {
            let response = talk.expect(&what, &bytes, status, if broken > 0 { key } else { "" });
            if broken > 0 {
                let told = response.json();
                let told = told["constraints"].as_array().map_or(0, Vec::len);
                assert_eq!(told, broken, "{what}");
            } else {
                assert_eq!(site.backend.last().body, body, "{what}");
            }
        }
    }
    for body in [&b"{\"age\":"[..], b"\xff\xfe\x00", b""] {
        let response = talk.expect("no JSON", &post("/body/x", &[JSON], body), 422, key);
        assert!(
            response.text().contains("constraints"),
            "{}",
            response.text()
        );
    }
    // The message is JSON already; a client that asks for JSON gets it inside the usual form.
    let bytes = request(
        "GET",
        "/rules/x?e=c",
        &[("Accept", "application/json")],
        b"",
    );
    let told = talk.expect("asked for JSON", &bytes, 400, key).json();
    assert!(
        told["message"]
            .as_str()
            .is_some_and(|text| text.contains("constraint")),
        "{told}"
    );
    talk.reported();
}

#[test]
fn bodies_are_checked_against_schemas_in_both_directions() {
    let schema = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}"#;
    let plain = json!({ "schema": schema });
    let site = Site::with(
        Start::new().set("gateway.policies.bodyBytesMax", "100000"),
        |backend| {
            let target = backend.target("");
            vec![
                v4("up", "/up", &target).request("json-validation", plain.clone()),
                v4("told", "/told", &target).request(
                    "json-validation",
                    json!({ "schema": schema, "errorMessage": "{\"no\":\"{#request.method}\"}" }),
                ),
                v4("down", "/down", &target).response("json-validation", plain.clone()),
                v4("straight", "/straight", &target).response(
                    "json-validation",
                    json!({ "schema": schema, "straightRespondMode": true }),
                ),
                v2("two", "/two", &target).request(
                    "json-validation",
                    json!({ "scope": "REQUEST_CONTENT", "schema": schema }),
                ),
                v2("old", "/old", &target)
                    .request(
                        "json-validation",
                        json!({ "scope": "REQUEST_CONTENT", "schema": schema }),
                    )
                    .with(|definition| definition["execution_mode"] = json!("v3")),
                v2("olddown", "/olddown", &target)
                    .response(
                        "json-validation",
                        json!({ "scope": "RESPONSE_CONTENT", "schema": schema }),
                    )
                    .with(|definition| definition["execution_mode"] = json!("v3")),
            ]
        },
    );
    let mut talk = Talk::with(&site);
    let (invalid, format) = ("JSON_INVALID_PAYLOAD", "JSON_INVALID_FORMAT");
    for api in ["up", "told", "two", "old"] {
        for (body, status, key) in [
            (&br#"{"id":1}"#[..], 200, ""),
            (br#"{"id":"one"}"#, 400, invalid),
            (b"[]", 400, invalid),
            (b"{\"id\":", 400, format),
            (b"\xff\xfe", 400, format),
            (b"\x1f\x8b\x08\x00", 400, format),
            (b"", 200, ""),
        ] {
            let what = format!("{api} {}", String::from_utf8_lossy(body));
            let path = format!("/{api}/x");
            for bytes in [post(&path, &[JSON], body), in_chunks(&path, &[JSON], body)] {
                let response = talk.expect(&what, &bytes, status, key);
                if status == 200 {
                    assert_eq!(site.backend.last().body, body, "{what}");
                } else {
                    let expected = if api == "told" {
                        "{\"no\":\"POST\"}"
                    } else {
                        "Bad Request"
                    };
                    assert!(
                        response.text().contains(expected),
                        "{what}: {}",
                        response.text()
                    );
                }
            }
        }
    }
    // The keys of the response stand the wrong way round, as in the reference.
    for (body, key) in [
        (&br#"{"id":1}"#[..], ""),
        (br#"{"id":"one"}"#, "JSON_INVALID_RESPONSE_FORMAT"),
        (b"{\"id\":", "JSON_INVALID_RESPONSE_PAYLOAD"),
        (b"\xff\xfe", "JSON_INVALID_RESPONSE_PAYLOAD"),
        (b"", ""),
    ] {
        let what = String::from_utf8_lossy(body).into_owned();
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        let path = raw_keep(&answer);
        let status = if key.is_empty() { 200 } else { 500 };
        let down = talk.expect(
            &what,
            &request("GET", &format!("/down{path}"), &[], b""),
            status,
            key,
        );
        if status == 500 {
            assert!(
                down.text().contains("Internal Error"),
                "{what}: {}",
                down.text()
            );
        } else {
            assert_eq!(down.body, body, "{what}");
        }
        let old = talk.expect(
            &what,
            &request("GET", &format!("/olddown{path}"), &[], b""),
            status,
            key,
        );
        assert_eq!(old.text(), down.text(), "{what}");
        let straight = talk.get(&format!("/straight{path}"), &[]);
        assert_eq!((straight.status, &straight.body[..]), (200, body), "{what}");
    }
    let head = talk.say(&request("HEAD", "/down/bytes/50", &[], b""));
    assert_eq!(head.status, 200);
    talk.reported();
}

#[test]
fn json_bodies_are_bounded() {
    let policy = "json-threat-protection";
    let with = |member: &str, value: Value| {
        let mut all = json!({ "maxEntries": 3, "maxArraySize": 3, "maxDepth": 3, "maxNameLength": 5, "maxValueLength": 5 });
        all[member] = value;
        all
    };
    let site = with_steps(&[
        ("tight", policy, with("maxEntries", json!("3"))),
        (
            "loose",
            policy,
            json!({ "maxEntries": -1, "maxArraySize": -1, "maxDepth": -1, "maxNameLength": -1, "maxValueLength": -1, "preventDuplicateKey": false, "enforceJson": false }),
        ),
    ]);
    let mut talk = Talk::with(&site);
    let deep = "[".repeat(50_000);
    for (body, key) in [
        (r#"{"a":1,"b":2,"c":3,"d":4}"#, "JSON_THREAT_MAX_ENTRIES"),
        (r#"{"a":1,"b":[1,2,3]}"#, ""),
        (r#"[1,2,3,4]"#, "JSON_MAX_ARRAY_SIZE"),
        (r#"[[[[1]]]]"#, "JSON_THREAT_MAX_DEPTH"),
        (r#"{"abcdef":1}"#, "JSON_THREAT_MAX_NAME_LENGTH"),
        (r#"{"a":"123456"}"#, "JSON_THREAT_MAX_VALUE_LENGTH"),
        (r#"{"a":1,"a":2}"#, "JSON_THREAT_DETECTED"),
        (r#"{"a":"#, "JSON_THREAT_DETECTED"),
        ("\u{1f}\u{0}", "JSON_THREAT_DETECTED"),
        ("", ""),
        (&deep, "JSON_THREAT_MAX_DEPTH"),
    ] {
        let status = if key.is_empty() { 200 } else { 400 };
        let what = &body[..body.len().min(40)];
        for bytes in [
            post("/tight/x", &[JSON], body.as_bytes()),
            in_chunks("/tight/x", &[JSON], body.as_bytes()),
        ] {
            let response = talk.expect(what, &bytes, status, key);
            if status == 400 {
                assert_eq!(response.text(), "Bad Request", "{what}");
            }
        }
    }
    let text = [("Content-Type", "text/plain")];
    talk.expect(
        "no JSON",
        &post("/tight/x", &text, b"plain"),
        400,
        "JSON_THREAT_ENFORCE_JSON",
    );
    talk.expect("no JSON", &post("/loose/x", &text, b"plain"), 200, "");
    let many = format!("[{}1]", "1,".repeat(40_000));
    for body in [many.as_str(), r#"{"a":1,"a":2}"#] {
        talk.expect(
            "loose",
            &post("/loose/x", &[JSON], body.as_bytes()),
            200,
            "",
        );
    }
    talk.expect(
        "half",
        &post("/loose/x", &[JSON], b"[1"),
        400,
        "JSON_THREAT_DETECTED",
    );
    talk.reported();
}

#[test]
fn requests_in_which_a_pattern_is_found_are_refused() {
    let policy = "regex-threat-protection";
    let site = with_steps(&[
        (
            "part",
            policy,
            json!({ "regex": "drop +table", "fullMatching": false }),
        ),
        (
            "full",
            policy,
            json!({ "regex": ".*<script>.*", "fullMatching": true, "caseSensitive": true }),
        ),
        (
            "heads",
            policy,
            json!({ "regex": "evil", "checkBody": false, "checkPath": false }),
        ),
        (
            "hard",
            policy,
            json!({ "regex": "^((?=a)a|a(?=a|!))+$", "checkHeaders": false, "checkPath": false }),
        ),
    ]);
    let mut talk = Talk::with(&site);
    let (header, path, body) = (
        "REGEX_THREAT_HEADER_DETECTED",
        "REGEX_THREAT_PATH_DETECTED",
        "REGEX_THREAT_BODY_DETECTED",
    );
    let hard = format!("{}!", "a".repeat(60));
    for (target, value, content, key) in [
        ("/part/x", "fine", "fine", ""),
        ("/part/x", "now Drop  Table users", "", header),
        ("/part/x?q=drop%20table", "", "", path),
        ("/part/drop%20table", "", "", path),
        ("/part/x", "", "a; DROP TABLE b", body),
        ("/full/x?q=%3Cscript%3E", "", "", path),
        ("/full/x?q=%3CSCRIPT%3E", "", "", ""),
        ("/full/x", "", "so <script> here", body),
        ("/heads/evil?evil", "", "evil", ""),
        ("/heads/x", "Evil", "", header),
        ("/hard/x", "", "aaab", ""),
        ("/hard/x", "", "aaa", body),
        ("/hard/x", "", &hard, body),
    ] {
        let status = if key.is_empty() { 200 } else { 400 };
        let what = format!("{target} {value} {content}");
        let fields = if value.is_empty() {
            vec![]
        } else {
            vec![("X-Text", value)]
        };
        for bytes in [
            post(target, &fields, content.as_bytes()),
            in_chunks(target, &fields, content.as_bytes()),
        ] {
            let response = talk.expect(&what, &bytes, status, key);
            if status == 400 {
                assert_eq!(response.text(), "Bad Request", "{what}");
            }
        }
    }
    talk.expect(
        "binary",
        &post("/part/x", &[], b"\xff\x00drop table\xff"),
        400,
        body,
    );
    talk.reported();
}

#[test]
fn bodies_that_policies_only_look_at_are_passed_on_byte_for_byte() {
    let looks = json!({ "rules": [{ "input": "{#request.content}", "isRequired": false, "constraint": { "type": "PATTERN", "parameters": [""] } }] });
    let steps = [
        (
            "regex",
            "regex-threat-protection",
            json!({ "regex": "zzz" }),
        ),
        (
            "json",
            "json-threat-protection",
            json!({ "enforceJson": false }),
        ),
        ("rules", "policy-request-validation", looks),
    ];
    let site = with_steps(&steps);
    let mut talk = Talk::with(&site);
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcbH\xcd\xc9\xc9\x07\x00\x86\xa6\x106\x05\x00\x00\x00";
    let coded = ("Content-Encoding", "gzip");
    let kind = ("Content-Type", "application/octet-stream");
    let all: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    for (api, ..) in steps {
        let path = format!("/{api}/x");
        for (fields, body) in [
            (&[kind][..], &b""[..]),
            (&[kind], b"\x00"),
            (&[kind], b"caf\xe9 \xff\xfe"),
            (&[kind, coded], gzip),
            (&[kind], &all),
        ] {
            let what = format!("{api}: {} bytes", body.len());
            for bytes in [post(&path, fields, body), in_chunks(&path, fields, body)] {
                talk.expect(&what, &bytes, 200, "");
                let seen = site.backend.last();
                assert!(seen.complete && seen.body == body, "{what}");
                let coding = fields.len() == 2;
                assert_eq!(seen.head.field("Content-Encoding").is_some(), coding);
                let framed = seen.head.all("Content-Length").len()
                    + seen.head.all("Transfer-Encoding").len();
                assert!(framed <= 1, "{what}: {:?}", seen.head);
            }
        }
        let head = talk.expect(api, &request("HEAD", "/regex/bytes/5", &[], b""), 200, "");
        assert_eq!(head.field("Content-Length"), Some("5"));
    }
    talk.reported();
}

#[test]
fn bodies_beyond_the_gateways_bound_are_refused_where_a_policy_reads_them() {
    let schema = json!({ "schema": "{}" });
    let site = with_steps(&[
        (
            "assign",
            "policy-assign-content",
            json!({ "body": "${request.content?length}" }),
        ),
        ("schema", "json-validation", schema),
        ("json", "json-threat-protection", json!({})),
        (
            "regex",
            "regex-threat-protection",
            json!({ "regex": "zzz" }),
        ),
        (
            "rules",
            "policy-request-validation",
            json!({ "rules": [{ "input": "{#request.content}", "constraint": { "type": "NOT_NULL" } }] }),
        ),
    ]);
    let mut talk = Talk::with(&site);
    let key = "GATEWAY_REQUEST_BODY_TOO_LARGE";
    let large = vec![b'1'; 100_001];
    for api in ["assign", "schema", "json", "regex", "rules"] {
        let path = format!("/{api}/x");
        let before = site.backend.requests();
        for bytes in [
            post(&path, &[JSON], &large),
            in_chunks(&path, &[JSON], &large),
        ] {
            talk.expect(api, &bytes, 413, key);
        }
        assert_eq!(site.backend.requests(), before, "{api}");
        talk.expect(api, &post(&path, &[JSON], b"1"), 200, "");
    }
    talk.reported();
}

#[test]
fn a_configuration_that_cannot_be_read_refuses_the_api_by_member() {
    let cases = [
        (
            "policy-assign-content",
            json!({ "body": "<#assign x='freemarker.template.utility.Execute'?new()>${x('id')}" }),
            "body",
        ),
        (
            "policy-assign-content",
            json!({ "body": "${request?api.class}" }),
            "body",
        ),
        (
            "policy-assign-content",
            json!({ "body": "<#include '/etc/passwd'>" }),
            "body",
        ),
        (
            "ip-filtering",
            json!({ "lookupIpVersion": "IPV5" }),
            "lookupIpVersion",
        ),
        (
            "ip-filtering",
            json!({ "whitelistIps": "10.0.0.1" }),
            "whitelistIps",
        ),
        (
            "policy-assign-content",
            json!({ "body": "<#if x>" }),
            "body",
        ),
        ("policy-assign-content", json!({ "body": "${" }), "body"),
        (
            "policy-assign-content",
            json!({ "scope": "SIDEWAYS", "body": "" }),
            "scope",
        ),
        (
            "transform-queryparams",
            json!({ "addQueryParameters": [{ "name": "a", "value": [] }] }),
            "addQueryParameters[0].value",
        ),
        (
            "transform-queryparams",
            json!({ "clearAll": "perhaps" }),
            "clearAll",
        ),
        ("request-content-limit", json!({ "limit": "big" }), "limit"),
        (
            "resource-filtering",
            json!({ "whitelist": [{ "pattern": "/a", "methods": ["FETCH"] }] }),
            "whitelist[0].methods[0]",
        ),
        (
            "resource-filtering",
            json!({ "blacklist": {} }),
            "blacklist",
        ),
        (
            "policy-request-validation",
            json!({ "rules": [{ "input": "x" }] }),
            "rules[0].constraint",
        ),
        (
            "policy-request-validation",
            json!({ "rules": [{ "input": "x", "constraint": { "type": "PATTERN", "parameters": ["("] } }] }),
            "rules[0].constraint.parameters[0]",
        ),
        (
            "policy-request-validation",
            json!({ "status": 99 }),
            "status",
        ),
        ("json-validation", json!({}), "schema"),
        (
            "json-validation",
            json!({ "schema": "{\"$ref\":\"http://elsewhere/schema\"}" }),
            "schema",
        ),
        (
            "json-threat-protection",
            json!({ "maxDepth": "deep" }),
            "maxDepth",
        ),
        ("regex-threat-protection", json!({ "regex": "(" }), "regex"),
        ("regex-threat-protection", json!({}), "regex"),
    ];
    let responses = [
        (
            "url-rewriting",
            json!({ "fromRegex": "(", "toReplacement": "" }),
            "fromRegex",
        ),
        ("url-rewriting", json!({ "toReplacement": "" }), "fromRegex"),
    ];
    let site = Site::with(Start::new(), |backend| {
        let requests = cases
            .iter()
            .enumerate()
            .map(|(index, (policy, configuration, _))| {
                v4(
                    &format!("bad{index}"),
                    &format!("/bad{index}"),
                    &backend.target(""),
                )
                .request(policy, configuration.clone())
            });
        let responses = responses
            .iter()
            .enumerate()
            .map(|(index, (policy, configuration, _))| {
                v4(
                    &format!("worse{index}"),
                    &format!("/worse{index}"),
                    &backend.target(""),
                )
                .response(policy, configuration.clone())
            });
        requests.chain(responses).collect()
    });
    let named = |id: String, policy: &str, member: &str| {
        let reason = until("the refusal", PATIENCE, || site.gateway.refusal(&id));
        assert!(
            reason.contains(&format!("configuration.{member}")),
            "{policy} {member}: {reason}"
        );
        assert_eq!(site.fetch(&format!("/{id}/x")).status, 404);
    };
    for (index, (policy, _, member)) in cases.iter().enumerate() {
        named(format!("bad{index}"), policy, member);
    }
    for (index, (policy, _, member)) in responses.iter().enumerate() {
        named(format!("worse{index}"), policy, member);
    }
    assert_eq!(site.fetch("/api/x").status, 200);
}
