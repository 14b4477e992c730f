//! Known bugs that the simulation can switch on, to show that it would find them. A test that finds nothing proves
//! nothing until it has found something.
//!
//! Only with the feature `seeded-bugs`, which nothing but the simulation's tests asks for; without it [`is_on`] is a
//! constant `false`. The switch belongs to one thread, as a simulated world does.

/// A bug that people have shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeededBug {
    /// A flush says that it is done and does nothing.
    NoFlush,
    /// New names in a directory are not made durable.
    NoDirectorySync,
    /// Under `fsync`, acks=all is answered before the flush.
    AcknowledgeBeforeFlush,
    /// A duplicate is answered before its original is flushed (etcd 14370).
    AnswerDuplicateBeforeFlush,
    /// A flush that failed is tried again, and its success believed.
    BelieveSecondFlush,
    /// Four batches of a producer are remembered, not five.
    RememberFourBatches,
    /// The sequencer's decision stays although the write failed (KAFKA-10778).
    KeepDecisionOfFailedWrite,
    /// The producer sends a batch again behind those that followed it.
    RetryOutOfOrder,
    /// The producer drops a batch whose delivery timed out and goes on with the next one.
    DropTimedOutBatch,
    /// An index is believed without its checksum and without looking at the log.
    TrustCorruptIndex,
    /// A producer snapshot is believed although the log it was taken of was cut off.
    TrustAbandonedSnapshot,
    /// A clean-shutdown mark is not removed at the start, and believed at the next one.
    TrustStaleCleanMark,
    /// A torn tail is cut off and the cut not flushed before the first append (or not made durable at all).
    TruncateWithoutFlush,
    /// What `kill -9` left in the page cache is served without being made durable first (Kafka PR 8812).
    ServeBeforeDurable,
}

impl SeededBug {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoFlush,
        Self::NoDirectorySync,
        Self::AcknowledgeBeforeFlush,
        Self::AnswerDuplicateBeforeFlush,
        Self::BelieveSecondFlush,
        Self::RememberFourBatches,
        Self::KeepDecisionOfFailedWrite,
        Self::RetryOutOfOrder,
        Self::DropTimedOutBatch,
        Self::TrustCorruptIndex,
        Self::TrustAbandonedSnapshot,
        Self::TrustStaleCleanMark,
        Self::TruncateWithoutFlush,
        Self::ServeBeforeDurable,
    ];
}

#[cfg(feature = "seeded-bugs")]
mod switch {
    use std::cell::Cell;

    use super::SeededBug;

    thread_local! {
        static ON: Cell<Option<SeededBug>> = const { Cell::new(None) };
    }

    /// Whether the bug is switched on in this thread.
    pub fn is_on(bug: SeededBug) -> bool {
        ON.get() == Some(bug)
    }

    /// Switches one bug on in this thread, and every other one off; returned is what was on before.
    pub fn switch_to(bug: Option<SeededBug>) -> Option<SeededBug> {
        ON.replace(bug)
    }
}

#[cfg(feature = "seeded-bugs")]
pub use switch::{is_on, switch_to};

/// Whether the bug is switched on: never, without the feature `seeded-bugs`.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub const fn is_on(_: SeededBug) -> bool {
    false
}
