//! Templates come from API definitions, what they are rendered on from clients: any text is compiled or refused, and any template that
//! compiles is rendered or fails, within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::policy::freemarker::{Model, OUTPUT_BYTES_MAX, Template};

fuzz_target!(|source: &str| {
    let Ok(template) = Template::new(source) else {
        return;
    };
    let model = Model::default();
    let rendered = template.render(&model);
    assert_eq!(
        rendered,
        template.render(&model),
        "a rendering depends on nothing else"
    );
    if let Ok(text) = rendered {
        assert!(text.len() <= OUTPUT_BYTES_MAX);
        if !source.contains(['<', '$', '#']) {
            assert_eq!(text, source, "text without markup stays as it is");
        }
    }
});
