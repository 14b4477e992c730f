//! What became of a record: the words in which a producer answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::{Offset, PartitionId, TopicId};
use gapless_common::units::DisplayDuration;

/// One partition by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionName {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition within it.
    pub partition: PartitionId,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The record is in the log, once, behind everything admitted before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// Topic and partition.
    pub partition: Arc<PartitionName>,
    /// Where it stands. `None`: it is there, but the broker did not say where (`acks` 0; or its own answer was lost, and a
    /// later batch's answer proved that it was written).
    pub offset: Option<Offset>,
    /// Milliseconds since 1970-01-01 UTC: the broker's where the topic has `LogAppendTime`, else the record's own.
    pub timestamp_ms: i64,
}

/// What became of consecutive records that travelled together.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// They are in the log, once, in order.
    Acked {
        /// The first one's offset, if the broker said so.
        base: Option<Offset>,
        /// Where the topic's timestamps are the broker's: milliseconds since 1970-01-01 UTC.
        append_time_ms: Option<i64>,
    },
    /// They are not in the log and will not get there.
    NotWritten(Arc<Cause>),
    /// They may be in the log, once, or not.
    Unknown(Arc<Cause>),
}

/// A record that was not acknowledged, in one of two ways that a caller must tell apart.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeliveryError {
    /// It is not in the log and will not get there: sending it again cannot double it.
    #[error("not written to {}: {}", .0.partition, .0.cause)]
    NotWritten(Failure),
    /// It may be in the log, once, or not: an attempt was sent and its answer is not known.
    #[error("not known whether written to {}: {}", .0.partition, .0.cause)]
    Unknown(Failure),
}

/// Where and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Topic and partition.
    pub partition: Arc<PartitionName>,
    /// Why.
    pub cause: Arc<Cause>,
}

impl DeliveryError {
    /// `not_written` or `unknown`: the label `fate` of the metrics, and the word of reports.
    #[must_use]
    pub const fn fate(&self) -> &'static str {
        match self {
            Self::NotWritten(_) => "not_written",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Where and why.
    #[must_use]
    pub const fn failure(&self) -> &Failure {
        match self {
            Self::NotWritten(failure) | Self::Unknown(failure) => failure,
        }
    }

    /// Topic and partition.
    #[must_use]
    pub fn partition(&self) -> &PartitionName {
        &self.failure().partition
    }

    /// Why.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.failure().cause
    }
}

/// Why a record was not acknowledged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The broker refused it for good.
    #[error("the broker refused it: {code}{}", said(.message.as_deref()))]
    Refused {
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's own words, if it sent any.
        message: Option<Arc<str>>,
    },
    /// The delivery timeout passed, counted from admission.
    #[error(
        "not acknowledged within the delivery timeout of {}{}",
        DisplayDuration(*after),
        last.as_ref().map(|last| format!("; the last trouble: {last}")).unwrap_or_default()
    )]
    DeliveryTimeout {
        /// The timeout.
        after: Duration,
        /// What stood in the way last, if anything is known.
        last: Option<Arc<str>>,
    },
    /// Another producer with this id and a newer epoch has taken over (error 47 or 90).
    #[error("fenced: {code}; another producer uses this producer id with a newer epoch")]
    Fenced {
        /// Kafka's code.
        code: ErrorCode,
    },
    /// The log does not continue where the last acknowledged record stood (error 45 or 59 for the oldest batch):
    /// acknowledged records may be gone.
    #[error(
        "the log diverged: {code} for the record after the last acknowledged one{}; acknowledged records may be lost, compare \
         the topic with what was acknowledged",
        match (last_acked, log_start) {
            (Some(last), Some(start)) => format!(" (offset {last}; the log starts at {start})"),
            (Some(last), None) => format!(" (offset {last})"),
            _ => String::new(),
        }
    )]
    LogDiverged {
        /// Kafka's code.
        code: ErrorCode,
        /// The last acknowledged offset, where it is known.
        last_acked: Option<Offset>,
        /// Where the broker says its log starts, if it does.
        log_start: Option<Offset>,
    },
    /// The topic was deleted and created again: what was acknowledged before went with the old one.
    #[error("the topic was deleted and created again (id {old}, now {new})")]
    TopicRecreated {
        /// The id it had.
        old: TopicId,
        /// The id it has.
        new: TopicId,
    },
    /// An earlier record of the partition failed, and a gapless producer does not go on behind it.
    #[error("behind a failed record: {0}")]
    Behind(FirstFailed),
    /// The producer was closed, or its last handle dropped, before the answer.
    #[error("the producer was closed before it was acknowledged")]
    Closed,
    /// The task that would have sent it is gone: its runtime was shut down.
    #[error("the producer's tasks ended before it was acknowledged; was the runtime shut down?")]
    Abandoned,
}

