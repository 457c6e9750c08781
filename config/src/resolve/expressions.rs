//! What expressions may cost, and what they may call.

use super::Reader;
use crate::settings::ExpressionConfig;

pub(super) fn expressions(reader: &mut Reader<'_>) -> ExpressionConfig {
    let default = ExpressionConfig::default();
    let mut size = |name: &str, default: usize| {
        reader
            .number_as(&format!("gateway.expressions.{name}"))
            .unwrap_or(default)
    };
    ExpressionConfig {
        text_chars_max: size("textCharsMax", default.text_chars_max),
        pattern_chars_max: size("patternCharsMax", default.pattern_chars_max),
        repeat_chars_max: size("repeatCharsMax", default.repeat_chars_max),
        concat_chars_max: size("concatCharsMax", default.concat_chars_max),
        depth_max: size("depthMax", default.depth_max),
        result_bytes_max: size("resultBytesMax", default.result_bytes_max),
        steps_max: reader
            .number_as("gateway.expressions.stepsMax")
            .unwrap_or(default.steps_max),
        whitelist_replaces: reader
            .choice("el.whitelist.mode", &[("append", false), ("replace", true)])
            .unwrap_or(default.whitelist_replaces),
        whitelist: reader.list("el.whitelist.list").unwrap_or_default(),
    }
}
