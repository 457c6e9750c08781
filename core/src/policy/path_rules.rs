//! Rules that match the path of a request with a regular expression, as `dynamic-routing` and `http-redirect` have them (contract policies
//! 13, 14).

use std::borrow::Cow;
use std::sync::Arc;

use super::{BodyNeeds, regex_groups};
use crate::el::{ElError, Overlay, Template};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::java_regex::{BadRegex, Bounds, Extent, Found, JavaRegex};

/// One rule: a pattern, and the text that a match leads to.
#[derive(Debug)]
pub(super) struct PathRule {
    pattern: Template,
    /// The pattern compiled, when it holds no expression.
    compiled: Option<Result<Arc<JavaRegex>, BadRegex>>,
    target: Template,
}

fn compile(pattern: &str) -> Result<Arc<JavaRegex>, BadRegex> {
    JavaRegex::new(pattern, Extent::Whole, &Bounds::PATH_RULE).map(Arc::new)
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No rule matches.
    NoRule,
    /// The rule of this index, and its text; `None` when that is null.
    Rule(usize, Option<String>),
}

impl PathRule {
    /// A rule. A pattern that cannot be compiled is kept: the reference answers requests with 500.
    pub(super) fn new(pattern: &str, target: &str) -> Self {
        let pattern = Template::new(pattern);
        Self {
            compiled: pattern.literal().map(compile),
            pattern,
            target: Template::new(target),
        }
    }

    fn pattern(&self, exchange: &Exchange<'_>) -> Result<Arc<JavaRegex>, Box<Failure>> {
        let compiled = match &self.compiled {
            Some(compiled) => compiled.clone(),
            None => {
                let text = self.pattern.eval_text(exchange).map_err(broken)?;
                compile(&text.unwrap_or_default())
            }
        };
        compiled.map_err(|cause| {
            Box::new(
                Failure::status(500)
                    .saying("Invalid pattern syntax")
                    .because(cause.to_string()),
            )
        })
    }
}

/// The bodies that the expressions of rules read.
pub(super) fn needs(rules: &[PathRule]) -> BodyNeeds {
    rules.iter().fold(BodyNeeds::default(), |needs, rule| {
        needs.and(rule.pattern.needs()).and(rule.target.needs())
    })
}

/// The failure of an expression in a rule.
fn broken(error: ElError) -> Box<Failure> {
    Box::new(Failure::internal().because(error.to_string()))
}

/// Finds the first rule that matches the part of the path below the context path, decoded or raw, and evaluates its text.
pub(super) fn find(rules: &[PathRule], exchange: &Exchange<'_>) -> Result<Outcome, Box<Failure>> {
    let raw = exchange.request.path_info();
    let Some(decoded) = decode(raw) else {
        return Err(Box::new(Failure::status(500).saying("Invalid path")));
    };
    for (index, rule) in rules.iter().enumerate() {
        let pattern = rule.pattern(exchange)?;
        // A pattern that takes too many steps does not match.
        let found = match pattern.find(raw) {
            Ok(Some(found)) => found,
            _ if pattern.is_match(&decoded) == Ok(true) => {
                // The groups are those of the raw path, which has none here.
                if !pattern.names().is_empty() {
                    return Err(Box::new(Failure::internal().because(
                        "the pattern matches the decoded path only, which fills no group",
                    )));
                }
                Found::default()
            }
            _ => continue,
        };
        let scope = Overlay {
            base: exchange,
            extra: &regex_groups::variables(&pattern, raw, &found),
        };
        let text = rule.target.eval_text(&scope).map_err(broken)?;
        return Ok(Outcome::Rule(index, text.map(Cow::into_owned)));
    }
    Ok(Outcome::NoRule)
}

/// The text of a URL-encoded path as the reference decodes it: `+` is a space; `None` when a `%` is not followed by two digits.
fn decode(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        if *byte == b'%' && !(is_digit(at + 1) && is_digit(at + 2)) {
            return None;
        }
    }
    Some(crate::http::query::decode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Bench;

    fn with_path<T>(path: &str, see: impl FnOnce(&Exchange<'_>) -> T) -> T {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.path = format!("/api{path}");
        see(&exchange)
    }

    #[test]
    fn the_whole_path_must_match_raw_or_decoded() {
        for (pattern, path, matches) in [
            ("/v1/.*", "/v1/stores", true),
            ("/v1", "/v1/stores", false),
            ("v1", "/v1", false),
            ("/a|/b", "/b", true),
            ("/a b", "/a%20b", true),
            ("/a%20b", "/a%20b", true),
            ("/a b", "/a+b", true),
            // What only the backtracking engine can do.
            ("/(?!internal).*", "/orders", true),
            ("/(?!internal).*", "/internal", false),
            (r"/(\w)\1", "/aa", true),
            (r"/\w++", "/abc", true),
        ] {
            let rules = [PathRule::new(pattern, "there")];
            let found = with_path(path, |exchange| find(&rules, exchange));
            let expected = if matches {
                Outcome::Rule(0, Some("there".to_owned()))
            } else {
                Outcome::NoRule
            };
            assert_eq!(found.expect("no failure"), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_cannot_be_matched_fails_as_the_reference_does() {
        for (pattern, path, message) in [
            ("/(", "/a", "Invalid pattern syntax"),
            ("/a)(b", "/ab", "Invalid pattern syntax"),
            ("/a", "/%zz", "Invalid path"),
            ("/a", "/%4", "Invalid path"),
            ("/(a) b", "/a%20b", "Internal Server Error"),
        ] {
            let rules = [PathRule::new(pattern, "there")];
            let failure = with_path(path, |exchange| find(&rules, exchange)).expect_err("no match");
            assert_eq!(failure.status, 500);
            assert_eq!(failure.message.as_deref(), Some(message), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_never_ends_is_cut_off() {
        let rules = [PathRule::new(r"/(?=(a+)+$)(\1+)+b", "there")];
        let path = format!("/{}", "a".repeat(200));
        let found = with_path(&path, |exchange| find(&rules, exchange)).expect("no failure");
        assert_eq!(found, Outcome::NoRule);
    }

    #[test]
    fn groups_are_there_by_place_and_by_name() {
        for (pattern, target, expected) in [
            ("/(.*)/(.*)", "{#group[1]}-{#group[0]}", "b-a"),
            ("/(?<first>.*)/.*", "x{#groupName['first']}", "xa"),
            (
                "/(?<first>(?=a)a)/.*",
                "x{#groupName['first']}{#group[0]}",
                "xaa",
            ),
        ] {
            let rules = [PathRule::new(pattern, target)];
            let found = with_path("/a/b", |exchange| find(&rules, exchange)).expect("no failure");
            assert_eq!(
                found,
                Outcome::Rule(0, Some(expected.to_owned())),
                "{pattern}"
            );
        }
    }
}
