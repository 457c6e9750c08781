//! Regular expressions in Java's flavour, as definitions and the expression language hold them.
//!
//! An expression is rewritten to the flavour of the engines ([`translate`]). Most then run on an engine whose time grows with the text
//! only. Look-around, back references, atomic groups and possessive quantifiers need an engine that goes back on its steps: its steps are
//! bounded, and a search that needs more fails. What an expression may cost depends on who may write it and how often it runs: [`Bounds`].

mod replacement;
mod translate;

pub(crate) use replacement::BadReplacement;
use translate::{Translated, translate};

/// Deepest nesting that the linear engine compiles.
const NESTING_MAX: u32 = 100;

/// Memory that one thread may keep to search faster with one expression, bytes.
const CACHE_BYTES_MAX: usize = 1 << 20;

/// What one expression may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Longest expression, bytes.
    pattern_bytes: usize,
    /// Memory of the compiled expression, bytes.
    compiled_bytes: usize,
    /// Steps back that one search may take.
    backtracks: usize,
    /// Longest text that is searched with steps back, bytes: each step may look at all of it.
    backtracked_text_bytes: usize,
    /// Whether a search with steps back first skips to where a match may begin. Its makers call this an experiment, so it is for those
    /// only who cannot do without.
    seeks: bool,
}

impl Bounds {
    /// For the expression language, where requests may write the expression and the text: an evaluation pays for each search from its
    /// budget, so one search must be cheap.
    pub(crate) const EXPRESSION_LANGUAGE: Self = Self {
        pattern_bytes: 10_000,
        compiled_bytes: 1 << 20,
        backtracks: 10_000,
        backtracked_text_bytes: 16 * 1_024,
        seeks: false,
    };

    /// For rules that are tried one after the other on the path of each request. Their patterns may hold expressions, and are compiled
    /// for the request then.
    pub(crate) const PATH_RULE: Self = Self {
        pattern_bytes: 1 << 20,
        compiled_bytes: 1 << 20,
        backtracks: 100_000,
        // A path is as short as the head of a request has to be.
        backtracked_text_bytes: usize::MAX,
        seeks: false,
    };

    /// For what the configuration of a policy holds: compiled at deployment, and searched for in bodies of many megabytes, which takes
    /// one step for each place where a match might begin.
    pub(crate) const POLICY: Self = Self {
        pattern_bytes: 1 << 20,
        compiled_bytes: 4 << 20,
        backtracks: 1_000_000,
        // Bodies are bounded where they are buffered.
        backtracked_text_bytes: usize::MAX,
        seeks: true,
    };
}

/// How much of a text an expression must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Some part (`find`).
    Part,
    /// All of it (`matches`).
    Whole,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRegex {
    /// It is not one in Java's flavour, or is too long.
    #[error("{0}")]
    Refused(&'static str),
    /// The engine refuses it, and says why. The reason may quote the expression.
    #[error("{0}")]
    Engine(String),
}

impl BadRegex {
    /// What is wrong, without any part of the expression.
    pub(crate) fn summary(&self) -> &'static str {
        match self {
            Self::Refused(reason) => reason,
            Self::Engine(_) => "the regular expression is not valid",
        }
    }
}

/// The search took more steps than one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression needs too many steps on this text")]
pub(crate) struct TooHard;

/// A part of a text: where it begins and ends, bytes.
pub(crate) type Place = (usize, usize);

/// A match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The whole of it.
    pub(crate) whole: Place,
    /// Its groups; the first one has the number 1.
    pub(crate) groups: Box<[Option<Place>]>,
}

impl Found {
    fn new(mut places: impl Iterator<Item = Option<Place>>) -> Option<Self> {
        Some(Self {
            whole: places.next()??,
            groups: places.collect(),
        })
    }
}

#[derive(Debug, Clone)]
enum Engine {
    /// Linear time.
    Linear(regex::Regex),
    /// Bounded steps.
    Backtracking(Box<fancy_regex::Regex>),
}

