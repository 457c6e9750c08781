//! Report records come from the gateway's own ring, but the decoder must not trust that: it refuses what it cannot read,
//! and what it accepts has one encoding only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::report::{Record, TEXT_BYTES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let Some(record) = Record::decode(bytes) else {
        return;
    };
    let mut encoded = Vec::with_capacity(bytes.len());
    record.encode(&mut encoded);
    if bytes.len() <= TEXT_BYTES_MAX {
        assert_eq!(encoded, bytes);
    } else {
        // Long texts may have been cut; what is left is still one whole record.
        assert!(encoded.len() <= bytes.len());
        assert!(Record::decode(&encoded).is_some());
    }
});
