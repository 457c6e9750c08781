//! Paths normalised once, then matched and forwarded in that one form (contract request-lifecycle 1.1, our choice).
//!
//! Only steps that RFC 3986 6.2.2 calls equivalence-preserving are taken: encoded unreserved characters are decoded, the hex
//! digits of the others upper-cased, dot segments removed. `%2F`, `//`, `;` and `\` stay as they are.

/// What [`normalize`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalized {
    /// The path is in normal form already; nothing was written.
    AsIs,
    /// The normal form was appended to the buffer.
    Rewritten,
}

/// The path climbs above the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path climbs above the root")]
pub struct AboveRoot;

/// Appends the normal form of `path` to `out`, unless `path` has that form already.
pub fn normalize(path: &[u8], out: &mut Vec<u8>) -> Result<Normalized, AboveRoot> {
    if memchr::memchr(b'%', path).is_none() && memchr::memmem::find(path, b"/.").is_none() {
        return Ok(Normalized::AsIs);
    }
    let base = out.len();
    decode_unreserved(path, out);
    if memchr::memmem::find(&out[base..], b"/.").is_some() {
        remove_dot_segments(out, base)?;
    }
    if &out[base..] == path {
        out.truncate(base);
        return Ok(Normalized::AsIs);
    }
    Ok(Normalized::Rewritten)
}

fn decode_unreserved(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match decoded {
            Some(decoded) => {
                if decoded.is_ascii_alphanumeric() || matches!(decoded, b'-' | b'.' | b'_' | b'~') {
                    out.push(decoded);
                } else {
                    out.extend_from_slice(&[
                        b'%',
                        after[0].to_ascii_uppercase(),
                        after[1].to_ascii_uppercase(),
                    ]);
                }
                rest = &after[2..];
            }
            None => out.push(*byte),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// RFC 3986 5.2.4 on `out[base..]`, in place: the result is never longer than what has been read.
fn remove_dot_segments(out: &mut Vec<u8>, base: usize) -> Result<(), AboveRoot> {
    let end = out.len();
    let mut write = base;
    let mut read = base;
    while read < end {
        // `read` is at a slash, or at the start of a path that has none.
        let segment_end = memchr::memchr(b'/', &out[read + 1..end]).map_or(end, |at| read + 1 + at);
        let last = segment_end == end;
        match &out[read..segment_end] {
            b"/." => {
                if last {
                    out[write] = b'/';
                    write += 1;
                }
            }
            b"/.." => {
                write = memchr::memrchr(b'/', &out[base..write])
                    .map(|at| base + at)
                    .ok_or(AboveRoot)?;
                if last {
                    out[write] = b'/';
                    write += 1;
                }
            }
            _ => {
                out.copy_within(read..segment_end, write);
                write += segment_end - read;
            }
        }
        read = segment_end;
    }
    out.truncate(write);
    Ok(())
}

/// The text of a path with its percent-encoding undone. What is not UTF-8 then is replaced.
pub fn decode(path: &str) -> std::borrow::Cow<'_, str> {
    super::query::percent_decode(path.as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> Result<String, AboveRoot> {
        let mut out = b"before".to_vec();
        let outcome = normalize(path.as_bytes(), &mut out)?;
        assert_eq!(&out[..6], b"before");
        Ok(match outcome {
            Normalized::AsIs => {
                assert_eq!(out.len(), 6, "nothing is written");
                path.to_owned()
            }
            Normalized::Rewritten => String::from_utf8(out[6..].to_vec()).expect("UTF-8"),
        })
    }

    #[test]
    fn equivalent_paths_get_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("", ""),
            ("/a/b", "/a/b"),
            ("/./secure", "/secure"),
            ("/%73ecure", "/secure"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/./", "/a/"),
            ("/a//../b", "/a/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/bar%2F..%2Fx", "/bar%2F..%2Fx"),
            ("/a;b\\c//d", "/a;b\\c//d"),
            ("/.well-known/x", "/.well-known/x"),
            ("/..a/...", "/..a/..."),
            ("/100%", "/100%"),
            ("/%zz", "/%zz"),
            ("/%e2%82%ac", "/%E2%82%AC"),
        ] {
            assert_eq!(normal(path), Ok(expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn climbing_above_the_root_is_an_error() {
        for path in ["/..", "/../a", "/a/../..", "/%2e%2e/a", "/a/../../b"] {
            assert_eq!(normal(path), Err(AboveRoot), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable_and_free_of_dot_segments(path in "/[a./%2eEfF]{0,24}") {
            if let Ok(once) = normal(&path) {
                // Decoding may reveal a new triplet such as %2e out of %252e only one level at a time, which is the point:
                // one decoding, as the backend will do one.
                prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."), "{}", once);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(path in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = normalize(&path, &mut Vec::new());
        }
    }
}
