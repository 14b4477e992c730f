//! Randomness from one seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A seeded generator that is handed down; clones share one stream, [`Random::fork`] starts another.
/// Not for secrets.
#[derive(Clone)]
pub struct Random(Arc<Mutex<fastrand::Rng>>);

impl Random {
    /// The same seed gives the same stream on every machine.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Seeded by the operating system.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    pub fn from_entropy() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A generator of its own whose stream follows from this one's state.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(fastrand::Rng::fork))))
    }

    /// 64 random bits.
    #[must_use]
    pub fn bits64(&self) -> u64 {
        self.with(|rng| rng.u64(..))
    }

    /// 128 random bits.
    #[must_use]
    pub fn bits128(&self) -> u128 {
        self.with(|rng| rng.u128(..))
    }

    /// Uniform in `0..limit`; 0 when `limit` is 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.with(|rng| rng.u64(..limit)) }
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
