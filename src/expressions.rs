//! Settings of expressions, put in force before anything is compiled.

use turnpike_config::{Config, Diagnostic, ExpressionConfig};
use turnpike_core::el::{Limits, Whitelist, WhitelistMode};

/// Applies `gateway.expressions.*` to the process; warns of what `el.whitelist.*` asks for in vain.
pub(crate) fn apply(config: &Config) -> Vec<Diagnostic> {
    let settings = &config.expressions;
    let mut diagnostics = Vec::new();
    if !limits(settings).put_in_force() {
        diagnostics.push(Diagnostic::error(
            "gateway.expressions: other limits are in force in this process",
        ));
    }
    let mode = if settings.whitelist_replaces {
        WhitelistMode::Replace
    } else {
        WhitelistMode::Append
    };
    let entries = settings.whitelist.iter().map(String::as_str);
    let warnings = Whitelist::new(mode, entries).warnings;
    diagnostics.extend(warnings.into_iter().map(Diagnostic::warning));
    diagnostics
}

fn limits(settings: &ExpressionConfig) -> Limits {
    Limits {
        expression_chars: settings.text_chars_max,
        pattern_chars: settings.pattern_chars_max,
        repeat_chars: settings.repeat_chars_max,
        concat_chars: settings.concat_chars_max,
        depth: settings.depth_max,
        steps: settings.steps_max,
        result_bytes: settings.result_bytes_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_settings_are_the_default_limits() {
        assert_eq!(limits(&ExpressionConfig::default()), Limits::DEFAULT);
    }

    #[test]
    fn entries_of_the_whitelist_without_effect_are_warned_of() {
        let mut config = Config::default();
        assert!(apply(&config).is_empty());
        config.expressions.whitelist_replaces = true;
        config.expressions.whitelist = vec![
            "class java.lang.Math".to_owned(),
            "class com.acme.Thing".to_owned(),
        ];
        let texts: Vec<String> = apply(&config)
            .iter()
            .map(|diagnostic| diagnostic.message.clone())
            .collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("com.acme.Thing"), "{texts:?}");
        assert!(texts[1].contains("replace"), "{texts:?}");
    }
}
