//! One API definition file: V2 or V4, bare or a management export.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::export::{each, lower_names, unwrap_envelope};
use super::{Problem, Syntax};
use crate::bridge::wire::ApiRecord;

/// An API as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiDocument {
    /// The record that travels in the event, without dates and environment.
    pub(crate) record: ApiRecord,
    /// The plans, for subscriptions that name one.
    pub(crate) plans: Vec<PlanName>,
}

/// How a plan may be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanName {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl ApiDocument {
    /// Reads the text of `file`.
    pub(crate) fn parse(file: &str, syntax: Syntax, text: &str) -> Result<Self, Problem> {
        let Value::Object(document) = syntax.parse(text)? else {
            return Err(Problem::whole(
                "expected an object: a V2 or V4 API definition",
            ));
        };
        let mut definition = unwrap_envelope(document)?;
        let v4 = is_v4(&definition)?;
        if v4 {
            lower_names(&mut definition);
        }
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let id = text_or_insert(&mut definition, "id", || slug(stem))?;
        let name = text_or_insert(&mut definition, "name", || stem.to_owned())?;
        let plans = complete_plans(&mut definition, &id, v4)?;
        let stopped = definition
            .remove("state")
            .is_some_and(|state| state.as_str() == Some("STOPPED"));
        let version = definition.get(if v4 { "apiVersion" } else { "version" });
        let record = ApiRecord {
            id,
            name: Some(name),
            version: version.and_then(Value::as_str).map(str::to_owned),
            definition_version: Some(if v4 { "4.0.0" } else { "2.0.0" }.to_owned()),
            api_type: v4.then(|| {
                definition
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("proxy")
                    .to_owned()
            }),
            lifecycle_state: Some(if stopped { "STOPPED" } else { "STARTED" }.to_owned()),
            definition: Some(Value::Object(definition).to_string()),
            environment_id: None,
            deployed_at: None,
        };
        Ok(Self { record, plans })
    }
}

/// Tells V4 from V2 by what the definition says, else by what it has.
fn is_v4(definition: &Map<String, Value>) -> Result<bool, Problem> {
    let declared = ["definitionVersion", "gravitee"]
        .iter()
        .find_map(|member| definition.get(*member)?.as_str());
    let v4 = match declared {
        Some("4.0.0" | "V4" | "v4") => true,
        Some("2.0.0" | "V2" | "v2") => false,
        Some(other) => {
            return Err(Problem::whole(format!(
                "expected definition version 2.0.0 or 4.0.0, found {other:?}"
            )));
        }
        None => definition.contains_key("listeners") || definition.contains_key("endpointGroups"),
    };
    let (expected, present) = if v4 {
        (
            "`listeners` and `endpointGroups`",
            has_items(definition, "listeners") && has_items(definition, "endpointGroups"),
        )
    } else {
        (
            "`proxy` (V2), or `listeners` and `endpointGroups` (V4)",
            definition.get("proxy").is_some_and(Value::is_object),
        )
    };
    if present {
        Ok(v4)
    } else {
        Err(Problem::whole(format!(
            "expected {expected} in an API definition, found neither"
        )))
    }
}

fn has_items(definition: &Map<String, Value>, member: &str) -> bool {
    definition
        .get(member)
        .and_then(Value::as_array)
        .is_some_and(|items| !items.is_empty())
}

fn text_or_insert(
    object: &mut Map<String, Value>,
    member: &str,
    default: impl FnOnce() -> String,
) -> Result<String, Problem> {
    match object.get(member) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        None | Some(Value::Null | Value::String(_)) => {
            let text = default();
            object.insert(member.to_owned(), Value::from(text.clone()));
            Ok(text)
        }
        Some(other) => Err(Problem::whole(format!(
            "expected a text as `{member}`, found {other}"
        ))),
    }
}

