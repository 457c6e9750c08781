//! What expressions may cost: whatever a definition writes, one evaluation ends soon, its failure is the one of its place, and other requests
//! go on meanwhile.

use std::time::Instant;

use serde_json::json;

use crate::support::client::{fetch, fetch_with};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::wait::PATIENCE;

/// Expressions that never end, or need all memory, unless somebody stops them: name, status where they stand as a value, status where they
/// stand as a condition, text. What cannot be evaluated skips its step as a condition, what cannot be read fails the request; 200 twice is
/// what the gateway evaluates in no time.
fn hostile() -> Vec<(&'static str, u16, u16, String)> {
    let ones = vec!["1"; 60].join(",");
    let text = |text: &str| text.to_owned();
    let header = "#request.headers['X-Long'][0]";
    vec![
        (
            "backtracking",
            200,
            200,
            format!("{{{header} matches '(a+)+$'}}"),
        ),
        (
            "alternatives",
            500,
            200,
            format!("{{{header} matches '(a|aa|a(?=a))+b'}}"),
        ),
        (
            "replacing",
            200,
            200,
            format!("{{{header}.replaceAll('((a|aa)+)+$', 'x')}}"),
        ),
        (
            "nested repeats",
            200,
            200,
            format!("{{{header} matches '((a*)*)*b'}}"),
        ),
        (
            "growing",
            500,
            200,
            format!("{{{header}{}}}", ".replace('a', 'aaaaaaaaaa')".repeat(12)),
        ),
        (
            "adding",
            500,
            200,
            format!(
                "{{({header}{}).length()}}",
                format!(" + {header}").repeat(100)
            ),
        ),
        ("repeating", 500, 200, text("{('x'.repeat(2000000000))}")),
        ("multiplying", 500, 200, text("{('x' * 2000000000)}")),
        (
            "doubling",
            500,
            200,
            format!(
                "{{('x'.repeat(1000){})}}",
                ".concat('y').repeat(100)".repeat(8)
            ),
        ),
        (
            "power",
            500,
            200,
            text("{(new java.math.BigDecimal('9.99').pow(999999999))}"),
        ),
        (
            "width",
            500,
            200,
            text("{(T(java.lang.String).format('%999999999d', 1))}"),
        ),
        (
            "projections",
            500,
            200,
            format!(
                "{{({{{ones}}}{}1{})}}",
                format!(".![{{{ones}}}").repeat(4) + ".![",
                "]".repeat(5)
            ),
        ),
        (
            "parentheses",
            500,
            500,
            format!("{{({}1{})}}", "(".repeat(4_000), ")".repeat(4_000)),
        ),
        (
            "ten thousand parentheses",
            500,
            500,
            format!("{{{}1{}}}", "(".repeat(10_000), ")".repeat(10_000)),
        ),
        (
            "unclosed",
            500,
            500,
            format!("{{#{}", "request.headers[".repeat(600)),
        ),
        (
            "negations",
            500,
            500,
            format!("{{({}true)}}", "!".repeat(9_000)),
        ),
        ("length", 500, 500, format!("{{(1{})}}", "+1".repeat(9_000))),
    ]
}

#[test]
fn expressions_that_would_take_all_time_or_memory_are_ended_and_others_go_on() {
    let hostile = hostile();
    let site = Site::with(
        Start::new().set("gateway.runtime.workers", "1"),
        |backend| {
            let target = backend.target("");
            let value =
                |text: &str| json!({ "addHeaders": [{ "name": "X-Value", "value": text }] });
            let mut all = Vec::new();
            for (index, (_, _, _, expression)) in hostile.iter().enumerate() {
                all.push(
                    v4(&format!("v{index}"), &format!("/v{index}"), &target)
                        .request("transform-headers", value(expression)),
                );
                all.push(
                    v4(&format!("c{index}"), &format!("/c{index}"), &target)
                        .request("transform-headers", value("plain"))
                        .with(|definition| {
                            definition["flows"][0]["request"][0]["condition"] = json!(expression);
                        }),
                );
            }
            all
        },
    );
    let long = format!("{}!", "a".repeat(5_000));
    let before = site.gateway.process.resident_bytes();
    let port = site.port();
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        // The same worker serves this client all the time.
        let others = scope.spawn(|| {
            let mut served = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(fetch(port, "/api/x").status, 200);
                served += 1;
            }
            served
        });
        for (index, (what, value, condition, _)) in hostile.iter().enumerate() {
            for (kind, status) in [("v", value), ("c", condition)] {
                let asked = Instant::now();
                let path = format!("/{kind}{index}/x");
                let response = fetch_with(port, &path, &[("X-Long", &long)]);
                if response.status != *status || asked.elapsed() >= PATIENCE {
                    let took = asked.elapsed();
                    wrong.push(format!("{what} {kind}: {} after {took:?}", response.status));
                }
            }
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(others.join().expect("the other client") > 0);
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    let grown = site.gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more");
}

#[test]
fn the_limits_of_expressions_are_settings() {
    let start = Start::new()
        .set("gateway.expressions.concatCharsMax", "20")
        .set("gateway.expressions.textCharsMax", "60")
        .set("el.whitelist.mode", "replace")
        .set("el.whitelist.list[0]", "class java.lang.Math")
        .set("el.whitelist.list[1]", "class com.acme.Thing");
    let site = Site::with(start, |backend| {
        vec![
            v4("some", "/some", &backend.target("")).request(
                "policy-assign-attributes",
                json!({ "attributes": [
                    { "name": "short", "value": "{#request.headers['X-A'][0] + 'bcdefgh'}" },
                    { "name": "wordy", "value": format!("{{#request.method + '{}'}}", " ".repeat(60)) },
                ] }),
            )
            .request(
                "transform-headers",
                json!({ "addHeaders": [{ "name": "X-Shown", "value": "<{#context.attributes['short']}{#context.attributes['wordy']}>" }] }),
            ),
        ]
    });
    for (given, expected) in [("a", "<abcdefgh>"), ("aaaaaaaaaaaaaaaaaa", "<>")] {
        let response = fetch_with(site.port(), "/some/x", &[("X-A", given)]);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(site.backend.last().head.field("X-Shown"), Some(expected));
    }
    let output = site.gateway.process.output();
    for warning in ["com.acme.Thing", "el.whitelist.mode 'replace'"] {
        assert!(output.contains(warning), "{warning}: {output}");
    }
    assert!(!output.contains("class java.lang.Math"), "{output}");
}
