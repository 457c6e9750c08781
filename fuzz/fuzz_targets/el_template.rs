//! Any text is a template: it evaluates or fails, within its limits, and a text without braces is itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::el::{Limits, Scope, Template, Value, json_to_value};

/// Small ones, so that no input takes long.
const LIMITS: Limits = Limits {
    steps: 20_000,
    result_bytes: 1 << 20,
    ..Limits::DEFAULT
};

struct Variables;

impl Scope for Variables {
    fn variable(&self, name: &str) -> Value<'_> {
        match name {
            "text" => Value::text("Hello World"),
            "json" => Value::text(r#"{"a":[1,{"b":"c"}],"d":null}"#),
            "xml" => Value::text("<a><b c='1'>d</b></a>"),
            "one" => Value::Int(1),
            "big" => Value::Long(1 << 40),
            "real" => Value::Double(0.1),
            "yes" => Value::Bool(true),
            "map" => json_to_value(br#"{"a":1,"b":[2]}"#).unwrap_or_default(),
            "list" => Value::list((0..100).map(Value::Int).collect()),
            _ => Value::Null,
        }
    }

    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

fuzz_target!(|source: &str| {
    let template = Template::with_limits(source, &LIMITS);
    assert_eq!(template.source(), source);
    let result = template.eval_text(&Variables);
    if let Some(error) = template.syntax_error() {
        assert_eq!(result.as_ref().err(), Some(error));
    }
    if !source.contains('{') {
        assert_eq!(result.ok().flatten().as_deref(), Some(source));
    }
    // A second evaluation of the same template gives the same kind of answer.
    let again = template.eval_bool(&Variables);
    assert_eq!(again.is_ok(), template.eval_bool(&Variables).is_ok());
});
