#![no_main]
//! A partition's files of any content, opened.

use std::sync::OnceLock;

use gapless_fuzzing::recovery::Recovery;

static PLACE: OnceLock<Recovery> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    PLACE.get_or_init(Recovery::new).open(bytes);
});
