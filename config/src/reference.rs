//! The commented reference `gravitee.yml`, written from the table of keys.

use std::fmt::Write as _;

use crate::schema::{KEYS, Key, Kind};

const HEAD: &str = "\
# Every setting of Turnpike with its default. A line that begins with `#` shows a setting that is unset by default.
#
# Each key is a variable too: `gravitee_` + the key with `_` for `.`, without `-`, and `_0` for `[0]`; variables win over arguments
# (`--set key=value`), arguments over files. `${other.key:default}` takes another setting or variable, `file:///path` the content
# of a file.
";

/// The text of `reference.yml`: loading it changes no default.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    let rows: Vec<Row> = KEYS
        .iter()
        .filter(|key| key.is_honoured())
        .map(Row::of)
        .collect();
    let mut open: Vec<&str> = Vec::new();
    // A list item begins with the dash of its first key.
    let mut dash = false;
    for row in order(&rows) {
        let (name, parents) = row
            .path
            .split_last()
            .expect("a path has at least one segment");
        let common = open
            .iter()
            .zip(parents)
            .take_while(|(left, right)| left == right)
            .count();
        open.truncate(common);
        if common == 0 {
            out.push('\n');
        }
        for (depth, parent) in parents.iter().enumerate().skip(common) {
            open.push(parent);
            if *parent == "[]" {
                dash = true;
                continue;
            }
            let active = rows
                .iter()
                .any(|other| other.active && other.path.starts_with(&parents[..=depth]));
            line(&mut out, depth, active, &format!("{parent}:"));
        }
        let depth = parents.len();
        let bullet = std::mem::take(&mut dash);
        // The item's comment stands above its dash.
        comment(
            &mut out,
            if bullet { depth - 1 } else { depth },
            row.key.doc,
        );
        let text = format!("{name}: {}", row.value());
        if bullet {
            line(&mut out, depth - 1, row.active, &format!("- {text}"));
        } else {
            line(&mut out, depth, row.active, &text);
        }
    }
    out
}

struct Row {
    key: &'static Key,
    path: Vec<&'static str>,
    /// Written as a setting rather than as a comment.
    active: bool,
}

impl Row {
    fn of(key: &'static Key) -> Self {
        let mut path = Vec::new();
        for segment in key.path.split('.') {
            let (name, index) = segment
                .split_once('[')
                .map_or((segment, None), |(name, index)| (name, Some(index)));
            path.push(if name == "*" { "admin" } else { name });
            path.extend(index.map(|index| {
                if index == "]" {
                    "[]"
                } else {
                    index.trim_end_matches(']')
                }
            }));
        }
        Self {
            key,
            path,
            active: key.default.is_some() && !key.path.contains("[]"),
        }
    }

    fn value(&self) -> String {
        let value = self.key.default.unwrap_or(self.key.example);
        match self.key.kind {
            Kind::Text | Kind::Secret | Kind::List => format!("{value:?}"),
            Kind::Flag | Kind::Number(..) | Kind::Decimal(..) | Kind::Choice(_) => value.to_owned(),
        }
    }
}

/// Table order, but with the keys of one block together: YAML wants every block once.
fn order(rows: &[Row]) -> Vec<&Row> {
    fn place(rows: &[&Row], depth: usize, out: &mut Vec<usize>, indices: &[usize]) {
        let mut done: Vec<&str> = Vec::new();
        for &index in indices {
            let Some(name) = rows[index].path.get(depth) else {
                continue;
            };
            if done.contains(name) {
                continue;
            }
            done.push(name);
            let block: Vec<usize> = indices
                .iter()
                .copied()
                .filter(|&other| rows[other].path.get(depth) == Some(name))
                .collect();
            let (leaves, deeper): (Vec<usize>, Vec<usize>) = block
                .iter()
                .partition(|&&other| rows[other].path.len() == depth + 1);
            out.extend(leaves);
            place(rows, depth + 1, out, &deeper);
        }
    }
    let rows: Vec<&Row> = rows.iter().collect();
    let mut indices = Vec::with_capacity(rows.len());
    place(&rows, 0, &mut indices, &(0..rows.len()).collect::<Vec<_>>());
    indices.into_iter().map(|index| rows[index]).collect()
}

fn comment(out: &mut String, depth: usize, doc: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}# {doc}", "  ".repeat(depth));
}

fn line(out: &mut String, depth: usize, active: bool, text: &str) {
    let mark = if active { "" } else { "# " };
    let _ = writeln!(out, "{}{mark}{text}", "  ".repeat(depth));
}
