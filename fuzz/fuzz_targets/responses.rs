#![no_main]
//! Frames as they come to a client; the first two bytes say of which API and version.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gapless_fuzzing::protocol::any_response(bytes);
});
