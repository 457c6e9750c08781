//! XML as a small tree. A document type declaration is refused, so no entity but the five of XML exists.

use std::borrow::Cow;

use super::Value;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    Element,
    Attribute,
    Text,
    Comment,
    Instruction,
}

/// A node. Numbers of nodes follow the order of the document.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) kind: Kind,
    /// Name with its prefix; empty for text.
    pub(super) name: &'t str,
    /// Namespace; empty when there is none.
    pub(super) namespace: Cow<'t, str>,
    /// Text of anything but elements.
    pub(super) text: Cow<'t, str>,
    pub(super) parent: usize,
    pub(super) children: Vec<usize>,
    pub(super) attributes: Vec<usize>,
}

impl Node<'_> {
    /// The name without its prefix.
    pub(super) fn local_name(&self) -> &str {
        self.name
            .split_once(':')
            .map_or(self.name, |(_, local)| local)
    }
}

/// A parsed text. Node 0 is the root above the outermost element.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) nodes: Vec<Node<'t>>,
}

impl<'t> Document<'t> {
    /// Parses a text; `None` when it is not well-formed, nested too deeply or declares a document type.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let mut parser = Parser {
            text,
            at: 0,
            document: Self { nodes: Vec::new() },
            open: vec![0],
            bindings: Vec::new(),
        };
        parser.add(Kind::Root, "", Cow::Borrowed(""), 0);
        if parser.take("\u{feff}") && text.len() == 3 {
            return None;
        }
        while parser.at < text.len() {
            parser.step()?;
        }
        let roots = parser.document.nodes[0]
            .children
            .iter()
            .filter(|child| parser.document.nodes[**child].kind == Kind::Element)
            .count();
        (parser.open.len() == 1 && roots == 1).then_some(parser.document)
    }

    /// The text of a node and everything in it.
    pub(super) fn text(&self, node: usize) -> String {
        let mut text = String::new();
        self.collect(node, &mut text);
        text
    }

    fn collect(&self, node: usize, text: &mut String) {
        let own = &self.nodes[node];
        match own.kind {
            Kind::Root | Kind::Element => {
                for child in &own.children {
                    if matches!(self.nodes[*child].kind, Kind::Element | Kind::Text) {
                        self.collect(*child, text);
                    }
                }
            }
            _ => text.push_str(&own.text),
        }
    }

    /// An element as a value: text, or a map when it has attributes or elements in it.
    fn value(&self, node: usize) -> Value<'static> {
        let own = &self.nodes[node];
        let element = |child: &usize| self.nodes[*child].kind == Kind::Element;
        let attributes = || {
            own.attributes
                .iter()
                .map(|attribute| &self.nodes[*attribute])
                .filter(|attribute| {
                    attribute.name != "xmlns" && !attribute.name.starts_with("xmlns:")
                })
        };
        if attributes().next().is_none() && !own.children.iter().any(element) {
            return Value::from(self.text(node));
        }
        let mut entries: Vec<(String, Vec<Value<'static>>)> = Vec::new();
        let mut positions =
            std::collections::HashMap::<String, usize, foldhash::fast::RandomState>::default();
        let mut add = |name: &str, value: Value<'static>| match positions.get(name) {
            Some(at) => {
                let list: &mut (String, Vec<Value<'static>>) = &mut entries[*at];
                list.1.push(value);
            }
            None => {
                positions.insert(name.to_owned(), entries.len());
                entries.push((name.to_owned(), vec![value]));
            }
        };
        for attribute in attributes() {
            add(
                attribute.local_name(),
                Value::from(attribute.text.clone().into_owned()),
            );
        }
        let mut text = String::new();
        for child in &own.children {
            let inner = &self.nodes[*child];
            match inner.kind {
                Kind::Element => add(inner.local_name(), self.value(*child)),
                Kind::Text => text.push_str(&inner.text),
                _ => {}
            }
        }
        if !text.trim().is_empty() {
            add("", Value::from(text));
        }
        Value::map(
            entries
                .into_iter()
                .map(|(name, mut values)| {
                    let value = match values.len() {
                        1 => values.remove(0),
                        _ => Value::list(values),
                    };
                    (Value::from(name), value)
                })
                .collect(),
        )
    }
}

/// What `xmlContent` shows of a body: a map with the outermost element. `None` when it is not XML; an empty map stands for it then,
/// with a warning.
pub fn xml_to_value(bytes: &[u8]) -> Option<Value<'static>> {
    let document = Document::parse(std::str::from_utf8(bytes).ok()?)?;
    let root = document.nodes[0]
        .children
        .iter()
        .copied()
        .find(|child| document.nodes[*child].kind == Kind::Element)?;
    let name = document.nodes[root].local_name().to_owned();
    Some(Value::map(vec![(Value::from(name), document.value(root))]))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    document: Document<'t>,
    /// Open elements, and the root.
    open: Vec<usize>,
    /// Prefixes and namespaces, with the number of open elements at their declaration.
    bindings: Vec<(&'t str, Cow<'t, str>, usize)>,
}

fn is_name_start(char: char) -> bool {
    char.is_alphabetic() || matches!(char, '_' | ':')
}

