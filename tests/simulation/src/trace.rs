//! What happened, folded into one number: two runs of one seed must give the same.

use std::sync::{Arc, Mutex, PoisonError};

/// A running hash of all events of a world; clones share it.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    hash: u64,
    events: u64,
}

/// FNV-1a's offset basis and prime, 64 bits.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Default for Trace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { hash: BASIS, events: 0 })))
    }
}

impl Trace {
    /// An event of a kind, with the numbers that tell it from others of that kind.
    pub fn note(&self, kind: &str, numbers: &[u64]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        let hash =
            numbers.iter().fold(fold_bytes(state.hash, kind.as_bytes()), |hash, number| fold(hash, *number));
        state.hash = hash;
        drop(state);
        tracing::trace!(target: "trace", "{kind} {numbers:?}");
    }

    /// The hash so far and the number of events in it.
    #[must_use]
    pub fn summary(&self) -> (u64, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.hash, state.events)
    }
}

/// A hash of bytes, eight at a time: telling, not secure.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    fold_bytes(BASIS, bytes)
}

fn fold_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let whole =
        chunks.by_ref().filter_map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes)).fold(hash, fold);
    chunks.remainder().iter().fold(whole, |hash, byte| fold(hash, u64::from(*byte)))
}

const fn fold(hash: u64, number: u64) -> u64 {
    let mixed = (hash ^ number).wrapping_mul(PRIME);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_event_or_order_gives_another_hash() {
        let of = |events: &[(&str, &[u64])]| {
            let trace = Trace::default();
            for (kind, numbers) in events {
                trace.note(kind, numbers);
            }
            trace.summary().0
        };
        assert_eq!(of(&[("a", &[1]), ("b", &[2])]), of(&[("a", &[1]), ("b", &[2])]));
        assert_ne!(of(&[("a", &[1]), ("b", &[2])]), of(&[("b", &[2]), ("a", &[1])]));
        assert_ne!(of(&[("a", &[1])]), of(&[("a", &[3])]));
        assert_ne!(hash_of(b"eight bytes and"), hash_of(b"eight bytes anD"));
    }
}
