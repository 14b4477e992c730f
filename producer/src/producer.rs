//! The handles a caller holds.

use std::sync::Arc;
use std::time::Duration;

use gapless_common::seam::Seams;

use crate::builder::Builder;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::{BuildError, FlushError, Rejection, ResumeError, SendError, Unreachable};
use crate::fate::{Halt, Resume};
use crate::record::{Record, RecordView};
use crate::stats::Stats;

/// A producer. Clones share everything.
#[derive(Clone)]
pub struct Producer {
    never: std::convert::Infallible,
}

impl Producer {
    /// Settings to be made.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) async fn start(_config: Config, _seams: Seams) -> Result<Self, BuildError> {
        Err(BuildError::Unreachable(Unreachable { after: Duration::ZERO, attempts: vec![], named_by: None }))
    }

    /// Admits a record, waiting for room in the buffer and for what is not known of its topic.
    ///
    /// # Errors
    /// The record is given back.
    pub async fn send(&self, record: Record) -> Result<Delivery, SendError> {
        drop(record);
        match self.never {}
    }

    /// Admits a record if that needs no waiting.
    ///
    /// # Errors
    /// The record is given back.
    pub fn try_send(&self, record: Record) -> Result<Delivery, SendError> {
        drop(record);
        match self.never {}
    }

    /// A handle to one topic that spares the look-up, and takes borrowed records.
    #[must_use]
    pub fn topic(&self, _name: &str) -> Topic {
        match self.never {}
    }

    /// Waits until everything admitted before has its fate. Changes no state.
    ///
    /// # Errors
    /// Time is up, or partitions are halted.
    pub async fn flush(&self, _time_limit: Duration) -> Result<(), FlushError> {
        match self.never {}
    }

    /// Takes no more records; waits as `flush` does; then ends whatever is left: the unsent is not written, the sent
    /// unknown.
    ///
    /// # Errors
    /// As `flush`.
    pub async fn close(&self, _time_limit: Duration) -> Result<(), FlushError> {
        match self.never {}
    }

    /// Lets a halted partition go on.
    ///
    /// # Errors
    /// It is not halted, or in another generation.
    pub async fn resume(
        &self,
        _topic: &str,
        _partition: i32,
        _generation: u64,
        _how: Resume,
    ) -> Result<(), ResumeError> {
        match self.never {}
    }

    /// Partitions that are halted.
    #[must_use]
    pub fn halts(&self) -> Vec<Arc<Halt>> {
        match self.never {}
    }

    /// Brokers that are needed now and were never reached since they are needed: `after` says for how long.
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        match self.never {}
    }

    /// Running totals.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self.never {}
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        match self.never {}
    }
}

/// A handle to one topic.
#[derive(Clone)]
pub struct Topic {
    never: std::convert::Infallible,
}

impl Topic {
    /// Admits a record whose bytes the caller keeps, waiting for room.
    ///
    /// # Errors
    /// Why it was not admitted.
    pub async fn send(&self, _record: RecordView<'_>) -> Result<Delivery, Rejection> {
        match self.never {}
    }

    /// Admits a record if that needs no waiting.
    ///
    /// # Errors
    /// Why it was not admitted.
    pub fn try_send(&self, _record: RecordView<'_>) -> Result<Delivery, Rejection> {
        match self.never {}
    }

    /// Waits for room for a record of up to `size` bytes (key, value and headers together).
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn reserve(&self, _size: usize) -> Result<Permit, Rejection> {
        match self.never {}
    }

    /// How many partitions it has; waits until that is known.
    ///
    /// # Errors
    /// Why it will not be known.
    pub async fn partition_count(&self) -> Result<u32, Rejection> {
        match self.never {}
    }
}

/// Room for one record.
pub struct Permit {
    never: std::convert::Infallible,
}

impl Permit {
    /// Admits the record, at once.
    ///
    /// # Errors
    /// The partition is halted, the producer closed, or the record larger than what was reserved.
    pub fn send(self, _record: RecordView<'_>) -> Result<Delivery, Rejection> {
        match self.never {}
    }
}
