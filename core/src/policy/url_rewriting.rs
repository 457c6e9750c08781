//! `url-rewriting`: replaces what an expression finds in the response's header values and body (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_text};
use super::regex_groups;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::{Overlay, Template};
use crate::error::Failure;
use crate::exchange::{Body, Exchange};
use crate::java_regex::{Bounds, Extent, Found, JavaRegex};

pub(super) const ENTRY: Entry = Entry {
    id: "url-rewriting",
    phases: Phases::RESPONSE,
    summary: "replaces what an expression finds in response headers and body",
    members: &[
        "rewriteResponseHeaders",
        "rewriteResponseBody",
        "fromRegex",
        "toReplacement",
    ],
    differences: "a body that is not UTF-8 stays as it is; a rewritten body of more than 64 MiB fails the request",
    build,
};

/// Bytes that a rewritten text may have.
const REWRITTEN_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_bool")]
    rewrite_response_headers: bool,
    #[serde(default, deserialize_with = "de_bool")]
    rewrite_response_body: bool,
    #[serde(default, deserialize_with = "de_text")]
    from_regex: String,
    #[serde(default, deserialize_with = "de_text")]
    to_replacement: String,
}

#[derive(Debug)]
struct UrlRewriting {
    headers: bool,
    body: bool,
    regex: JavaRegex,
    replacement: Template,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    if configuration.from_regex.is_empty() {
        return Err(ConfigError::new("fromRegex", "an expression is required"));
    }
    let regex = JavaRegex::new(&configuration.from_regex, Extent::Part, &Bounds::POLICY)
        .map_err(|bad| ConfigError::new("fromRegex", bad.to_string()))?;
    Ok(Arc::new(UrlRewriting {
        headers: configuration.rewrite_response_headers,
        body: configuration.rewrite_response_body,
        regex,
        replacement: Template::new(&configuration.to_replacement),
    }))
}

impl UrlRewriting {
    /// The text with every match replaced; `None` when there is none.
    fn rewritten(&self, exchange: &Exchange<'_>, text: &str) -> Result<Option<String>, String> {
        let mut rewritten: Option<String> = None;
        let mut copied = 0;
        for found in self.regex.find_all(text) {
            let found = found.map_err(|error| error.to_string())?;
            let (start, end) = found.whole;
            let out = rewritten.get_or_insert_default();
            out.push_str(text.get(copied..start).unwrap_or_default());
            self.replace(exchange, text, &found, out)?;
            if out.len() > REWRITTEN_BYTES_MAX {
                return Err("the rewritten text is too large".to_owned());
            }
            copied = end;
        }
        if let Some(out) = &mut rewritten {
            out.push_str(text.get(copied..).unwrap_or_default());
        }
        Ok(rewritten)
    }

    fn replace(
        &self,
        exchange: &Exchange<'_>,
        text: &str,
        found: &Found,
        out: &mut String,
    ) -> Result<(), String> {
        if let Some(literal) = self.replacement.literal() {
            out.push_str(literal);
            return Ok(());
        }
        let overlay = Overlay {
            base: exchange,
            extra: &regex_groups::variables(&self.regex, text, found),
        };
        let replacement = self
            .replacement
            .eval_text(&overlay)
            .map_err(|error| error.to_string())?;
        out.push_str(replacement.as_deref().unwrap_or_default());
        Ok(())
    }

    fn rewrite_headers(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let mut changed: Vec<String> = Vec::new();
        for field in exchange.response.headers.iter() {
            let Ok(value) = std::str::from_utf8(field.value) else {
                continue;
            };
            if self
                .regex
                .find(value)
                .map_err(|error| error.to_string())?
                .is_some()
            {
                let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
                if !changed.contains(&name) {
                    changed.push(name);
                }
            }
        }
        for lower in changed {
            let fields: Vec<(String, Vec<u8>)> = exchange
                .response
                .headers
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(lower.as_bytes()))
                .map(|field| {
                    (
                        String::from_utf8_lossy(field.name).into_owned(),
                        field.value.to_vec(),
                    )
                })
                .collect();
            let mut rewritten = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                let new = match std::str::from_utf8(&value) {
                    Ok(text) => self.rewritten(exchange, text)?.map(String::into_bytes),
                    Err(_) => None,
                };
                rewritten.push((name, new.unwrap_or(value)));
            }
            exchange.response.headers.remove(&lower);
            for (name, value) in rewritten {
                exchange
                    .response
                    .headers
                    .add(&name, value)
                    .map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(())
    }

    fn rewrite_body(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        exchange.response.headers.remove("Content-Length");
        let Some(text) = exchange
            .response
            .body
            .bytes()
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .filter(|text| !text.is_empty())
        else {
            return Ok(());
        };
        if let Some(new) = self.rewritten(exchange, text)? {
            exchange.response.body = Body::Buffered(new.into_bytes());
        }
        Ok(())
    }
}

