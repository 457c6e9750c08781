//! The two forms in which a listener path is matched (contract request-lifecycle 1.2).

/// `P`: the listener path with runs of `/` collapsed and exactly one at the end; an empty path is the root.
pub(super) fn context_path(listener_path: &str) -> Box<str> {
    let mut context_path = String::with_capacity(listener_path.len() + 1);
    for character in listener_path.chars().chain(['/']) {
        if character != '/' || !context_path.ends_with('/') {
            context_path.push(character);
        }
    }
    context_path.into_boxed_str()
}

/// `P0`: the listener path as written, without its trailing slash; the root stays `/`.
pub(super) fn literal_path(listener_path: &str) -> &str {
    match listener_path.strip_suffix('/') {
        Some("") => listener_path,
        Some(path) => path,
        None if listener_path.is_empty() => "/",
        None => listener_path,
    }
}

/// Whether `P` without its final slash matches too: when that is `P0`. It is not when the path was written with runs of
/// slashes: the listener `/a//b` accepts `/a/b/` and `/a//b`, but not `/a/b`.
pub(super) fn matches_bare(listener_path: &str, context_path: &str) -> bool {
    context_path.strip_suffix('/') == Some(literal_path(listener_path))
}

/// `P0` when it accepts a request that `P`, bare or not, does not accept.
pub(super) fn literal_beyond<'a>(listener_path: &'a str, context_path: &str) -> Option<&'a str> {
    let literal = literal_path(listener_path);
    let implied = literal.starts_with(context_path) || matches_bare(listener_path, context_path);
    (!implied).then_some(literal)
}

/// Number of segments that a look-up must walk to reach this context path.
pub(super) fn depth(context_path: &str) -> u32 {
    context_path.bytes().filter(|byte| *byte == b'/').count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_paths_have_the_forms_of_the_contract() {
        for (written, literal, context, bare, beyond) in [
            ("", "/", "/", false, None),
            ("/", "/", "/", false, None),
            ("//", "/", "/", false, None),
            ("///", "//", "/", false, None),
            ("/api", "/api", "/api/", true, None),
            ("/api/", "/api", "/api/", true, None),
            ("/a//b", "/a//b", "/a/b/", false, Some("/a//b")),
            ("/a//b//", "/a//b/", "/a/b/", false, Some("/a//b/")),
            ("/a//", "/a/", "/a/", false, None),
            ("//a", "//a", "/a/", false, Some("//a")),
            ("api", "api", "api/", true, None),
        ] {
            assert_eq!(literal_path(written), literal, "P0 of {written:?}");
            assert_eq!(&*context_path(written), context, "P of {written:?}");
            assert_eq!(matches_bare(written, context), bare, "{written:?}");
            assert_eq!(literal_beyond(written, context), beyond, "{written:?}");
        }
    }

    #[test]
    fn depth_counts_the_slashes_of_the_context_path() {
        assert_eq!(depth("/"), 1);
        assert_eq!(depth("/a/b/"), 3);
    }
}
