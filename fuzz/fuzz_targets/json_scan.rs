//! JSON comes from anyone: the scanner answers whatever the bytes, and a limit only ever refuses more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::policy::json_scan::{JsonLimits, JsonThreat, scan};

fuzz_target!(|input: (u8, &[u8])| {
    let (limit, bytes) = input;
    let limit = Some(usize::from(limit));
    let free = scan(bytes, &JsonLimits::default());
    if let Err(JsonThreat::Syntax(at)) = free {
        assert!(at <= bytes.len());
    }
    let strict = JsonLimits {
        entries_max: limit,
        array_max: limit,
        depth_max: limit,
        name_max: limit,
        value_max: limit,
        unique_names: true,
    };
    if scan(bytes, &strict).is_ok() {
        assert_eq!(free, Ok(()));
    }
});
