//! A batch on its way from filling to its fate.

use std::sync::Arc;

use gapless_common::records::{ClosedBatch, Compression, OpenBatch};
use tokio::time::Instant;

use crate::delivery::{BatchCell, Resolver, Waiters};
use crate::fate::{Fate, PartitionName};
use crate::memory::Memory;
use crate::observer::BatchInfo;
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
    /// See [`BatchInfo::number`].
    number: u64,
    closed: ClosedBatch,
    /// `None`: its records have their fate already, and it is sent again to find out more.
    resolver: Option<Resolver>,
    charge: Charge,
    admitted: Instant,
}

/// Memory charged for a batch; dropping it gives it back.
struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
    /// Counted among what halts keep.
    kept: bool,
}

impl Charge {
    /// A charge for so many of its bytes.
    fn split_off(&mut self, bytes: usize) -> Self {
        self.bytes -= bytes;
        Self { memory: Arc::clone(&self.memory), bytes, kept: self.kept }
    }

    fn keep(&mut self) -> Option<Self> {
        if !self.memory.try_keep(self.bytes) {
            return None;
        }
        let mut kept = self.split_off(self.bytes);
        kept.kept = true;
        Some(kept)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.kept {
            self.memory.unkeep(self.bytes);
        }
        self.memory.release(self.bytes);
    }
}

impl Filling {
    /// Compresses the batch, outside every lock that callers take, and gives back the memory this spares.
    pub(crate) fn close(
        self,
        number: u64,
        compression: Compression,
        level: Option<i32>,
        memory: &Arc<Memory>,
    ) -> Outgoing {
        let closed = self.batch.close(compression, level);
        let mut charge = Charge { memory: Arc::clone(memory), bytes: self.charged, kept: false };
        if closed.size() < closed.uncompressed_size() {
            drop(charge.split_off(self.charged.saturating_sub(closed.size())));
        }
        Outgoing { number, closed, resolver: Some(Resolver::new(self.cell)), charge, admitted: self.admitted }
    }

    /// What is told of it if it is never closed.
    pub(crate) fn info(&self, number: u64, partition: &Arc<PartitionName>) -> BatchInfo {
        BatchInfo {
            number,
            partition: Arc::clone(partition),
            records: self.batch.record_count(),
            size: self.batch.encoded_size(),
            size_uncompressed: self.batch.encoded_size(),
        }
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

    pub(crate) fn info(&self, partition: &Arc<PartitionName>) -> BatchInfo {
        BatchInfo {
            number: self.number,
            partition: Arc::clone(partition),
            records: self.closed.record_count(),
            size: self.closed.size(),
            size_uncompressed: self.closed.uncompressed_size(),
        }
    }

    /// Tells its records their fate and gives back their memory.
    pub(crate) fn end(self, fate: Fate) -> Option<Waiters> {
        drop(self.charge);
        self.resolver?.resolve(fate)
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
        if let Some(resolver) = &mut self.resolver {
            resolver.sent = true;
        }
    }

    fn split(mut self) -> Result<[Self; 2], Self> {
        let Ok([first, second]) = <[ClosedBatch; 2]>::try_from(self.closed.split()) else { return Err(self) };
        let [one, other] = match self.resolver.take() {
            Some(resolver) => resolver.split(first.record_count()).map(Some),
            None => [None, None],
        };
        let half = self.charge.split_off(self.charge.bytes / 2);
        Ok([
            Self { number: self.number, closed: first, resolver: one, charge: half, admitted: self.admitted },
            Self {
                number: self.number,
                closed: second,
                resolver: other,
                charge: self.charge,
                admitted: self.admitted,
            },
        ])
    }

    fn keep(&mut self) -> Option<Self> {
        let charge = self.charge.keep()?;
        let closed = self.closed.clone();
        Some(Self { number: self.number, closed, resolver: None, charge, admitted: self.admitted })
    }
}
