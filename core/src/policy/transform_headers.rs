//! `transform-headers`: sets, adds and removes header fields (contract policies 7).

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{self, Named, Pair, Placement, Scope};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::{Exchange, Headers};

pub(super) const ENTRY: Entry = Entry {
    id: "transform-headers",
    phases: Phases::BOTH,
    summary: "sets, adds and removes header fields",
    members: &[
        "scope",
        "addHeaders",
        "appendHeaders",
        "removeHeaders",
        "whitelistHeaders",
    ],
    differences: "a name that is no header name is refused at deployment; Content-Length and Transfer-Encoding never change how a message is framed",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    scope: Option<Scope>,
    add_headers: Option<Vec<Option<Pair>>>,
    append_headers: Option<Vec<Option<Pair>>>,
    remove_headers: Option<Vec<Option<String>>>,
    whitelist_headers: Option<Vec<Option<String>>>,
}

#[derive(Debug)]
struct TransformHeaders {
    placement: Placement,
    set: Box<[Named]>,
    append: Box<[Named]>,
    remove: Box<[Box<str>]>,
    /// Names to keep; empty keeps all.
    keep: Box<[Box<str>]>,
    needs: BodyNeeds,
}

fn names(names: Option<Vec<Option<String>>>) -> Box<[Box<str>]> {
    names
        .into_iter()
        .flatten()
        .flatten()
        .filter(|name| !name.trim().is_empty())
        .map(Into::into)
        .collect()
}

fn entries(member: &str, entries: Option<Vec<Option<Pair>>>) -> Result<Box<[Named]>, ConfigError> {
    let entries = entries.map(|list| list.into_iter().map(Option::unwrap_or_default).collect());
    pairs::headers(member, entries)
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let set = entries("addHeaders", configuration.add_headers)?;
    let append = entries("appendHeaders", configuration.append_headers)?;
    let needs = pairs::needs(&set).and(pairs::needs(&append));
    Ok(Arc::new(TransformHeaders {
        placement: Placement::new(configuration.scope, builder.legacy_engine),
        set,
        append,
        remove: names(configuration.remove_headers),
        keep: names(configuration.whitelist_headers),
        needs,
    }))
}

fn headers<'x>(exchange: &'x mut Exchange<'_>, phase: Phase) -> &'x mut Headers {
    match phase {
        Phase::Request => &mut exchange.request.headers,
        Phase::Response => &mut exchange.response.headers,
    }
}

/// Writes one entry. The value is kept away from the exchange while it is written: a literal is borrowed, a result is owned.
fn write(
    named: &Named,
    replace: bool,
    exchange: &mut Exchange<'_>,
    phase: Phase,
) -> Result<(), String> {
    let evaluated;
    let value = match named.value.literal() {
        Some(literal) => literal,
        None => {
            let result = named.value.eval_text(&*exchange);
            match result.map_err(|error| error.to_string())? {
                Some(text) => evaluated = text.into_owned(),
                None => return Ok(()),
            }
            &evaluated
        }
    };
    let headers = headers(exchange, phase);
    if replace {
        headers.set(&named.name, value)
    } else {
        headers.add(&named.name, value)
    }
    .map_err(|error| error.to_string())?;
    if phase == Phase::Request && named.name.eq_ignore_ascii_case("host") {
        // The backend is told the host that the policy chose (contract request-lifecycle 8.3).
        value.clone_into(&mut exchange.request.host);
        exchange.request.host_changed = true;
    }
    Ok(())
}

impl TransformHeaders {
    fn apply(&self, exchange: &mut Exchange<'_>, phase: Phase) -> Verdict {
        if !self.placement.acts_in(phase) {
            return Verdict::Continue;
        }
        for (entries, replace) in [(&self.set, true), (&self.append, false)] {
            for named in entries {
                if let Err(cause) = write(named, replace, exchange, phase)
                    && !self.placement.is_legacy()
                {
                    return Verdict::fail(
                        Failure::policy(
                            500,
                            "TRANSFORM_HEADERS_FAILURE",
                            "Unable to apply headers transformation",
                        )
                        .because(format!("{}: {cause}", named.name)),
                    );
                }
            }
        }
        if !self.remove.is_empty() || !self.keep.is_empty() {
            let holds = |list: &[Box<str>], name: &[u8]| {
                list.iter()
                    .any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            };
            headers(exchange, phase).retain(|name| {
                !holds(&self.remove, name) && (self.keep.is_empty() || holds(&self.keep, name))
            });
        }
        Verdict::Continue
    }
}

