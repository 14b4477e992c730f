//! A batch on its way from filling to its fate.

use std::sync::Arc;

use gapless_common::records::{ClosedBatch, Compression, OpenBatch};
use tokio::time::Instant;

use crate::delivery::{BatchCell, Fate, Resolver, Waiters};
use crate::memory::Memory;
use crate::partition::{Batch, Stamp};

/// A batch that records are encoded into, and after that waits to be closed.
pub(crate) struct Filling {
    pub(crate) batch: OpenBatch,
    pub(crate) cell: Arc<BatchCell>,
    /// Bytes charged for it: its buffer's capacity.
    pub(crate) charged: usize,
    /// When its first record was admitted.
    pub(crate) admitted: Instant,
}

/// A batch in the hands of the sender.
pub(crate) struct Outgoing {
    closed: ClosedBatch,
    resolver: Resolver,
    charged: usize,
    admitted: Instant,
}

impl Filling {
    /// Compresses the batch, outside every lock that callers take, and gives back the memory this spares.
    pub(crate) fn close(self, compression: Compression, level: Option<i32>, memory: &Memory) -> Outgoing {
        let closed = self.batch.close(compression, level);
        let mut charged = self.charged;
        if closed.size() < closed.uncompressed_size() {
            let spared = charged.saturating_sub(closed.size());
            memory.release(spared);
            charged -= spared;
        }
        Outgoing { closed, resolver: Resolver::new(self.cell), charged, admitted: self.admitted }
    }

    /// It was never handed to the sender: it ends here.
    pub(crate) fn end(self, fate: Fate, memory: &Memory) -> Option<Waiters> {
        memory.release(self.charged);
        Resolver::new(self.cell).resolve(fate)
    }
}

impl Outgoing {
    pub(crate) const fn closed(&self) -> &ClosedBatch {
        &self.closed
    }

    /// Tells its records their fate and gives back their memory.
    pub(crate) fn end(self, fate: Fate, memory: &Memory) -> Option<Waiters> {
        memory.release(self.charged);
        self.resolver.resolve(fate)
    }
}

impl Batch for Outgoing {
    fn records(&self) -> u32 {
        self.closed.record_count()
    }

    fn size(&self) -> usize {
        self.closed.size()
    }

    fn admitted(&self) -> Instant {
        self.admitted
    }

    fn stamp(&mut self, stamp: Option<Stamp>) {
        match stamp {
            None => self.closed.stamp_plain(),
            Some(Stamp { identity, first }) if self.closed.is_stamped() => {
                self.closed.restamp(identity.id, identity.epoch, first);
            }
            Some(Stamp { identity, first }) => self.closed.stamp(identity.id, identity.epoch, first),
        }
        self.resolver.sent = true;
    }

    fn split(self) -> Result<[Self; 2], Self> {
        let Ok([first, second]) = <[ClosedBatch; 2]>::try_from(self.closed.split()) else { return Err(self) };
        let [one, other] = self.resolver.split(first.record_count());
        let half = self.charged / 2;
        Ok([
            Self { closed: first, resolver: one, charged: half, admitted: self.admitted },
            Self { closed: second, resolver: other, charged: self.charged - half, admitted: self.admitted },
        ])
    }
}
