//! How a halted partition goes on, and what is found out on the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::types::Offset;

use crate::fate::{Cause, Halt, PartitionName};

/// How to go on after a [`Halt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// Leave what failed as it is, and take new records under a new epoch. A record whose fate was unknown can still
    /// appear, but only before the first record acknowledged after resuming.
    Skip,
    /// Find out first, for at most so long (and never longer than 24 hours), what became of the records whose fate was
    /// unknown: they are sent again, in order, exactly as they went out before, so that the broker recognises what it has.
    /// What was not written stays so.
    ///
    /// If all of them are acknowledged the partition goes on, under a new epoch; else it is halted again, in a new
    /// generation, for another settle or a skip. [`Settled`] tells of each.
    ///
    /// For this a halt keeps the bytes of unknown records, charged to `buffer_memory`, until someone resumes. All halts
    /// together keep at most half of it, and never so much that a full batch would not fit beside them: who waits for
    /// memory in [`send`](crate::Producer::send) must get it, or would never reach the halt. What does not fit stays
    /// unknown, as [`Unsettled::NoRoom`]. With [`OnFailure::Skip`](crate::OnFailure::Skip) nothing is kept.
    Settle(Duration),
}

/// What resuming found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Topic and partition.
    pub partition: Arc<PartitionName>,
    /// What became of the records whose fate was still unknown, in the order of admission; nothing after a [`Resume::Skip`].
    /// A batch may be a part of one that was split.
    pub batches: Vec<SettledBatch>,
    /// Why the partition is halted again; `None`: it goes on.
    pub halt: Option<Arc<Halt>>,
}

/// Records that share their fate.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledBatch {
    /// How many.
    pub records: u32,
    /// What became of them.
    pub fate: SettledFate,
}

/// What became of records whose fate was unknown.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SettledFate {
    /// They are in the log, once, in order.
    Acked {
        /// The first one's offset, if the broker said so.
        base: Option<Offset>,
        /// Where the topic's timestamps are the broker's: milliseconds since 1970-01-01 UTC.
        append_time_ms: Option<i64>,
    },
    /// They are not in the log and will not get there: they stand behind a record that was never written.
    NotWritten,
    /// Still not known.
    Unknown(Unsettled),
}

/// Why it is still not known what became of a record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsettled {
    /// Time was up.
    #[error("not answered in time{}", .last.as_ref().map(|last| format!("; the last trouble: {last}")).unwrap_or_default())]
    Deadline {
        /// What stood in the way last, if anything is known.
        last: Option<Arc<str>>,
    },
    /// This, or something before it, was refused for good. A refusal does not prove absence: brokers may judge size and time
    /// before they look for a repeat.
    #[error("settling stopped: {0}")]
    Stopped(Arc<Cause>),
    /// Its bytes could not be kept.
    #[error(
        "its bytes were not kept: halts may keep half of buffer_memory; raise it, or lower the number of requests in flight"
    )]
    NoRoom,
    /// The broker may have forgotten the producer, and would take a repeat for new.
    #[error("admitted more than 12 hours ago; the broker may not recognise a repeat any more")]
    TooOld,
    /// It was meant for a topic that was deleted; another has its name.
    #[error("the topic was deleted and created again")]
    TopicRecreated,
    /// Without sequences a repeat would be a duplicate.
    #[error("it was sent without idempotence, so a repeat would be a duplicate")]
    NotIdempotent,
}

impl Settled {
    /// Whether nothing is left unknown.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.batches.iter().any(|batch| matches!(batch.fate, SettledFate::Unknown(_)))
    }

    /// The fate of each record on its own, with its own offset. The first is that of the partition's first record whose
    /// delivery (or last settle) said that its fate is unknown, since the last resume; and so on.
    pub fn records(&self) -> impl Iterator<Item = SettledFate> + '_ {
        self.batches.iter().flat_map(|batch| {
            (0..i64::from(batch.records)).map(|place| match &batch.fate {
                SettledFate::Acked { base, append_time_ms } => SettledFate::Acked {
                    base: base.map(|base| base.plus(place)),
                    append_time_ms: *append_time_ms,
                },
                other => other.clone(),
            })
        })
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted: fn(&SettledFate) -> bool| -> u64 {
            self.batches
                .iter()
                .filter(|batch| wanted(&batch.fate))
                .map(|batch| u64::from(batch.records))
                .sum()
        };
        write!(
            f,
            "{}: of the records in doubt {} are acknowledged, {} not written, {} still unknown",
            self.partition,
            count(|fate| matches!(fate, SettledFate::Acked { .. })),
            count(|fate| matches!(fate, SettledFate::NotWritten)),
            count(|fate| matches!(fate, SettledFate::Unknown(_))),
        )
    }
}

#[cfg(test)]
mod tests {
    use gapless_common::types::PartitionId;

    use super::*;

    #[test]
    fn each_record_has_its_own_offset_and_the_sum_is_told() {
        let settled = Settled {
            partition: Arc::new(PartitionName { topic: "events".into(), partition: PartitionId(3) }),
            batches: vec![
                SettledBatch {
                    records: 2,
                    fate: SettledFate::Acked { base: Some(Offset(40)), append_time_ms: None },
                },
                SettledBatch { records: 1, fate: SettledFate::NotWritten },
                SettledBatch { records: 3, fate: SettledFate::Unknown(Unsettled::NoRoom) },
            ],
            halt: None,
        };
        let offsets: Vec<_> = settled
            .records()
            .map(|fate| match fate {
                SettledFate::Acked { base, .. } => base.map(|base| base.0),
                _ => None,
            })
            .collect();
        assert_eq!(offsets, [Some(40), Some(41), None, None, None, None]);
        assert_eq!(
            settled.to_string(),
            "events-3: of the records in doubt 2 are acknowledged, 1 not written, 3 still unknown"
        );
        assert!(!settled.is_certain());
        let why = Unsettled::Deadline { last: Some("cannot connect".into()) };
        assert_eq!(why.to_string(), "not answered in time; the last trouble: cannot connect");
    }
}
