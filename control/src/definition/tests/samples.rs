//! Every definition of the contract's samples. They are third-party data and not part of the project: without them the test
//! says so and passes.

use std::path::PathBuf;

use super::*;

const SAMPLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/contracts/samples/definitions"
);

/// Samples that are served as they are, a plan added where the reference's own harness adds one.
const SERVED: [&str; 25] = [
    "v2/connect-timeout.json",
    "v2/context-path-reformat.json",
    "v2/cors-wildcard.json",
    "v2/endpoint-headers-host.json",
    "v2/execution-mode-jupiter.json",
    "v2/load-balancing-round-robin-backup.json",
    "v2/load-balancing-weighted.json",
    "v2/path-mapping-wildcard.json",
    "v2/read-timeout.json",
    "v2/resources.json",
    "v2/response-templates.json",
    "v2/servers.json",
    "v2/sse.json",
    "v2/tags.json",
    "v2/tenants.json",
    "v2/virtual-hosts.json",
    "v2/virtual-hosts.normalized.json",
    "v4/max-wait-queue.json",
    "v4/plan-selection-rule.json",
    "v4/proxy-keyless.json",
    "v4/proxy-single-server.json",
    "v4/propagate-client-host.json",
    "v4/response-template-tls-failure.json",
    "v4/response-template-umbrella-key.json",
    "v4/tenants-load-balancing.json",
];

#[test]
fn every_sample_is_served_or_refused_by_the_name_of_a_member() {
    let Some(files) = sample_files() else {
        println!("skipped: no samples at {SAMPLES}");
        return;
    };
    let mut served = Vec::new();
    println!("| sample | outcome |\n|---|---|");
    for (name, path) in files {
        let text = std::fs::read_to_string(&path).expect("a sample that was listed");
        let mut definition: Value = serde_json::from_str(&text).expect("samples are JSON");
        let is_v4 = name.starts_with("v4/");
        inject_plan(&mut definition, is_v4);
        let text = definition.to_string();
        let input = ApiInput {
            definition: &text,
            definition_version: Some(if is_v4 { "V4" } else { "V2" }),
            ..ApiInput::default()
        };
        match compile(&input, &CompileContext::default()) {
            Ok(compiled) => {
                assert!(
                    !compiled.api.listeners.is_empty() && !compiled.api.plans.is_empty(),
                    "{name}"
                );
                println!("| {name} | deployed, {} notes |", compiled.warnings.len());
                for note in &compiled.warnings {
                    println!("|   | note: {note} |");
                }
                served.push(name);
            }
            Err(refusal) => {
                assert!(
                    !refusal.member.is_empty() && !refusal.reason.is_empty(),
                    "{name}: {refusal:?}"
                );
                println!("| {name} | refused: {refusal} |");
            }
        }
    }
    let missing: Vec<&str> = SERVED
        .into_iter()
        .filter(|name| !served.iter().any(|other| other == name))
        .collect();
    assert!(missing.is_empty(), "expected to be served: {missing:?}");
}

fn sample_files() -> Option<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for version in ["v2", "v4"] {
        for entry in std::fs::read_dir(PathBuf::from(SAMPLES).join(version)).ok()? {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            files.push((format!("{version}/{name}"), path));
        }
    }
    files.sort();
    Some(files)
}

/// The reference's tests add a key-less plan to definitions without plans, and a status to plans without one.
fn inject_plan(definition: &mut Value, is_v4: bool) {
    match definition.get_mut("plans").and_then(Value::as_array_mut) {
        Some(plans) if !plans.is_empty() => {
            for plan in plans.iter_mut().filter(|plan| plan.get("status").is_none()) {
                plan["status"] = json!("published");
            }
        }
        _ if is_v4 => {
            definition["plans"] = json!([{"id": "keyless", "name": "k", "status": "published", "security": {"type": "key-less"}}]);
        }
        _ => {
            definition["plans"] = json!([{"id": "keyless", "name": "k", "status": "published", "security": "KEY_LESS"}]);
        }
    }
}
