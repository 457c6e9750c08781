//! The text format: families, labels, values.

use std::fmt::{Display, Write as _};

/// Kind of a family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct Exposition {
    page: String,
    base_labels: String,
}

impl Exposition {
    /// An empty page whose samples all carry `base_labels`.
    pub(super) fn new(base_labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in base_labels {
            label(&mut text, name, value);
        }
        Self {
            page: String::with_capacity(32 << 10),
            base_labels: text,
        }
    }

    /// Begins a family. Its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.page,
            "# HELP {name} {help}\n# TYPE {name} {}",
            kind.as_str()
        );
    }

    /// One sample.
    pub(super) fn value<L: AsRef<str>>(
        &mut self,
        name: &str,
        labels: &[(&str, L)],
        value: impl Display,
    ) {
        let Self { page, base_labels } = self;
        page.push_str(name);
        page.push('{');
        page.push_str(base_labels);
        for (name, value) in labels {
            label(page, name, value.as_ref());
        }
        page.pop(); // The comma after the last label: there is always a base label.
        let _ = writeln!(page, "}} {value}");
    }

    /// A family of one sample.
    pub(super) fn single(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        self.family(name, kind, help);
        self.value(name, labels, value);
    }

    pub(super) fn finish(self) -> String {
        self.page
    }
}

fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push_str("\",");
}
