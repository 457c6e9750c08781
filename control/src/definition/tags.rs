//! Sharding tags (contract api-definition 1.2).

/// The gateway's `tags`: entries to include, and entries with `!` to exclude.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardingTags {
    included: Vec<String>,
    excluded: Vec<String>,
}

impl ShardingTags {
    /// Reads the entries of the setting `tags`. No entry matches everything.
    pub fn new<T: AsRef<str>>(entries: &[T]) -> Self {
        let mut tags = Self::default();
        for entry in entries {
            let entry = entry.as_ref().trim();
            match entry.strip_prefix('!') {
                Some(excluded) if !excluded.trim().is_empty() => tags.excluded.push(fold(excluded)),
                None if !entry.is_empty() => tags.included.push(fold(entry)),
                _ => {}
            }
        }
        tags
    }

    /// Whether an object with these tags is meant for this gateway. An object without tags satisfies no inclusion and hits no
    /// exclusion.
    pub fn matches<T: AsRef<str>>(&self, tags: &[T]) -> bool {
        let has = |wanted: &String| tags.iter().any(|tag| fold(tag.as_ref()) == *wanted);
        (self.included.is_empty() || self.included.iter().any(has))
            && !self.excluded.iter().any(has)
    }
}

/// Tags are compared without case.
fn fold(tag: &str) -> String {
    tag.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_match_by_inclusion_and_exclusion_without_case() {
        let cases: [(&[&str], &[&str], bool); 11] = [
            (&[], &[], true),
            (&[], &["eu"], true),
            (&["eu"], &[], false),
            (&["eu"], &["EU"], true),
            (&[" eu ", "us"], &["us", "asia"], true),
            (&["eu"], &["us"], false),
            (&["!eu"], &[], true),
            (&["!eu"], &["Eu"], false),
            (&["!eu"], &["us"], true),
            (&["us", "!eu"], &["us", "eu"], false),
            (&["", "!"], &["x"], true),
        ];
        for (gateway, api, expected) in cases {
            assert_eq!(
                ShardingTags::new(gateway).matches(api),
                expected,
                "{gateway:?} {api:?}"
            );
        }
    }
}
