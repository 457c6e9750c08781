//! The evaluator: walks the tree of an expression within a budget.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::ast::{Action, Arithmetic, Comparison, Expr, Pick, Step};
use super::constant::Constant;
use super::limits::{Budget, Limits};
use super::pattern::{COMPILE_STEPS, Pattern};
use super::{
    ElError, Scope, Value, arithmetic, compare, construct, functions, maps, methods, statics,
};
use crate::java_regex::Extent;

/// Variables of a constant expression: none.
struct Empty;

impl Scope for Empty {
    fn variable(&self, _name: &str) -> Value<'_> {
        Value::Null
    }
}

/// The value of an expression without variables; `None` when it fails.
pub(super) fn constant(expr: &Expr) -> Option<Constant> {
    Evaluation::new(&Empty, Limits::in_force())
        .eval(expr)
        .ok()
        .and_then(|value| Constant::of(&value))
}

/// One evaluation.
pub(super) struct Evaluation<'a> {
    pub(super) scope: &'a dyn Scope,
    pub(super) budget: Budget<'a>,
    this: Value<'a>,
}

fn on_null(what: &str) -> ElError {
    ElError::evaluation(format!("{what} of null"))
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(scope: &'a dyn Scope, limits: &'a Limits) -> Self {
        Self {
            scope,
            budget: Budget::new(limits),
            this: Value::Null,
        }
    }

    /// Evaluates an expression.
    pub(super) fn eval(&mut self, expr: &'a Expr) -> Result<Value<'a>, ElError> {
        self.budget.spend(1)?;
        match expr {
            Expr::Text(text) => Ok(Value::text(text)),
            Expr::Const(constant) => Ok(constant.value()),
            Expr::Variable(name) => Ok(self.scope.variable(name)),
            Expr::This => Ok(self.this.clone()),
            Expr::Steps(start, steps) => self.steps(start, steps),
            Expr::Compare(comparison, pair) => self.compare(*comparison, &pair.0, &pair.1),
            Expr::And(operands) => {
                for operand in operands {
                    if !self.condition(operand)? {
                        return Ok(Value::Bool(false));
                    }
                }
                Ok(Value::Bool(true))
            }
            Expr::Or(operands) => {
                for operand in operands {
                    if self.condition(operand)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Expr::Not(inner) => Ok(Value::Bool(!self.condition(inner)?)),
            Expr::Ternary(parts) => {
                if self.condition(&parts.0)? {
                    self.eval(&parts.1)
                } else {
                    self.eval(&parts.2)
                }
            }
            Expr::Elvis(pair) => match self.eval(&pair.0)? {
                Value::Null => self.eval(&pair.1),
                Value::Text(text) if text.is_empty() => self.eval(&pair.1),
                value => Ok(value),
            },
            Expr::Chain(first, rest) => self.chain(first, rest),
            Expr::Power(pair) => {
                let left = self.eval(&pair.0)?;
                arithmetic::power(&left, &self.eval(&pair.1)?)
            }
            Expr::Negate(inner) => arithmetic::negate(&self.eval(inner)?),
            Expr::Plus(inner) => match self.eval(inner)? {
                value if compare::is_number(&value) => Ok(value),
                value => Err(ElError::evaluation(format!(
                    "'+' is not supported for {}",
                    value.kind()
                ))),
            },
            Expr::Matches(pair, pattern) => self.matches(&pair.0, &pair.1, pattern.as_deref()),
            Expr::Between(pair) => self.between(&pair.0, &pair.1),
            Expr::InstanceOf(pair) => {
                let left = self.eval(&pair.0)?;
                let right = self.eval(&pair.1)?;
                statics::instance_of(&left, &right).map(Value::Bool)
            }
            Expr::Function(function) => functions::call(self, function),
            Expr::Type(name) => statics::find_type(name),
            Expr::New(name, arguments) => {
                let arguments = self.all(arguments)?;
                construct::construct(self, name, &arguments)
            }
            Expr::List(items) => {
                let items = self.all(items)?;
                self.budget.take_items(items.len())?;
                Ok(Value::list(items))
            }
            Expr::Map(entries) => self.map(entries),
            Expr::Refused(why) => Err(ElError::evaluation(*why)),
        }
    }

    /// Evaluates every one of these.
    pub(super) fn all(&mut self, exprs: &'a [Expr]) -> Result<Vec<Value<'a>>, ElError> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    fn condition(&mut self, expr: &'a Expr) -> Result<bool, ElError> {
        match self.eval(expr)? {
            Value::Bool(flag) => Ok(flag),
            value => value
                .to_bool()?
                .ok_or_else(|| ElError::evaluation("a condition is null")),
        }
    }

    #[inline(never)]
    fn map(&mut self, entries: &'a [(Expr, Expr)]) -> Result<Value<'a>, ElError> {
        self.budget.take_items(entries.len())?;
        let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            self.budget.spend(map.len() as u64 / 8)?;
            match map.iter_mut().find(|(own, _)| compare::equals(own, &key)) {
                Some((_, own)) => *own = value,
                None => map.push((key, value)),
            }
        }
        Ok(Value::map(map))
    }

    #[inline(never)]
    fn chain(
        &mut self,
        first: &'a Expr,
        rest: &'a [(Arithmetic, Expr)],
    ) -> Result<Value<'a>, ElError> {
        let mut left = self.eval(first)?;
        for (operator, right) in rest {
            let right = self.eval(right)?;
            left = arithmetic::apply(*operator, &left, &right, &mut self.budget)?;
        }
        Ok(left)
    }

    #[inline(never)]
    fn compare(
        &mut self,
        comparison: Comparison,
        left: &'a Expr,
        right: &'a Expr,
    ) -> Result<Value<'a>, ElError> {
        let left = self.eval(left)?;
        let right = self.eval(right)?;
        if let (Value::Text(left), Value::Text(right)) = (&left, &right) {
            self.budget.walk(left.len().min(right.len()))?;
        } else if matches!(left, Value::List(_) | Value::Array(_)) || maps::is_map(&left) {
            self.budget.spend(items_in(&left, 0))?;
        }
        let order = match comparison {
            Comparison::Equal => return Ok(Value::Bool(compare::equal(&left, &right))),
            Comparison::NotEqual => return Ok(Value::Bool(!compare::equal(&left, &right))),
            _ => compare::order(&left, &right)?,
        };
        // NaN is neither less nor greater than a number.
        let is_nan = |value: &Value<'_>| match value {
            Value::Double(number) => number.is_nan(),
            Value::Float(number) => number.is_nan(),
            _ => false,
        };
        if compare::is_number(&left)
            && compare::is_number(&right)
            && (is_nan(&left) || is_nan(&right))
        {
            return Ok(Value::Bool(false));
        }
        Ok(Value::Bool(match comparison {
            Comparison::Less => order == Ordering::Less,
            Comparison::LessOrEqual => order != Ordering::Greater,
            Comparison::Greater => order == Ordering::Greater,
            _ => order != Ordering::Less,
        }))
    }

    #[inline(never)]
    fn matches(
        &mut self,
        left: &'a Expr,
        right: &'a Expr,
        pattern: Option<&'a Pattern>,
    ) -> Result<Value<'a>, ElError> {
        let left = self.eval(left)?;
        if let Some(pattern) = pattern {
            let Some(text) = left.into_text()? else {
                return Ok(Value::Bool(false));
            };
            return pattern.matches(&text, &mut self.budget).map(Value::Bool);
        }
        let right = self.eval(right)?;
        let Some(text) = left.into_text()? else {
            return Ok(Value::Bool(false));
        };
        let Value::Text(source) = right else {
            return Err(ElError::evaluation(
                "the right side of 'matches' is not text",
            ));
        };
        if source.len() > self.budget.limits.pattern_chars
            && source.encode_utf16().count() > self.budget.limits.pattern_chars
        {
            return Err(ElError::evaluation("the regular expression is too long"));
        }
        self.budget.spend(COMPILE_STEPS + source.len() as u64)?;
        Pattern::new(&source, Extent::Whole)
            .map_err(ElError::evaluation)?
            .matches(&text, &mut self.budget)
            .map(Value::Bool)
    }

    #[inline(never)]
    fn between(&mut self, left: &'a Expr, right: &'a Expr) -> Result<Value<'a>, ElError> {
        let left = self.eval(left)?;
        let not_two = || ElError::evaluation("the right side of 'between' is not a list of two");
        let (low, high) = match right {
            // The usual form needs no list.
            Expr::List(bounds) => match &bounds[..] {
                [low, high] => (self.eval(low)?, self.eval(high)?),
                _ => return Err(not_two()),
            },
            _ => match self.eval(right)? {
                Value::List(bounds) => match &bounds[..] {
                    [low, high] => (low.clone(), high.clone()),
                    _ => return Err(not_two()),
                },
                _ => return Err(not_two()),
            },
        };
        Ok(Value::Bool(
            compare::order(&left, &low)? != Ordering::Less
                && compare::order(&left, &high)? != Ordering::Greater,
        ))
    }

    fn steps(&mut self, start: &'a Expr, steps: &'a [Step]) -> Result<Value<'a>, ElError> {
        let mut value = self.eval(start)?;
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            at += 1;
            // `headers['X'][0]` needs no list.
            if let (Value::Headers(headers), Action::Index(Expr::Text(name), _), Some(next)) =
                (&value, &step.action, steps.get(at))
                && let Action::Index(Expr::Const(Constant::Int(position)), _) = next.action
                && let Ok(position) = usize::try_from(position)
                && let Some(found) = maps::header_value(headers, name, position)
            {
                self.budget.spend(2)?;
                value = found;
                at += 1;
                continue;
            }
            value = self.step(value, step)?;
        }
        Ok(value)
    }

    #[inline(never)]
    fn step(&mut self, value: Value<'a>, step: &'a Step) -> Result<Value<'a>, ElError> {
        self.budget.spend(1)?;
        if value.is_null() && step.safe {
            return Ok(Value::Null);
        }
        match &step.action {
            Action::Property(name) => self.property(value, name),
            Action::Method(name, arguments, pattern) => {
                // The target comes first, but the arguments are evaluated before it is looked at.
                let arguments = self.all(arguments)?;
                if value.is_null() {
                    return Err(on_null("a method"));
                }
                match methods::call(self, &value, name, &arguments, pattern.as_deref())? {
                    Some(result) => Ok(result),
                    None => Err(ElError::evaluation(format!(
                        "there is no method {} with {} arguments on {}",
                        shortened(name),
                        arguments.len(),
                        value.kind()
                    ))),
                }
            }
            Action::Index(index, name) => {
                if value.is_null() {
                    return Err(on_null("an element"));
                }
                let index = match name {
                    Some(name) if maps::is_map(&value) => Value::text(name),
                    _ => self.eval(index)?,
                };
                self.index(value, &index)
            }
            Action::Select(pick, criteria) => self.select(&value, *pick, criteria),
            Action::Project(inner) => self.project(&value, inner),
        }
    }

    fn property(&mut self, value: Value<'a>, name: &'a str) -> Result<Value<'a>, ElError> {
        match &value {
            Value::Null => return Err(on_null(&format!("the property {}", shortened(name)))),
            Value::Object(object) => {
                if let Some(found) = object.property(name) {
                    return Ok(found);
                }
            }
            Value::Map(_) | Value::Lookup(_) | Value::Headers(_) | Value::Params(_) => {
                if let Value::Map(entries) = &value {
                    self.budget.spend(entries.len() as u64 / 16)?;
                }
                return maps::get(&value, name);
            }
            Value::Array(items) if name == "length" => return Ok(Value::Int(items.len() as i32)),
            Value::Bytes(bytes) if name == "length" => return Ok(Value::Int(bytes.len() as i32)),
            Value::Entry(entry) if name == "key" => return Ok(entry.0.clone()),
            Value::Entry(entry) if name == "value" => return Ok(entry.1.clone()),
            Value::Native(native) => {
                if let Some(found) = statics::field(native, name) {
                    return Ok(found);
                }
            }
            _ => {}
        }
        if name == "class" {
            return Err(no_property(&value, name));
        }
        let mut chars = name.chars();
        let capital: String = chars
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(chars)
            .collect();
        for candidate in [&format!("get{capital}"), &format!("is{capital}"), name] {
            if let Some(found) = methods::call(self, &value, candidate, &[], None)? {
                return Ok(found);
            }
        }
        Err(no_property(&value, name))
    }

    fn index(&mut self, value: Value<'a>, index: &Value<'a>) -> Result<Value<'a>, ElError> {
        match &value {
            Value::Map(entries) => {
                self.budget.spend(entries.len() as u64 / 16)?;
                maps::get_value(&value, index)
            }
            Value::Lookup(lookup) => match index {
                Value::Text(key) => lookup.try_get(key),
                _ if lookup.converts_keys() => match index.clone().into_text()? {
                    Some(key) => lookup.try_get(&key),
                    None => Ok(Value::Null),
                },
                _ => Ok(Value::Null),
            },
            Value::Headers(_) | Value::Params(_) => match index.clone().into_text()? {
                Some(key) => maps::get(&value, &key),
                None => Ok(Value::Null),
            },
            Value::List(items) => match position(index, items.len(), true)? {
                Some(at) => Ok(items[at].clone()),
                None => Err(ElError::evaluation(
                    "the index is behind the end of the list",
                )),
            },
            Value::Array(items) => match position(index, items.len(), false)? {
                Some(at) => Ok(items[at].clone()),
                None => Err(ElError::evaluation(
                    "the index is behind the end of the array",
                )),
            },
            Value::Bytes(bytes) => match position(index, bytes.len(), false)? {
                Some(at) => Ok(Value::Int((bytes[at] as i8).into())),
                None => Err(ElError::evaluation(
                    "the index is behind the end of the array",
                )),
            },
            Value::Text(text) => {
                self.budget.walk(text.len())?;
                match position(index, text.encode_utf16().count(), false)? {
                    Some(at) => {
                        let unit: Vec<u16> = text.encode_utf16().skip(at).take(1).collect();
                        Ok(Value::from(String::from_utf16_lossy(&unit)))
                    }
                    None => Err(ElError::evaluation(
                        "the index is behind the end of the text",
                    )),
                }
            }
            Value::Object(object) => match index {
                Value::Text(name) => match object.property(name) {
                    Some(found) => Ok(found),
                    None => Err(no_property(&value, name)),
                },
                _ => Err(ElError::evaluation(format!(
                    "{} has no elements",
                    object.kind()
                ))),
            },
            Value::Entry(entry) => match index.as_text() {
                Some("key") => Ok(entry.0.clone()),
                Some("value") => Ok(entry.1.clone()),
                _ => Err(ElError::evaluation("an entry has no such element")),
            },
            _ => Err(ElError::evaluation(format!(
                "{} has no elements",
                value.kind()
            ))),
        }
    }

    /// Evaluates `expr` with `this` as the element.
    fn on(&mut self, this: Value<'a>, expr: &'a Expr) -> Result<Value<'a>, ElError> {
        self.budget.spend(1)?;
        let before = std::mem::replace(&mut self.this, this);
        let result = self.eval(expr);
        self.this = before;
        result
    }

    fn selected(&mut self, this: Value<'a>, criteria: &'a Expr) -> Result<bool, ElError> {
        match self.on(this, criteria)? {
            Value::Bool(flag) => Ok(flag),
            _ => Err(ElError::evaluation(
                "the condition of a selection is not a boolean",
            )),
        }
    }

    #[inline(never)]
    fn select(
        &mut self,
        value: &Value<'a>,
        pick: Pick,
        criteria: &'a Expr,
    ) -> Result<Value<'a>, ElError> {
        if maps::is_map(value) {
            let mut kept = Vec::new();
            for (key, value) in maps::entries(value) {
                let entry = Value::Entry(Arc::new((key.clone(), value.clone())));
                if self.selected(entry, criteria)? {
                    if pick == Pick::Last {
                        kept.clear();
                    }
                    kept.push((key, value));
                    if pick == Pick::First {
                        break;
                    }
                }
            }
            self.budget.take_items(kept.len())?;
            return Ok(if kept.is_empty() && pick != Pick::All {
                Value::Null
            } else {
                Value::map(kept)
            });
        }
        let items = self.elements(value, "a selection")?;
        let mut kept = Vec::new();
        for item in items.iter() {
            if self.selected(item.clone(), criteria)? {
                if pick == Pick::First {
                    return Ok(item.clone());
                }
                if pick == Pick::Last {
                    kept.clear();
                }
                kept.push(item.clone());
            }
        }
        if pick != Pick::All {
            return Ok(kept.pop().unwrap_or_default());
        }
        self.budget.take_items(kept.len())?;
        Ok(same_kind(value, kept))
    }

    #[inline(never)]
    fn project(&mut self, value: &Value<'a>, inner: &'a Expr) -> Result<Value<'a>, ElError> {
        if maps::is_map(value) {
            let entries = maps::entries(value);
            let mut results = Vec::new();
            for (key, value) in entries {
                results.push(self.on(Value::Entry(Arc::new((key, value))), inner)?);
            }
            self.budget.take_items(results.len())?;
            return Ok(Value::list(results));
        }
        let items = self.elements(value, "a projection")?;
        let mut results = Vec::with_capacity(items.len());
        for item in items.iter() {
            results.push(self.on(item.clone(), inner)?);
        }
        self.budget.take_items(results.len())?;
        Ok(same_kind(value, results))
    }

    fn elements(&mut self, value: &Value<'a>, what: &str) -> Result<Arc<[Value<'a>]>, ElError> {
        match value {
            Value::List(items) | Value::Array(items) => Ok(items.clone()),
            Value::Bytes(bytes) => {
                self.budget.take_items(bytes.len())?;
                Ok(value.to_list().unwrap_or_default())
            }
            _ => Err(ElError::evaluation(format!(
                "{} does not take {what}",
                value.kind()
            ))),
        }
    }
}

