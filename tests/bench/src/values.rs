//! What is sent: lines of an imaginary log, all of one size, different from each other, and about as compressible as such are.

/// So many values come in turn: they fit into a core's own cache at 100 bytes, and no compressor sees one twice in its
/// shorter windows.
const POOL: usize = 4096;

const WORDS: [&str; 24] = [
    "GET",
    "POST",
    "/api/v1/orders",
    "/api/v1/users",
    "/health",
    "status=200",
    "status=404",
    "status=503",
    "user",
    "session",
    "latency_ms",
    "region=eu-west",
    "region=us-east",
    "cache",
    "hit",
    "miss",
    "retry",
    "bytes",
    "INFO",
    "WARN",
    "checkout",
    "payment",
    "accepted",
    "declined",
];

/// Values in turn.
pub struct Values {
    bytes: Vec<u8>,
    size: usize,
}

impl Values {
    /// Values of `size` bytes; the same in every run.
    pub fn new(size: usize) -> Self {
        // A xorshift generator: what matters is that it repeats, in every language if need be.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut bytes = Vec::with_capacity(size * POOL);
        for _ in 0..POOL {
            let end = bytes.len() + size;
            while bytes.len() < end {
                let drawn = next();
                bytes.extend_from_slice(WORDS[(drawn % WORDS.len() as u64) as usize].as_bytes());
                bytes.extend_from_slice(format!(" {:x} ", drawn >> 40).as_bytes());
            }
            bytes.truncate(end);
        }
        Self { bytes, size }
    }

    /// The value of the record of this number.
    pub fn get(&self, number: u64) -> &[u8] {
        let at = (number % POOL as u64) as usize * self.size;
        &self.bytes[at..at + self.size]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_have_their_size_differ_and_are_lines() {
        for size in [100, 1000] {
            let values = Values::new(size);
            let all: BTreeSet<_> = (0..POOL as u64).map(|number| values.get(number)).collect();
            assert_eq!(all.len(), POOL);
            assert!(all.iter().all(|value| value.len() == size && !value.contains(&b'\n')));
            assert_eq!(values.get(0), values.get(POOL as u64));
        }
    }
}