impl Engine {
    fn new(translated: &Translated, ignores_case: bool, bounds: &Bounds) -> Result<Self, BadRegex> {
        if !translated.is_possessive
            && let Ok(regex) = regex::RegexBuilder::new(&translated.text)
                .case_insensitive(ignores_case)
                .size_limit(bounds.compiled_bytes)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .nest_limit(NESTING_MAX)
                .build()
        {
            return Ok(Self::Linear(regex));
        }
        fancy_regex::RegexBuilder::new(&translated.text)
            .case_insensitive(ignores_case)
            .backtrack_limit(bounds.backtracks)
            .seek(bounds.seeks)
            .delegate_size_limit(bounds.compiled_bytes)
            .delegate_dfa_size_limit(CACHE_BYTES_MAX)
            .build()
            .map(|regex| Self::Backtracking(Box::new(regex)))
            .map_err(|error| BadRegex::Engine(error.to_string()))
    }

    /// Names of the groups, the first one has the number 1.
    fn names(&self) -> Box<[Option<Box<str>>]> {
        match self {
            Self::Linear(regex) => regex
                .capture_names()
                .skip(1)
                .map(|name| name.map(Into::into))
                .collect(),
            Self::Backtracking(regex) => regex
                .capture_names()
                .skip(1)
                .map(|name| name.map(Into::into))
                .collect(),
        }
    }
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct JavaRegex {
    engine: Engine,
    names: Box<[Option<Box<str>>]>,
    backtracked_text_bytes: usize,
}

impl JavaRegex {
    /// Compiles an expression; the error says what is wrong with it.
    pub(crate) fn new(pattern: &str, extent: Extent, bounds: &Bounds) -> Result<Self, BadRegex> {
        Self::compile(pattern, extent, false, bounds)
    }

    /// Compiles an expression for which upper and lower case are the same.
    pub(crate) fn ignoring_case(
        pattern: &str,
        extent: Extent,
        bounds: &Bounds,
    ) -> Result<Self, BadRegex> {
        Self::compile(pattern, extent, true, bounds)
    }

    fn compile(
        pattern: &str,
        extent: Extent,
        ignores_case: bool,
        bounds: &Bounds,
    ) -> Result<Self, BadRegex> {
        if pattern.len() > bounds.pattern_bytes {
            return Err(BadRegex::Refused("the regular expression is too long"));
        }
        let mut translated = translate(pattern).map_err(BadRegex::Refused)?;
        // Compiled alone first: an expression such as `a)(b` must not become one by what is put around it.
        let mut engine = Engine::new(&translated, ignores_case, bounds)?;
        if extent == Extent::Whole {
            translated.text = format!(r"\A(?:{})\z", translated.text);
            engine = Engine::new(&translated, ignores_case, bounds)?;
        }
        Ok(Self {
            names: engine.names(),
            engine,
            backtracked_text_bytes: bounds.backtracked_text_bytes,
        })
    }

    /// Whether its searches may go back on their steps, and so cost more than the text is long.
    pub(crate) fn backtracks(&self) -> bool {
        matches!(self.engine, Engine::Backtracking(_))
    }

    /// Names of the groups; the first one has the number 1.
    pub(crate) fn names(&self) -> &[Option<Box<str>>] {
        &self.names
    }

    fn allow(&self, text: &str) -> Result<(), TooHard> {
        if self.backtracks() && text.len() > self.backtracked_text_bytes {
            return Err(TooHard);
        }
        Ok(())
    }

    /// Whether the text matches.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool, TooHard> {
        self.allow(text)?;
        match &self.engine {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(|_| TooHard),
        }
    }

    /// The first match.
    pub(crate) fn find(&self, text: &str) -> Result<Option<Found>, TooHard> {
        self.find_at(text, 0)
    }

    /// Every match from the beginning on, without overlaps.
    pub(crate) fn find_all<'r, 't>(&'r self, text: &'t str) -> Matches<'r, 't> {
        Matches {
            regex: self,
            text,
            from: 0,
        }
    }

