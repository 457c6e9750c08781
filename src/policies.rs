//! `turnpike policies`: which policies and resources this gateway runs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use turnpike_core::policy::registry::{Entry, REGISTRY};
use turnpike_core::policy::resource;

use crate::cli::PoliciesOptions;

/// Lists them as a table for people, as JSON, or as the page of the documentation.
pub(crate) fn run(options: &PoliciesOptions) -> anyhow::Result<ExitCode> {
    let text = if options.json {
        format!("{:#}\n", as_json())
    } else if options.markdown {
        as_markdown()
    } else {
        as_table()
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads may stop early: `turnpike policies | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        outcome => outcome?,
    }
    Ok(ExitCode::SUCCESS)
}

fn phases(entry: &Entry) -> &'static str {
    match (entry.phases.request, entry.phases.response) {
        (true, true) => "request, response",
        (true, false) => "request",
        (false, true) => "response",
        (false, false) => "none",
    }
}

fn as_table() -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let ids = width(&mut REGISTRY.iter().map(|entry| entry.id.len()));
    let columns = width(&mut REGISTRY.iter().map(|entry| phases(entry).len()));
    let mut text = String::new();
    for entry in REGISTRY {
        let (id, phases) = (entry.id, phases(entry));
        let _ = writeln!(text, "{id:ids$}  {phases:columns$}  {}", entry.summary);
    }
    if !resource::REGISTRY.is_empty() {
        text.push_str("\nresources:\n");
        let kinds = width(&mut resource::REGISTRY.iter().map(|entry| entry.kind.len()));
        for entry in resource::REGISTRY {
            let _ = writeln!(text, "{:kinds$}  {}", entry.kind, entry.summary);
        }
    }
    text
}

fn as_json() -> Value {
    let policy = |entry: &Entry| {
        json!({
            "id": entry.id,
            "request": entry.phases.request,
            "response": entry.phases.response,
            "summary": entry.summary,
            "members": entry.members,
            "differences": entry.differences,
        })
    };
    json!({
        "policies": REGISTRY.iter().map(policy).collect::<Vec<_>>(),
        "resources": resource::REGISTRY
            .iter()
            .map(|entry| json!({"type": entry.kind, "summary": entry.summary}))
            .collect::<Vec<_>>(),
    })
}

/// `docs/policies.md`.
fn as_markdown() -> String {
    let mut text = String::from(
        "# Policies\n\n\
         What this gateway runs natively, as `turnpike policies` lists it. The file is made from the list:\n\
         `TURNPIKE_UPDATE=1 cargo test -p turnpike policies` writes it anew.\n\n\
         A step of a policy in a phase in which it does nothing is skipped, as in the reference. An API that uses another policy in an\n\
         enabled step of an enabled flow is refused by name, and its previous deployment stays. `shared-policy-group-policy` is no policy\n\
         of its own: the steps of the group take the place of the step.\n\n\
         | id | phases | what it does | members of its configuration | differences from the reference |\n\
         |---|---|---|---|---|\n",
    );
    for entry in REGISTRY {
        let members: Vec<String> = entry
            .members
            .iter()
            .map(|member| format!("`{}`", cell(member)))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            entry.id,
            phases(entry),
            cell(entry.summary),
            members.join(", "),
            cell(entry.differences)
        );
    }
    text.push_str("\n## Resources\n\n");
    if resource::REGISTRY.is_empty() {
        text.push_str("None yet.\n");
        return text;
    }
    text.push_str("| type | what it is |\n|---|---|\n");
    for entry in resource::REGISTRY {
        let _ = writeln!(text, "| `{}` | {} |", entry.kind, cell(entry.summary));
    }
    text
}

/// A text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.md");

    #[test]
    fn the_page_of_policies_is_what_the_registry_says() {
        let expected = as_markdown();
        if std::env::var_os("TURNPIKE_UPDATE").is_some() {
            std::fs::write(FILE, &expected).expect("written");
        }
        let found = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            found == expected,
            "docs/policies.md is not current: TURNPIKE_UPDATE=1 cargo test -p turnpike policies"
        );
    }

    #[test]
    fn every_policy_is_listed_once_in_every_form() {
        let table = as_table();
        let json = as_json();
        let listed = json["policies"].as_array().expect("a list");
        assert_eq!(listed.len(), REGISTRY.len());
        let page = as_markdown();
        // The resources follow, and one may have the name of a policy.
        let (rows, _) = page.split_once("## Resources").expect("both parts");
        for entry in REGISTRY {
            let lines = table
                .lines()
                .filter(|line| line.split_whitespace().next() == Some(entry.id));
            assert!(lines.count() >= 1, "{}", entry.id);
            assert!(
                listed.iter().any(|one| one["id"] == entry.id),
                "{}",
                entry.id
            );
            assert_eq!(
                rows.matches(&format!("\n| `{}` | ", entry.id)).count(),
                1,
                "{}",
                entry.id
            );
        }
    }
}
