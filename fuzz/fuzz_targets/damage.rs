#![no_main]
//! A partition's files as they were, damaged, opened, and compared with what was written.

use std::sync::OnceLock;

use gapless_fuzzing::damage::{Damages, SEED};

static DAMAGES: OnceLock<Damages> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    DAMAGES.get_or_init(|| Damages::new(SEED)).open(bytes);
});
