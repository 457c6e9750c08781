//! XPath 1.0 for the function `#xpath` (contract expression-language 5).

mod functions;
mod parse;

use super::limits::Budget;
use super::xml::{Document, Kind};
use super::{ElError, Value, number};

/// An expression.
#[derive(Debug)]
enum Expr {
    Number(f64),
    Literal(String),
    Function(String, Vec<Self>),
    /// Where it starts (else at the context or, when absolute, at the root), and its steps.
    Path(Option<Box<Self>>, bool, Vec<Step>),
    Filter(Box<Self>, Vec<Self>),
    /// Operators of one level, from left to right.
    Chain(Box<Self>, Vec<(Operator, Self)>),
    Negate(Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Union,
}

#[derive(Debug)]
struct Step {
    axis: Axis,
    test: Test,
    predicates: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Child,
    Descendant,
    DescendantOrSelf,
    Parent,
    Ancestor,
    AncestorOrSelf,
    FollowingSibling,
    PrecedingSibling,
    Following,
    Preceding,
    Attribute,
    Own,
}

impl Axis {
    /// Whether positions count from the context towards the beginning of the document.
    fn is_reverse(self) -> bool {
        matches!(
            self,
            Self::Ancestor | Self::AncestorOrSelf | Self::Preceding | Self::PrecedingSibling
        )
    }
}

#[derive(Debug)]
enum Test {
    Any,
    Name(String),
    Text,
    Node,
    Comment,
    Instruction,
}

/// A value of XPath. Nodes are in the order of the document, each once.
#[derive(Debug, Clone)]
enum Item {
    Nodes(Vec<usize>),
    Bool(bool),
    Number(f64),
    Text(String),
}

/// Where an expression is evaluated.
#[derive(Debug, Clone, Copy)]
struct Place {
    node: usize,
    position: usize,
    size: usize,
}

struct Run<'d, 't, 'b, 'l> {
    document: &'d Document<'t>,
    /// Names without prefix only match nodes without namespace.
    namespaces: bool,
    budget: &'b mut Budget<'l>,
}

/// Evaluates an expression on a text.
pub(super) fn evaluate<'a>(
    text: &str,
    expression: &str,
    kind: Option<&str>,
    budget: &mut Budget<'_>,
) -> Result<Value<'a>, ElError> {
    let document =
        Document::parse(text).ok_or_else(|| ElError::evaluation("the text is not XML"))?;
    let expr = parse::parse(expression)
        .ok_or_else(|| ElError::evaluation("the XPath expression is not valid"))?;
    let mut run = Run {
        document: &document,
        namespaces: kind.is_some(),
        budget,
    };
    let place = Place {
        node: 0,
        position: 1,
        size: 1,
    };
    let item = run.eval(&expr, place)?;
    let nodes = |item: &Item| match item {
        Item::Nodes(nodes) => Ok(nodes.clone()),
        _ => Err(ElError::evaluation(
            "the XPath expression does not give nodes",
        )),
    };
    Ok(
        match kind.unwrap_or("string").to_ascii_lowercase().as_str() {
            "string" => Value::from(run.text(&item)?),
            "boolean" => Value::Bool(run.flag(&item)),
            "number" => Value::Double(run.number(&item)?),
            "node" => match nodes(&item)?.first() {
                Some(node) => Value::from(run.node_text(*node)?),
                None => Value::Null,
            },
            "node_list" | "nodelist" | "nodeset" | "document_list" => {
                let mut texts = Vec::new();
                for node in nodes(&item)? {
                    texts.push(Value::from(run.node_text(node)?));
                }
                run.budget.take_items(texts.len())?;
                Value::list(texts)
            }
            _ => return Err(ElError::evaluation("#xpath has no such type of result")),
        },
    )
}

impl Run<'_, '_, '_, '_> {
    fn eval(&mut self, expr: &Expr, place: Place) -> Result<Item, ElError> {
        self.budget.spend(1)?;
        match expr {
            Expr::Number(number) => Ok(Item::Number(*number)),
            Expr::Literal(text) => Ok(Item::Text(text.clone())),
            Expr::Function(name, arguments) => self.call(name, arguments, place),
            Expr::Path(start, absolute, steps) => {
                let mut nodes = match start {
                    Some(start) => self.nodes(start, place)?,
                    None => vec![if *absolute { 0 } else { place.node }],
                };
                for step in steps {
                    nodes = self.step(&nodes, step)?;
                }
                Ok(Item::Nodes(nodes))
            }
            Expr::Filter(inner, predicates) => {
                let mut nodes = self.nodes(inner, place)?;
                for predicate in predicates {
                    nodes = self.filter(nodes, predicate)?;
                }
                Ok(Item::Nodes(nodes))
            }
            Expr::Negate(inner) => {
                let item = self.eval(inner, place)?;
                Ok(Item::Number(-self.number(&item)?))
            }
            Expr::Chain(first, rest) => self.chain(first, rest, place),
        }
    }