/// Gives plans the ids, names and status they need, leaves closed ones out as a control plane does, and adds a key-less plan
/// to a definition that says nothing about plans. An empty list is an answer (no plan, so not deployed), not silence.
fn complete_plans(
    definition: &mut Map<String, Value>,
    api: &str,
    v4: bool,
) -> Result<Vec<PlanName>, Problem> {
    match definition.get_mut("plans") {
        None | Some(Value::Null) => {
            definition.insert("plans".to_owned(), json!([key_less(api, v4)]));
        }
        Some(Value::Array(plans)) => plans.retain(|plan| {
            !plan
                .get("status")
                .and_then(Value::as_str)
                .is_some_and(|status| status.eq_ignore_ascii_case("closed"))
        }),
        Some(_) => return Err(Problem::whole("expected an array as `plans`")),
    }
    let mut names: Vec<PlanName> = Vec::new();
    let mut problem = None;
    each(definition.get_mut("plans"), |plan| {
        let position = names.len();
        let completed =
            text_or_insert(plan, "name", || format!("plan-{position}")).and_then(|name| {
                let id = text_or_insert(plan, "id", || format!("{api}-{}", slug(&name)))?;
                text_or_insert(plan, "status", || {
                    if v4 { "published" } else { "PUBLISHED" }.to_owned()
                })?;
                Ok(PlanName { id, name })
            });
        match completed {
            Ok(plan) if names.iter().any(|other| other.id == plan.id) => {
                problem = Some(Problem::whole(format!(
                    "two plans have the id {:?}",
                    plan.id
                )));
            }
            Ok(plan) => names.push(plan),
            Err(found) => problem = Some(found),
        }
    });
    problem.map_or(Ok(names), Err)
}

fn key_less(api: &str, v4: bool) -> Value {
    let id = format!("{api}-key-less");
    if v4 {
        json!({"id": id, "name": "Key-less", "mode": "standard", "status": "published", "security": {"type": "key-less"}})
    } else {
        json!({"id": id, "name": "Key-less", "status": "PUBLISHED", "security": "KEY_LESS"})
    }
}