impl Cause {
    /// The label `reason` of the metrics: one of [`Cause::LABELS`].
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::DeliveryTimeout { .. } => "delivery_timeout",
            Self::Fenced { .. } => "fenced",
            Self::LogDiverged { .. } => "log_diverged",
            Self::TopicRecreated { .. } => "topic_recreated",
            Self::Behind(_) => "behind",
            Self::Closed => "closed",
            Self::Abandoned => "abandoned",
        }
    }

    /// Every label there is.
    pub const LABELS: [&'static str; 8] = [
        "refused",
        "delivery_timeout",
        "fenced",
        "log_diverged",
        "topic_recreated",
        "behind",
        "closed",
        "abandoned",
    ];
}

fn said(message: Option<&str>) -> String {
    message.filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

/// The record at which a partition stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstFailed {
    /// Whether it is known to be absent from the log.
    pub not_written: bool,
    /// Why it failed.
    pub cause: Arc<Cause>,
}

impl fmt::Display for FirstFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = if self.not_written { "not written" } else { "not known whether written" };
        write!(f, "{fate}, {}", self.cause)
    }
}

/// Why a partition takes no records: one of its records failed, and nobody has resumed it yet.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{partition} is halted (generation {generation}): {first}; call resume to go on without what failed")]
pub struct Halt {
    /// Topic and partition.
    pub partition: Arc<PartitionName>,
    /// Counts the halts of this partition, from 1. [`Producer::resume`](crate::Producer::resume) names it, so that one
    /// caller cannot clear a halt that another has not seen.
    pub generation: u64,
    /// What failed first.
    pub first: FirstFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_what_and_why() {
        let partition = Arc::new(PartitionName { topic: "events".into(), partition: PartitionId(3) });
        let cause = Arc::new(Cause::Refused {
            code: ErrorCode::MESSAGE_TOO_LARGE,
            message: Some("1048600 bytes, 1048588 allowed".into()),
        });
        let failure = Failure { partition: Arc::clone(&partition), cause: Arc::clone(&cause) };
        assert_eq!(
            DeliveryError::NotWritten(failure).to_string(),
            "not written to events-3: the broker refused it: MESSAGE_TOO_LARGE (10): 1048600 bytes, 1048588 allowed"
        );
        let first = FirstFailed { not_written: true, cause };
        let behind =
            Failure { partition: Arc::clone(&partition), cause: Arc::new(Cause::Behind(first.clone())) };
        assert!(
            DeliveryError::Unknown(behind)
                .to_string()
                .starts_with("not known whether written to events-3: behind a failed record: not written, ")
        );
        let halt = Halt { partition, generation: 2, first };
        assert!(halt.to_string().starts_with("events-3 is halted (generation 2): not written, "), "{halt}");
    }

    #[test]
    fn every_label_is_listed() {
        let causes = [
            Cause::Refused { code: ErrorCode::INVALID_RECORD, message: None },
            Cause::DeliveryTimeout { after: Duration::from_secs(1), last: None },
            Cause::Fenced { code: ErrorCode::INVALID_PRODUCER_EPOCH },
            Cause::LogDiverged {
                code: ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
                last_acked: Some(Offset(3)),
                log_start: None,
            },
            Cause::TopicRecreated { old: TopicId([1; 16]), new: TopicId([2; 16]) },
            Cause::Behind(FirstFailed { not_written: true, cause: Arc::new(Cause::Closed) }),
            Cause::Closed,
            Cause::Abandoned,
        ];
        assert_eq!(causes.map(|cause| cause.label()), Cause::LABELS);
    }
}