fn is_name_char(char: char) -> bool {
    is_name_start(char) || char.is_numeric() || matches!(char, '-' | '.' | '\u{b7}')
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

fn is_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// The text up to `end`, which is passed.
    fn until(&mut self, end: &str) -> Option<&'t str> {
        let length = self.rest().find(end)?;
        let text = &self.rest()[..length];
        self.at += length + end.len();
        text.chars().all(is_char).then_some(text)
    }

    fn blanks(&mut self) -> bool {
        let trimmed = self.rest().trim_start_matches(is_blank);
        let skipped = self.rest().len() - trimmed.len();
        self.at += skipped;
        skipped > 0
    }

    fn name(&mut self) -> Option<&'t str> {
        let rest = self.rest();
        if !rest.starts_with(is_name_start) {
            return None;
        }
        let length = rest.find(|char| !is_name_char(char)).unwrap_or(rest.len());
        self.at += length;
        Some(&rest[..length])
    }

    fn add(&mut self, kind: Kind, name: &'t str, text: Cow<'t, str>, parent: usize) -> usize {
        let number = self.document.nodes.len();
        self.document.nodes.push(Node {
            kind,
            name,
            namespace: Cow::Borrowed(""),
            text,
            parent,
            children: Vec::new(),
            attributes: Vec::new(),
        });
        if number > 0 {
            let parent = &mut self.document.nodes[parent];
            if kind == Kind::Attribute {
                parent.attributes.push(number);
            } else {
                parent.children.push(number);
            }
        }
        number
    }

    fn parent(&self) -> usize {
        self.open.last().copied().unwrap_or(0)
    }

    fn step(&mut self) -> Option<()> {
        let parent = self.parent();
        if self.take("<?") {
            let name = self.name()?;
            let text = self.until("?>")?;
            if name.eq_ignore_ascii_case("xml") {
                // The declaration comes first or not at all.
                return (self.document.nodes.len() == 1).then_some(());
            }
            self.add(
                Kind::Instruction,
                name,
                Cow::Borrowed(text.trim_start()),
                parent,
            );
        } else if self.take("<!--") {
            let text = self.until("-->")?;
            self.add(Kind::Comment, "", Cow::Borrowed(text), parent);
        } else if self.take("<![CDATA[") {
            if parent == 0 {
                return None;
            }
            let text = self.until("]]>")?;
            self.append_text(parent, Cow::Borrowed(text));
        } else if self.take("<!") {
            return None;
        } else if self.take("</") {
            let name = self.name()?;
            self.blanks();
            if !self.take(">") || parent == 0 || self.document.nodes[parent].name != name {
                return None;
            }
            self.close();
        } else if self.take("<") {
            self.element(parent)?;
        } else {
            let length = self.rest().find('<').unwrap_or_else(|| self.rest().len());
            let raw = &self.rest()[..length];
            self.at += length;
            if parent == 0 {
                return raw.chars().all(is_blank).then_some(());
            }
            if raw.contains("]]>") {
                return None;
            }
            let text = decoded(raw)?;
            self.append_text(parent, text);
        }
        Some(())
    }

    /// Adds text, to the text before it when there is some.
    fn append_text(&mut self, parent: usize, text: Cow<'t, str>) {
        if let Some(last) = self.document.nodes[parent].children.last().copied()
            && self.document.nodes[last].kind == Kind::Text
        {
            self.document.nodes[last].text.to_mut().push_str(&text);
            return;
        }
        self.add(Kind::Text, "", text, parent);
    }

    fn close(&mut self) {
        self.open.pop();
        let depth = self.open.len();
        while self
            .bindings
            .last()
            .is_some_and(|binding| binding.2 > depth)
        {
            self.bindings.pop();
        }
    }

    fn element(&mut self, parent: usize) -> Option<()> {
        if self.open.len() > DEPTH_MAX {
            return None;
        }
        let name = self.name()?;
        let element = self.add(Kind::Element, name, Cow::Borrowed(""), parent);
        self.open.push(element);
        let depth = self.open.len();
        let empty = loop {
            let blanks = self.blanks();
            if self.take("/>") {
                break true;
            }
            if self.take(">") {
                break false;
            }
            if !blanks {
                return None;
            }
            let name = self.name()?;
            self.blanks();
            if !self.take("=") {
                return None;
            }
            self.blanks();
            let quote = match self.rest().chars().next()? {
                '"' => "\"",
                '\'' => "'",
                _ => return None,
            };
            self.at += 1;
            let raw = self.until(quote)?;
            if raw.contains('<') {
                return None;
            }
            let value = decoded(raw)?;
            let attributes = &self.document.nodes[element].attributes;
            if attributes.len() > 1_000
                || attributes
                    .iter()
                    .any(|other| self.document.nodes[*other].name == name)
            {
                return None;
            }
            match name.strip_prefix("xmlns:") {
                Some(prefix) => self.bindings.push((prefix, value.clone(), depth)),
                None if name == "xmlns" => self.bindings.push(("", value.clone(), depth)),
                None => {}
            }
            self.add(Kind::Attribute, name, value, element);
        };
        self.document.nodes[element].namespace = self.namespace(name, true);
        for attribute in self.document.nodes[element].attributes.clone() {
            let name = self.document.nodes[attribute].name;
            self.document.nodes[attribute].namespace = self.namespace(name, false);
        }
        if empty {
            self.close();
        }
        Some(())
    }

    fn namespace(&self, name: &'t str, with_default: bool) -> Cow<'t, str> {
        let prefix = match name.split_once(':') {
            Some((prefix, _)) => prefix,
            None if with_default => "",
            None => return Cow::Borrowed(""),
        };
        self.bindings
            .iter()
            .rev()
            .find(|binding| binding.0 == prefix)
            .map_or(Cow::Borrowed(""), |binding| binding.1.clone())
    }
}

/// Text with its references replaced; `None` when one is unknown.
fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.chars().all(is_char) {
        return None;
    }
    if !raw.contains('&') {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let (name, behind) = after.split_once(';')?;
        text.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                code.ok()
                    .and_then(char::from_u32)
                    .filter(|char| is_char(*char))?
            }
        });
        rest = behind;
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}
