//! YAML text to flat leaves, each with its place. Flattening follows the reference: `a: {b: [c]}` is `a.b[0]`, a numeric key is an
//! index (`errors: {404: …}` is `errors[404]`), anchors and `<<` are resolved, later documents of a file override earlier ones.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use crate::diagnostic::{Diagnostic, Origin, Place, SourceFile};

/// Bytes of one settings file.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Nesting of collections, aliases followed.
const DEPTH_MAX: usize = 48;

/// Nodes after aliases are followed: what stands between a small file and a large tree.
const NODES_MAX: usize = 10_000;

/// One scalar of a file. Without `Debug`, as everything that may hold a secret as text.
pub(crate) struct Leaf {
    /// The flat key.
    pub(crate) key: String,
    /// The text as written; `None` when the file says nothing (`key:`, `~`, `null`, `[]`, `{}`).
    pub(crate) value: Option<String>,
    /// Where the value stands.
    pub(crate) place: Place,
}

/// What a file says.
#[derive(Default)]
pub(crate) struct Document {
    /// Scalars in file order; a later one overrides an earlier one of the same key.
    pub(crate) leaves: Vec<Leaf>,
    /// Where each key, inner ones included, is written.
    pub(crate) keys: HashMap<String, Place>,
}

/// Parses a file; the first syntax error, or every key that is written twice.
pub(crate) fn parse(source: &Arc<SourceFile>) -> Result<Document, Vec<Diagnostic>> {
    let text = source
        .text()
        .strip_prefix('\u{feff}')
        .unwrap_or_else(|| source.text());
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "{}: expected at most {FILE_BYTES_MAX} bytes, found {}",
            source.path().display(),
            text.len()
        );
        return Err(vec![Diagnostic::error(message)]);
    }
    let mut builder = Builder::new(source, text);
    let roots = builder.documents().map_err(|problem| vec![problem])?;
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    let mut flattener = Flattener {
        source,
        document: Document::default(),
        nodes: 0,
        lines: HashMap::new(),
        problems: Vec::new(),
    };
    for root in &roots {
        flattener.lines.clear();
        if let Err(problem) = flattener.root(root) {
            flattener.problems.push(problem);
            break;
        }
    }
    if flattener.problems.is_empty() {
        Ok(flattener.document)
    } else {
        Err(flattener.problems)
    }
}

/// A place before it is tied to its file.
#[derive(Debug, Clone, Copy)]
struct Spot {
    line: usize,
    column: usize,
    width: usize,
}

impl Spot {
    fn of(span: &Span) -> Self {
        let one_line = span.start.line() == span.end.line();
        let width = if one_line {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            width: width.max(1),
        }
    }

    fn place(self, source: &Arc<SourceFile>) -> Place {
        Place {
            file: Arc::clone(source),
            line: self.line,
            column: self.column,
            width: self.width,
        }
    }
}

struct Node {
    value: NodeValue,
    spot: Spot,
    /// Levels below this node, itself included: bounded, so that walking and dropping are too.
    depth: usize,
}

