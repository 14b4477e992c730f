#![no_main]
//! The records of one partition, as sent and as fetched.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gapless_fuzzing::record_batches::records(bytes);
});
