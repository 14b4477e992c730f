//! The time of day of one host. It runs with Tokio's clock, and jumps when told to.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use gapless_common::seam::WallClock;
use tokio::time::Instant;

/// When every simulated world begins: 2026-01-01, in milliseconds since 1970.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// A wall clock; clones are the same one.
#[derive(Clone)]
pub struct Clock {
    begin: Instant,
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Begins at [`EPOCH_MS`] now.
    #[must_use]
    pub fn new() -> Self {
        Self { begin: Instant::now(), ahead_ms: Arc::default() }
    }

    /// Jumps, back if negative.
    pub fn jump(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Goes right again.
    pub fn set_right(&self) {
        self.ahead_ms.store(0, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock for Clock {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(i64::MAX);
        EPOCH_MS.saturating_add(elapsed).saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }
}