enum NodeValue {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

struct Entry {
    key: String,
    spot: Spot,
    merge: bool,
    value: Rc<Node>,
}

struct Builder<'a> {
    source: &'a Arc<SourceFile>,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<SourceFile>, text: &'a str) -> Self {
        let mut options = Options::default();
        options.flow_nesting_limit = DEPTH_MAX;
        options.block_nesting_limit = DEPTH_MAX;
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(text, options);
        Self {
            source,
            parser,
            anchors: HashMap::new(),
            problems: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Diagnostic> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let marker = error.marker();
                let spot = Spot {
                    line: marker.line().max(1),
                    column: marker.col() + 1,
                    width: 1,
                };
                if let Some(tab) = self.tab_near(spot.line) {
                    let problem = self.problem(
                        tab,
                        "invalid YAML: expected spaces, found a tab in the indentation",
                    );
                    return Err(problem.hint("indent with spaces: YAML does not allow tabs there"));
                }
                let hint =
                    "check the indentation, quotes and colons of this line and the one above";
                Err(self
                    .problem(spot, format!("invalid YAML: {}", error.info()))
                    .hint(hint))
            }
        }
    }

    /// A tab in the indentation of a line or of the next: the usual cause, which the parser notices elsewhere.
    fn tab_near(&self, line: usize) -> Option<Spot> {
        let lines = self
            .source
            .text()
            .lines()
            .enumerate()
            .skip(line - 1)
            .take(2);
        let tabs = lines.filter_map(|(index, text)| {
            let column = text
                .find(|c| c != ' ')
                .filter(|&at| text[at..].starts_with('\t'))?
                + 1;
            (!text.trim().is_empty()).then_some(Spot {
                line: index + 1,
                column,
                width: 1,
            })
        });
        tabs.min_by_key(|spot| spot.line)
    }

    fn problem(&self, spot: Spot, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(Origin::File(spot.place(self.source)))
    }

    fn documents(&mut self) -> Result<Vec<Rc<Node>>, Diagnostic> {
        let mut roots = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) => self.anchors.clear(),
                event => roots.push(self.node(event, span)?),
            }
        }
        Ok(roots)
    }

    /// Depth of the recursion is what the parser's nesting limits allow.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Rc<Node>, Diagnostic> {
        let spot = Spot::of(&span);
        let (anchor, value, depth) =
            match event {
                Event::Scalar(text, style, anchor, _) => {
                    let plain = style == ScalarStyle::Plain;
                    (
                        anchor,
                        NodeValue::Scalar {
                            text: text.into_owned(),
                            plain,
                        },
                        1,
                    )
                }
                Event::SequenceStart(_, anchor, _) => {
                    let mut items = Vec::new();
                    loop {
                        match self.expect(spot)? {
                            (Event::SequenceEnd, _) => break,
                            (event, span) => items.push(self.node(event, span)?),
                        }
                    }
                    let depth = 1 + items.iter().map(|item| item.depth).max().unwrap_or(0);
                    (anchor, NodeValue::Sequence(items), depth)
                }
                Event::MappingStart(_, anchor, _) => {
                    let entries = self.mapping(spot)?;
                    let depth = 1 + entries
                        .iter()
                        .map(|entry| entry.value.depth)
                        .max()
                        .unwrap_or(0);
                    (anchor, NodeValue::Mapping(entries), depth)
                }
                Event::Alias(id) => {
                    return match self.anchors.get(&id) {
                        Some(node) => Ok(Rc::clone(node)),
                        None => Err(self
                            .problem(spot, "invalid YAML: the alias stands inside its own anchor")),
                    };
                }
                _ => return Err(self.problem(spot, "invalid YAML: expected a value")),
            };
        if depth > DEPTH_MAX {
            return Err(self.problem(
                spot,
                format!("expected at most {DEPTH_MAX} levels of nesting"),
            ));
        }
        let node = Rc::new(Node { value, spot, depth });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn expect(&mut self, spot: Spot) -> Result<(Event<'a>, Span), Diagnostic> {
        let next = self.next()?;
        next.ok_or_else(|| self.problem(spot, "invalid YAML: the file ends inside this collection"))
    }

    fn mapping(&mut self, spot: Spot) -> Result<Vec<Entry>, Diagnostic> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.expect(spot)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key_node = self.node(event, span)?;
            let NodeValue::Scalar { text, plain } = &key_node.value else {
                return Err(self.problem(
                    key_node.spot,
                    "expected the name of a setting, found a collection",
                ));
            };
            let merge = *plain && text == "<<";
            let index =
                *plain && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let key = if index {
                format!("[{text}]")
            } else {
                text.clone()
            };
            let (event, span) = self.expect(spot)?;
            let value = self.node(event, span)?;
            if let Some(first) = seen.insert(key.clone(), key_node.spot.line) {
                let problem = self
                    .problem(
                        key_node.spot,
                        format!("key {text:?} is written twice, first on line {first}"),
                    )
                    .hint("merge both blocks: YAML would keep only one of them");
                self.problems.push(problem);
            }
            entries.push(Entry {
                key,
                spot: key_node.spot,
                merge,
                value,
            });
        }
    }
}

