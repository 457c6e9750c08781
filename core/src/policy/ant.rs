//! Ant path patterns: `?` one character, `*` any part of a segment, `**` any segments, `{name}` a segment part, `{name:regex}` one that
//! matches an expression.

use crate::java_regex::{Bounds, Extent, JavaRegex, TooHard};

/// Segments of a pattern.
const SEGMENTS_MAX: usize = 256;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct AntPattern {
    segments: Box<[Segment]>,
    /// It begins with `/`.
    rooted: bool,
    /// It ends with `/`.
    open: bool,
}

#[derive(Debug, Clone)]
enum Segment {
    /// `**`
    Any,
    Text(Box<str>),
    /// With `?` and `*` only.
    Glob(Box<[char]>),
    Expression(Box<JavaRegex>),
}

impl Segment {
    fn new(segment: &str) -> Result<Self, String> {
        if segment == "**" {
            return Ok(Self::Any);
        }
        if segment.contains('{') {
            return JavaRegex::new(&expression(segment)?, Extent::Whole, &Bounds::POLICY)
                .map(|regex| Self::Expression(Box::new(regex)))
                .map_err(|bad| bad.to_string());
        }
        Ok(if segment.contains(['?', '*']) {
            Self::Glob(segment.chars().collect())
        } else {
            Self::Text(segment.into())
        })
    }

    fn matches(&self, segment: &str) -> Result<bool, TooHard> {
        match self {
            Self::Any => Ok(true),
            Self::Text(text) => Ok(**text == *segment),
            Self::Glob(glob) => Ok(glob_matches(glob, segment)),
            Self::Expression(regex) => regex.is_match(segment),
        }
    }

    fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// A segment with variables as an expression.
fn expression(segment: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = segment;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '?' => out.push('.'),
            '*' => out.push_str(".*"),
            '{' => {
                let end = closing(rest).ok_or("a variable is not closed")?;
                let variable = rest.get(1..end).unwrap_or_default();
                match variable.split_once(':') {
                    Some((_, pattern)) => {
                        out.push('(');
                        out.push_str(pattern);
                        out.push(')');
                    }
                    None => out.push_str("((?s).*)"),
                }
                length = end + 1;
            }
            _ => out.push_str(&regex::escape(rest.get(..length).unwrap_or_default())),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(out)
}

/// Where the brace that opens `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Compares without recursion: on a mismatch the last `*` takes one character more.
fn glob_matches(glob: &[char], text: &str) -> bool {
    let mut at = 0;
    let mut rest = text.chars();
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (glob.get(at), rest.next()) {
            (Some('*'), _) => {
                rest = before.clone();
                retry = Some((at + 1, before));
                at += 1;
            }
            (Some(wanted), Some(found)) if *wanted == '?' || *wanted == found => at += 1,
            (None, None) => return true,
            (_, found) => {
                let Some((after, mut from)) = retry.take() else {
                    return false;
                };
                if found.is_none() || from.next().is_none() {
                    return false;
                }
                at = after;
                rest = from.clone();
                retry = Some((after, from));
            }
        }
    }
}

/// Segments of a path, without empty ones.
fn split(path: &str) -> Vec<&str> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .collect()
}

