//! Request heads come from anyone: whatever the bytes and however they are split, the scanner and the parser answer, and what they accept has
//! spans inside the head, one Host, and one framing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::http::{HeadLimits, HeadScanner, Known, RequestHead, Scan, path};

const LIMITS: HeadLimits = HeadLimits {
    start_line_bytes_max: 4_096,
    fields_bytes_max: 8_192,
    fields_max: 64,
};

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let scan = |scanner: &mut HeadScanner, bytes: &[u8]| {
        scanner.scan(bytes, LIMITS.start_line_bytes_max, LIMITS.fields_bytes_max)
    };
    let whole = scan(&mut HeadScanner::default(), bytes);
    let mut scanner = HeadScanner::default();
    if let Ok(Scan::Partial) = scan(&mut scanner, &bytes[..cut % (bytes.len() + 1)]) {
        assert_eq!(scan(&mut scanner, bytes), whole, "a split changes nothing");
    }
    let Ok(Scan::Complete { start, end }) = whole else {
        return;
    };
    let head = &bytes[start..end];
    let mut parsed = RequestHead::default();
    if parsed.parse(head, &LIMITS).is_err() {
        return;
    }
    assert!(parsed.fields.values(head, Known::Host).count() <= 1);
    assert!(
        !(parsed.fields.first(Known::ContentLength).is_some()
            && parsed.fields.first(Known::TransferEncoding).is_some())
    );
    for field in parsed.fields.iter() {
        assert!(!field.name.is_empty());
        assert!(
            !field
                .value
                .of(head)
                .iter()
                .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        );
    }
    let mut normal = Vec::new();
    if path::normalize(parsed.path.of(head), &mut normal) == Ok(path::Normalized::Rewritten) {
        assert!(normal.starts_with(b"/"));
        assert!(
            !normal
                .split(|byte| *byte == b'/')
                .any(|segment| segment == b"." || segment == b"..")
        );
    }
});
