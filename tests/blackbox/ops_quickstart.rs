//! `turnpike quickstart`: it starts, what it prints works, and Ctrl-C ends all of it.

use std::time::Duration;

use crate::support::client::{Client, Response, exchange, fetch, request};
use crate::support::cloud_gate::reports_in;
use crate::support::definition::v4;
use crate::support::ports;
use crate::support::process::{Process, turnpike};
use crate::support::wait::{PATIENCE, until};

/// What a printed `curl` line asks for: port, path, and a field.
fn parse(line: &str) -> (u16, String, Option<(String, String)>) {
    let field = line.split('\'').nth(1).and_then(|text| {
        let (name, value) = text.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    });
    let url = line.rsplit(' ').next().expect("a URL");
    let rest = url
        .strip_prefix("http://127.0.0.1:")
        .expect("a loopback URL");
    let (port, path) = rest.split_once('/').expect("a path");
    (port.parse().expect("a port"), format!("/{path}"), field)
}

fn follow(line: &str) -> Response {
    let (port, path, field) = parse(line);
    let fields: Vec<(&str, &str)> = field
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    exchange(port, &request("GET", &path, &fields, b""))
}

#[test]
fn the_quickstart_does_what_it_prints_and_ends_with_ctrl_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = turnpike();
    command
        .arg("quickstart")
        .arg("--folder")
        .arg(folder.path())
        .args(["--port", &ports::free().to_string()]);
    let mut quickstart = Process::spawn("quickstart", command);
    let lines: Vec<String> = until("three lines to try", PATIENCE * 2, || {
        assert!(quickstart.exited().is_none(), "it ended");
        let text = quickstart.stdout();
        let lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("curl "))
            .map(str::to_owned)
            .collect();
        text.contains("Ctrl-C").then_some(lines)
    });
    assert_eq!(lines.len(), 3, "{lines:?}");

    let open = follow(&lines[0]);
    assert_eq!(open.status, 200, "{}", open.text());
    assert_eq!(open.json()["path"], "/echo/hello");
    let keyed = follow(&lines[1]);
    assert_eq!(keyed.status, 200, "{}", keyed.text());
    let (port, path, _) = parse(&lines[1]);
    assert_eq!(fetch(port, &path).status, 401);
    let unknown = follow(&lines[2]);
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.text(), "No context-path matches the request URI.");

    // An API that is dropped into the folder it names is served within seconds.
    let apis = folder.path().join("apis");
    assert!(quickstart.stdout().contains(&apis.display().to_string()));
    let dropped = v4("dropped", "/dropped", "http://127.0.0.1:1");
    std::fs::write(apis.join("dropped.json"), dropped.to_string()).expect("a file");
    until("the dropped API", PATIENCE, || {
        (fetch(port, "/dropped").status == 502).then_some(())
    });
    // Limits hold without a Redis.
    let limit =
        serde_json::json!({ "rate": { "limit": 1, "periodTime": 1, "periodTimeUnit": "HOURS" } });
    let limited = v4("limited", "/limited", "http://127.0.0.1:1").request("rate-limit", limit);
    std::fs::write(apis.join("limited.json"), limited.to_string()).expect("a file");
    until("a limit", PATIENCE, || {
        (fetch(port, "/limited").status == 429).then_some(())
    });
    let reports = folder.path().join("cloud-gate/reports");
    until("the reports", PATIENCE, || {
        let open = reports_in(&reports)
            .iter()
            .filter(|report| report["api-id"] == "quickstart-open")
            .count();
        (open == 1).then_some(())
    });

    quickstart.signal("INT");
    assert_eq!(quickstart.wait(Duration::from_secs(20)).code(), Some(0));
    assert!(Client::connect(port).is_err(), "the gateway is still there");
}
