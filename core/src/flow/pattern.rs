//! Flow paths (contract request-lifecycle 4.1). They are regular expressions in disguise: a segment is inserted as it is written, so `.`
//! matches any character. Paths without such characters are compared as text.

use regex::Regex;

use crate::http::Method;

/// What a `:name` segment matches.
pub(super) const PARAMETER: &str = r"[a-zA-Z0-9\-._~%!$&'()* +,;=:@|]+";

/// How a flow's path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOperator {
    /// The whole path.
    Equals,
    /// Its beginning, without regard to segment borders.
    StartsWith,
}

/// A flow path that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} cannot be matched: {reason}")]
pub struct PatternError {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The path of a flow, ready to be compared with the path below the context path.
#[derive(Debug, Clone)]
pub struct FlowPath {
    written: Box<str>,
    operator: PathOperator,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// `/` with `STARTS_WITH`: every path.
    Any,
    /// Segments without special characters: `/a/b`, empty for the root.
    Text(Box<str>),
    Pattern(Regex),
}

impl FlowPath {
    /// The path as it is written in a definition.
    pub fn new(path: &str, operator: PathOperator) -> Result<Self, PatternError> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let plain = segments.iter().all(|segment| {
            segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'))
        });
        let matcher = if segments.is_empty() && operator == PathOperator::StartsWith {
            Matcher::Any
        } else if plain {
            let text: String = segments.iter().flat_map(|part| ["/", part]).collect();
            Matcher::Text(text.into())
        } else {
            let mut pattern = String::from("^/");
            for (index, segment) in segments.iter().enumerate() {
                if index > 0 {
                    pattern.push('/');
                }
                if segment.starts_with(':') {
                    pattern.push_str(PARAMETER);
                } else {
                    pattern.push_str(segment);
                }
            }
            pattern.push_str("/?");
            if operator == PathOperator::Equals {
                pattern.push('$');
            }
            Matcher::Pattern(compile(&pattern).map_err(|reason| PatternError {
                path: path.to_owned(),
                reason,
            })?)
        };
        Ok(Self {
            written: path.into(),
            operator,
            matcher,
        })
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The operator.
    pub fn operator(&self) -> PathOperator {
        self.operator
    }

    /// Whether the path below the context path matches.
    pub fn matches(&self, path_info: &str) -> bool {
        match &self.matcher {
            Matcher::Any => true,
            Matcher::Text(text) => matches!(
                (path_info.strip_prefix(&**text), self.operator),
                (Some("" | "/"), _) | (Some(_), PathOperator::StartsWith)
            ),
            Matcher::Pattern(pattern) => pattern.is_match(path_info),
        }
    }
}

/// Compiles a pattern with a bound on its size. Only what matches in linear time, unlike [`crate::java_regex`]: these patterns meet every
/// request, before anything has let it in.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
            other => other
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        })
}

/// A configured regular expression that must match a whole text, such as an allowed origin of CORS.
pub fn full_match(pattern: &str) -> Result<Regex, String> {
    // Compiled alone first: a pattern such as `a)(b` must not become one by what is put around it.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

/// A set of request methods; the empty set stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Methods(u16);

impl Methods {
    /// Every method.
    pub const ALL: Self = Self(0);

    /// Adds a method.
    pub fn insert(&mut self, method: Method) {
        self.0 |= 1 << method.index();
    }

    /// Whether the set is for every method.
    pub fn is_all(self) -> bool {
        self.0 == 0
    }

    /// Whether a method is in the set.
    pub fn contains(self, method: Method) -> bool {
        self.0 == 0 || self.0 & 1 << method.index() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathOperator::{Equals, StartsWith};

    #[test]
    fn paths_match_as_the_reference_matches_them() {
        for (path, operator, path_info, expected) in [
            ("/", StartsWith, "", true),
            ("/", StartsWith, "/x", true),
            ("/", Equals, "", true),
            ("/", Equals, "/", true),
            ("/", Equals, "/x", false),
            ("", Equals, "/", true),
            ("/a", Equals, "/a", true),
            ("/a", Equals, "/a/", true),
            ("/a", Equals, "/a/b", false),
            ("/a", Equals, "/ab", false),
            ("/a", StartsWith, "/ab", true),
            ("/a/", StartsWith, "/a", true),
            ("//a//b", Equals, "/a/b", true),
            ("/a", StartsWith, "/b/a", false),
            ("/:id", Equals, "/7", true),
            ("/:id", Equals, "/", false),
            ("/:id/x", Equals, "/7/x/", true),
            ("/:id", Equals, "/7/8", false),
            ("/:id", Equals, "/a%20b", true),
            ("/a.c", Equals, "/abc", true),
            ("/a+", Equals, "/aaa", true),
        ] {
            let compiled = FlowPath::new(path, operator).expect("a path");
            assert_eq!(
                compiled.matches(path_info),
                expected,
                "{path:?} {operator:?} {path_info:?}"
            );
        }
    }

    #[test]
    fn a_path_that_is_no_pattern_is_refused() {
        let error = FlowPath::new("/a(b", Equals).expect_err("an open group");
        assert!(error.to_string().contains("/a(b"), "{error}");
    }

    #[test]
    fn a_full_match_is_about_the_whole_text() {
        for (pattern, text, expected) in [
            (
                r"https?://[a-z]+\.example\.com",
                "https://a.example.com",
                true,
            ),
            (
                r"https?://[a-z]+\.example\.com",
                "https://a.example.com.evil",
                false,
            ),
            ("a|b", "b", true),
            ("a|b", "ab", false),
        ] {
            let compiled = full_match(pattern).expect("a pattern");
            assert_eq!(compiled.is_match(text), expected, "{pattern} {text}");
        }
        for pattern in ["(", "a)(b", "*"] {
            assert!(full_match(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn no_methods_stand_for_all() {
        let mut methods = Methods::default();
        assert!(methods.contains(Method::Post));
        methods.insert(Method::Get);
        assert!(methods.contains(Method::Get) && !methods.contains(Method::Post));
    }
}
