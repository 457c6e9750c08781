//! Response heads come from backends that may be broken or hostile: they are read or refused, never half-understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::http::{HeadScanner, Known, Method, ResponseHead, Scan};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Scan::Complete { start, end }) = HeadScanner::default().scan(bytes, 8_192, 8_192) else {
        return;
    };
    let head = &bytes[start..end];
    let mut parsed = ResponseHead::default();
    for method in [Method::Get, Method::Head] {
        if parsed.parse(head, method).is_err() {
            continue;
        }
        assert!((100..1_000).contains(&parsed.status) && parsed.status != 101);
        assert!(parsed.fields.values(head, Known::TransferEncoding).count() <= 1);
        for field in parsed.fields.iter() {
            assert!(
                !field
                    .value
                    .of(head)
                    .iter()
                    .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
            );
        }
    }
});
