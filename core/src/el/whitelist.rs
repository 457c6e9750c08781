//! The settings `el.whitelist.mode` and `el.whitelist.list` (contract expression-language 5).
//!
//! What can be called is built in. An entry adds nothing; one that names something else is worth a warning, and in the mode `replace`
//! the entries say what is left.

use std::collections::HashSet;

/// What the entries mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhitelistMode {
    /// They are added to the built-in list.
    #[default]
    Append,
    /// They replace it.
    Replace,
}

/// Types whose methods and constructors are all listed, as far as they are built in.
const CLASSES: &[&str] = &[
    "java.lang.Double",
    "java.lang.Float",
    "java.lang.Integer",
    "java.lang.Long",
    "java.lang.Math",
    "java.lang.Short",
    "java.lang.String",
    "java.math.BigDecimal",
    "java.text.DecimalFormat",
    "java.text.SimpleDateFormat",
    "java.time.LocalDate",
    "java.time.LocalDateTime",
    "java.time.ZonedDateTime",
    "java.time.format.DateTimeFormatter",
    "java.util.Base64",
    "java.util.Base64$Decoder",
    "java.util.Base64$Encoder",
    "java.util.Date",
];

/// Methods of other types.
const METHODS: &[(&str, &[&str])] = &[
    ("java.lang.Object", &["equals", "hashCode", "toString"]),
    ("java.lang.System", &["currentTimeMillis", "nanoTime"]),
    ("java.net.URLDecoder", &["decode"]),
    ("java.net.URLEncoder", &["encode"]),
    ("java.util.Collection", &["contains", "isEmpty", "size"]),
    (
        "java.util.Collections",
        &[
            "binarySearch",
            "disjoint",
            "frequency",
            "indexOfSubList",
            "lastIndexOfSubList",
            "max",
            "min",
        ],
    ),
    ("java.util.List", &["get"]),
    (
        "java.util.Map",
        &[
            "containsKey",
            "containsValue",
            "entrySet",
            "get",
            "getOrDefault",
            "isEmpty",
            "keySet",
            "size",
            "values",
        ],
    ),
    ("java.util.Map$Entry", &["getKey", "getValue"]),
    ("java.util.TimeZone", &["getTimeZone"]),
    ("java.util.UUID", &["randomUUID"]),
];

/// The entries of the settings, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whitelist {
    /// What the entries mean.
    pub mode: WhitelistMode,
    /// Entries that name something built in.
    pub known: Vec<Box<str>>,
    /// One sentence for each entry that has no effect.
    pub warnings: Vec<String>,
}

impl Whitelist {
    /// Reads entries: `class <class>`, `method <class> <name> <argument types…>`, `new <class> <argument types…>`.
    pub fn new<'e>(mode: WhitelistMode, entries: impl IntoIterator<Item = &'e str>) -> Self {
        let mut whitelist = Self {
            mode,
            ..Self::default()
        };
        let mut seen = HashSet::<String, foldhash::fast::RandomState>::default();
        for entry in entries {
            let words: Vec<&str> = entry.split_whitespace().collect();
            let listed = |class: &str| CLASSES.contains(&class);
            let known = match words[..] {
                ["class", class] => listed(class) || METHODS.iter().any(|(own, _)| *own == class),
                ["method", class, name, ..] => {
                    listed(class)
                        || METHODS
                            .iter()
                            .any(|(own, names)| *own == class && names.contains(&name))
                }
                ["new", class, ..] => listed(class),
                _ => {
                    whitelist.warnings.push(format!(
                        "the entry '{entry}' of el.whitelist.list is not understood"
                    ));
                    continue;
                }
            };
            if known {
                if seen.insert(words.join(" ")) {
                    whitelist.known.push(entry.trim().into());
                }
            } else {
                whitelist.warnings.push(format!(
                    "the entry '{entry}' of el.whitelist.list names something that expressions cannot call here"
                ));
            }
        }
        if mode == WhitelistMode::Replace {
            whitelist.warnings.push(
                "el.whitelist.mode 'replace' restricts nothing: expressions can still call everything that is built in"
                    .to_owned(),
            );
        }
        whitelist
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_have_no_effect_are_named() {
        let whitelist = Whitelist::new(
            WhitelistMode::Append,
            [
                "class java.lang.Math",
                "class  java.lang.Math",
                "method java.util.Map get java.lang.Object",
                "method java.util.Map put java.lang.Object java.lang.Object",
                "new java.math.BigDecimal java.lang.String",
                "new java.lang.Thread",
                "class com.acme.Thing",
                "nonsense",
            ],
        );
        assert_eq!(whitelist.known.len(), 3);
        assert_eq!(whitelist.warnings.len(), 4);
        assert!(whitelist.warnings[0].contains("put"));
        let replaced = Whitelist::new(WhitelistMode::Replace, ["class java.lang.Math"]);
        assert_eq!(replaced.warnings.len(), 1);
    }
}
