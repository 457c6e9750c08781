//! The recorded cases of the reference, where they are at hand.

use std::path::PathBuf;

use super::*;
use crate::el::json_to_value;

fn read(name: &str) -> Option<Value<'static>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/el")
        .join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("the recorded expressions are not here: {name} is not tested");
        return None;
    };
    Some(json_to_value(&bytes).expect("JSON"))
}

fn member(value: &Value<'static>, name: &str) -> Value<'static> {
    match value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.as_text() == Some(name))
            .map_or(Value::Null, |(_, value)| value.clone()),
        _ => Value::Null,
    }
}

fn text(value: &Value<'static>, name: &str) -> String {
    member(value, name).as_text().unwrap_or_default().to_owned()
}

fn outcome(template: &Template, want: &str, world: &World) -> Result<Value<'static>, ElError> {
    let result = template.eval(world)?;
    Ok(match want {
        "string" => result.into_text()?.map_or(Value::Null, Value::Text),
        "boolean" => result.to_bool()?.map_or(Value::Null, Value::Bool),
        "integer" => result.to_integer()?.map_or(Value::Null, Value::Int),
        "long" => result.to_long()?.map_or(Value::Null, Value::Long),
        "double" => result.to_double()?.map_or(Value::Null, Value::Double),
        "list" => result.to_list().map_or(Value::Null, Value::List),
        _ => result,
    }
    .into_owned())
}

fn same(own: &Value<'_>, expected: &Value<'_>) -> bool {
    match (own, expected) {
        (Value::List(own) | Value::Array(own), Value::List(expected)) => {
            own.len() == expected.len() && own.iter().zip(expected.iter()).all(|(a, b)| same(a, b))
        }
        (Value::Map(own), Value::Map(expected)) => {
            own.len() == expected.len()
                && expected.iter().all(|(key, value)| {
                    own.iter()
                        .any(|(own_key, own)| same(own_key, key) && same(own, value))
                })
        }
        _ => crate::el::compare::equal(own, expected),
    }
}

#[test]
fn the_recorded_expressions_give_what_the_reference_gives() {
    let (Some(cases), Some(context)) = (read("cases.json"), read("context.json")) else {
        return;
    };
    let Value::List(cases) = member(&cases, "cases") else {
        panic!("no cases");
    };
    let mut failures = Vec::new();
    for case in cases.iter() {
        let id = text(case, "id");
        let expression = match &*id {
            // Written out: these two are only described.
            "sp6-005" => format!("{{#name + '{}'}}", "x".repeat(10_000)),
            "sp6-006" => format!("{{('a' matches '{}')}}", "x".repeat(1_001)),
            _ => text(case, "expression"),
        };
        let world = World::new(&member(&context, &text(case, "context")));
        let expected = match member(case, "ours") {
            Value::Null => member(case, "expect"),
            ours => ours,
        };
        let result = outcome(&Template::new(&expression), &text(case, "want"), &world);
        let right = match (&result, text(&expected, "error").as_str()) {
            (Ok(value), "") if !member(&expected, "null").is_null() => value.is_null(),
            (Ok(value), "") => same(value, &member(&expected, "value")),
            (Ok(_), _) => false,
            (Err(error), kind) => {
                kind == match error.kind {
                    ElErrorKind::Parse => "parse",
                    ElErrorKind::Evaluation => "evaluation",
                    ElErrorKind::Runtime => "runtime",
                }
            }
        };
        if !right {
            failures.push(format!(
                "{id} {expression}\n    expected {}\n    got {result:?}",
                expected.java_text()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases differ:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn the_needs_of_the_recorded_expressions_are_found() {
    let Some(samples) = read("body-access.json") else {
        return;
    };
    let Value::List(cases) = member(&samples, "cases") else {
        panic!("no cases");
    };
    for case in cases.iter() {
        let expression = text(case, "expression");
        let needs = Template::new(&expression).needs();
        let listed = member(case, "needs").to_list().unwrap_or_default();
        let any = |prefix: &str| {
            listed
                .iter()
                .any(|name| name.as_text().is_some_and(|name| name.starts_with(prefix)))
        };
        assert_eq!(needs.request_body, any("request."), "{expression}");
        assert_eq!(needs.response_body, any("response."), "{expression}");
    }
}
