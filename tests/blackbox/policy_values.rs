//! What clients bring into expressions with their bodies: nothing of it breaks a head, and whatever its size and form is, the request ends
//! soon and the next one is served.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::wire::Head;

/// One request may take this long on a busy machine, unoptimised; not more, however its body is made.
const BOUND: Duration = Duration::from_secs(10);

fn header(name: &str, value: &str) -> Value {
    json!({ "addHeaders": [{ "name": name, "value": value }] })
}

#[test]
fn no_control_character_of_a_body_gets_into_a_head() {
    let name = "{#context.attributes['name']}";
    let site = Site::with(Start::new(), |backend| {
        let keep = json!({ "attributes": [
            { "name": "name", "value": "{#jsonPath(#request.content, '$.name')}" },
        ] });
        let api = |id: &str| {
            v4(id, &format!("/{id}"), &backend.target(""))
                .request("policy-assign-attributes", keep.clone())
        };
        vec![
            api("sent").request("transform-headers", header("X-Name", name)),
            api("back").response("transform-headers", header("X-Name", name)),
            api("mock").request("mock", json!({ "headers": [{ "name": "X-Name", "value": name }] })),
            api("away").request(
                "http-redirect",
                json!({ "rules": [{ "path": ".*", "location": format!("http://h/{name}"), "status": 302 }] }),
            ),
        ]
    });
    let controls = (0..0x20_u8).chain([0x7f]).filter(|byte| *byte != b'\t');
    let lines = ["\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1"];
    let ends = ["\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"];
    let names: Vec<String> = controls
        .map(|byte| format!("a{}b", char::from(byte)))
        .chain(lines.into_iter().chain(ends).map(|end| format!("a{end}")))
        .collect();
    for api in ["sent", "back", "mock", "away"] {
        let path = format!("/{api}/x");
        let ask = |name: &str| {
            let body = json!({ "name": name }).to_string();
            let mut client = site.client();
            client.send(&request("POST", &path, &[], body.as_bytes()));
            let response = client.response();
            assert!(client.surplus().is_empty(), "{api} {name:?}");
            response
        };
        let good = ask("plain");
        assert!(good.status < 400, "{api}: {}", good.text());
        let mut heads = vec![good.head.clone()];
        heads.extend(site.backend.seen().pop().map(|seen| seen.head));
        let value = |head: &Head| {
            head.field("X-Name")
                .or_else(|| head.field("Location"))
                .map(str::to_owned)
        };
        let values: Vec<String> = heads.iter().filter_map(value).collect();
        assert!(
            values.iter().any(|value| value.ends_with("plain")),
            "{api}: {values:?}"
        );
        for name in &names {
            let before = site.backend.requests();
            let response = ask(name);
            let mut heads = vec![response.head.clone()];
            if site.backend.requests() > before {
                heads.push(site.backend.last().head);
            }
            for head in heads {
                for field in ["X-Name", "X-Evil", "Location"] {
                    assert_eq!(head.field(field), None, "{api} {name:?}");
                }
            }
        }
        assert_eq!(ask("plain").status, good.status, "{api}");
    }
}

/// Bodies that are hard to read: name and bytes.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let mebibytes = 1 << 20;
    let repeated = |part: &str, times: usize| part.repeat(times).into_bytes();
    vec![
        ("every byte", (0..=255).cycle().take(4_096).collect()),
        ("zeros", vec![0; mebibytes]),
        ("half a character", vec![0xc3; 10_000]),
        ("opening brackets", repeated("[", mebibytes)),
        ("nested objects", repeated("{\"a\":", 100_000)),
        (
            "closed brackets",
            [repeated("[", 100_000), repeated("]", 100_000)].concat(),
        ),
        (
            "a long list",
            format!("[{}1]", "1,".repeat(mebibytes)).into_bytes(),
        ),
        (
            "many objects",
            format!("[{}{{}}]", "{\"a\":{\"name\":\"x\"}},".repeat(50_000)).into_bytes(),
        ),
        (
            "one name again and again",
            format!("{{{}\"name\":1}}", "\"name\":\"x\",".repeat(100_000)).into_bytes(),
        ),
        ("a long number", repeated("9", mebibytes)),
        (
            "a long text",
            format!("{{\"name\":\"{}\"}}", "\\u0041".repeat(200_000)).into_bytes(),
        ),
    ]
}

#[test]
fn bodies_of_any_size_and_form_end_their_request_soon_and_the_next_is_served() {
    let expressions = [
        "{#jsonPath(#request.content, '$.name')}",
        "{#jsonPath(#request.content, '$..*')}",
        "{#jsonPath(#request.content, '$..[?(@.a.name == \"x\")]..name')}",
        "{#request.content}",
        "{#request.content.matches('(a|aa|a(?=a))+b')}",
        "{#request.content.replaceAll('', '12345678')}",
        "{#request.jsonContent}",
        "{#xpath(#request.content, '//a')}",
    ];
    let start = Start::new().set("gateway.runtime.workers", "1");
    let site = Site::with(start, |backend| {
        let target = backend.target("");
        expressions
            .iter()
            .enumerate()
            .map(|(index, expression)| {
                v4(&format!("e{index}"), &format!("/e{index}"), &target)
                    .request("transform-headers", header("X-Value", expression))
            })
            .collect()
    });
    let before = site.gateway.process.resident_bytes();
    for (what, body) in bodies() {
        for (index, expression) in expressions.iter().enumerate() {
            let asked = Instant::now();
            let response = site
                .client()
                .send(&request("POST", &format!("/e{index}/x"), &[], &body))
                .response();
            let took = asked.elapsed();
            assert!(
                [200, 413, 500].contains(&response.status),
                "{what} {expression}: {}",
                response.status
            );
            assert!(took < BOUND, "{what} {expression}: {took:?}");
            assert_eq!(site.fetch("/api/x").status, 200, "{what} {expression}");
        }
    }
    let grown = site.gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more");
}
