//! Renders a template.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Expr, List, Method, Node, Operator, RangeEnd, Text};
use super::builtins::Kind;
use super::decimal::Decimal;
use super::functions;
use super::value::Item;
use super::{Model, OUTPUT_BYTES_MAX, RenderError, STEPS_MAX, TEXT_BYTES_MAX};

/// Elements of a range that is used as a list.
const RANGE_MAX: u64 = 100_000;
/// Levels of evaluation.
const DEPTH_MAX: usize = 400;

pub(super) type Outcome<T> = Result<T, RenderError>;

/// What comes after a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The numbers of a range.
#[derive(Clone, Copy)]
enum Bounds {
    /// None; where it would begin.
    Empty(i64),
    /// From here on.
    Open(i64),
    /// The first and the last, which may be smaller.
    Closed(i64, i64),
}

/// A turn of a loop.
struct Turn<'t, 'a> {
    first: &'t str,
    second: Option<&'t str>,
    item: Item<'a>,
    value: Option<Item<'a>>,
    index: usize,
    has_next: bool,
}

pub(super) struct Renderer<'t, 'a> {
    model: &'t Model<'a>,
    turns: Vec<Turn<'t, 'a>>,
    variables: Vec<(Arc<str>, Item<'a>)>,
    out: String,
    steps: u64,
    made: usize,
    depth: usize,
}

pub(super) fn render<'a>(nodes: &[Node], model: &Model<'a>) -> Outcome<String> {
    let mut renderer = Renderer {
        model,
        turns: Vec::new(),
        variables: Vec::new(),
        out: String::new(),
        steps: 0,
        made: 0,
        depth: 0,
    };
    renderer.nodes(nodes)?;
    Ok(renderer.out)
}

pub(super) fn wrong<T>(message: impl Into<String>) -> Outcome<T> {
    Err(RenderError::Value(message.into()))
}

/// The word for an expression in messages.
fn named(expr: &Expr) -> String {
    match expr {
        Expr::Variable(name) => name.to_string(),
        Expr::Dot(base, name) => format!("{}.{name}", named(base)),
        Expr::Index(base, key) => match &**key {
            Expr::Text(key) => format!("{}['{key}']", named(base)),
            _ => format!("{}[…]", named(base)),
        },
        Expr::Paren(inner) => named(inner),
        Expr::BuiltIn(base, built_in, _) => format!("{}?{}", named(base), built_in.name),
        Expr::Call(base, ..) => format!("{}.…()", named(base)),
        _ => "an expression".to_owned(),
    }
}

impl<'t, 'a> Renderer<'t, 'a> {
    fn step(&mut self, weight: usize) -> Outcome<()> {
        self.steps += 1 + weight as u64 / 8;
        if self.steps > STEPS_MAX {
            return Err(RenderError::Limit("steps"));
        }
        Ok(())
    }

