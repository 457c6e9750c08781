//! Properties of an API (contract expression-language 4).

use std::collections::BTreeMap;

/// References that are followed inside one another at most.
const DEPTH_MAX: usize = 16;
/// Longest value, references resolved, bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Properties by key, values as written and decrypted: only their keys are shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<Box<str>, Box<str>>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Properties {
    /// Appends `written` to `text` with every `{{key}}` replaced by the property of that key.
    pub(crate) fn expand(
        &self,
        written: &str,
        text: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("properties refer to one another too deeply".to_owned());
        }
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((key, behind)) = after.split_once("}}") else {
                break;
            };
            text.push_str(before);
            let referred = self
                .0
                .get(key.trim())
                .ok_or_else(|| format!("the property {:?} does not exist", key.trim()))?;
            self.expand(referred, text, depth + 1)?;
            rest = behind;
        }
        text.push_str(rest);
        if text.len() > VALUE_BYTES_MAX {
            return Err("the value of a property is too large".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(written: &str) -> Result<String, String> {
        let properties = Properties(
            [
                ("a", "1"),
                ("b", "{{a}}2"),
                ("loop", "{{loop}}"),
                ("wide", "{{w}}{{w}}"),
                ("w", "x"),
            ]
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        );
        let mut text = String::new();
        properties.expand(written, &mut text, 0).map(|()| text)
    }

    #[test]
    fn references_are_replaced_and_missing_ones_are_errors() {
        for (written, expected) in [
            ("plain", Ok("plain")),
            ("<{{b}}>", Ok("<12>")),
            ("{{ a }}{{b}}", Ok("112")),
            ("{{wide}}", Ok("xx")),
            ("{{open", Ok("{{open")),
            ("{{nobody}}", Err(())),
            ("{{loop}}", Err(())),
        ] {
            let found = expanded(written);
            assert_eq!(found.as_deref().map_err(|_| ()), expected, "{written}");
        }
    }
}