    /// The first match at or behind byte `start`, which lies between two characters.
    fn find_at(&self, text: &str, start: usize) -> Result<Option<Found>, TooHard> {
        if start > text.len() {
            return Ok(None);
        }
        self.allow(text)?;
        Ok(match &self.engine {
            Engine::Linear(regex) => regex.captures_at(text, start).and_then(|captures| {
                Found::new(
                    captures
                        .iter()
                        .map(|group| group.map(|group| (group.start(), group.end()))),
                )
            }),
            Engine::Backtracking(regex) => regex
                .captures_from_pos(text, start)
                .map_err(|_| TooHard)?
                .and_then(|captures| {
                    Found::new(
                        captures
                            .iter()
                            .map(|group| group.map(|group| (group.start(), group.end()))),
                    )
                }),
        })
    }
}

/// The matches in a text, one after the other. Nothing should be asked for behind an error: it would come again.
#[derive(Debug)]
pub(crate) struct Matches<'r, 't> {
    regex: &'r JavaRegex,
    text: &'t str,
    from: usize,
}

impl Iterator for Matches<'_, '_> {
    type Item = Result<Found, TooHard>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.regex.find_at(self.text, self.from).transpose()?;
        if let Ok(found) = &found {
            let (start, end) = found.whole;
            // A match without length moves on by one character.
            self.from = if end > start {
                end
            } else {
                let rest = self.text.get(end..).unwrap_or_default();
                end + rest.chars().next().map_or(1, char::len_utf8)
            };
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regex(pattern: &str, extent: Extent) -> JavaRegex {
        JavaRegex::new(pattern, extent, &Bounds::POLICY)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    fn found(pattern: &str, extent: Extent, text: &str) -> bool {
        regex(pattern, extent).is_match(text).expect("few steps")
    }

    #[test]
    fn expressions_match_as_in_the_reference() {
        for (pattern, text, part, whole) in [
            ("a+", "baab", true, false),
            ("a|ab", "ab", true, true),
            (r"\d", "٣", false, false),
            (r"\w+", "é", false, false),
            (r"[\w-]+", "a-b", true, true),
            (r"[\w-.]+", "a-b.c", true, true),
            (r"[\w-.]+(?=)", "a-b.c", true, true),
            (r"[^\W\d]+", "ab", true, true),
            (r"\s", "\u{a0}", false, false),
            (r"\H", "\u{a0}", false, false),
            (r"\V", "a", true, true),
            ("a.b", "a\rb", false, false),
            ("(?s)a.b", "a\rb", true, true),
            ("(?ims)a.b", "A\rb", true, true),
            ("[].]+", ".].", true, true),
            ("[].]+", "a", false, false),
            ("[[:alpha:]]", "b", false, false),
            (r"https?:\/\/[^\/]*\/", "http://h/", true, true),
            (r"\Qa.b\E", "a.b", true, true),
            (r"\Qa.b\E", "axb", false, false),
            (r"\é\ \<", "é <", true, true),
            (r"(?x)a\ b", "a b", true, true),
            (r"\u0041", "A", true, true),
            (r"\0101\x42", "AB", true, true),
            (r"\0477", "'7", true, true),
            (r"\p{Alpha}+", "abc", true, true),
            (r"[\p{Alpha}\d]+", "abc1", true, true),
            (r"\P{Digit}", "1", false, false),
            (r"\P{Digit}\PL", "a1", true, true),
            (r"\p{IsAlphabetic}", "é", true, true),
            (r"\p{javaAlphabetic}", "é", true, true),
            (r"(?=a)ab", "ab", true, true),
            (r"(a)\1", "aa", true, true),
            (r"(?<n>a)\k<n>", "aa", true, true),
            (r"a\Z", "a\n", true, false),
            (r"a++a", "aaa", false, false),
            (r"a+a", "aaa", true, true),
            (r"a+?a", "aaa", true, true),
            (r"(?>a|ab)c", "abc", false, false),
            (r"(?>\w|\d|\-)*x", "abx", true, true),
            ("[a--b]", "b", true, true),
            ("[a~~b]", "~", true, true),
            (r"(?<year>\d{4})", "2020", true, true),
        ] {
            assert_eq!(
                found(pattern, Extent::Part, text),
                part,
                "{pattern} in {text:?}"
            );
            assert_eq!(
                found(pattern, Extent::Whole, text),
                whole,
                "{pattern} is {text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in [
            "(", "a)(b", "[", "*a", "\\", r"\u12", r"\09", "(?<n>a", r"\p{L", r"\y", r"\K", r"\E",
            "(?U)a", "(?iU:a)", "(?d)a", "(?R)a", "(?P<n>a)",
        ] {
            for extent in [Extent::Part, Extent::Whole] {
                assert!(
                    JavaRegex::new(pattern, extent, &Bounds::POLICY).is_err(),
                    "{pattern}"
                );
            }
        }
    }

    #[test]
    fn flags_and_groups_are_those_of_java() {
        for pattern in [
            "(?i)A", "(?iu)A", "(?i-s:A)", "(?<n>a)", "(?:a)", "(?>a)", "(?=a)a", "(?<!b)a",
            "[(?U]|a", r"\(?U|a",
        ] {
            assert!(
                regex(pattern, Extent::Part).is_match("a") == Ok(true),
                "{pattern}"
            );
        }
    }

    #[test]
    fn an_expression_that_would_be_too_large_is_refused() {
        for bounds in [
            Bounds::EXPRESSION_LANGUAGE,
            Bounds::PATH_RULE,
            Bounds::POLICY,
        ] {
            for pattern in [
                r"\p{L}{1000}{1000}".to_owned(),
                "a".repeat(bounds.pattern_bytes + 1),
                "[".repeat(1_000),
            ] {
                assert!(JavaRegex::new(&pattern, Extent::Part, &bounds).is_err());
            }
        }
    }

    #[test]
    fn a_search_that_takes_too_many_steps_fails() {
        let hard = regex(r"(x+x+)+(?=y)\1", Extent::Part);
        assert_eq!(hard.is_match(&"x".repeat(64)), Err(TooHard));
        assert_eq!(hard.find_all(&"x".repeat(64)).next(), Some(Err(TooHard)));
    }

    #[test]
    fn a_text_may_be_too_long_for_steps_back() {
        let long = "x".repeat(Bounds::EXPRESSION_LANGUAGE.backtracked_text_bytes + 1);
        let new = |pattern| {
            JavaRegex::new(pattern, Extent::Part, &Bounds::EXPRESSION_LANGUAGE).expect("one")
        };
        assert_eq!(new("(?=x)x").is_match(&long), Err(TooHard));
        assert_eq!(new("(?=x)x").is_match(&long[1..]), Ok(true));
        assert_eq!(new("x").is_match(&long), Ok(true));
    }

    #[test]
    fn case_counts_unless_it_is_ignored() {
        assert!(!found("evil", Extent::Part, "EVIL"));
        let regex = JavaRegex::ignoring_case("evil", Extent::Part, &Bounds::POLICY);
        assert_eq!(regex.expect("one").is_match("EVIL"), Ok(true));
    }

    #[test]
    fn groups_have_places_and_names() {
        for pattern in ["(?<a>x)(y)?", "(?<a>x)(y)?(?=.|)"] {
            let regex = regex(pattern, Extent::Part);
            let found = regex.find("-x-").expect("few steps").expect("a match");
            assert_eq!(found.whole, (1, 2), "{pattern}");
            assert_eq!(*found.groups, [Some((1, 2)), None], "{pattern}");
            assert_eq!(regex.names(), [Some("a".into()), None], "{pattern}");
            assert_eq!(regex.find_at("-x-", 9), Ok(None));
        }
    }

    #[test]
    fn matches_follow_each_other_without_overlaps() {
        for (pattern, text, expected) in [
            ("aa", "aaaaa", &[(0, 2), (2, 4)][..]),
            ("x*", "éx", &[(0, 0), (2, 3), (3, 3)]),
            ("b", "a", &[]),
        ] {
            let regex = regex(pattern, Extent::Part);
            let places: Vec<Place> = regex
                .find_all(text)
                .map(|found| found.expect("few steps").whole)
                .collect();
            assert_eq!(places, expected, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_none(pattern in r"[\\a-z\[\](){}?*+.^$|0-9:<>=!~&-]{0,40}", text in ".{0,40}") {
            if let Ok(regex) = JavaRegex::ignoring_case(&pattern, Extent::Part, &Bounds::POLICY) {
                let _ = regex.is_match(&text);
                let _ = regex.find(&text);
            }
        }
    }
}
