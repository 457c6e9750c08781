//! Every sample definition of the contracts, unchanged, through the local Cloud Gate: deployed and answering, or refused with one
//! reason. The table goes to `definitions-table.md` in the target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Client, Response};
use crate::support::cloud_gate::CloudGate;
use crate::support::gateway::Gateway;
use crate::support::wait::{PATIENCE, pause, until};

const NOT_FOUND: &str = "No context-path matches the request URI.";

/// A sample, and the name under which the Cloud Gate sees it.
struct Sample {
    file: PathBuf,
    name: String,
    text: String,
    /// Id, if the sample has one; else the Cloud Gate takes the file's name.
    id: String,
    /// What it cannot share with another sample at the same time.
    places: BTreeSet<String>,
}

fn samples(folder: &Path) -> Vec<Sample> {
    let mut samples = Vec::new();
    for version in ["v2", "v4"] {
        let entries = std::fs::read_dir(folder.join(version)).expect("samples of both versions");
        for entry in entries.flatten() {
            let file = entry.path();
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("{version}-{}", stem.replace('.', "-"));
            let text = std::fs::read_to_string(&file).expect("a sample is text");
            let json: Value = serde_json::from_str(&text).expect("a sample is JSON");
            let api = json.get("api").unwrap_or(&json);
            let id = api["id"]
                .as_str()
                .map_or_else(|| name.clone(), str::to_owned);
            let mut places = BTreeSet::new();
            paths(api, &mut places);
            samples.push(Sample {
                file,
                name,
                text,
                id,
                places,
            });
        }
    }
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    samples
}

/// Every text under a member called `path`, `context_path` or `contextPath`, slashes normalised.
fn paths(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let (true, Some(path)) = (
                    ["path", "context_path", "contextPath"].contains(&name.as_str()),
                    member.as_str(),
                ) {
                    let parts: Vec<&str> =
                        path.split('/').filter(|part| !part.is_empty()).collect();
                    into.insert(parts.join("/"));
                }
                paths(member, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, into)),
        _ => {}
    }
}

/// As few groups as a first fit gives in which no two samples share an id or a path.
fn groups(samples: Vec<Sample>) -> Vec<Vec<Sample>> {
    let mut groups: Vec<Vec<Sample>> = Vec::new();
    for sample in samples {
        let free = groups.iter_mut().find(|group| {
            group
                .iter()
                .all(|other| other.id != sample.id && other.places.is_disjoint(&sample.places))
        });
        match free {
            Some(group) => group.push(sample),
            None => groups.push(vec![sample]),
        }
    }
    groups
}

#[derive(Debug)]
enum Outcome {
    Deployed(Vec<(String, u16)>),
    Refused(String),
    RefusedByGate(String),
    Lost,
}

#[test]
fn every_sample_definition_is_deployed_and_answers_or_is_refused_with_a_reason() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/contracts/samples/definitions");
    if !folder.is_dir() {
        println!("there are no sample definitions at {}", folder.display());
        return;
    }
    let mut gate = CloudGate::start();
    // Some samples are restricted to a server of this name.
    let mut gateway = gate
        .gateway()
        .on_server("second")
        .set("services.sync.delay", "100")
        .ready();
    let mut outcomes = BTreeMap::new();
    for group in groups(samples(&folder)) {
        for sample in &group {
            gate.put(&format!("{}.json", sample.name), &sample.text);
        }
        let started = Instant::now();
        let mut open: Vec<&Sample> = group.iter().collect();
        while !open.is_empty() && started.elapsed() < Duration::from_secs(15) {
            open.retain(|sample| match outcome(&gateway, &mut gate, sample) {
                Some(outcome) => {
                    outcomes.insert(sample.name.clone(), (sample.file.clone(), outcome));
                    false
                }
                None => true,
            });
            pause(Duration::from_millis(50));
        }
        for sample in open {
            outcomes.insert(sample.name.clone(), (sample.file.clone(), Outcome::Lost));
        }
        for sample in &group {
            gate.remove(&format!("{}.json", sample.name));
        }
        until("everything is undeployed", PATIENCE, || {
            assert!(gateway.process.exited().is_none(), "the gateway ended");
            let none = |path: &str| gateway.node(path).as_array().is_some_and(Vec::is_empty);
            (none("/apis") && none("/apis?state=refused")).then_some(())
        });
    }

    write_table(&outcomes);
    let mut wrong = Vec::new();
    for (name, (_, outcome)) in &outcomes {
        match outcome {
            Outcome::Deployed(answers) if !answers.is_empty() => {}
            Outcome::Refused(reason) | Outcome::RefusedByGate(reason)
                if !reason.is_empty() && !reason.contains('\n') => {}
            outcome => wrong.push(format!("{name}: {outcome:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome(gateway: &Gateway, gate: &mut CloudGate, sample: &Sample) -> Option<Outcome> {
    if let Some(reason) = gateway.refusal(&sample.id) {
        return Some(Outcome::Refused(reason));
    }
    let response = gateway.try_node(&format!("/apis/{}", sample.id))?;
    if response.status == 200 {
        return Some(Outcome::Deployed(answers(gateway, &response.json())));
    }
    let file = format!("{}.json", sample.name);
    let log = gate.process().output();
    let line = log
        .lines()
        .find(|line| line.contains(&file) && (line.contains("WARN") || line.contains("ERROR")))?;
    let (_, reason) = line.split_once(&file)?;
    Some(Outcome::RefusedByGate(
        reason.trim_start_matches([':', ' ']).to_owned(),
    ))
}

/// What the deployed API answers under each of its paths; empty when one of them is not answered by it.
fn answers(gateway: &Gateway, api: &Value) -> Vec<(String, u16)> {
    let mut answers = Vec::new();
    for listener in api["listeners"].as_array().into_iter().flatten() {
        let host = listener["host"].as_str().unwrap_or("localhost");
        let path = listener["path"].as_str().unwrap_or("/");
        let sent = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response: Response = Client::open(gateway.port).send(sent.as_bytes()).response();
        if response.text() == NOT_FOUND {
            return Vec::new();
        }
        answers.push((format!("{host}{path}"), response.status));
    }
    answers
}

fn write_table(outcomes: &BTreeMap<String, (PathBuf, Outcome)>) {
    let mut table = String::from("| sample | outcome | answer or reason |\n|---|---|---|\n");
    for (file, outcome) in outcomes.values() {
        let version = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let (outcome, detail) = match outcome {
            Outcome::Deployed(answers) => {
                let list: Vec<String> = answers
                    .iter()
                    .map(|(place, status)| format!("`{place}` {status}"))
                    .collect();
                ("deployed", list.join(", "))
            }
            Outcome::Refused(reason) => ("refused", reason.clone()),
            Outcome::RefusedByGate(reason) => ("refused by the Cloud Gate", reason.clone()),
            Outcome::Lost => ("neither", String::new()),
        };
        let _ = writeln!(
            table,
            "| `{version}/{name}` | {outcome} | {} |",
            detail.replace('|', "\\|")
        );
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder")
        .join("definitions-table.md");
    std::fs::write(&target, table).expect("the table is written");
    println!("{}", target.display());
}