struct Flattener<'a> {
    source: &'a Arc<SourceFile>,
    document: Document,
    nodes: usize,
    /// Where each key of this YAML document is written.
    lines: HashMap<String, usize>,
    problems: Vec<Diagnostic>,
}

impl Flattener<'_> {
    fn root(&mut self, node: &Node) -> Result<(), Diagnostic> {
        match &node.value {
            NodeValue::Mapping(_) => self.walk(node, String::new()),
            // An empty file, or one of comments only.
            NodeValue::Scalar { text, plain: true } if is_null(text) => Ok(()),
            NodeValue::Scalar { .. } | NodeValue::Sequence(_) => {
                let found = if matches!(node.value, NodeValue::Sequence(_)) {
                    "a list"
                } else {
                    "text"
                };
                Err(
                    Diagnostic::error(format!("expected settings as `key: value`, found {found}"))
                        .at(Origin::File(node.spot.place(self.source))),
                )
            }
        }
    }

    fn walk(&mut self, node: &Node, key: String) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Diagnostic::error(format!(
                "expected at most {NODES_MAX} values, aliases followed"
            ))
            .at(Origin::File(node.spot.place(self.source))));
        }
        match &node.value {
            NodeValue::Scalar { text, plain } => {
                let value = (!(*plain && is_null(text))).then(|| text.clone());
                self.leaf(key, value, node.spot);
            }
            NodeValue::Sequence(items) if items.is_empty() => self.leaf(key, None, node.spot),
            NodeValue::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    let key = format!("{key}[{index}]");
                    self.document
                        .keys
                        .insert(key.clone(), item.spot.place(self.source));
                    self.walk(item, key)?;
                }
            }
            NodeValue::Mapping(entries) if entries.is_empty() => self.leaf(key, None, node.spot),
            NodeValue::Mapping(entries) => self.mapping(entries, &key, &mut HashSet::new())?,
        }
        Ok(())
    }

    /// Own keys win over merged ones, the first merged mapping over the next.
    fn mapping<'n>(
        &mut self,
        entries: &'n [Entry],
        prefix: &str,
        taken: &mut HashSet<&'n str>,
    ) -> Result<(), Diagnostic> {
        for entry in entries.iter().filter(|entry| !entry.merge) {
            if taken.insert(&entry.key) {
                let key = join(prefix, &entry.key);
                self.document
                    .keys
                    .insert(key.clone(), entry.spot.place(self.source));
                self.walk(&entry.value, key)?;
            }
        }
        for entry in entries.iter().filter(|entry| entry.merge) {
            let merged: &[Rc<Node>] = match &entry.value.value {
                NodeValue::Sequence(items) => items,
                _ => std::slice::from_ref(&entry.value),
            };
            for node in merged {
                let NodeValue::Mapping(entries) = &node.value else {
                    return Err(Diagnostic::error("expected a mapping to merge after `<<`")
                        .at(Origin::File(entry.spot.place(self.source))));
                };
                self.mapping(entries, prefix, taken)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, key: String, value: Option<String>, spot: Spot) {
        let place = spot.place(self.source);
        if let Some(first) = self.lines.insert(key.clone(), spot.line) {
            let problem = Diagnostic::error(format!(
                "key {key:?} is written twice, first on line {first}"
            ))
            .at(Origin::File(place.clone()))
            .hint("`a.b: …` and `a: {b: …}` are the same setting: keep one of them")
            .covered(crate::schema::is_secret(&key));
            self.problems.push(problem);
        }
        self.document.leaves.push(Leaf { key, value, place });
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// `a` + `b` = `a.b`; `a` + `[0]` = `a[0]`.
fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() || key.starts_with('[') {
        format!("{prefix}{key}")
    } else {
        format!("{prefix}.{key}")
    }
}
