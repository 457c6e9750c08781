//! What a match is replaced with, in Java's spelling: `$1` and `${name}` stand for groups, a backslash takes the next character as it is.

use std::iter::Peekable;
use std::str::Chars;

use super::{Found, JavaRegex, Place};

/// Why a replacement cannot be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReplacement {
    /// A backslash ends it.
    #[error("a character to be escaped is missing")]
    EscapesNothing,
    /// `${` without `}`.
    #[error("a group reference has no end")]
    NoEnd,
    /// A dollar sign without a number or a name.
    #[error("illegal group reference")]
    NoReference,
    /// A number beyond the last group.
    #[error("there is no such group")]
    NoSuchNumber,
    /// A name that no group has.
    #[error("there is no group of this name")]
    NoSuchName,
}

impl JavaRegex {
    /// Appends the replacement of a match in `text` to `out`.
    pub(crate) fn expand(
        &self,
        text: &str,
        found: &Found,
        replacement: &str,
        out: &mut String,
    ) -> Result<(), BadReplacement> {
        let mut rest = replacement.chars().peekable();
        while let Some(character) = rest.next() {
            let group = match character {
                '\\' => {
                    out.push(rest.next().ok_or(BadReplacement::EscapesNothing)?);
                    continue;
                }
                '$' if rest.next_if_eq(&'{').is_some() => self.named(&mut rest, found)?,
                '$' => numbered(&mut rest, found)?,
                _ => {
                    out.push(character);
                    continue;
                }
            };
            // A group that took no part in the match is empty.
            if let Some((start, end)) = group {
                out.push_str(text.get(start..end).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The group whose name comes next, up to the closing brace.
    fn named(
        &self,
        rest: &mut Peekable<Chars<'_>>,
        found: &Found,
    ) -> Result<Option<Place>, BadReplacement> {
        let mut name = String::new();
        loop {
            match rest.next().ok_or(BadReplacement::NoEnd)? {
                '}' => break,
                character => name.push(character),
            }
        }
        self.names()
            .iter()
            .zip(&found.groups)
            .find_map(|(own, group)| (own.as_deref() == Some(&*name)).then_some(*group))
            .ok_or(BadReplacement::NoSuchName)
    }
}

/// The group whose number comes next: as many digits as make the number of a group.
fn numbered(
    rest: &mut Peekable<Chars<'_>>,
    found: &Found,
) -> Result<Option<Place>, BadReplacement> {
    let digit = |next: Option<&char>| next.and_then(|next| next.to_digit(10));
    let first = digit(rest.next().as_ref()).ok_or(BadReplacement::NoReference)?;
    let mut number = first as usize;
    if number > found.groups.len() {
        return Err(BadReplacement::NoSuchNumber);
    }
    while let Some(digit) = digit(rest.peek()) {
        let longer = number * 10 + digit as usize;
        if longer > found.groups.len() {
            break;
        }
        number = longer;
        rest.next();
    }
    Ok(match number.checked_sub(1) {
        None => Some(found.whole),
        Some(index) => found.groups.get(index).copied().flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::java_regex::{Bounds, Extent};

    fn expanded(pattern: &str, text: &str, replacement: &str) -> Result<String, BadReplacement> {
        let regex = JavaRegex::new(pattern, Extent::Part, &Bounds::POLICY).expect("an expression");
        let found = regex.find(text).expect("few steps").expect("a match");
        let mut out = String::new();
        regex.expand(text, &found, replacement, &mut out)?;
        Ok(out)
    }

    #[test]
    fn groups_are_filled_in_as_in_java() {
        for (replacement, expected) in [
            ("$0", Ok("abc")),
            ("<$1$2>", Ok("<ac>")),
            ("${first}!", Ok("a!")),
            ("$12", Ok("a2")),
            ("$02", Ok("c")),
            ("[$3]", Ok("[]")),
            (r"\$1\\é", Ok(r"$1\é")),
            ("$", Err(BadReplacement::NoReference)),
            ("$x", Err(BadReplacement::NoReference)),
            ("$4", Err(BadReplacement::NoSuchNumber)),
            ("${other}", Err(BadReplacement::NoSuchName)),
            ("${first", Err(BadReplacement::NoEnd)),
            ("a\\", Err(BadReplacement::EscapesNothing)),
        ] {
            assert_eq!(
                expanded("(?<first>a)b(c)(d)?", "abc", replacement).as_deref(),
                expected.as_ref().copied(),
                "{replacement}"
            );
        }
    }
}