impl Policy for TransformHeaders {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        self.placement.needs(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.apply(exchange, Phase::Request)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.apply(exchange, Phase::Response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build, build_legacy};
    use serde_json::{Value, json};

    fn shown(headers: &Headers) -> Vec<String> {
        headers
            .iter()
            .map(|field| {
                format!(
                    "{}: {}",
                    String::from_utf8_lossy(field.name),
                    String::from_utf8_lossy(field.value)
                )
            })
            .collect()
    }

    fn run(policy: &dyn Policy, phase: Phase) -> (Verdict, Vec<String>) {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let own = headers(&mut exchange, phase);
        own.add("X-A", "a").expect("a field");
        own.add("x-a", "b").expect("a field");
        own.add("X-B", "c").expect("a field");
        let verdict = match phase {
            Phase::Request => policy.on_request(&mut exchange),
            Phase::Response => policy.on_response(&mut exchange),
        };
        let shown = shown(headers(&mut exchange, phase));
        (verdict, shown)
    }

    fn cases() -> Vec<(Value, Vec<&'static str>)> {
        let untouched = vec!["X-A: a", "x-a: b", "X-B: c"];
        vec![
            (json!(null), untouched.clone()),
            (
                json!({"addHeaders": null, "removeHeaders": [null, ""], "whitelistHeaders": []}),
                untouched.clone(),
            ),
            (
                json!({"addHeaders": [null, {"name": null, "value": "x"}, {"name": " ", "value": "x"}, {"name": "X-C"}]}),
                untouched,
            ),
            (
                json!({"addHeaders": [{"name": "X-C", "value": 5}]}),
                vec!["X-A: a", "x-a: b", "X-B: c", "X-C: 5"],
            ),
            (
                json!({"addHeaders": [{"name": "x-A", "value": "new"}]}),
                vec!["X-B: c", "x-A: new"],
            ),
            (
                json!({"appendHeaders": [{"name": "x-A", "value": "new"}]}),
                vec!["X-A: a", "x-a: b", "X-B: c", "x-A: new"],
            ),
            (json!({"removeHeaders": ["x-A", "x-none"]}), vec!["X-B: c"]),
            (json!({"whitelistHeaders": ["x-b"]}), vec!["X-B: c"]),
            (
                json!({"addHeaders": [{"name": "X-C", "value": "d"}], "whitelistHeaders": ["X-A", null]}),
                vec!["X-A: a", "x-a: b"],
            ),
            (
                json!({"removeHeaders": ["X-A"], "whitelistHeaders": ["X-A", "X-B"]}),
                vec!["X-B: c"],
            ),
            (
                json!({
                    "removeHeaders": ["X-C"],
                    "appendHeaders": [{"name": "X-D", "value": "e"}],
                    "addHeaders": [{"name": "X-C", "value": "d"}, {"name": "X-D", "value": "d"}],
                }),
                vec!["X-A: a", "x-a: b", "X-B: c", "X-D: d", "X-D: e"],
            ),
        ]
    }

    #[test]
    fn fields_are_set_then_added_then_removed_in_either_phase() {
        for (configuration, expected) in cases() {
            let policy = build("transform-headers", &configuration).expect("a policy");
            for phase in [Phase::Request, Phase::Response] {
                let (verdict, found) = run(&*policy, phase);
                assert!(matches!(verdict, Verdict::Continue), "{configuration}");
                assert_eq!(found, expected, "{configuration}");
            }
        }
    }

    #[test]
    fn values_that_would_end_a_line_fail_the_request_and_are_never_sent() {
        let configuration = json!({"addHeaders": [{"name": "X-C", "value": "a\r\nX-D: b"}, {"name": "X-E", "value": "e"}]});
        let policy = build("transform-headers", &configuration).expect("a policy");
        let (verdict, found) = run(&*policy, Phase::Request);
        let Verdict::Fail(failure) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(
            (failure.status, failure.key_str()),
            (500, "TRANSFORM_HEADERS_FAILURE")
        );
        assert_eq!(
            failure.message.as_deref(),
            Some("Unable to apply headers transformation")
        );
        assert_eq!(found.len(), 3);
        // The old engine goes on with the next entry.
        let policy = build_legacy("transform-headers", &configuration).expect("a policy");
        let (verdict, found) = run(&*policy, Phase::Request);
        assert!(matches!(verdict, Verdict::Continue));
        assert_eq!(found.last().map(String::as_str), Some("X-E: e"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn values_may_hold_expressions() {
        for (value, attribute, expected) in [
            ("id-{#request.id}", "", Some("id-request-id")),
            ("{#context.attributes['a']}", "b c", Some("b c")),
            ("{#context.attributes['none']}", "", None),
        ] {
            let configuration = json!({"addHeaders": [{"name": "X-A", "value": value}]});
            let policy = build("transform-headers", &configuration).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.attributes.set("a", attribute.into());
            let verdict = policy.on_request(&mut exchange);
            assert!(matches!(verdict, Verdict::Continue), "{value}: {verdict:?}");
            assert_eq!(exchange.request.headers.text("x-a"), expected, "{value}");
        }
        for (value, attribute) in [
            ("{#request.nothing}", ""),
            ("{#request.", ""),
            ("{#context.attributes['a']}", "b\r\nX-B: c"),
        ] {
            let configuration = json!({"addHeaders": [{"name": "X-A", "value": value}]});
            let policy = build("transform-headers", &configuration).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.attributes.set("a", attribute.into());
            let verdict = policy.on_request(&mut exchange);
            assert!(
                matches!(&verdict, Verdict::Fail(failure) if failure.key_str() == "TRANSFORM_HEADERS_FAILURE"),
                "{value}: {verdict:?}"
            );
            assert!(exchange.request.headers.is_empty());
        }
        let configuration =
            json!({"appendHeaders": [{"name": "X-A", "value": "{#response.content}"}]});
        let policy = build("transform-headers", &configuration).expect("a policy");
        assert!(policy.body_needs(Phase::Response).response_body);
        assert!(!policy.body_needs(Phase::Request).response_body);
    }

    #[test]
    fn on_the_old_engine_the_scope_decides() {
        for (scope, request, response) in [
            (json!(null), 0, 3),
            (json!("REQUEST"), 0, 3),
            (json!("RESPONSE"), 3, 0),
            (json!("RESPONSE_CONTENT"), 3, 0),
        ] {
            let configuration = json!({"scope": scope, "whitelistHeaders": ["none"]});
            let policy = build_legacy("transform-headers", &configuration).expect("a policy");
            assert_eq!(run(&*policy, Phase::Request).1.len(), request, "{scope}");
            assert_eq!(run(&*policy, Phase::Response).1.len(), response, "{scope}");
        }
    }

    #[test]
    fn a_host_that_was_set_is_forwarded() {
        let configuration = json!({"addHeaders": [{"name": "HOST", "value": "other.example.com"}]});
        let policy = build("transform-headers", &configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert!(exchange.request.host_changed);
        assert_eq!(exchange.request.host, "other.example.com");
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (
                json!({"addHeaders": [{"name": "a b", "value": "c"}]}),
                "addHeaders[0].name",
            ),
            (
                json!({"appendHeaders": [{"name": "a", "value": []}]}),
                "appendHeaders[0].value",
            ),
            (json!({"removeHeaders": "a"}), "removeHeaders"),
            (json!({"scope": "NEVER"}), "scope"),
        ] {
            let error = build("transform-headers", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
