#![no_main]
//! Frames as they come to the broker.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gapless_fuzzing::protocol::request(bytes);
});
