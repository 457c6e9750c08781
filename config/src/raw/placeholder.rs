//! `${other.key}` and `${other.key:default}`, resolved against all sources, nested and recursively, within bounds.

use super::RawConfig;

/// Placeholders inside the values of placeholders.
const DEPTH_MAX: usize = 32;

/// Placeholders that one value may take, all levels counted.
const PLACEHOLDERS_MAX: usize = 1_000;

/// Bytes of one expanded value.
const EXPANDED_BYTES_MAX: usize = 256 * 1024;

/// Why a value could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceholderError {
    /// No source has the key and there is no default.
    #[error("nothing sets `{0}`, which the placeholder `${{{0}}}` asks for")]
    Unresolved(String),
    /// The key leads back to itself.
    #[error("placeholders go in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
    /// A bound was hit.
    #[error(
        "placeholders expand to more than {PLACEHOLDERS_MAX} steps, {DEPTH_MAX} levels or {EXPANDED_BYTES_MAX} bytes"
    )]
    TooLarge,
}

/// Expands every placeholder of `text`, the value of `key`.
pub(crate) fn expand(raw: &RawConfig, key: &str, text: &str) -> Result<String, PlaceholderError> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    let mut expansion = Expansion {
        raw,
        path: vec![key.to_owned()],
        placeholders: 0,
    };
    expansion.text(text)
}

struct Expansion<'a> {
    raw: &'a RawConfig,
    /// Keys whose values are being expanded, outermost first.
    path: Vec<String>,
    placeholders: usize,
}

impl Expansion<'_> {
    fn text(&mut self, text: &str) -> Result<String, PlaceholderError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let Some(inner) = inner(&rest[start..]) else {
                // An opening without its end is ordinary text.
                out.push_str(&rest[start..]);
                return Ok(out);
            };
            out.push_str(&self.placeholder(inner)?);
            if out.len() > EXPANDED_BYTES_MAX {
                return Err(PlaceholderError::TooLarge);
            }
            rest = &rest[start + inner.len() + 3..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn placeholder(&mut self, inner: &str) -> Result<String, PlaceholderError> {
        self.placeholders += 1;
        if self.placeholders > PLACEHOLDERS_MAX || self.path.len() > DEPTH_MAX {
            return Err(PlaceholderError::TooLarge);
        }
        let (key, default) = match separator(inner) {
            Some(colon) => (&inner[..colon], Some(&inner[colon + 1..])),
            None => (inner, None),
        };
        self.path.push("…".to_owned());
        let key = self.text(key)?;
        self.path.pop();
        let key = key.trim();
        match (self.raw.get(key), default) {
            (Some(found), _) => {
                if self.path.iter().any(|outer| outer == key) {
                    let mut path = self.path.clone();
                    path.retain(|step| step != "…");
                    path.push(key.to_owned());
                    return Err(PlaceholderError::Circle(path));
                }
                let value = found.value.unwrap_or_default();
                self.nested(key, value)
            }
            (None, Some(default)) => self.nested("…", default),
            (None, None) => Err(PlaceholderError::Unresolved(key.to_owned())),
        }
    }

    fn nested(&mut self, key: &str, text: &str) -> Result<String, PlaceholderError> {
        self.path.push(key.to_owned());
        let expanded = self.text(text)?;
        self.path.pop();
        Ok(expanded)
    }
}

/// The inside of the placeholder that `text` starts with.
fn inner(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"${") {
            depth += 1;
            at += 2;
            continue;
        }
        if bytes[at] == b'}' {
            depth -= 1;
            if depth == 0 {
                return text.get(2..at);
            }
        }
        at += 1;
    }
    None
}

/// Where the default starts: the first colon outside nested placeholders.
fn separator(inner: &str) -> Option<usize> {
    let bytes = inner.as_bytes();
    let mut depth = 0_usize;
    for at in 0..bytes.len() {
        match bytes[at] {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}