impl AntPattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let segments = segments(pattern)?
            .into_iter()
            .map(Segment::new)
            .collect::<Result<Box<[_]>, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("more than {SEGMENTS_MAX} segments"));
        }
        Ok(Self {
            segments,
            rooted: pattern.starts_with('/'),
            open: pattern.ends_with('/'),
        })
    }

    /// Whether the whole path matches.
    pub(super) fn matches(&self, path: &str) -> Result<bool, TooHard> {
        if self.rooted != path.starts_with('/') {
            return Ok(false);
        }
        let path_open = path.ends_with('/');
        let path = split(path);
        let pattern = &*self.segments;
        // From the front up to the first `**`.
        let front = pattern
            .iter()
            .position(Segment::is_any)
            .unwrap_or(pattern.len());
        for (index, segment) in pattern[..front].iter().enumerate() {
            let Some(part) = path.get(index) else {
                // The path is over: one `*` stands for the empty segment behind a slash.
                let star = matches!(segment, Segment::Glob(glob) if **glob == ['*']);
                return Ok(star && index + 1 == pattern.len() && path_open);
            };
            if !segment.matches(part)? {
                return Ok(false);
            }
        }
        if front == pattern.len() {
            return Ok(path.len() == front && self.open == path_open);
        }
        let (mut pattern, mut path) = (&pattern[front..], &path[front..]);
        // From the back up to the last `**`.
        let mut is_last = true;
        while let [rest @ .., segment] = pattern {
            if segment.is_any() {
                break;
            }
            let [earlier @ .., part] = path else {
                return Ok(false);
            };
            if !segment.matches(part)? || (is_last && self.open != path_open) {
                return Ok(false);
            }
            is_last = false;
            (pattern, path) = (rest, earlier);
        }
        // What stands between two `**` may match at its first place: later ones gain nothing.
        for run in pattern.split(Segment::is_any).filter(|run| !run.is_empty()) {
            let mut found = None;
            for start in 0..(path.len() + 1).saturating_sub(run.len()) {
                let mut all = true;
                for (segment, part) in run.iter().zip(&path[start..]) {
                    all = all && segment.matches(part)?;
                }
                if all {
                    found = Some(start + run.len());
                    break;
                }
            }
            match found {
                Some(after) => path = &path[after..],
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Segments of a pattern: a slash inside braces belongs to an expression and does not end one.
fn segments(pattern: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'/' if depth == 0 => {
                found.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("a variable is not closed".to_owned());
    }
    found.push(&pattern[start..]);
    found.retain(|segment| !segment.is_empty());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, path: &str) -> bool {
        AntPattern::new(pattern)
            .expect("a pattern")
            .matches(path)
            .expect("few steps")
    }

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("a", "/a", false),
            ("/a//b", "/a/b", true),
            ("/A", "/a", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("/*", "/abc", true),
            ("/*", "/", true),
            ("/*", "/a/b", false),
            ("/a/*", "/a", false),
            ("/a/*", "/a/", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a*c", "/abbc", true),
            ("/a*c*", "/abxcabc", true),
            ("/*.json", "/x.json", true),
            ("/*.json", "/x.json.txt", false),
            ("/**", "/", true),
            ("/**", "/a/b/c", true),
            ("/**", "/a/", true),
            ("/a/**", "/a", true),
            ("/a/**", "/ab", false),
            ("/**/b", "/b", true),
            ("/**/b", "/a/x/b", true),
            ("/**/b", "/a/x/b/", false),
            ("/**/b/**/d", "/a/b/c/x/d", true),
            ("/**/b/**/d", "/a/d/b", false),
            ("/**/b/c/**", "/b/b/c", true),
            ("/**/b/c/**/b/c", "/b/c", false),
            ("/a/**/**/b", "/a/b", true),
            ("/a/{id}", "/a/1", true),
            ("/a/{id}/b", "/a/1/c", false),
            (r"/a/{id:\d+}", "/a/12", true),
            (r"/a/{id:\d+}", "/a/x", false),
            (r"/a/{id:\d{2}}", "/a/12", true),
            ("/a/{x}-{y}", "/a/1-2", true),
            ("/a/{x}.j?", "/a/1.js", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["/{a", "/{a:(}", &"/a".repeat(300)] {
            assert!(AntPattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn long_paths_end_soon() {
        let path = "/a".repeat(4_000);
        assert!(!matches(&format!("{}/b", "/**/a".repeat(100)), &path));
        assert!(!matches(
            "/*a*a*a*a*a*a*a*b",
            &format!("/{}", "a".repeat(8_000))
        ));
    }

    /// What the patterns mean, tried out in every way.
    fn model(pattern: &[&str], path: &[&str]) -> bool {
        fn part(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| part(rest, &text[at..])),
                ([b'?', rest @ ..], [_, text @ ..]) => part(rest, text),
                ([a, rest @ ..], [b, text @ ..]) => a == b && part(rest, text),
                _ => false,
            }
        }
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => (0..=path.len()).any(|at| model(rest, &path[at..])),
            ([first, rest @ ..], [own, path @ ..]) => {
                part(first.as_bytes(), own.as_bytes()) && model(rest, path)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_the_model_matches(
            pattern in prop::collection::vec(prop::sample::select(vec!["**", "*", "a", "b", "?", "a*", "*b?"]), 1..6),
            path in prop::collection::vec("[ab]{1,3}", 1..6),
        ) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let whole = format!("/{}", path.join("/"));
            prop_assert_eq!(matches(&format!("/{}", pattern.join("/")), &whole), model(&pattern, &path));
        }

        #[test]
        fn any_text_is_a_pattern_or_none(pattern in r"[/*?{}:a-z\\d+]{0,30}", path in ".{0,30}") {
            if let Ok(pattern) = AntPattern::new(&pattern) {
                let _ = pattern.matches(&path);
            }
        }
    }
}
