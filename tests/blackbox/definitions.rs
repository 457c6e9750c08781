//! Every sample definition of the contracts, through the local Cloud Gate: deployed and answering, or refused with one reason. They
//! are all delivered at once, so a sample whose id is taken by an earlier one, or whose context path lies at, above or below that of an
//! earlier one, gets an own one; nothing else of it changes. The table goes to `definitions-table.md` in the target folder.

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
}

fn samples(folder: &Path) -> Vec<Sample> {
    let mut files = Vec::new();
    for version in ["v2", "v4"] {
        let entries = std::fs::read_dir(folder.join(version)).expect("samples of both versions");
        files.extend(entries.flatten().map(|entry| (version, entry.path())));
    }
    files.sort();
    let mut ids = BTreeSet::new();
    let mut places: Vec<String> = Vec::new();
    let mut samples = Vec::new();
    for (version, file) in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{version}-{}", stem.replace('.', "-"));
        let mut text = std::fs::read_to_string(&file).expect("a sample is text");
        let mut json: Value = serde_json::from_str(&text).expect("a sample is JSON");
        let is_wrapped = json.get("api").is_some();
        let api = if is_wrapped {
            &mut json["api"]
        } else {
            &mut json
        };
        let mut id = api["id"]
            .as_str()
            .map_or_else(|| name.clone(), str::to_owned);
        let is_id_new = ids.insert(id.clone());
        if !is_id_new {
            id.clone_from(&name);
            api["id"] = Value::from(name.as_str());
        }
        let own: Vec<String> = paths(api).iter().map(|path| normalised(path)).collect();
        let is_place_new = !own
            .iter()
            .any(|path| places.iter().any(|taken| overlap(path, taken)));
        if is_place_new {
            places.extend(own);
        }
        if !is_place_new {
            for path in paths(api) {
                *path = format!("/{name}{path}");
            }
        }
        if !(is_id_new && is_place_new) {
            text = json.to_string();
        }
        samples.push(Sample {
            file,
            name,
            text,
            id,
        });
    }
    samples
}

/// The context paths of an API, wherever either version writes them.
fn paths(api: &mut Value) -> Vec<&mut String> {
    let mut holders = Vec::new();
    let mut paths = Vec::new();
    for (name, member) in api.as_object_mut().into_iter().flatten() {
        match (name.as_str(), member) {
            ("listeners", Value::Array(listeners)) => holders.extend(
                listeners
                    .iter_mut()
                    .filter_map(|listener| listener.get_mut("paths")),
            ),
            ("proxy", Value::Object(proxy)) => {
                for (name, member) in proxy {
                    match (name.as_str(), member) {
                        ("context_path", Value::String(path)) => paths.push(path),
                        ("virtual_hosts", hosts) => holders.push(hosts),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    for place in holders
        .into_iter()
        .filter_map(Value::as_array_mut)
        .flatten()
    {
        if let Some(Value::String(path)) = place.get_mut("path") {
            paths.push(path);
        }
    }
    paths
}

/// A path with a slash behind each segment and nowhere else.
fn normalised(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.flat_map(|segment| [segment, "/"]).collect()
}

/// Whether requests for one could be answered by the other.
fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
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
    let samples = samples(&folder);
    for sample in &samples {
        gate.put(&format!("{}.json", sample.name), &sample.text);
    }
    let mut outcomes = BTreeMap::new();
    let started = Instant::now();
    while outcomes.len() < samples.len() && started.elapsed() < PATIENCE {
        let refused = gateway.node("/apis?state=refused");
        let log = gate.process().output();
        for sample in &samples {
            if !outcomes.contains_key(&sample.name)
                && let Some(outcome) = outcome(&gateway, &refused, &log, sample)
            {
                outcomes.insert(sample.name.clone(), (sample.file.clone(), outcome));
            }
        }
        pause(Duration::from_millis(50));
    }
    for sample in &samples {
        let lost = (sample.file.clone(), Outcome::Lost);
        outcomes.entry(sample.name.clone()).or_insert(lost);
        gate.remove(&format!("{}.json", sample.name));
    }
    until("everything is undeployed", PATIENCE, || {
        assert!(gateway.process.exited().is_none(), "the gateway ended");
        let none = |path: &str| gateway.node(path).as_array().is_some_and(Vec::is_empty);
        (none("/apis") && none("/apis?state=refused")).then_some(())
    });

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

/// What became of a sample; `None` when nothing did yet.
fn outcome(gateway: &Gateway, refused: &Value, log: &str, sample: &Sample) -> Option<Outcome> {
    let mut refused = refused.as_array().into_iter().flatten();
    if let Some(refused) = refused.find(|refused| refused["id"] == sample.id.as_str()) {
        let reason = refused["reason"].as_str().unwrap_or_default();
        return Some(Outcome::Refused(reason.to_owned()));
    }
    let response = gateway.try_node(&format!("/apis/{}", sample.id))?;
    if response.status == 200 {
        return answers(gateway, &response.json()).map(Outcome::Deployed);
    }
    let file = format!("{}.json", sample.name);
    let line = log
        .lines()
        .find(|line| line.contains(&file) && (line.contains("WARN") || line.contains("ERROR")))?;
    let (_, reason) = line.split_once(&file)?;
    Some(Outcome::RefusedByGate(
        reason.trim_start_matches([':', ' ']).to_owned(),
    ))
}

/// What the deployed API answers under each of its paths; `None` while one of them is not answered by it.
fn answers(gateway: &Gateway, api: &Value) -> Option<Vec<(String, u16)>> {
    let mut answers = Vec::new();
    for listener in api["listeners"].as_array().into_iter().flatten() {
        let host = listener["host"].as_str().unwrap_or("localhost");
        let path = listener["path"].as_str().unwrap_or("/");
        let sent = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response: Response = Client::open(gateway.port).send(sent.as_bytes()).response();
        if response.text() == NOT_FOUND {
            return None;
        }
        answers.push((format!("{host}{path}"), response.status));
    }
    Some(answers)
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
