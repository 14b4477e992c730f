#![no_main]
//! A stream of bytes cut into frames.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gapless_fuzzing::frames::stream(bytes);
});
