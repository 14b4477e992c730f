//! One attempt to admit a record: what it may do, and what it tells.

use crate::delivery::{BatchCell, Delivery};
use crate::error::Rejection;
use crate::memory::Grant;
use std::sync::Arc;

/// What an attempt to admit a record may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leave {
    /// What costs next to nothing.
    Nothing,
    /// Also roll a batch.
    Roll,
    /// Also roll one before it is full, since the grant is for the record alone.
    All,
}

/// Why an attempt did not admit a record.
pub(crate) enum Obstacle {
    Rejected(Rejection),
    /// The topic's partitions must be known first.
    NeedsTopic,
    NeedsMemory(usize),
    /// Let others run first: a batch rolls.
    Rolls,
}

/// What an attempt is given, and what it tells beside where the record is.
pub(crate) struct Attempt<'a, 'm> {
    pub(crate) leave: Leave,
    /// Memory that was waited for.
    pub(crate) grant: Option<&'a mut Grant<'m>>,
    /// Why the record was not admitted.
    pub(crate) obstacle: Option<Obstacle>,
    /// So many bytes came to this partition that the topic's favour should move on.
    pub(crate) favour_spent: bool,
    /// The timestamp of the record that was admitted.
    pub(crate) timestamp_ms: i64,
}

/// Where an admitted record is. Two registers.
pub(crate) struct Admitted {
    pub(crate) cell: Arc<BatchCell>,
    pub(crate) index: u32,
}

impl<'a, 'm> Attempt<'a, 'm> {
    #[inline]
    pub(crate) const fn new(leave: Leave, grant: Option<&'a mut Grant<'m>>) -> Self {
        Self { leave, grant, obstacle: None, favour_spent: false, timestamp_ms: 0 }
    }

    /// Notes what stands in the way.
    pub(crate) fn fail(&mut self, obstacle: Obstacle) -> Option<Admitted> {
        self.obstacle = Some(obstacle);
        None
    }

    /// What stood in the way.
    pub(crate) fn obstacle(&mut self) -> Obstacle {
        // An attempt that fails says why.
        self.obstacle.take().unwrap_or(Obstacle::Rejected(Rejection::Closed))
    }
}

impl Admitted {
    /// What the caller gets.
    #[inline]
    pub(crate) fn delivery(self, timestamp_ms: i64) -> Delivery {
        self.cell.delivery(self.index, timestamp_ms)
    }
}
