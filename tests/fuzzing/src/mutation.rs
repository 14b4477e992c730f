//! Changes to sound bytes, of the kinds that find careless decoders, and what they cost.

use std::fs;

use fastrand::Rng;

/// Values that lengths and counts go wrong at.
const BORDERS: [&[u8]; 8] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
];

/// One to four changes.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.u8(1..=4) {
        if bytes.is_empty() {
            bytes.push(rng.u8(..));
            continue;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..6) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => {
                let border = BORDERS[rng.usize(..BORDERS.len())];
                for (to, from) in bytes.iter_mut().skip(at).zip(border) {
                    *to = *from;
                }
            }
            3 => drop(bytes.drain(at..(at + rng.usize(1..=8)).min(bytes.len()))),
            4 => {
                let end = (at + rng.usize(1..=16)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => bytes.truncate(at),
        }
    }
}

/// The most memory that this process ever had resident, in bytes; 0 where the kernel does not say.
pub fn resident_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib: Option<u64> =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0) * 1024
}
