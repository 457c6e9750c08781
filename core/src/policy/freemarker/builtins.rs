//! The built-ins that templates may use.

/// A built-in (`?name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    pub(super) kind: Kind,
}

/// What a built-in works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; numbers and the like are turned into text before.
    Text,
    Number,
    /// Lists and maps.
    Collection,
    /// Anything.
    Any,
    /// A value that may be missing.
    Missing,
    /// A loop variable.
    Loop,
}

const fn on(kind: Kind, name: &'static str, least: usize, most: usize) -> BuiltIn {
    BuiltIn {
        name,
        least,
        most,
        kind,
    }
}

static BUILT_INS: &[BuiltIn] = &[
    on(Kind::Text, "upper_case", 0, 0),
    on(Kind::Text, "lower_case", 0, 0),
    on(Kind::Text, "cap_first", 0, 0),
    on(Kind::Text, "uncap_first", 0, 0),
    on(Kind::Text, "capitalize", 0, 0),
    on(Kind::Text, "trim", 0, 0),
    on(Kind::Text, "length", 0, 0),
    on(Kind::Text, "html", 0, 0),
    on(Kind::Text, "xhtml", 0, 0),
    on(Kind::Text, "xml", 0, 0),
    on(Kind::Text, "json_string", 0, 0),
    on(Kind::Text, "js_string", 0, 0),
    on(Kind::Text, "j_string", 0, 0),
    on(Kind::Text, "url", 0, 1),
    on(Kind::Text, "url_path", 0, 1),
    on(Kind::Text, "number", 0, 0),
    on(Kind::Text, "boolean", 0, 0),
    on(Kind::Text, "contains", 1, 1),
    on(Kind::Text, "starts_with", 1, 1),
    on(Kind::Text, "ends_with", 1, 1),
    on(Kind::Text, "ensure_starts_with", 1, 1),
    on(Kind::Text, "ensure_ends_with", 1, 1),
    on(Kind::Text, "remove_beginning", 1, 1),
    on(Kind::Text, "remove_ending", 1, 1),
    on(Kind::Text, "keep_before", 1, 1),
    on(Kind::Text, "keep_after", 1, 1),
    on(Kind::Text, "keep_before_last", 1, 1),
    on(Kind::Text, "keep_after_last", 1, 1),
    on(Kind::Text, "replace", 2, 2),
    on(Kind::Text, "split", 1, 1),
    on(Kind::Text, "substring", 1, 2),
    on(Kind::Text, "index_of", 1, 2),
    on(Kind::Text, "last_index_of", 1, 1),
    on(Kind::Text, "left_pad", 1, 2),
    on(Kind::Text, "right_pad", 1, 2),
    on(Kind::Text, "chop_linebreak", 0, 0),
    on(Kind::Text, "word_list", 0, 0),
    on(Kind::Text, "eval", 0, 0),
    on(Kind::Text, "eval_json", 0, 0),
    on(Kind::Number, "round", 0, 0),
    on(Kind::Number, "floor", 0, 0),
    on(Kind::Number, "ceiling", 0, 0),
    on(Kind::Number, "abs", 0, 0),
    on(Kind::Number, "int", 0, 0),
    on(Kind::Number, "long", 0, 0),
    on(Kind::Number, "double", 0, 0),
    on(Kind::Collection, "size", 0, 0),
    on(Kind::Collection, "first", 0, 0),
    on(Kind::Collection, "last", 0, 0),
    on(Kind::Collection, "reverse", 0, 0),
    on(Kind::Collection, "sort", 0, 0),
    on(Kind::Collection, "join", 1, 3),
    on(Kind::Collection, "seq_contains", 1, 1),
    on(Kind::Collection, "seq_index_of", 1, 1),
    on(Kind::Collection, "keys", 0, 0),
    on(Kind::Collection, "values", 0, 0),
    on(Kind::Any, "string", 0, 2),
    on(Kind::Any, "c", 0, 0),
    on(Kind::Any, "then", 2, 2),
    on(Kind::Any, "is_string", 0, 0),
    on(Kind::Any, "is_number", 0, 0),
    on(Kind::Any, "is_boolean", 0, 0),
    on(Kind::Any, "is_sequence", 0, 0),
    on(Kind::Any, "is_enumerable", 0, 0),
    on(Kind::Any, "is_indexable", 0, 0),
    on(Kind::Any, "is_collection", 0, 0),
    on(Kind::Any, "is_hash", 0, 0),
    on(Kind::Any, "is_hash_ex", 0, 0),
    on(Kind::Missing, "has_content", 0, 0),
    on(Kind::Missing, "default", 1, 4),
    on(Kind::Missing, "exists", 0, 0),
    on(Kind::Missing, "if_exists", 0, 0),
    on(Kind::Loop, "index", 0, 0),
    on(Kind::Loop, "counter", 0, 0),
    on(Kind::Loop, "has_next", 0, 0),
    on(Kind::Loop, "is_first", 0, 0),
    on(Kind::Loop, "is_last", 0, 0),
    on(Kind::Loop, "is_odd_item", 0, 0),
    on(Kind::Loop, "is_even_item", 0, 0),
];

impl BuiltIn {
    /// The built-in of a name; `upperCase` is `upper_case`.
    pub(super) fn find(name: &str) -> Option<Self> {
        let mut snake = String::with_capacity(name.len() + 4);
        for character in name.chars() {
            if character.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(character.to_ascii_lowercase());
        }
        BUILT_INS.iter().copied().find(|own| own.name == snake)
    }

    /// Whether it may have so many arguments.
    pub(super) fn takes(self, arguments: usize) -> bool {
        (self.least..=self.most).contains(&arguments)
    }
}