    fn nodes(&mut self, expr: &Expr, place: Place) -> Result<Vec<usize>, ElError> {
        match self.eval(expr, place)? {
            Item::Nodes(nodes) => Ok(nodes),
            _ => Err(ElError::evaluation(
                "a part of the XPath expression does not give nodes",
            )),
        }
    }

    fn chain(
        &mut self,
        first: &Expr,
        rest: &[(Operator, Expr)],
        place: Place,
    ) -> Result<Item, ElError> {
        let mut left = self.eval(first, place)?;
        for (operator, right) in rest {
            let shortcut = match operator {
                Operator::Or => Some(true),
                Operator::And => Some(false),
                _ => None,
            };
            if let Some(decided) = shortcut {
                left = Item::Bool(if self.flag(&left) == decided {
                    decided
                } else {
                    let right = self.eval(right, place)?;
                    self.flag(&right)
                });
                continue;
            }
            let right = self.eval(right, place)?;
            left = match operator {
                Operator::Union => match (left, right) {
                    (Item::Nodes(mut left), Item::Nodes(right)) => {
                        left.extend(right);
                        left.sort_unstable();
                        left.dedup();
                        Item::Nodes(left)
                    }
                    _ => return Err(ElError::evaluation("a union takes nodes only")),
                },
                Operator::Add
                | Operator::Subtract
                | Operator::Multiply
                | Operator::Divide
                | Operator::Remainder => {
                    let (left, right) = (self.number(&left)?, self.number(&right)?);
                    Item::Number(match operator {
                        Operator::Add => left + right,
                        Operator::Subtract => left - right,
                        Operator::Multiply => left * right,
                        Operator::Divide => left / right,
                        _ => left % right,
                    })
                }
                _ => Item::Bool(self.compare(*operator, &left, &right)?),
            };
        }
        Ok(left)
    }