    /// Counts text that is made on the way.
    pub(super) fn make(&mut self, bytes: usize) -> Outcome<()> {
        self.made = self.made.saturating_add(bytes);
        self.step(bytes / 64)?;
        if self.made > TEXT_BYTES_MAX {
            return Err(RenderError::Limit("text"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(RenderError::Limit("output"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &'t [Node]) -> Outcome<Flow> {
        for node in nodes {
            self.step(0)?;
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Output(expr) => {
                    let item = self.eval(expr)?;
                    let text = self.print(&item, expr)?;
                    self.write(&text)?;
                }
                Node::If(branches) => {
                    for (condition, body) in branches {
                        let holds = match condition {
                            Some(condition) => self.eval_bool(condition)?,
                            None => true,
                        };
                        if holds {
                            match self.nodes(body)? {
                                Flow::On => break,
                                flow => return Ok(flow),
                            }
                        }
                    }
                }
                Node::List(list) => self.list(list)?,
                Node::Separator(body) => {
                    if self.turns.last().is_some_and(|turn| turn.has_next) {
                        match self.nodes(body)? {
                            Flow::On => {}
                            flow => return Ok(flow),
                        }
                    }
                }
                Node::Assign(name, expr) => {
                    let item = self.eval(expr)?;
                    self.assign(name, item)?;
                }
                Node::Capture(name, body) => {
                    let outer = std::mem::take(&mut self.out);
                    let flow = self.nodes(body)?;
                    let text = std::mem::replace(&mut self.out, outer);
                    self.make(text.len())?;
                    self.assign(name, Item::Text(text.into()))?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn assign(&mut self, name: &Arc<str>, item: Item<'a>) -> Outcome<()> {
        self.step(self.variables.len())?;
        match self.variables.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = item,
            None => self.variables.push((Arc::clone(name), item)),
        }
        Ok(())
    }

    fn list(&mut self, list: &'t List) -> Outcome<()> {
        let source = self.eval(&list.source)?;
        let entries: Vec<(Item<'a>, Option<Item<'a>>)> = if list.second.is_some() {
            let Some(keys) = source.keys() else {
                return wrong(format!(
                    "{} is {}: keys and values cannot be listed",
                    named(&list.source),
                    source.kind()
                ));
            };
            self.step(keys.len())?;
            keys.into_iter()
                .filter_map(|key| {
                    let value = source.property(&key).flatten()?;
                    Some((Item::Text(key), Some(value)))
                })
                .collect()
        } else {
            match &source {
                Item::List(items) => items.iter().map(|item| (item.clone(), None)).collect(),
                Item::Nothing => Vec::new(),
                other => {
                    return wrong(format!(
                        "{} is {} and cannot be listed",
                        named(&list.source),
                        other.kind()
                    ));
                }
            }
        };
        if entries.is_empty() {
            self.nodes(&list.otherwise)?;
            return Ok(());
        }
        let count = entries.len();
        for (index, (item, value)) in entries.into_iter().enumerate() {
            self.step(0)?;
            self.turns.push(Turn {
                first: &list.first,
                second: list.second.as_deref(),
                item,
                value,
                index,
                has_next: index + 1 < count,
            });
            let flow = self.nodes(&list.body);
            self.turns.pop();
            if flow? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Option<Item<'a>> {
        for turn in self.turns.iter().rev() {
            if turn.first == name {
                return Some(turn.item.clone());
            }
            if turn.second == Some(name) {
                return turn.value.clone();
            }
            match name.strip_prefix(turn.first) {
                Some("_index") => return Some(Item::integer(turn.index)),
                Some("_has_next") => return Some(Item::Bool(turn.has_next)),
                _ => {}
            }
        }
        let own = self.variables.iter().find(|(own, _)| **own == *name);
        if let Some((_, item)) = own {
            return Some(item.clone());
        }
        let root = self.model.roots.iter().find(|(own, _)| *own == name);
        root.map(|(_, item)| item.clone())
    }

    /// A value that must be there.
    pub(super) fn eval(&mut self, expr: &'t Expr) -> Outcome<Item<'a>> {
        match self.find(expr)? {
            Some(item) => Ok(item),
            None => Err(RenderError::Missing(named(expr))),
        }
    }

    /// A value that may be missing: in parentheses, any part of it.
    fn maybe(&mut self, expr: &'t Expr) -> Outcome<Option<Item<'a>>> {
        if let Expr::Paren(inner) = expr {
            return match self.maybe(inner) {
                Err(RenderError::Missing(_)) => Ok(None),
                other => other,
            };
        }
        self.find(expr)
    }

    fn find(&mut self, expr: &'t Expr) -> Outcome<Option<Item<'a>>> {
        self.step(0)?;
        if self.depth >= DEPTH_MAX {
            return Err(RenderError::Limit("nesting"));
        }
        self.depth += 1;
        let found = self.find_inner(expr);
        self.depth -= 1;
        found
    }

    fn find_inner(&mut self, expr: &'t Expr) -> Outcome<Option<Item<'a>>> {
        Ok(Some(match expr {
            Expr::Text(text) => Item::text(text),
            Expr::Joined(parts) => return self.joined(parts),
            Expr::Number(number) => Item::Number(*number),
            Expr::Bool(flag) => Item::Bool(*flag),
            Expr::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(self.eval(item)?);
                }
                Item::list(list)
            }
            Expr::Map(entries) => return self.map(entries),
            Expr::Range(from, to, end) => {
                let bounds = self.bounds(from, to.as_deref(), *end)?;
                return self.range(bounds);
            }
            Expr::Variable(name) => return Ok(self.variable(name)),
            Expr::Dot(base, name) => {
                let base_item = self.eval(base)?;
                return self.property(&base_item, name, base);
            }
            Expr::Index(base, key) => return self.index(base, key),
            Expr::Call(base, method, arguments) => return self.call(base, *method, arguments),
            Expr::BuiltIn(target, built_in, arguments) => {
                return self.built_in(target, *built_in, arguments);
            }
            Expr::Default(target, value) => match (self.maybe(target)?, value) {
                (Some(item), _) => item,
                (None, Some(value)) => return self.find(value),
                (None, None) => Item::Nothing,
            },
            Expr::Exists(target) => Item::Bool(self.maybe(target)?.is_some()),
            Expr::Paren(inner) => return self.find(inner),
            Expr::Not(inner) => Item::Bool(!self.eval_bool(inner)?),
            Expr::Negate(inner) => {
                let number = self.eval_number(inner)?.negate();
                return calculated(number);
            }
            Expr::Binary(operator, left, right) => return self.binary(*operator, left, right),
        }))
    }

    #[inline(never)]
    fn joined(&mut self, parts: &'t [Expr]) -> Outcome<Option<Item<'a>>> {
        let mut text = String::new();
        for part in parts {
            let item = self.eval(part)?;
            text.push_str(&self.print(&item, part)?);
        }
        self.make(text.len())?;
        Ok(Some(Item::Text(text.into())))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'t [(Expr, Expr)]) -> Outcome<Option<Item<'a>>> {
        let mut map: Vec<(Text, Item<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.eval_text(key)?;
            let value = self.eval(value)?;
            self.step(map.len())?;
            map.retain(|(own, _)| *own != key);
            map.push((key, value));
        }
        Ok(Some(Item::Map(Rc::new(map))))
    }

    /// The numbers of a range.
    fn bounds(&mut self, from: &'t Expr, to: Option<&'t Expr>, end: RangeEnd) -> Outcome<Bounds> {
        let from = self.eval_integer(from)?;
        let Some(to) = to else {
            return Ok(Bounds::Open(from));
        };
        let to = self.eval_integer(to)?;
        let last = match (end, from.cmp(&to)) {
            (RangeEnd::Inclusive, _) => Some(to),
            (RangeEnd::Exclusive, Ordering::Equal) => return Ok(Bounds::Empty(from)),
            (RangeEnd::Exclusive, Ordering::Less) => to.checked_sub(1),
            (RangeEnd::Exclusive, Ordering::Greater) => to.checked_add(1),
            (RangeEnd::Length, _) => match to.cmp(&0) {
                Ordering::Equal => return Ok(Bounds::Empty(from)),
                Ordering::Greater => from.checked_add(to - 1),
                Ordering::Less => from.checked_add(to).and_then(|last| last.checked_add(1)),
            },
        };
        match last {
            Some(last) => Ok(Bounds::Closed(from, last)),
            None => wrong("the end of a range is too large"),
        }
    }

    fn range(&mut self, bounds: Bounds) -> Outcome<Option<Item<'a>>> {
        let (from, to) = match bounds {
            Bounds::Empty(_) => return Ok(Some(Item::list(Vec::new()))),
            Bounds::Open(_) => return wrong("a range without an end cannot be listed"),
            Bounds::Closed(from, to) => (from, to),
        };
        if from.abs_diff(to) >= RANGE_MAX {
            return Err(RenderError::Limit("range elements"));
        }
        let number = |number: i64| Item::Number(Decimal::integer(number));
        let numbers: Vec<Item<'a>> = if to >= from {
            (from..=to).map(number).collect()
        } else {
            (to..=from).rev().map(number).collect()
        };
        self.make(numbers.len() * size_of::<Item<'_>>())?;
        Ok(Some(Item::list(numbers)))
    }

    fn property(&mut self, base: &Item<'a>, name: &str, expr: &Expr) -> Outcome<Option<Item<'a>>> {
        self.step(base.weight())?;
        let Some(found) = base.property(name) else {
            return wrong(format!(
                "{} is {} and has no {name}",
                named(expr),
                base.kind()
            ));
        };
        if let Some(item) = &found {
            // Text and lists of the exchange are copied.
            match item {
                Item::Text(text) => self.make(text.len())?,
                other => self.step(other.weight())?,
            }
        }
        Ok(found)
    }

    #[inline(never)]
    fn index(&mut self, base_expr: &'t Expr, key: &'t Expr) -> Outcome<Option<Item<'a>>> {
        let base = self.eval(base_expr)?;
        if let Expr::Range(from, to, end) = key {
            let bounds = self.bounds(from, to.as_deref(), *end)?;
            return self.slice(&base, bounds);
        }
        match self.eval(key)? {
            Item::Text(name) => self.property(&base, &name, base_expr),
            Item::Number(number) => {
                let Some(number) = number.to_integer().and_then(|at| usize::try_from(at).ok())
                else {
                    return wrong("an index is negative or no whole number");
                };
                match &base {
                    Item::List(items) => Ok(items.get(number).cloned()),
                    Item::Text(text) => {
                        let text = Rc::clone(text);
                        self.step(text.len() / 8)?;
                        match text.chars().nth(number) {
                            Some(character) => {
                                Ok(Some(Item::text(character.encode_utf8(&mut [0; 4]))))
                            }
                            None => wrong("an index is behind the end of a text"),
                        }
                    }
                    Item::Nothing => Ok(None),
                    other => wrong(format!(
                        "{} is {} and has no numbers",
                        named(base_expr),
                        other.kind()
                    )),
                }
            }
            other => wrong(format!("an index is {}", other.kind())),
        }
    }

    fn slice(&mut self, base: &Item<'a>, bounds: Bounds) -> Outcome<Option<Item<'a>>> {
        self.step(base.weight() * 8)?;
        let length = match base {
            Item::List(items) => items.len(),
            Item::Text(text) => text.chars().count(),
            other => return wrong(format!("{} has no parts", other.kind())),
        };
        let (from, end) = match bounds {
            Bounds::Empty(from) => (from, from),
            Bounds::Open(from) => (from, length as i64),
            Bounds::Closed(from, to) => (from, to.saturating_add(1)),
        };
        let (Ok(from), Ok(end)) = (usize::try_from(from), usize::try_from(end)) else {
            return wrong("a part begins or ends before the beginning");
        };
        if end > length || from > end {
            return wrong("a part ends behind the end");
        }
        Ok(Some(match base {
            Item::List(items) => Item::list(items.get(from..end).unwrap_or_default().to_vec()),
            Item::Text(text) => {
                let part: String = text.chars().skip(from).take(end - from).collect();
                self.make(part.len())?;
                Item::Text(part.into())
            }
            _ => Item::Nothing,
        }))
    }

    #[inline(never)]
    fn call(
        &mut self,
        base_expr: &'t Expr,
        method: Method,
        arguments: &'t [Expr],
    ) -> Outcome<Option<Item<'a>>> {
        let base = self.eval(base_expr)?;
        let Some(argument) = arguments.first() else {
            return wrong("a method has one argument");
        };
        if matches!(method, Method::Get)
            && let Item::List(items) = &base
        {
            let index = self.eval_integer(argument)?;
            return Ok(usize::try_from(index)
                .ok()
                .and_then(|index| items.get(index).cloned()));
        }
        let name = self.eval_text(argument)?;
        let found = self.property(&base, &name, base_expr)?;
        Ok(match (method, found, &base) {
            (Method::ContainsKey, found, _) => Some(Item::Bool(found.is_some())),
            (Method::GetAll, None, _) => Some(Item::list(Vec::new())),
            // `get` of header fields is their first value, as is `getFirst` of any list.
            (Method::Get, Some(Item::List(items)), Item::Headers(_))
            | (Method::GetFirst, Some(Item::List(items)), _) => items.first().cloned(),
            (_, found, _) => found,
        })
    }

    #[inline(never)]
    fn built_in(
        &mut self,
        target: &'t Expr,
        built_in: super::builtins::BuiltIn,
        arguments: &'t [Expr],
    ) -> Outcome<Option<Item<'a>>> {
        match built_in.kind {
            Kind::Loop => return self.loop_built_in(target, built_in.name),
            Kind::Missing => {
                let found = self.maybe(target)?;
                return match (built_in.name, found) {
                    ("has_content", found) => Ok(Some(Item::Bool(
                        found.is_some_and(|item| item.has_content()),
                    ))),
                    ("exists", found) => Ok(Some(Item::Bool(found.is_some()))),
                    ("if_exists", found) => Ok(Some(found.unwrap_or(Item::Nothing))),
                    (_, Some(item)) => Ok(Some(item)),
                    (_, None) => {
                        for argument in arguments {
                            if let Some(item) = self.maybe(argument)? {
                                return Ok(Some(item));
                            }
                        }
                        Ok(None)
                    }
                };
            }
            _ => {}
        }
        let item = self.eval(target)?;
        if built_in.name == "then" {
            let Item::Bool(flag) = item else {
                return wrong(format!(
                    "?then is for booleans, and {} is {}",
                    named(target),
                    item.kind()
                ));
            };
            return match (flag, arguments) {
                (true, [yes, ..]) => self.find(yes),
                (false, [_, no, ..]) => self.find(no),
                _ => wrong("?then has two arguments"),
            };
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.eval(argument)?);
        }
        self.step(item.weight() * 4)?;
        functions::apply(self, built_in, item, &values).map_err(|error| match error {
            RenderError::Value(message) => {
                RenderError::Value(format!("{}: {message}", named(target)))
            }
            error => error,
        })
    }

    fn loop_built_in(&mut self, target: &Expr, built_in: &str) -> Outcome<Option<Item<'a>>> {
        let Expr::Variable(name) = target else {
            return wrong("a loop variable is expected");
        };
        let turn = self
            .turns
            .iter()
            .rev()
            .find(|turn| *turn.first == **name || turn.second == Some(&**name));
        let Some(turn) = turn else {
            return wrong(format!("{name} is no loop variable"));
        };
        Ok(Some(match built_in {
            "index" => Item::integer(turn.index),
            "counter" => Item::integer(turn.index + 1),
            "has_next" => Item::Bool(turn.has_next),
            "is_first" => Item::Bool(turn.index == 0),
            "is_last" => Item::Bool(!turn.has_next),
            "is_odd_item" => Item::Bool(turn.index.is_multiple_of(2)),
            _ => Item::Bool(!turn.index.is_multiple_of(2)),
        }))
    }

    pub(super) fn print(&self, item: &Item<'a>, expr: &Expr) -> Outcome<Text> {
        match item {
            Item::Text(text) => Ok(Rc::clone(text)),
            Item::Number(number) => Ok(number.to_text().into()),
            Item::Nothing => Ok("".into()),
            other => wrong(format!("{} is {} and not text", named(expr), other.kind())),
        }
    }

    fn eval_text(&mut self, expr: &'t Expr) -> Outcome<Text> {
        let item = self.eval(expr)?;
        self.print(&item, expr)
    }

    fn eval_bool(&mut self, expr: &'t Expr) -> Outcome<bool> {
        match self.eval(expr)? {
            Item::Bool(flag) => Ok(flag),
            other => wrong(format!(
                "{} is {} and no boolean",
                named(expr),
                other.kind()
            )),
        }
    }

    fn eval_number(&mut self, expr: &'t Expr) -> Outcome<Decimal> {
        match self.eval(expr)? {
            Item::Number(number) => Ok(number),
            other => wrong(format!("{} is {} and no number", named(expr), other.kind())),
        }
    }

    fn eval_integer(&mut self, expr: &'t Expr) -> Outcome<i64> {
        match self.eval_number(expr)?.to_integer() {
            Some(number) => Ok(number),
            None => wrong(format!("{} is no whole number", named(expr))),
        }
    }

    #[inline(never)]
    fn binary(
        &mut self,
        operator: Operator,
        left_expr: &'t Expr,
        right_expr: &'t Expr,
    ) -> Outcome<Option<Item<'a>>> {
        match operator {
            Operator::And => {
                let holds = self.eval_bool(left_expr)? && self.eval_bool(right_expr)?;
                return Ok(Some(Item::Bool(holds)));
            }
            Operator::Or => {
                let holds = self.eval_bool(left_expr)? || self.eval_bool(right_expr)?;
                return Ok(Some(Item::Bool(holds)));
            }
            _ => {}
        }
        let left = self.eval(left_expr)?;
        let right = self.eval(right_expr)?;
        match (operator, &left, &right) {
            (Operator::Equal | Operator::Unequal, left, right) => {
                let equal = match (left, right) {
                    (Item::Number(left), Item::Number(right)) => left.compare(*right).is_eq(),
                    (Item::Bool(left), Item::Bool(right)) => left == right,
                    (Item::Text(left), Item::Text(right)) => left == right,
                    (Item::Nothing, Item::Text(text)) | (Item::Text(text), Item::Nothing) => {
                        text.is_empty()
                    }
                    (left, right) => {
                        return wrong(format!(
                            "{} and {} cannot be compared",
                            left.kind(),
                            right.kind()
                        ));
                    }
                };
                Ok(Some(Item::Bool(equal == (operator == Operator::Equal))))
            }
            (Operator::Add, Item::Number(left), Item::Number(right)) => {
                calculated(left.add(*right))
            }
            (Operator::Add, Item::List(left), Item::List(right)) => {
                self.step((left.len() + right.len()) * 8)?;
                self.make((left.len() + right.len()) * size_of::<Item<'_>>())?;
                Ok(Some(Item::list(
                    left.iter().chain(right.iter()).cloned().collect(),
                )))
            }
            (Operator::Add, Item::Map(left), Item::Map(right)) => {
                self.make((left.len() + right.len()) * size_of::<(Text, Item<'_>)>())?;
                let mut map = (**left).clone();
                for (key, value) in right.iter() {
                    self.step(map.len())?;
                    match map.iter_mut().find(|(own, _)| own == key) {
                        Some((_, own)) => *own = value.clone(),
                        None => map.push((Rc::clone(key), value.clone())),
                    }
                }
                Ok(Some(Item::Map(Rc::new(map))))
            }
            (Operator::Add, left, right) => {
                let left = self.print(left, left_expr)?;
                let right = self.print(right, right_expr)?;
                self.make(left.len() + right.len())?;
                Ok(Some(Item::Text([&*left, &*right].concat().into())))
            }
            (operator, Item::Number(left), Item::Number(right)) => {
                let order = left.compare(*right);
                match operator {
                    Operator::Less => Ok(Some(Item::Bool(order.is_lt()))),
                    Operator::LessOrEqual => Ok(Some(Item::Bool(order.is_le()))),
                    Operator::Greater => Ok(Some(Item::Bool(order.is_gt()))),
                    Operator::GreaterOrEqual => Ok(Some(Item::Bool(order.is_ge()))),
                    Operator::Subtract => calculated(left.subtract(*right)),
                    Operator::Multiply => calculated(left.multiply(*right)),
                    Operator::Divide => calculated(left.divide(*right)),
                    _ => calculated(left.modulo(*right)),
                }
            }
            (_, left, right) => wrong(format!(
                "{} and {} are no numbers",
                left.kind(),
                right.kind()
            )),
        }
    }
}

fn calculated<'a>(number: Option<Decimal>) -> Outcome<Option<Item<'a>>> {
    match number {
        Some(number) => Ok(Some(Item::Number(number))),
        None => wrong("a result is too large, or a division by zero"),
    }
}
