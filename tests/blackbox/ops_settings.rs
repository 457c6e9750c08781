//! Settings, arguments and exit codes.

use std::net::TcpListener;
use std::process::Output;

use crate::support::client::fetch;
use crate::support::control_plane::{ControlPlane, token};
use crate::support::definition::v4;
use crate::support::gateway::{Gateway, Start, variable};
use crate::support::ports;
use crate::support::process::turnpike;
use crate::support::wait::PATIENCE;

fn check(file: &str, variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().expect("a folder");
    let config = home.path().join("config");
    std::fs::create_dir(&config).expect("a folder");
    std::fs::write(config.join("gravitee.yml"), file).expect("a file");
    let mut command = turnpike();
    command
        .arg("check")
        .args(arguments)
        .env("GRAVITEE_HOME", home.path());
    for (key, value) in variables {
        command.env(variable(key), value);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it runs");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn assert_contains(text: &str, all: &[&str]) {
    for part in all {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// The end of a gateway that cannot start: exit code 1, and what it said.
fn refused(start: Start) -> String {
    let mut gateway = start.spawn();
    let code = gateway.process.wait(PATIENCE).code();
    let output = gateway.process.output();
    assert_eq!(code, Some(1), "{output}");
    output
}

#[test]
fn valid_settings_are_valid() {
    let (code, text) = check("http:\n  port: 8082\n", &[], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_contains(&text, &["configuration is valid"]);
}

#[test]
fn an_unknown_setting_is_a_warning_that_names_the_one_that_was_meant() {
    let (code, text) = check("http:\n  prot: 8082\n", &[], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_contains(&text, &["warning", "http.prot", "did you mean `http.port`"]);
    assert_contains(&text, &["gravitee.yml:2:"]);
}

#[test]
fn an_invalid_value_is_an_error_with_its_place() {
    let (code, text) = check("# one\nhttp:\n  port: abc\n", &[], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_contains(
        &text,
        &["error", "http.port", "abc", "gravitee.yml:3:9", "^^^"],
    );

    let (code, text) = check("", &[("http.port", "70000")], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_contains(&text, &["gravitee_http_port", "70000"]);

    let (code, text) = check("", &[], &["--set", "gateway.runtime.driver=kqueue"]);
    assert_eq!(code, Some(1), "{text}");
    assert_contains(
        &text,
        &["gateway.runtime.driver", "kqueue", "io_uring", "epoll"],
    );

    let (code, text) = check("http:\n\tport: 1\n", &[], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_contains(&text, &["gravitee.yml:2:"]);
}

#[test]
fn definitions_are_checked_as_a_gateway_would_load_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    let path = folder.path().display().to_string();
    let good = v4("good", "/good", "http://localhost:1");
    write("good.json", &good.to_string());
    let (code, text) = check("", &[], &["--definitions", &path]);
    assert_eq!(code, Some(0), "{text}");

    write("broken.yaml", "id: x\n  name: y\n");
    let wrong = good.with(|it| it["endpointGroups"] = serde_json::json!("none"));
    write("wrong.json", &wrong.to_string());
    let (code, text) = check("", &[], &["--definitions", &path]);
    assert_eq!(code, Some(1), "{text}");
    assert_contains(&text, &["broken.yaml", "wrong.json", "endpointGroups"]);
    assert!(!text.contains("good.json"), "{text}");
}

#[test]
fn a_port_that_is_in_use_ends_the_start_with_a_message() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = held.local_addr().expect("an address").port().to_string();
    let text = refused(Start::new().set("http.port", &port));
    assert_contains(&text, &[&port, "in use", "hint"]);
    let text = refused(Start::new().set("services.core.http.port", &port));
    assert_contains(&text, &[&port, "in use", "services.core.http.port"]);
}

#[test]
fn a_second_gateway_does_not_share_the_port_of_the_first() {
    let first = Start::new().listening();
    let port = first.port.to_string();
    let text = refused(Start::new().set("http.port", &port));
    assert_contains(&text, &[&port, "in use"]);
    assert_eq!(fetch(first.port, "/").status, 404);
}

#[test]
fn an_unreadable_token_ends_the_start_and_is_not_shown() {
    let plane = ControlPlane::start();
    let good = token(3_600);
    let cut = good.split_once('.').expect("a token has dots").0.to_owned();
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = "e30";
    for (what, unusable) in [
        ("words", "this-is-no-token".to_owned()),
        ("one part", cut),
        ("no claims", parts.join(".")),
        ("not base64", good.replace('.', ".%")),
    ] {
        let start = Start::new()
            .control_plane(&plane)
            .set("cloud.token", &unusable);
        let text = refused(start);
        assert_contains(&text, &["cloud token is not usable"]);
        assert!(!text.contains(&unusable), "{what} is shown:\n{text}");
    }
    assert_eq!(plane.asked("/"), 0, "the control plane was asked");
}

#[test]
fn sources_have_an_order_and_the_answers_follow_the_settings() {
    let file = concat!(
        "http:\n  errors:\n    404:\n      message: from the file\n",
        "      contentType: text/x-own\nzone: ${which:nowhere}\n",
    );
    let ask = |gateway: &Gateway| {
        let response = fetch(gateway.port, "/nothing");
        assert_eq!(response.status, 404);
        (
            response.text(),
            response.field("Content-Type").map(str::to_owned),
        )
    };
    let gateway = Start::new().file(file).listening();
    assert_eq!(
        ask(&gateway),
        ("from the file".to_owned(), Some("text/x-own".to_owned()))
    );
    assert_eq!(gateway.node("/configuration")["zone"], "nowhere");

    let gateway = Start::new()
        .file(file)
        .set("http.errors[404].message", "from a variable")
        .listening();
    assert_eq!(ask(&gateway).0, "from a variable");
}

#[test]
fn without_a_control_plane_the_gateway_says_so_and_answers_404() {
    let gateway = Start::new().listening();
    assert_eq!(fetch(gateway.port, "/x").status, 404);
    assert_contains(
        &gateway.process.output(),
        &[
            "nothing says where the control plane is",
            "gravitee_cloud_token",
        ],
    );
}

#[test]
fn tokens_are_issued_and_inspected() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let run = |arguments: &[&str]| {
        let output = turnpike()
            .arg("token")
            .args(arguments)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code(), text)
    };
    let (code, issued) = run(&["issue", "--data", &data, "--org", "ORG", "--env", "E1"]);
    assert_eq!(code, Some(0));
    let (code, shown) = run(&["inspect", &issued]);
    assert_eq!(code, Some(0), "{shown}");
    assert_contains(&shown, &["ORG", "E1"]);
    let signature = issued.rsplit('.').next().expect("a token has parts");
    assert!(!shown.contains(signature), "the signature is shown");
    let (_, expired) = run(&["issue", "--data", &data, "--days", "-1"]);
    // A gateway takes it and leaves the decision to the Cloud Gate, so it is only told.
    let (code, shown) = run(&["inspect", &expired]);
    assert_eq!(code, Some(0), "{shown}");
    assert_contains(&shown, &["expired"]);
    assert_eq!(run(&["inspect", "nonsense"]).0, Some(1));
}

#[test]
fn unusable_arguments_end_with_2_and_help_with_0() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"][..], 0),
        (&["run", "--help"][..], 0),
        (&[][..], 2),
        (&["walk"][..], 2),
        (&["run", "--no-such"][..], 2),
    ] {
        let output = turnpike().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_named_and_missing_is_an_error() {
    let missing = format!("/no-such-folder/{}.yml", ports::free());
    let output = turnpike()
        .args(["run", "--config", &missing])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_contains(&String::from_utf8_lossy(&output.stderr), &[&missing]);
}