    fn compare(&mut self, operator: Operator, left: &Item, right: &Item) -> Result<bool, ElError> {
        let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        match (left, right) {
            (Item::Bool(_), _) | (_, Item::Bool(_)) if equality => {
                Ok((self.flag(left) == self.flag(right)) == (operator == Operator::Equal))
            }
            (Item::Nodes(nodes), other) => {
                for node in nodes {
                    let text = Item::Text(self.node_text(*node)?);
                    if self.compare(operator, &text, other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (other, Item::Nodes(nodes)) => {
                for node in nodes {
                    let text = Item::Text(self.node_text(*node)?);
                    if self.compare(operator, other, &text)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Item::Text(left), Item::Text(right)) if equality => {
                Ok((left == right) == (operator == Operator::Equal))
            }
            _ => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                Ok(match operator {
                    Operator::Equal => left == right,
                    Operator::NotEqual => left != right,
                    Operator::Less => left < right,
                    Operator::LessOrEqual => left <= right,
                    Operator::Greater => left > right,
                    _ => left >= right,
                })
            }
        }
    }

    fn step(&mut self, from: &[usize], step: &Step) -> Result<Vec<usize>, ElError> {
        let mut found = Vec::new();
        for node in from {
            let mut nodes = Vec::new();
            self.along(step.axis, *node, &mut nodes)?;
            nodes.retain(|node| self.passes(step, *node));
            for predicate in &step.predicates {
                nodes = self.filter(nodes, predicate)?;
            }
            self.budget.take(nodes.len() * 8)?;
            found.extend(nodes);
        }
        if from.len() > 1 || step.axis.is_reverse() {
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }

    fn filter(&mut self, nodes: Vec<usize>, predicate: &Expr) -> Result<Vec<usize>, ElError> {
        let size = nodes.len();
        let mut kept = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let place = Place {
                node,
                position: index + 1,
                size,
            };
            let keep = match self.eval(predicate, place)? {
                Item::Number(number) => number == place.position as f64,
                item => self.flag(&item),
            };
            if keep {
                kept.push(node);
            }
        }
        Ok(kept)
    }

    /// The nodes of an axis, nearest first.
    fn along(&mut self, axis: Axis, node: usize, nodes: &mut Vec<usize>) -> Result<(), ElError> {
        let document = self.document;
        let own = &document.nodes[node];
        self.budget.spend(1)?;
        match axis {
            Axis::Own => nodes.push(node),
            Axis::Child => {
                self.budget.spend(own.children.len() as u64 / 4)?;
                nodes.extend(&own.children);
            }
            Axis::Attribute => nodes.extend(own.attributes.iter().filter(|attribute| {
                let name = document.nodes[**attribute].name;
                name != "xmlns" && !name.starts_with("xmlns:")
            })),
            Axis::Parent if node > 0 => nodes.push(own.parent),
            Axis::Parent => {}
            Axis::Descendant | Axis::DescendantOrSelf => {
                if axis == Axis::DescendantOrSelf {
                    nodes.push(node);
                }
                for child in &own.children {
                    self.along(Axis::DescendantOrSelf, *child, nodes)?;
                }
            }
            Axis::Ancestor | Axis::AncestorOrSelf => {
                let mut at = node;
                if axis == Axis::AncestorOrSelf {
                    nodes.push(at);
                }
                while at > 0 {
                    at = document.nodes[at].parent;
                    nodes.push(at);
                }
            }
            Axis::FollowingSibling | Axis::PrecedingSibling => {
                if node == 0 || own.kind == Kind::Attribute {
                    return Ok(());
                }
                let siblings = &document.nodes[own.parent].children;
                self.budget.spend(siblings.len() as u64 / 4)?;
                if axis == Axis::FollowingSibling {
                    nodes.extend(siblings.iter().filter(|sibling| **sibling > node));
                } else {
                    nodes.extend(siblings.iter().rev().filter(|sibling| **sibling < node));
                }
            }
            Axis::Following | Axis::Preceding => {
                self.budget.spend(document.nodes.len() as u64)?;
                let is_ancestor = |wanted: usize, mut of: usize| {
                    while of > 0 {
                        of = document.nodes[of].parent;
                        if of == wanted {
                            return true;
                        }
                    }
                    false
                };
                let plain = |other: &usize| document.nodes[*other].kind != Kind::Attribute;
                if axis == Axis::Following {
                    nodes.extend(
                        (node + 1..document.nodes.len())
                            .filter(plain)
                            .filter(|other| !is_ancestor(node, *other)),
                    );
                } else {
                    nodes.extend(
                        (1..node)
                            .rev()
                            .filter(plain)
                            .filter(|other| !is_ancestor(*other, node)),
                    );
                }
            }
        }
        Ok(())
    }

    fn passes(&self, step: &Step, node: usize) -> bool {
        let node = &self.document.nodes[node];
        let principal = if step.axis == Axis::Attribute {
            Kind::Attribute
        } else {
            Kind::Element
        };
        match &step.test {
            Test::Node => true,
            Test::Any => node.kind == principal,
            Test::Name(name) => {
                node.kind == principal
                    && node.local_name() == name
                    && (!self.namespaces || node.namespace.is_empty())
            }
            Test::Text => node.kind == Kind::Text,
            Test::Comment => node.kind == Kind::Comment,
            Test::Instruction => node.kind == Kind::Instruction,
        }
    }

    fn node_text(&mut self, node: usize) -> Result<String, ElError> {
        let text = self.document.text(node);
        self.budget.walk(text.len() * 4)?;
        Ok(text)
    }

    fn text(&mut self, item: &Item) -> Result<String, ElError> {
        Ok(match item {
            Item::Nodes(nodes) => match nodes.first() {
                Some(node) => self.node_text(*node)?,
                None => String::new(),
            },
            Item::Bool(flag) => flag.to_string(),
            Item::Number(number) => number_text(*number),
            Item::Text(text) => text.clone(),
        })
    }

    fn flag(&self, item: &Item) -> bool {
        match item {
            Item::Nodes(nodes) => !nodes.is_empty(),
            Item::Bool(flag) => *flag,
            Item::Number(number) => *number != 0.0 && !number.is_nan(),
            Item::Text(text) => !text.is_empty(),
        }
    }

    fn number(&mut self, item: &Item) -> Result<f64, ElError> {
        Ok(match item {
            Item::Number(number) => *number,
            Item::Bool(flag) => f64::from(u8::from(*flag)),
            _ => {
                let text = self.text(item)?;
                let text = text.trim_matches([' ', '\t', '\r', '\n']);
                let digits = text.strip_prefix('-').unwrap_or(text);
                let plain = digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.');
                if plain {
                    text.parse().unwrap_or(f64::NAN)
                } else {
                    f64::NAN
                }
            }
        })
    }
}

/// A number as XPath writes it: whole ones without a point.
fn number_text(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}")
    } else if number.is_finite() {
        number.to_string()
    } else {
        number::double_text(number)
    }
}
