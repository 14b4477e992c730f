//! How far the recovery of all partitions is, for those who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted while partitions are opened, several at once.
#[derive(Debug, Default)]
pub struct Progress {
    partitions: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    pub(in crate::log) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One more is open.
    pub fn opened(&self) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
    }

    /// Partitions that are open.
    pub fn partitions(&self) -> u64 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Bytes of segments read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
