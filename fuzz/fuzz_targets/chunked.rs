//! Chunked bodies come from anyone: any split of the same bytes gives the same payload, the same end, or the same refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_core::http::chunked::ChunkedDecoder;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut whole = bytes.to_vec();
    let at_once = ChunkedDecoder::default().decode(&mut whole);
    let mut decoder = ChunkedDecoder::default();
    let (mut payload, mut consumed) = (Vec::new(), 0);
    let piecewise = bytes
        .chunks(usize::from(step).max(1))
        .try_for_each(|piece| {
            if decoder.is_done() {
                return Ok(());
            }
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece)?;
            payload.extend_from_slice(&piece[..decoded.payload]);
            consumed += decoded.consumed;
            Ok(())
        });
    match at_once {
        Ok(decoded) => {
            assert_eq!(piecewise, Ok(()));
            assert_eq!(payload, &whole[..decoded.payload]);
            assert_eq!(
                (consumed, decoder.is_done()),
                (decoded.consumed, decoded.done)
            );
        }
        Err(error) => assert_eq!(piecewise, Err(error)),
    }
});
