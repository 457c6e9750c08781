//! JSON paths (contract expression-language 5): the dialect of the reference, in which a missing leaf is null.

mod filter;
mod parse;

use crate::el::constant::Constant;
use std::sync::Arc;

use filter::Filter;

use super::limits::Budget;
use super::{ElError, Value, compare, maps};

/// A compiled path.
#[derive(Debug)]
pub(super) struct JsonPath {
    tokens: Vec<Token>,
}

/// One part of a path.
#[derive(Debug)]
enum Token {
    /// `.a`, `['a','b']`
    Names(Vec<String>),
    /// `.*`
    Wildcard,
    /// `[0]`, `[0,2]`
    Indexes(Vec<i64>),
    /// `[1:3]`
    Slice(Option<i64>, Option<i64>),
    /// `..`
    Scan,
    /// `[?(…)]`
    Filter(Filter),
    /// `.length()`
    Function(String, Vec<Parameter>),
}

/// An argument of a function.
#[derive(Debug)]
enum Parameter {
    Path(JsonPath, bool),
    Constant(Constant),
}

/// Why a path leads nowhere.
enum Stop {
    Missing,
    Error(ElError),
}

impl From<ElError> for Stop {
    fn from(error: ElError) -> Self {
        Self::Error(error)
    }
}

impl Token {
    fn is_definite(&self, is_leaf: bool) -> bool {
        match self {
            Self::Names(names) => names.len() == 1 || is_leaf,
            Self::Indexes(indexes) => indexes.len() == 1,
            Self::Function(..) => true,
            Self::Wildcard | Self::Slice(..) | Self::Scan | Self::Filter(_) => false,
        }
    }
}

impl JsonPath {
    fn is_definite(&self) -> bool {
        self.tokens
            .iter()
            .enumerate()
            .all(|(at, token)| token.is_definite(at + 1 == self.tokens.len()))
    }

    /// What the path leads to in a value.
    pub(super) fn read<'a>(
        &self,
        root: &Value<'a>,
        budget: &mut Budget<'_>,
    ) -> Result<Value<'a>, ElError> {
        self.find(root, root, true, budget)
            .map_err(|stop| match stop {
                Stop::Missing => ElError::evaluation("the JSON path leads nowhere"),
                Stop::Error(error) => error,
            })
    }

    /// What the path leads to from `start`; without `leaf_null` a missing leaf leads nowhere.
    fn find<'a>(
        &self,
        root: &Value<'a>,
        start: &Value<'a>,
        leaf_null: bool,
        budget: &mut Budget<'_>,
    ) -> Result<Value<'a>, Stop> {
        let mut reader = Reader {
            root,
            budget,
            found: Vec::new(),
            leaf_null,
        };
        // `$..price.max()` is the function over everything that was found.
        if let [Token::Scan, middle @ .., Token::Function(name, parameters)] = &self.tokens[..]
            && !middle.is_empty()
        {
            reader.walk(&self.tokens[1..self.tokens.len() - 1], start)?;
            let found = Value::list(std::mem::take(&mut reader.found));
            return reader.function(name, parameters, &found);
        }
        if self.tokens.is_empty() {
            return Ok(start.clone());
        }
        reader.evaluate(&self.tokens, true, start)?;
        let mut found = reader.found;
        if self.is_definite() {
            return found.pop().ok_or(Stop::Missing);
        }
        budget.take_items(found.len())?;
        Ok(Value::list(found))
    }
}

struct Reader<'r, 'a, 'b, 'l> {
    root: &'r Value<'a>,
    budget: &'b mut Budget<'l>,
    found: Vec<Value<'a>>,
    leaf_null: bool,
}

fn items<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Arc<[Value<'a>]>> {
    match value {
        Value::List(items) | Value::Array(items) => Some(items),
        _ => None,
    }
}