impl Policy for UrlRewriting {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        self.replacement.needs().and(BodyNeeds {
            request_body: false,
            response_body: self.body,
        })
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let mut done = Ok(());
        if self.headers {
            done = self.rewrite_headers(exchange);
        }
        if self.body && done.is_ok() {
            done = self.rewrite_body(exchange);
        }
        match done {
            Ok(()) => Verdict::Continue,
            Err(cause) => {
                Verdict::fail(Failure::internal().because(format!("url-rewriting: {cause}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::json;

    const FROM: &str = r"https?://[^\/]*\/((?>\w|\d|\-|\/|\?|\=|\&)*)";

    fn values(exchange: &Exchange<'_>, name: &str) -> Vec<String> {
        exchange
            .response
            .headers
            .values(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn header_values_are_rewritten_when_asked_for() {
        for (headers, expected) in [
            (true, ["https://new/", "b https://new/ c https://new/"]),
            (false, ["https://h.example/x", "b http://h/y c http://h/z"]),
        ] {
            let policy = build(
                "url-rewriting",
                &json!({"rewriteResponseHeaders": headers, "fromRegex": FROM, "toReplacement": "https://new/"}),
            )
            .expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            let own = &mut exchange.response.headers;
            own.add("Location", "https://h.example/x").expect("a field");
            own.add("Location", "b http://h/y c http://h/z")
                .expect("a field");
            own.add("X-Other", "nothing").expect("a field");
            assert!(matches!(
                policy.on_response(&mut exchange),
                Verdict::Continue
            ));
            assert_eq!(values(&exchange, "Location"), expected);
            assert_eq!(values(&exchange, "X-Other"), ["nothing"]);
        }
    }

    #[test]
    fn the_body_is_rewritten_and_loses_its_length() {
        for (rewrite, body, expected) in [
            (true, &b"a http://h/x, http://h/y."[..], &b"a N, N."[..]),
            (true, b"nothing", b"nothing"),
            (true, b"", b""),
            (true, b"\xff http://h/x", b"\xff http://h/x"),
            (false, b"a http://h/x", b"a http://h/x"),
        ] {
            let policy = build(
                "url-rewriting",
                &json!({"rewriteResponseBody": rewrite, "fromRegex": FROM, "toReplacement": "N"}),
            )
            .expect("a policy");
            assert_eq!(policy.body_needs(Phase::Response).response_body, rewrite);
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange
                .response
                .headers
                .add("Content-Length", "1")
                .expect("a field");
            exchange.response.body = Body::Buffered(body.to_vec());
            assert!(matches!(
                policy.on_response(&mut exchange),
                Verdict::Continue
            ));
            assert_eq!(exchange.response.body.bytes(), Some(expected));
            assert_eq!(
                exchange.response.headers.contains("Content-Length"),
                !rewrite
            );
        }
    }

    #[test]
    fn the_replacement_sees_the_groups_of_its_match() {
        for (from, to, expected) in [
            (
                FROM,
                "https://apis.example/{#group[0]}",
                "a https://apis.example/x?a=1, https://apis.example/y.",
            ),
            (
                r"http://(?<host>\w)/(\w)",
                "{#groupName['host']}{#group[1]}-{#request.id}",
                "a hx-request-id?a=1, hy-request-id.",
            ),
            (r"http://\w/(z)?", "[{#group[0]}]", "a []x?a=1, []y."),
        ] {
            let policy = build(
                "url-rewriting",
                &json!({"rewriteResponseBody": true, "fromRegex": from, "toReplacement": to}),
            )
            .expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.response.body = Body::Buffered(b"a http://h/x?a=1, http://h/y.".to_vec());
            assert!(matches!(
                policy.on_response(&mut exchange),
                Verdict::Continue
            ));
            let body = String::from_utf8_lossy(exchange.response.body.bytes().expect("a body"))
                .into_owned();
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn a_replacement_without_a_value_fails_the_request() {
        for to in ["{#group[9]}", "{#nope.x}", "{#group["] {
            let policy = build(
                "url-rewriting",
                &json!({"rewriteResponseBody": true, "fromRegex": "a", "toReplacement": to}),
            )
            .expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.response.body = Body::Buffered(b"a".to_vec());
            assert!(
                matches!(policy.on_response(&mut exchange), Verdict::Fail(failure) if failure.status == 500),
                "{to}"
            );
        }
    }

    #[test]
    fn an_expression_that_matches_nothing_much_ends() {
        let policy = build(
            "url-rewriting",
            &json!({"rewriteResponseBody": true, "fromRegex": "x*", "toReplacement": "-"}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.response.body = Body::Buffered("aéx".into());
        assert!(matches!(
            policy.on_response(&mut exchange),
            Verdict::Continue
        ));
        assert_eq!(exchange.response.body.bytes(), Some("-a-é--".as_bytes()));
    }

    #[test]
    fn a_header_value_that_may_not_be_sent_fails_the_request() {
        let policy = build(
            "url-rewriting",
            &json!({"rewriteResponseHeaders": true, "fromRegex": "a", "toReplacement": "b\r\nX: y"}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.response.headers.add("X-A", "a").expect("a field");
        assert!(
            matches!(policy.on_response(&mut exchange), Verdict::Fail(failure) if failure.status == 500)
        );
    }

    #[test]
    fn a_large_body_is_rewritten() {
        let policy = build(
            "url-rewriting",
            &json!({"rewriteResponseBody": true, "fromRegex": FROM, "toReplacement": "N"}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let mut text = "x".repeat(3 << 20);
        text.push_str(" http://h/x");
        exchange.response.body = Body::Buffered(text.into_bytes());
        assert!(matches!(
            policy.on_response(&mut exchange),
            Verdict::Continue
        ));
        assert_eq!(
            exchange.response.body.bytes().map(<[u8]>::len),
            Some((3 << 20) + 2)
        );
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("url-rewriting", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({}), "fromRegex"),
            (json!({"fromRegex": "(", "toReplacement": ""}), "fromRegex"),
            (
                json!({"fromRegex": "a", "rewriteResponseBody": "so"}),
                "rewriteResponseBody",
            ),
        ] {
            let error = build("url-rewriting", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn bodies_of_any_bytes_are_rewritten_or_kept(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let policy = build("url-rewriting", &json!({"rewriteResponseBody": true, "fromRegex": "a|é|", "toReplacement": "b"})).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.response.body = Body::Buffered(body);
            prop_assert!(matches!(policy.on_response(&mut exchange), Verdict::Continue));
        }
    }
}