/// A name as an id: lower-case letters, digits and single hyphens.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_alphanumeric() {
            slug.extend(character.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let trimmed = slug.trim_end_matches('-');
    if trimmed.is_empty() {
        "api".to_owned()
    } else {
        trimmed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = r#"{"name":"Hello","type":"proxy","apiVersion":"1.0","definitionVersion":"4.0.0",
        "listeners":[{"type":"http","paths":[{"path":"/hello"}],"entrypoints":[{"type":"http-proxy"}]}],
        "endpointGroups":[{"name":"g","type":"http-proxy","endpoints":[]}]PLANS}"#;

    fn definition(document: &ApiDocument) -> Value {
        serde_json::from_str(document.record.definition.as_deref().expect("a definition"))
            .expect("JSON")
    }

    #[test]
    fn a_v4_definition_without_plans_gets_a_key_less_one_and_one_with_an_empty_list_does_not() {
        let open = ApiDocument::parse("My API.json", Syntax::Json, &V4.replace("PLANS", ""))
            .expect("an API");
        assert_eq!(
            (
                open.record.id.as_str(),
                open.record.definition_version.as_deref()
            ),
            ("my-api", Some("4.0.0"))
        );
        assert_eq!(
            definition(&open)["plans"][0]["security"]["type"],
            "key-less"
        );
        assert_eq!(definition(&open)["id"], "my-api");
        let closed = ApiDocument::parse(
            "a.json",
            Syntax::Json,
            &V4.replace("PLANS", r#","plans":[]"#),
        )
        .expect("an API");
        assert_eq!(definition(&closed)["plans"], json!([]));
    }

    #[test]
    fn plans_get_ids_names_and_status_and_closed_ones_are_left_out() {
        let text = V4.replace(
            "PLANS",
            r#","plans":[{"name":"Gold Plan","security":{"type":"api-key"}},{"id":"x","name":"old","status":"CLOSED"}]"#,
        );
        let document = ApiDocument::parse("a.json", Syntax::Json, &text).expect("an API");
        assert_eq!(
            document.plans,
            [PlanName {
                id: "a-gold-plan".to_owned(),
                name: "Gold Plan".to_owned()
            }]
        );
        assert_eq!(definition(&document)["plans"][0]["status"], "published");
    }

    #[test]
    fn a_v2_definition_in_yaml_is_read() {
        let text = "id: one\nname: One\nproxy:\n  virtual_hosts:\n    - path: /one\n";
        let document = ApiDocument::parse("one.yaml", Syntax::Yaml, text).expect("an API");
        assert_eq!(document.record.definition_version.as_deref(), Some("2.0.0"));
        assert_eq!(document.record.api_type, None);
        assert_eq!(definition(&document)["plans"][0]["security"], "KEY_LESS");
    }

    #[test]
    fn a_v4_export_becomes_the_form_a_control_plane_sends() {
        let text = r#"{"api":{"id":"e","name":"E","definitionVersion":"V4","type":"PROXY","state":"STOPPED","lifecycleState":"PUBLISHED",
            "listeners":[{"type":"HTTP","paths":[{"path":"/e"}],"entrypoints":[{"type":"http-proxy","qos":"AUTO"}]}],
            "endpointGroups":[{"name":"g","type":"http-proxy","loadBalancer":{"type":"ROUND_ROBIN"},"endpoints":[]}]},
            "plans":[{"id":"p","name":"P","status":"PUBLISHED","mode":"STANDARD","security":{"type":"KEY_LESS"}}],"pages":[{}]}"#;
        let document = ApiDocument::parse("e.json", Syntax::Json, text).expect("an API");
        let definition = definition(&document);
        assert_eq!(document.record.api_type.as_deref(), Some("proxy"));
        assert_eq!(document.record.lifecycle_state.as_deref(), Some("STOPPED"));
        assert_eq!(definition["definitionVersion"], "4.0.0");
        assert_eq!(definition["listeners"][0]["type"], "http");
        assert_eq!(
            definition["endpointGroups"][0]["loadBalancer"]["type"],
            "round-robin"
        );
        assert_eq!(definition["plans"][0]["security"]["type"], "key-less");
        assert!(definition.get("state").is_none() && definition.get("lifecycleState").is_none());
    }

    #[test]
    fn what_is_not_a_definition_is_refused_with_a_reason() {
        for (text, reason) in [
            ("[]", "expected an object"),
            (r#"{"name":"x"}"#, "`proxy` (V2)"),
            (r#"{"gravitee":"1.0.0","proxy":{}}"#, "found \"1.0.0\""),
            (r#"{"definitionVersion":"4.0.0","proxy":{}}"#, "`listeners`"),
            (r#"{"id":7,"proxy":{}}"#, "as `id`"),
            (r#"{"proxy":{},"plans":{}}"#, "as `plans`"),
            (
                r#"{"proxy":{},"plans":[{"id":"a"},{"id":"a"}]}"#,
                "two plans",
            ),
        ] {
            let problem = ApiDocument::parse("x.json", Syntax::Json, text).expect_err(text);
            assert!(
                problem.reason.contains(reason),
                "{text}: {}",
                problem.reason
            );
        }
    }

    #[test]
    fn every_sample_definition_of_an_api_is_read() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/contracts/samples/definitions");
        if !root.is_dir() {
            eprintln!("skipped: no sample definitions at {}", root.display());
            return;
        }
        for folder in ["v2", "v4"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                let text = std::fs::read_to_string(&path).expect("a text");
                ApiDocument::parse(&name, Syntax::Json, &text)
                    .unwrap_or_else(|problem| panic!("{}", problem.in_file(&name)));
            }
        }
    }

    #[test]
    fn the_example_of_the_manual_is_an_api() {
        let manual = include_str!("../../../../docs/cloud-gate.md");
        let example = manual
            .split("```yaml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("an example");
        let document = ApiDocument::parse("hello.yaml", Syntax::Yaml, example).expect("an API");
        assert_eq!(document.record.id, "hello");
        assert_eq!(
            definition(&document)["plans"][0]["security"]["type"],
            "key-less"
        );
    }
}
