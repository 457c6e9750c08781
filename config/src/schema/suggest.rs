//! Did you mean …?

use super::KEYS;

/// The known key, or inner key, that is closest to an unknown one; `None` when nothing is close.
pub(crate) fn suggestion(unknown: &str) -> Option<String> {
    let wanted = without_indices(unknown);
    if wanted.len() > 200 {
        return None;
    }
    let fold = |key: &str| key.to_ascii_lowercase().replace(['-', '_'], "");
    let best = closest(&fold(&wanted), candidates(), fold);
    let misplaced = || {
        let end = format!(".{wanted}");
        let mut fitting = KEYS
            .iter()
            .filter(|row| row.is_honoured() && row.path.ends_with(&end));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first.path)
    };
    let found = best.or_else(misplaced)?;
    Some(with_indices(found, unknown))
}

/// The key that a variable's name without prefix is closest to; case is the usual slip, separators say nothing.
pub(crate) fn variable_suggestion(stripped: &str) -> Option<&'static str> {
    if stripped.len() > 200 {
        return None;
    }
    let fold = |name: &str| {
        name.to_ascii_lowercase()
            .replace(['.', '-', '_', '[', ']'], "")
    };
    let keys = KEYS
        .iter()
        .filter(|row| !row.is_pattern())
        .map(|row| row.path);
    closest(&fold(stripped), keys, fold)
}

/// The candidate at the least distance within the allowance, the first of several.
fn closest(
    wanted: &str,
    candidates: impl Iterator<Item = &'static str>,
    fold: impl Fn(&str) -> String,
) -> Option<&'static str> {
    let most = allowance(wanted);
    let distances = candidates.filter_map(|candidate| {
        let distance = edit_distance(wanted, &fold(candidate), most)?;
        Some((distance, candidate))
    });
    distances
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Mistakes that are still taken for a slip of the hand.
fn allowance(text: &str) -> usize {
    match text.len() {
        0..=3 => 1,
        4..=11 => 2,
        _ => 3,
    }
}

/// Every key and inner key of the table.
fn candidates() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|row| {
        let path = row.path.trim_end_matches(".**").trim_end_matches(".*");
        let inner = path
            .match_indices(['.', '['])
            .map(|(at, _)| &path[..at])
            .filter(|inner| !inner.ends_with(']'));
        inner.chain(std::iter::once(path))
    })
}

/// `servers[3].prot` as the table writes it: `servers[].prot`.
fn without_indices(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut inside = false;
    for c in key.chars() {
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        if c == '[' || c == ']' || !(inside && c.is_ascii_digit()) {
            out.push(c);
        }
    }
    out
}

/// Puts the indices of `written` back in.
fn with_indices(found: &str, written: &str) -> String {
    let mut indices = written
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .map(|(index, _)| index);
    let mut out = String::new();
    for (at, part) in found.split("[]").enumerate() {
        if at > 0 {
            out.push_str(&format!("[{}]", indices.next().unwrap_or("0")));
        }
        out.push_str(part);
    }
    out
}

/// Edit distance with swaps of neighbours counted as one; `None` beyond `most`.
fn edit_distance(left: &str, right: &str, most: usize) -> Option<usize> {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, &l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &r) in right.iter().enumerate() {
            let mut cost = (previous[column] + usize::from(l != r))
                .min(previous[column + 1] + 1)
                .min(current[column] + 1);
            if row > 0 && column > 0 && l == right[column - 1] && left[row - 1] == r {
                cost = cost.min(before[column - 1] + 1);
            }
            current.push(cost);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous
        .last()
        .copied()
        .filter(|&distance| distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_understood_and_a_different_word_is_not() {
        for (written, meant) in [
            ("http.prot", Some("http.port")),
            ("http.maxheadersize", Some("http.maxHeaderSize")),
            ("servics.sync.delay", Some("services.sync.delay")),
            ("servers[2].prot", Some("servers[2].port")),
            (
                "handlers.request.tracation",
                Some("handlers.request.transaction"),
            ),
            ("cloud.tokn", Some("cloud.token")),
            ("gracefullShutdown", Some("gracefulShutdown")),
            ("completely.different", None),
            ("", None),
        ] {
            assert_eq!(suggestion(written).as_deref(), meant, "{written}");
        }
    }
}
