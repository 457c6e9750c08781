//! `transform-queryparams`: clears, adds and removes query parameters (contract policies 13).

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::Template;
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "transform-queryparams",
    phases: Phases::REQUEST,
    summary: "clears, adds and removes query parameters",
    members: &["clearAll", "removeQueryParameters", "addQueryParameters"],
    differences: "what may not stand in a query (controls, #, bytes above ASCII) is percent-encoded in added parameters",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    #[serde(deserialize_with = "de_bool")]
    clear_all: bool,
    remove_query_parameters: Option<Vec<Option<String>>>,
    add_query_parameters: Option<Vec<Parameter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameter {
    #[serde(deserialize_with = "de_text")]
    name: String,
    value: Option<String>,
    #[serde(deserialize_with = "de_bool")]
    append_to_existing_array: bool,
}

#[derive(Debug)]
struct TransformQueryParameters {
    clear: bool,
    remove: Box<[Box<str>]>,
    add: Box<[Addition]>,
}

#[derive(Debug)]
struct Addition {
    /// As it is written into the query.
    name: Box<str>,
    value: Template,
    append: bool,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let remove = configuration
        .remove_query_parameters
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .map(String::into_boxed_str)
        .collect();
    let add = configuration
        .add_query_parameters
        .unwrap_or_default()
        .into_iter()
        .filter(|parameter| !parameter.name.is_empty())
        .filter_map(|parameter| {
            Some(Addition {
                name: written(&parameter.name).into(),
                value: Template::new(&parameter.value?),
                append: parameter.append_to_existing_array,
            })
        })
        .collect();
    Ok(Arc::new(TransformQueryParameters {
        clear: configuration.clear_all,
        remove,
        add,
    }))
}

/// A name or value as it may stand in a query: only what would end the query or break the request line is encoded.
fn written(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte <= b' ' || byte == b'#' || byte >= 0x7f {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(byte as char);
        }
    }
    out
}

impl Policy for TransformQueryParameters {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        self.add
            .iter()
            .fold(BodyNeeds::default(), |needs, addition| {
                needs.and(addition.value.needs())
            })
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.clear {
            exchange.request.query.clear();
        }
        for addition in &self.add {
            // What has no value is left out, whatever the reason.
            let Ok(Some(value)) = addition
                .value
                .eval_text(&*exchange)
                .map(|value| value.map(|value| written(&value)))
            else {
                continue;
            };
            let request = &mut exchange.request;
            let fits = if addition.append {
                request.add_parameter(&addition.name, &value)
            } else {
                request.set_parameter(&addition.name, &value)
            };
            if !fits {
                return Verdict::fail(
                    Failure::internal().because("transform-queryparams: the query is too large"),
                );
            }
        }
        if !self.clear {
            for name in &self.remove {
                exchange.request.remove_parameter(name);
            }
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::{Value, json};

    fn transformed(query: &str, configuration: &Value) -> String {
        let policy = build("transform-queryparams", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.query = query.to_owned();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        exchange.request.query.clone()
    }

    #[test]
    fn parameters_are_cleared_added_and_removed_in_this_order() {
        let add = |name: &str, value: &str, append: bool| json!({"addQueryParameters": [{"name": name, "value": value, "appendToExistingArray": append}]});
        for (query, configuration, expected) in [
            ("a=1", json!(null), "a=1"),
            ("a=1", json!({}), "a=1"),
            ("a=1&b=2", json!({"clearAll": true}), ""),
            (
                "a=1&b=2&a=3",
                json!({"removeQueryParameters": ["a"]}),
                "b=2",
            ),
            ("a=1", json!({"removeQueryParameters": ["b"]}), "a=1"),
            ("a=1", json!({"removeQueryParameters": [null]}), "a=1"),
            ("", add("a", "1", false), "a=1"),
            ("b=2", add("a", "1", false), "b=2&a=1"),
            ("a=1&b=2&a=3", add("a", "9", false), "a=9&b=2"),
            ("a=1&b=2", add("a", "9", true), "a=1&b=2&a=9"),
            ("", add("a", "9", true), "a=9"),
            ("", add("a b", "c d", false), "a%20b=c%20d"),
            ("", add("a", "", false), "a="),
            ("", add("a", "x#y\r\nz", false), "a=x%23y%0D%0Az"),
            ("", add("a", "é", false), "a=%C3%A9"),
            ("", add("a", "100%25", false), "a=100%25"),
            ("", add("", "1", false), ""),
            (
                "a=1",
                json!({"addQueryParameters": [{"name": "b", "value": null}, {"name": "c", "value": "3"}]}),
                "a=1&c=3",
            ),
            (
                "a=1&b=2",
                json!({"clearAll": true, "removeQueryParameters": ["c"], "addQueryParameters": [{"name": "c", "value": "3"}]}),
                "c=3",
            ),
            (
                "a=1",
                json!({"removeQueryParameters": ["c"], "addQueryParameters": [{"name": "c", "value": "3"}]}),
                "a=1",
            ),
            ("a&b=2", add("a", "1", false), "a=1&b=2"),
        ] {
            assert_eq!(
                transformed(query, &configuration),
                expected,
                "{query} {configuration}"
            );
        }
    }

    #[test]
    fn values_are_expressions_and_are_left_out_when_they_have_none() {
        let configuration = json!({"addQueryParameters": [
            {"name": "id", "value": "{#request.id} x"},
            {"name": "none", "value": "{#context.attributes['none']}"},
            {"name": "wrong", "value": "{#request.nope}"},
            {"name": "broken", "value": "{#request."},
            {"name": "text", "value": "{#request.path}&b"},
        ]});
        assert_eq!(
            transformed("a=1", &configuration),
            "a=1&id=request-id%20x&text=/api/orders&b"
        );
    }

    #[test]
    fn a_query_that_grows_too_large_fails_the_request() {
        let value = "v".repeat(40_000);
        let configuration = json!({"addQueryParameters": [
            {"name": "a", "value": value},
            {"name": "b", "value": value},
        ]});
        let policy = build("transform-queryparams", &configuration).expect("a policy");
        let mut bench = Bench::new();
        let verdict = policy.on_request(&mut bench.exchange());
        assert!(matches!(verdict, Verdict::Fail(failure) if failure.status == 500));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        for (configuration, member) in [
            (json!({"clearAll": "maybe"}), "clearAll"),
            (
                json!({"removeQueryParameters": "a"}),
                "removeQueryParameters",
            ),
            (
                json!({"addQueryParameters": [{"name": []}]}),
                "addQueryParameters[0].name",
            ),
        ] {
            let error = build("transform-queryparams", &configuration).expect_err("unreadable");
            assert_eq!(error.member, member);
        }
    }
}
