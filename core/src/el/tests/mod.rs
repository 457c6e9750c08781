//! Tests of the whole language, row by row of the contract.

mod hostile;
mod language;
mod methods;
mod samples;
mod world;

use super::{ElError, ElErrorKind, Scope, Template, Value, json_to_value};
use world::World;

/// What the tests see as variables.
const VARIABLES: &str = r#"{
    "request": {
        "id": "r1", "method": "GET", "path": "/a/b", "pathInfo": "/b",
        "headers": {"X-One": ["1"], "X-Two": ["a", "b"], "X-Empty": [""]},
        "params": {"q": ["1", "2"], "e": [""]},
        "content": "{\"a\":{\"b\":[1,2,3]}}"
    },
    "response": {"status": 200, "headers": {}},
    "context": {"attributes": {"gravitee.attribute.plan": "gold", "own": 1}},
    "properties": {"p": "30", "r": "x{{p}}y", "broken": "{{none}}", "h,i": "both", "h": "first"},
    "text": "Hello World", "empty": "", "accent": "né😀x", "one": 1, "big": 3000000000, "real": 2.5,
    "yes": true, "nothing": null, "list": [5, 3, 9], "words": ["h", "i"], "nested": [[1], [2, 3]],
    "map": {"a": 1, "b": null, "size": 7},
    "people": [{"name": "Ann", "age": 30}, {"name": "Bob", "age": 17}],
    "xml": "<r xmlns:n='u'><a i='1'>x</a><a i='2'>y</a><n:b>z</n:b></r>"
}"#;

fn world() -> World {
    World::new(&json_to_value(VARIABLES.as_bytes()).expect("JSON"))
}

/// The result as text, `null`, or the kind of the error.
fn text(source: &str) -> String {
    text_in(&world(), source)
}

fn text_in(scope: &dyn Scope, source: &str) -> String {
    kind_or(
        Template::new(source)
            .eval_text(scope)
            .map(|text| text.map(std::borrow::Cow::into_owned)),
    )
}

fn kind_or<T: ToString>(result: Result<Option<T>, ElError>) -> String {
    match result {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "null".to_owned(),
        Err(error) => match error.kind {
            ElErrorKind::Parse => "parse error".to_owned(),
            ElErrorKind::Evaluation => "evaluation error".to_owned(),
            ElErrorKind::Runtime => "runtime error".to_owned(),
        },
    }
}

const PARSE: &str = "parse error";
const EVALUATION: &str = "evaluation error";
const RUNTIME: &str = "runtime error";

/// Every expression gives the text beside it.
fn check(rows: &[(&str, &str)]) {
    let world = world();
    let failures: Vec<String> = rows
        .iter()
        .filter_map(|(source, expected)| {
            let own = text_in(&world, source);
            (own != *expected).then(|| format!("{source}\n  expected {expected}\n  got      {own}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
