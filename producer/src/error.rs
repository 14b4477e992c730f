//! What can keep a producer from starting, and a record from being admitted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::channel::{ChannelError, Stage};
use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::ApiKey;
use gapless_common::types::PartitionId;
use gapless_common::units::DisplayDuration;

use crate::config::ConfigError;
use crate::fate::Halt;
use crate::record::Record;

/// Why a producer did not come about.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker answered in time.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The broker refuses a producer id, so the producer cannot be idempotent.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why there is no producer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Refused for good.
    #[error("{address} refuses a producer id: {code}; grant IdempotentWrite, or set idempotence=false")]
    Refused {
        /// Who.
        address: Arc<str>,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// A broker from before Kafka 0.11.
    #[error("{address} does not serve InitProducerId, which idempotence needs; set idempotence=false")]
    NotServed {
        /// Who.
        address: Arc<str>,
    },
}

/// Brokers that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// How long it was tried.
    pub after: Duration,
    /// The last attempt at each address.
    pub attempts: Vec<Attempt>,
    /// The address that answered and named the others, if one did: then it is the advertised addresses that are wrong.
    pub named_by: Option<Arc<str>>,
}

/// One address that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `HOST:PORT`.
    pub address: Arc<str>,
    /// How far it came: `name`, `connect`, `protocol`.
    pub stage: &'static str,
    /// What went wrong, in a sentence that names the address.
    pub cause: Arc<str>,
}

impl Attempt {
    pub(crate) fn failed(address: &Arc<str>, error: &ChannelError) -> Self {
        let stage = error.stage().map_or("protocol", Stage::name);
        Self { address: Arc::clone(address), stage, cause: with_sources(error).into() }
    }

    pub(crate) fn not_served(address: &Arc<str>, api: ApiKey) -> Self {
        let cause = format!("{address} does not serve {} in a version known here", api.name()).into();
        Self { address: Arc::clone(address), stage: Stage::Protocol.name(), cause }
    }
}

/// An error and what it came from, in one sentence.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors print their source themselves.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl std::error::Error for Unreachable {}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no broker reached within {}: ", DisplayDuration(self.after))?;
        for (at, attempt) in self.attempts.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}", attempt.cause)?;
        }
        match &self.named_by {
            Some(bootstrap) => write!(
                f,
                ". {bootstrap} answered and named this address: check what the broker advertises (gapless-broker --advertise, \
                 advertised.listeners in Kafka)"
            ),
            None => write!(f, ". Is a broker running there? Check bootstrap_servers (--bootstrap-server)"),
        }
    }
}

/// Why a record was not admitted. Nothing of it was sent, nothing will be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// An earlier record of the partition failed, and nobody has resumed the partition yet.
    #[error(transparent)]
    Halted(Arc<Halt>),
    /// No room in the buffer right now (`try_send`).
    #[error(
        "the buffer is full: {needed} bytes more do not fit buffer_memory {limit}; wait for deliveries, or use send"
    )]
    Full {
        /// Bytes asked for.
        needed: usize,
        /// The buffer's size.
        limit: usize,
    },
    /// Larger than any batch may be.
    #[error(
        "a record of {size} bytes exceeds batch_size {limit}; raise it, and the broker's max.message.bytes with it"
    )]
    TooLarge {
        /// Its size in a batch.
        size: usize,
        /// The most a batch may grow to.
        limit: usize,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {partition}: it has {count}")]
    NoSuchPartition {
        /// The topic.
        topic: Arc<str>,
        /// What was asked for.
        partition: PartitionId,
        /// How many there are, numbered from 0.
        count: u32,
    },
    /// The record names no partition, and the partitioner is [`Explicit`](crate::Partitioner::Explicit).
    #[error(
        "a record for topic {topic} names no partition: name one, or choose another partitioner than explicit"
    )]
    NoPartitionNamed {
        /// The topic.
        topic: Arc<str>,
    },
    /// The topic cannot be used.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic's partitions are not known yet (`try_send`); they have been asked for.
    #[error(
        "the partitions of topic {topic} are not known yet; they have been asked for, try again or use send"
    )]
    NotYetKnown {
        /// The topic.
        topic: Arc<str>,
    },
    /// More than was reserved for it.
    #[error("a record of {size} bytes exceeds the {reserved} bytes reserved for it")]
    ReservationTooSmall {
        /// The record's size.
        size: usize,
        /// What was reserved.
        reserved: usize,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// Why a topic cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The brokers refuse it: an invalid name, no permission.
    #[error("topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// It did not come about in time.
    #[error(
        "topic {topic}: still {code} after {}; create it (publish --create-topic), or let the broker do it (auto.create.topics.enable)",
        DisplayDuration(*after)
    )]
    Missing {
        /// The topic.
        topic: Arc<str>,
        /// What the brokers answered last.
        code: ErrorCode,
        /// How long it was tried.
        after: Duration,
    },
    /// No broker answered.
    #[error("topic {topic}: {unreachable}")]
    Unreachable {
        /// The topic.
        topic: Arc<str>,
        /// What was tried.
        unreachable: Box<Unreachable>,
    },
}

/// A record that was not admitted, given back with the reason.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// The record, as it was handed in.
    pub record: Box<Record>,
    /// Why.
    pub reason: Rejection,
}

/// Why a flush or a close did not see everything acknowledged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Time was up.
    #[error("{records} records are still not acknowledged after {}", DisplayDuration(*after))]
    Timeout {
        /// Records still under way.
        records: u64,
        /// How long was waited.
        after: Duration,
    },
    /// Partitions are halted. Everything else is acknowledged, unless time was up too.
    #[error("{} partition(s) halted; {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Halted(Vec<Arc<Halt>>),
}

/// Why a partition was not resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// It is not halted.
    #[error("{topic}-{partition} is not halted")]
    NotHalted {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
    /// It halted again after the halt that was named.
    #[error(
        "{topic}-{partition} is halted in generation {current}, not {named}: look at the newer halt first"
    )]
    OtherGeneration {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
        /// The generation that was named.
        named: u64,
        /// The one in force.
        current: u64,
    },
    /// Another caller is settling it.
    #[error(
        "{topic}-{partition} is being settled by another caller; wait until it goes on or is halted anew"
    )]
    Settling {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}
