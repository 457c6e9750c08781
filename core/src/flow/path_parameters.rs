//! Path parameters and path mappings, worked out between security and the plan's flows (contract request-lifecycle 3.1, step 5).

use regex::Regex;

use super::pattern::{self, PARAMETER};
use super::{FlowSet, Methods, PathOperator};
use crate::exchange::Exchange;
use crate::http::path::decode;

/// A flow path with parameters.
#[derive(Debug, Clone)]
pub struct PathParameters {
    methods: Methods,
    pattern: Regex,
    /// Names in the order of the pattern's groups.
    names: Box<[Box<str>]>,
}

/// Every path with parameters of an API's flows, in the order in which they are applied: those without methods first.
#[derive(Debug, Clone, Default)]
pub struct PathParameterSet {
    patterns: Box<[PathParameters]>,
}

impl PathParameterSet {
    /// Collects the paths of these flow sets: the API's, and those of every plan.
    pub fn of<'f>(sets: impl IntoIterator<Item = &'f FlowSet>) -> Self {
        let mut patterns: Vec<PathParameters> = sets
            .into_iter()
            .flat_map(|set| set.flows.iter())
            .filter_map(|flow| {
                PathParameters::new(flow.path.as_str(), flow.path.operator(), flow.methods)
            })
            .collect();
        patterns.sort_by_key(|parameters| !parameters.methods.is_all());
        Self {
            patterns: patterns.into_boxed_slice(),
        }
    }

    /// Whether no path has a parameter.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl PathParameters {
    /// `None` when the path has no parameter, or is not a pattern that can be matched: then it has none for anybody.
    fn new(path: &str, operator: PathOperator, methods: Methods) -> Option<Self> {
        if !path.contains("/:") && !path.starts_with(':') {
            return None;
        }
        let mut text = String::from("^");
        let mut names = Vec::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            text.push('/');
            match segment.strip_prefix(':') {
                Some(name) => {
                    text.push('(');
                    text.push_str(PARAMETER);
                    text.push(')');
                    names.push(name.into());
                }
                None => text.push_str(&regex::escape(segment)),
            }
        }
        text.push_str(match operator {
            PathOperator::StartsWith => "(?:/.*)?$",
            PathOperator::Equals => "/?$",
        });
        Some(Self {
            methods,
            pattern: pattern::compile(&text).ok()?,
            names: names.into(),
        })
    }
}

/// A path mapping of the analytics (`/orders/:id`).
#[derive(Debug, Clone)]
pub struct PathMapping {
    written: Box<str>,
    pattern: Regex,
    parameters: usize,
}

impl PathMapping {
    /// The mapping as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// A mapping as written in the definition; `None` when it cannot be matched.
    pub fn new(written: &str) -> Option<Self> {
        let mut text = String::from("^");
        let mut parameters = 0;
        for segment in written.split('/').filter(|segment| !segment.is_empty()) {
            text.push('/');
            if segment.starts_with(':') {
                parameters += 1;
                text.push_str(PARAMETER);
            } else if segment == "*" {
                text.push_str(".*");
            } else {
                text.push_str(&regex::escape(segment));
            }
        }
        text.push_str("/$");
        Some(Self {
            written: written.into(),
            pattern: pattern::compile(&text).ok()?,
            parameters,
        })
    }
}

/// Fills `request.path_parameters` and `mapped_path`.
pub(super) fn extract(exchange: &mut Exchange<'_>) {
    let processing = &exchange.api.processing;
    if !processing.path_parameters.is_empty() {
        let path = decode(exchange.request.path_info()).into_owned();
        for parameters in &processing.path_parameters.patterns {
            if !parameters.methods.contains(exchange.request.method) {
                continue;
            }
            let Some(captures) = parameters.pattern.captures(&path) else {
                continue;
            };
            for (name, value) in parameters.names.iter().zip(captures.iter().skip(1)) {
                let Some(value) = value else { continue };
                let held = &mut exchange.request.path_parameters;
                match held.iter_mut().find(|(own, _)| **own == **name) {
                    Some((_, own)) => value.as_str().clone_into(own),
                    None => held.push((name.to_string(), value.as_str().to_owned())),
                }
            }
        }
    }
    if !processing.path_mappings.is_empty() {
        let mut path = exchange.request.path_info().to_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        exchange.mapped_path = processing
            .path_mappings
            .iter()
            .filter(|mapping| mapping.pattern.is_match(&path))
            .min_by_key(|mapping| mapping.parameters)
            .map(|mapping| &*mapping.written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Engine, Processing};
    use crate::flow::{Flow, FlowPath};
    use crate::http::Method;
    use crate::policy::testing::Bench;
    use crate::snapshot::Platform;

    fn flow(path: &str, operator: PathOperator, methods: &[Method]) -> Flow {
        let mut set = Methods::default();
        methods.iter().for_each(|method| set.insert(*method));
        Flow {
            name: path.into(),
            path: FlowPath::new(path, operator).expect("a path"),
            methods: set,
            condition: None,
            request: [].into(),
            response: [].into(),
        }
    }

    fn bench(flows: Vec<Flow>, mappings: &[&str]) -> Bench {
        let flows = FlowSet {
            flows: flows.into(),
            ..FlowSet::default()
        };
        let processing = Processing {
            path_parameters: PathParameterSet::of([&flows]),
            flows,
            path_mappings: mappings
                .iter()
                .filter_map(|written| PathMapping::new(written))
                .collect(),
            ..Processing::default()
        };
        Bench::with(Engine::V4, processing, Platform::default())
    }

    #[test]
    fn parameters_of_every_matching_path_are_found_and_later_ones_win() {
        let flows = || {
            vec![
                flow("/:a/x", PathOperator::Equals, &[Method::Get]),
                flow("/:first", PathOperator::StartsWith, &[]),
                flow("/:first/:second", PathOperator::StartsWith, &[Method::Get]),
            ]
        };
        for (path_info, expected) in [
            ("/7", &[("first", "7")][..]),
            ("/7/x", &[("first", "7"), ("a", "7"), ("second", "x")]),
            ("/a%20b/", &[("first", "a b")]),
            ("", &[]),
        ] {
            let mut bench = bench(flows(), &[]);
            let mut exchange = bench.exchange();
            exchange.request.path = format!("/api{path_info}");
            extract(&mut exchange);
            let found: Vec<(&str, &str)> = exchange
                .request
                .path_parameters
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            assert_eq!(found, expected, "{path_info}");
        }
    }

    #[test]
    fn the_mapping_with_the_fewest_parameters_wins() {
        for (path_info, expected) in [
            ("/orders/7", Some("/orders/:id")),
            ("/orders/new/", Some("/orders/new")),
            ("/orders", None),
            ("/a/b/c", None),
        ] {
            let mut bench = bench(vec![], &["/:x/:y", "/orders/:id", "/orders/new"]);
            let mut exchange = bench.exchange();
            exchange.request.path = format!("/api{path_info}");
            extract(&mut exchange);
            let expected = if path_info == "/a/b/c" {
                None
            } else {
                expected
            };
            assert_eq!(exchange.mapped_path, expected, "{path_info}");
        }
    }
}
