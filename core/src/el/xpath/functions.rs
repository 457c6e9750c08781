//! The core functions of XPath 1.0.

use super::{Expr, Item, Kind, Place, Run};
use crate::el::ElError;

fn wrong(name: &str) -> ElError {
    let name = crate::el::eval::shortened(name).into_owned();
    ElError::evaluation(format!(
        "the XPath function {name} does not exist or has other arguments"
    ))
}

/// `Math.round` of XPath: halves go up.
fn round(number: f64) -> f64 {
    if number.is_finite() {
        (number + 0.5).floor()
    } else {
        number
    }
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

impl Run<'_, '_, '_, '_> {
    pub(super) fn call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        place: Place,
    ) -> Result<Item, ElError> {
        let mut items = Vec::with_capacity(arguments.len());
        for argument in arguments {
            items.push(self.eval(argument, place)?);
        }
        // Without arguments these are about the context.
        let own = Item::Nodes(vec![place.node]);
        let first = items.first().unwrap_or(&own);
        let mut texts = Vec::with_capacity(items.len());
        if matches!(
            name,
            "concat"
                | "starts-with"
                | "contains"
                | "substring-before"
                | "substring-after"
                | "substring"
                | "translate"
        ) {
            for item in &items {
                texts.push(self.text(item)?);
            }
            self.budget.take(texts.iter().map(String::len).sum())?;
        }
        Ok(match (name, items.len()) {
            ("last", 0) => Item::Number(place.size as f64),
            ("position", 0) => Item::Number(place.position as f64),
            ("true", 0) => Item::Bool(true),
            ("false", 0) => Item::Bool(false),
            ("count", 1) => match first {
                Item::Nodes(nodes) => Item::Number(nodes.len() as f64),
                _ => return Err(wrong(name)),
            },
            ("sum", 1) => match first {
                Item::Nodes(nodes) => {
                    let mut sum = 0.0;
                    for node in nodes {
                        let text = Item::Text(self.node_text(*node)?);
                        sum += self.number(&text)?;
                    }
                    Item::Number(sum)
                }
                _ => return Err(wrong(name)),
            },
            ("local-name" | "name" | "namespace-uri", 0 | 1) => match first {
                Item::Nodes(nodes) => Item::Text(nodes.first().map_or_else(String::new, |node| {
                    let node = &self.document.nodes[*node];
                    match name {
                        _ if !matches!(
                            node.kind,
                            Kind::Element | Kind::Attribute | Kind::Instruction
                        ) =>
                        {
                            ""
                        }
                        "local-name" => node.local_name(),
                        "name" => node.name,
                        _ if self.namespaces => &node.namespace,
                        _ => "",
                    }
                    .to_owned()
                })),
                _ => return Err(wrong(name)),
            },
            ("string", 0 | 1) => Item::Text(self.text(first)?),
            ("string-length", 0 | 1) => Item::Number(self.text(first)?.chars().count() as f64),
            ("normalize-space", 0 | 1) => {
                let text = self.text(first)?;
                Item::Text(
                    text.split(is_blank)
                        .filter(|word| !word.is_empty())
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            }
            ("concat", 2..) => Item::Text(texts.concat()),
            ("starts-with", 2) => Item::Bool(texts[0].starts_with(&texts[1])),
            ("contains", 2) => Item::Bool(texts[0].contains(&texts[1])),
            ("substring-before", 2) => Item::Text(
                texts[0]
                    .split_once(&texts[1])
                    .map_or("", |(before, _)| before)
                    .to_owned(),
            ),
            ("substring-after", 2) => Item::Text(
                texts[0]
                    .split_once(&texts[1])
                    .map_or("", |(_, after)| after)
                    .to_owned(),
            ),
            ("substring", 2 | 3) => {
                let start = round(self.number(&items[1])?);
                let end = match items.get(2) {
                    Some(length) => start + round(self.number(length)?),
                    None => f64::INFINITY,
                };
                Item::Text(
                    texts[0]
                        .chars()
                        .zip(1u32..)
                        .filter(|(_, position)| {
                            let position = f64::from(*position);
                            position >= start && position < end
                        })
                        .map(|(char, _)| char)
                        .collect(),
                )
            }
            ("translate", 3) => {
                self.budget
                    .walk(texts[0].len().saturating_mul(texts[1].len()))?;
                let to: Vec<char> = texts[2].chars().collect();
                Item::Text(
                    texts[0]
                        .chars()
                        .filter_map(
                            |char| match texts[1].chars().position(|from| from == char) {
                                Some(at) => to.get(at).copied(),
                                None => Some(char),
                            },
                        )
                        .collect(),
                )
            }
            ("boolean", 1) => Item::Bool(self.flag(first)),
            ("not", 1) => Item::Bool(!self.flag(first)),
            ("number", 0 | 1) => Item::Number(self.number(first)?),
            ("floor", 1) => Item::Number(self.number(first)?.floor()),
            ("ceiling", 1) => Item::Number(self.number(first)?.ceil()),
            ("round", 1) => Item::Number(round(self.number(first)?)),
            _ => return Err(wrong(name)),
        })
    }
}