fn same_kind<'a>(value: &Value<'_>, items: Vec<Value<'a>>) -> Value<'a> {
    match value {
        Value::Array(_) | Value::Bytes(_) => Value::array(items),
        _ => Value::list(items),
    }
}

fn items_in(value: &Value<'_>, depth: usize) -> u64 {
    match value {
        Value::List(items) | Value::Array(items) if depth < 8 => {
            items.iter().map(|item| 1 + items_in(item, depth + 1)).sum()
        }
        _ if maps::is_map(value) => {
            let length = maps::len(value) as u64;
            length * length.min(256)
        }
        _ => 0,
    }
}

/// The position that an index means; `None` behind the end.
fn position(index: &Value<'_>, length: usize, is_list: bool) -> Result<Option<usize>, ElError> {
    let number = index
        .to_integer()?
        .ok_or_else(|| ElError::evaluation("an index is null"))?;
    match usize::try_from(number) {
        Ok(at) if at < length => Ok(Some(at)),
        Ok(_) => Ok(None),
        Err(_) if is_list => Err(ElError::runtime("a list has no negative index")),
        Err(_) => Err(ElError::runtime("an array has no negative index")),
    }
}

fn no_property(value: &Value<'_>, name: &str) -> ElError {
    ElError::evaluation(format!(
        "there is no property {} on {}",
        shortened(name),
        value.kind()
    ))
}

/// A name for a message: names come from configurations, but may still be long.
pub(super) fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}...", &name[..end])),
        None => Cow::Borrowed(name),
    }
}
