//! CRC-32C over what is in a core's cache.

use std::hint::black_box;
use std::time::Instant;

/// About a batch.
const BYTES: usize = 64 * 1024;

/// Gigabytes a second.
pub fn rate(seconds: f64) -> f64 {
    let bytes = vec![0x5a_u8; BYTES];
    let begun = Instant::now();
    let mut rounds = 0_u64;
    while begun.elapsed().as_secs_f64() < seconds {
        for _ in 0..64 {
            black_box(crc_fast::crc32_iscsi(black_box(&bytes)));
        }
        rounds += 64;
    }
    (rounds * BYTES as u64) as f64 / begun.elapsed().as_secs_f64() / 1e9
}
