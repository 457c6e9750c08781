//! Behaviour of the whole compiler; parsers have their own tests beside them.

mod arbitrary;
mod endpoints;
mod flows;
mod organizations;
mod plans;
mod policies;
mod processing;
mod refusals;
mod samples;

use serde_json::{Value, json};
use turnpike_core::definition::Api;

use super::*;

/// A small V2 definition that deploys.
fn v2() -> Value {
    json!({
        "id": "api", "name": "Orders", "version": "1.2", "gravitee": "2.0.0",
        "execution_mode": "v4-emulation-engine",
        "plans": [{"id": "p", "name": "Open", "security": "KEY_LESS", "status": "PUBLISHED"}],
        "proxy": {
            "virtual_hosts": [{"host": "api.example.com", "path": "/orders"}],
            "groups": [{
                "name": "group",
                "http": {"connectTimeout": 3000, "readTimeout": "7000", "idleTimeout": 5999},
                "endpoints": [{"name": "one", "target": "http://backend:8080/base?k=v", "inherit": true}],
            }],
        },
    })
}

/// A small V4 definition that deploys.
fn v4() -> Value {
    json!({
        "id": "api", "name": "Orders", "apiVersion": "1.2", "definitionVersion": "4.0.0", "type": "proxy",
        "plans": [{"id": "p", "name": "Open", "security": {"type": "key-less"}, "mode": "standard", "status": "published"}],
        "listeners": [{
            "type": "http",
            "paths": [{"host": "api.example.com", "path": "/orders"}],
            "entrypoints": [{"type": "http-proxy"}],
        }],
        "endpointGroups": [{
            "name": "group", "type": "http-proxy",
            "sharedConfiguration": {"http": {"connectTimeout": 3000, "readTimeout": "7000", "idleTimeout": 5999}},
            "endpoints": [{
                "name": "one", "type": "http-proxy", "inheritConfiguration": true,
                "configuration": {"target": "http://backend:8080/base?k=v"},
            }],
        }],
        "analytics": {"enabled": true},
    })
}

/// The definition with one member set, by JSON pointer; the members on the way are made.
fn with(mut definition: Value, pointer: &str, member: Value) -> Value {
    let mut at = &mut definition;
    for part in pointer.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let array = at.as_array_mut().expect("it was made an array");
                while array.len() <= index {
                    array.push(Value::Null);
                }
                &mut array[index]
            }
            Err(_) => {
                if !at.is_object() {
                    *at = json!({});
                }
                at.as_object_mut()
                    .expect("it was made an object")
                    .entry(part)
                    .or_insert(Value::Null)
            }
        };
    }
    *at = member;
    definition
}

fn compile_in(definition: &Value, context: &CompileContext) -> Result<Compiled, Refusal> {
    let text = definition.to_string();
    compile(
        &ApiInput {
            definition: &text,
            environment_id: "env",
            organization_id: "org",
            deployed_at_ms: 42,
            revision: "3",
            ..ApiInput::default()
        },
        context,
    )
}

fn compiled(definition: &Value) -> Compiled {
    compile_in(definition, &CompileContext::default()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn api(definition: &Value) -> Arc<Api> {
    compiled(definition).api
}

fn refusal(definition: &Value) -> Refusal {
    match compile_in(definition, &CompileContext::default()) {
        Ok(compiled) => panic!(
            "expected a refusal, found {:?} and {:?}",
            compiled.api, compiled.warnings
        ),
        Err(refusal) => refusal,
    }
}

fn notes(definition: &Value) -> Vec<String> {
    compiled(definition)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}
