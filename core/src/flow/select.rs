//! The best of several flows (contract request-lifecycle 4.4).

/// The index of the candidate whose path fits `path_info` best; the first of equals. Candidates are `(index, flow path)`, in order.
pub fn best_match<'p>(
    candidates: impl IntoIterator<Item = (usize, &'p str)>,
    path_info: &str,
) -> Option<usize> {
    let mut selected: Option<(usize, &str)> = None;
    for (index, path) in candidates {
        let Some((_, mut reference)) = selected else {
            selected = Some((index, path));
            continue;
        };
        for (at, segment) in path.split('/').enumerate() {
            let Some(held) = reference.split('/').nth(at) else {
                selected = Some((index, path));
                break;
            };
            let request = path_info.split('/').nth(at);
            let (own, held) = (score(segment, request), score(held, request));
            if own < held {
                break;
            }
            if own > held {
                // From here on the candidate is compared with itself, as in the reference.
                selected = Some((index, path));
                reference = path;
            }
        }
    }
    selected.map(|(index, _)| index)
}

/// In half points.
fn score(segment: &str, request: Option<&str>) -> u8 {
    match request {
        None => 2,
        Some(request) if request == segment => 2,
        Some(_) if segment.starts_with(':') => 1,
        Some(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_path_wins_and_the_first_of_equals() {
        for (paths, path_info, expected) in [
            (&["/", "/books", "/books/:id"][..], "/books/7", Some(2)),
            (
                &["/", "/books", "/books/:id", "/books/7"],
                "/books/7",
                Some(3),
            ),
            (&["/books/:id", "/:x/7"], "/books/7", Some(0)),
            (&["/:x/7", "/books/:id"], "/books/7", Some(1)),
            (&["/books", "/books"], "/books", Some(0)),
            (&[], "/books", None),
        ] {
            let candidates = paths.iter().copied().enumerate();
            assert_eq!(
                best_match(candidates, path_info),
                expected,
                "{paths:?} {path_info}"
            );
        }
    }
}