impl<'a> Reader<'_, 'a, '_, '_> {
    fn reached(&mut self, rest: &[Token], definite: bool, value: &Value<'a>) -> Result<(), Stop> {
        if rest.is_empty() {
            self.budget.take_items(1)?;
            self.found.push(value.clone());
            Ok(())
        } else {
            self.evaluate(rest, definite, value)
        }
    }

    /// Follows `tokens`, of which there is at least one, from `model`; `upstream` tells whether what came before was definite.
    fn evaluate(
        &mut self,
        tokens: &[Token],
        upstream: bool,
        model: &Value<'a>,
    ) -> Result<(), Stop> {
        let Some((token, rest)) = tokens.split_first() else {
            return Ok(());
        };
        self.budget.spend(1)?;
        let definite = upstream && token.is_definite(rest.is_empty());
        match token {
            Token::Names(names) => {
                if !maps::is_map(model) {
                    return if upstream { Err(Stop::Missing) } else { Ok(()) };
                }
                match &names[..] {
                    [name] => self.property(name, rest, definite, model),
                    _ if rest.is_empty() => {
                        let mut merged = Vec::new();
                        for name in names {
                            let key = Value::from(name.clone());
                            if maps::contains_key(model, &key) || self.leaf_null {
                                merged.push((key, maps::get(model, name)?));
                            }
                        }
                        self.reached(rest, definite, &Value::map(merged))
                    }
                    _ => {
                        for name in names {
                            self.property(name, rest, definite, model)?;
                        }
                        Ok(())
                    }
                }
            }
            Token::Wildcard => {
                if maps::is_map(model) {
                    for (_, value) in maps::entries(model) {
                        self.skipping(rest, &value)?;
                    }
                } else if let Some(items) = items(model) {
                    for item in items.iter() {
                        self.skipping(rest, item)?;
                    }
                }
                Ok(())
            }
            Token::Indexes(indexes) => {
                let Some(items) = items(model) else {
                    return if upstream { Err(Stop::Missing) } else { Ok(()) };
                };
                for index in indexes {
                    let length = items.len() as i64;
                    let at = if *index < 0 { length + index } else { *index };
                    if let Some(item) = usize::try_from(at).ok().and_then(|at| items.get(at)) {
                        self.reached(rest, definite, item)?;
                    }
                }
                Ok(())
            }
            Token::Slice(from, to) => {
                let Some(items) = items(model) else {
                    return if upstream { Err(Stop::Missing) } else { Ok(()) };
                };
                let length = items.len() as i64;
                let absolute = |index: i64| if index < 0 { length + index } else { index };
                let from = from.map_or(0, absolute).clamp(0, length) as usize;
                let to = to.map_or(length, absolute).clamp(0, length) as usize;
                for item in items.get(from..to).unwrap_or_default() {
                    self.reached(rest, false, item)?;
                }
                Ok(())
            }
            Token::Scan => self.walk(rest, model),
            Token::Filter(filter) => {
                if maps::is_map(model) {
                    if filter.accepts(self.root, model, self.budget)? {
                        self.reached(rest, false, model)?;
                    }
                } else if let Some(items) = items(model) {
                    for item in items.iter() {
                        if filter.accepts(self.root, item, self.budget)? {
                            self.reached(rest, false, item)?;
                        }
                    }
                } else if upstream {
                    return Err(Stop::Error(ElError::evaluation(
                        "a JSON path filters what has no elements",
                    )));
                }
                Ok(())
            }
            Token::Function(name, parameters) => {
                let result = self.function(name, parameters, model)?;
                self.reached(rest, definite, &result)
            }
        }
    }

    /// As [`Reader::reached`] below a wildcard, where what is missing is passed over.
    fn skipping(&mut self, rest: &[Token], value: &Value<'a>) -> Result<(), Stop> {
        match self.reached(rest, false, value) {
            Err(Stop::Missing) => Ok(()),
            result => result,
        }
    }

    fn property(
        &mut self,
        name: &str,
        rest: &[Token],
        definite: bool,
        model: &Value<'a>,
    ) -> Result<(), Stop> {
        if let Value::Map(entries) = model {
            self.budget.spend(entries.len() as u64 / 16)?;
        }
        let value = maps::get(model, name)?;
        if !value.is_null() || maps::contains_key(model, &Value::Text(name.into())) {
            return self.reached(rest, definite, &value);
        }
        if rest.is_empty() {
            if self.leaf_null {
                return self.reached(rest, definite, &Value::Null);
            }
            return Err(Stop::Missing);
        }
        if definite { Err(Stop::Missing) } else { Ok(()) }
    }

    /// Applies `tokens` to `model` and everything below it.
    fn walk(&mut self, tokens: &[Token], model: &Value<'a>) -> Result<(), Stop> {
        let Some((token, rest)) = tokens.split_first() else {
            return Err(Stop::Error(ElError::evaluation(
                "a JSON path ends with '..'",
            )));
        };
        self.budget.spend(1)?;
        let found = if maps::is_map(model) {
            match token {
                Token::Names(names) => {
                    (names.len() > 1 && !rest.is_empty())
                        || (rest.is_empty() && self.leaf_null)
                        || names.iter().all(|name| {
                            maps::contains_key(model, &Value::Text(name.as_str().into()))
                        })
                }
                Token::Wildcard => true,
                Token::Filter(filter) => filter.accepts(self.root, model, self.budget)?,
                _ => false,
            }
        } else {
            match token {
                Token::Wildcard | Token::Indexes(_) | Token::Slice(..) => items(model).is_some(),
                _ => false,
            }
        };
        if found {
            match self.evaluate(tokens, false, model) {
                Err(Stop::Missing) => {}
                result => result?,
            }
        }
        if maps::is_map(model) {
            for (_, value) in maps::entries(model) {
                self.walk(tokens, &value)?;
            }
        } else if let Some(items) = items(model) {
            for item in items.iter() {
                self.walk(tokens, item)?;
            }
        }
        Ok(())
    }

    fn parameters(
        &mut self,
        parameters: &[Parameter],
        model: &Value<'a>,
    ) -> Result<Vec<Value<'a>>, Stop> {
        parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Constant(value) => Ok(value.value().into_owned()),
                Parameter::Path(path, from_root) => {
                    let start = if *from_root { self.root } else { model };
                    path.find(self.root, start, true, self.budget)
                }
            })
            .collect()
    }

    fn function(
        &mut self,
        name: &str,
        parameters: &[Parameter],
        model: &Value<'a>,
    ) -> Result<Value<'a>, Stop> {
        let parameters = self.parameters(parameters, model)?;
        let mut flat: Vec<Value<'a>> = Vec::new();
        let sources: &[Value<'a>] = &parameters;
        let of_model = matches!(name, "min" | "max" | "avg" | "sum" | "stddev" | "concat");
        for source in of_model.then_some(model).into_iter().chain(sources) {
            match items(source) {
                Some(items) => flat.extend(items.iter().cloned()),
                // The model itself only counts when it is a list.
                None if std::ptr::eq(source, model) => {}
                None => flat.push(source.clone()),
            }
        }
        self.budget.take_items(flat.len())?;
        let length = |value: &Value<'_>| match items(value) {
            Some(items) => Value::Int(items.len() as i32),
            None if maps::is_map(value) => Value::Int(maps::len(value) as i32),
            None => Value::Null,
        };
        Ok(match name {
            "length" | "size" => length(parameters.first().unwrap_or(model)),
            "keys" if maps::is_map(model) => Value::list(maps::keys(model)),
            "keys" => Value::Null,
            "concat" => {
                let mut text = String::new();
                for value in &flat {
                    if let Value::Text(part) = value {
                        self.budget.take(part.len())?;
                        text.push_str(part);
                    } else if compare::is_number(value) {
                        text.push_str(&value.java_text());
                    }
                }
                Value::from(text)
            }
            "append" => match items(model) {
                Some(items) => {
                    self.budget.take_items(items.len() + parameters.len())?;
                    Value::list(items.iter().cloned().chain(parameters).collect())
                }
                None => model.clone(),
            },
            "first" | "last" | "index" => {
                let list = items(model).ok_or(Stop::Missing)?;
                let at = match (name, parameters.first()) {
                    ("first", _) => 0,
                    ("last", _) => -1,
                    (_, Some(at)) => at.to_long()?.unwrap_or_default(),
                    _ => return Err(Stop::Missing),
                };
                let at = if at < 0 { list.len() as i64 + at } else { at };
                usize::try_from(at)
                    .ok()
                    .and_then(|at| list.get(at))
                    .cloned()
                    .ok_or(Stop::Missing)?
            }
            "min" | "max" | "avg" | "sum" | "stddev" => {
                let numbers: Vec<f64> = flat
                    .iter()
                    .filter(|value| compare::is_number(value))
                    .filter_map(|value| value.to_double().ok().flatten())
                    .collect();
                if numbers.is_empty() {
                    return Err(Stop::Error(ElError::evaluation(
                        "a function of a JSON path has no numbers",
                    )));
                }
                let count = numbers.len() as f64;
                let sum: f64 = numbers.iter().sum();
                Value::Double(match name {
                    "min" => numbers.iter().copied().fold(f64::INFINITY, f64::min),
                    "max" => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    "avg" => sum / count,
                    "sum" => sum,
                    _ => {
                        let squares: f64 = numbers.iter().map(|number| number * number).sum();
                        (squares / count - sum * sum / count / count).sqrt()
                    }
                })
            }
            _ => {
                return Err(Stop::Error(ElError::evaluation(
                    "a JSON path has an unknown function",
                )));
            }
        })
    }
}
