//! A Kafka producer that says what became of every record: acknowledged (exactly once, in order, without a gap before
//! it), not written, or not known.
//!
//! ```no_run
//! use std::time::Duration;
//! use gapless_producer::{Producer, Record};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder().bootstrap_servers("127.0.0.1:9092").build().await?;
//!
//! // Waits for room in the buffer, not for the broker; records are sent in the order in which they are admitted.
//! let delivery = producer.send(Record::new("events").key("user-7").value("signed in")).await?;
//! let ack = delivery.await?;
//! println!("{} at offset {:?}", ack.partition, ack.offset);
//!
//! // Many records: a topic handle takes borrowed bytes, and dropped deliveries cost nothing.
//! let events = producer.topic("events");
//! for line in ["one", "two", "three"] {
//!     drop(events.send(gapless_producer::RecordView::new().value(line.as_bytes())).await?);
//! }
//! producer.close(Duration::from_secs(30)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! More that runs, against a broker, is in `producer/examples`: `send_one`; `many`, with backpressure by [`Permit`]s; `per_batch`,
//! what became of each record for one wait a batch; `halt_and_resume`; `observer`.
//!
//! # The promise
//! With the defaults (`acks` all, idempotence, at most five requests in flight), what was acknowledged is in the log exactly
//! once, in order, without a gap. When a record fails, its partition halts: later records fail behind it and `send` gives
//! them back, until the caller [resumes](Producer::resume) the partition, leaving what failed ([`Resume::Skip`]) or finding
//! out first what became of it ([`Resume::Settle`]), or chose [`OnFailure::Skip`] beforehand. Weaker settings
//! work and drop the promise: [`Config::weaknesses`] names them. From Produce
//! version 13 on, batches name their topic by its id, so that one that is deleted and created again gets nothing that was meant for its old
//! self. Towards brokers that know topics only by name (up to version 12) one short race remains: records on their way meanwhile may
//! land in the new one.
//!
//! # Cancellation
//! Every future may be dropped at any moment, as `select!` and timeouts do:
//! - [`send`](Producer::send) before it is ready has sent nothing, and its place in the line for memory is the next one's. Admission is
//!   the last thing it does; who needs to know on which side of it they were cancelled takes a [`Permit`] first.
//! - A [`Delivery`] is news, and no more: without it the record goes its way.
//! - [`flush`](Producer::flush) changes nothing; a [`close`](Producer::close) that is dropped leaves the door shut; a settle that is
//!   dropped leaves the partition halted as it was.
//!
//! All of them are to be polled within a Tokio runtime with time and I/O enabled, whose tasks do the sending. When that
//! runtime goes, what is left ends as [`Cause::Abandoned`].
//!
//! # Features
//! All are on by default.
//! - `cli`: the program `gapless-producer`, and the three quarters of all crates that only it needs. Who calls the library does without.
//! - `gzip`, `lz4`, `snappy`, `zstd`: the codecs. A producer that would use one that is not built is refused by
//!   [`Builder::build`], which names it; [`Compression::is_built`] tells beforehand.
//!
//! A light client, built from 34 crates instead of 132 (32 without a codec), none of which compiles C:
//! ```toml
//! gapless-producer = { version = "0.1", default-features = false, features = ["lz4"] }
//! ```
//!
//! # How a record travels
//! - `record`, `config`, `builder`, `producer`: what a caller holds; `fate`, `error`, `delivery`, `resume`: what it is told.
//! - `topic`, `partitioner`: which partition; `accumulator`, `memory`: into the open batch, within the buffer's budget.
//! - `sender`: one task a broker; `linger` says when a request leaves, `partition` which batch may be in it and what an answer
//!   means. Both are pure.
//! - `metadata`: who leads what, and the producer's id. `shared` is what all of them share; `metrics`, `stats` count,
//!   `observer` tells.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable
    )
)]

mod accumulator;
mod builder;
pub mod config;
mod delivery;
pub mod error;
pub mod fate;
mod linger;
mod memory;
mod metadata;
pub mod metrics;
pub mod observer;
mod partition;
mod partitioner;
mod producer;
mod record;
pub mod resume;
mod sender;
mod shared;
mod stats;
mod sync;
mod topic;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use config::{Acks, Config, ConfigError, Linger, OnFailure, Partitioner};
pub use delivery::Delivery;
pub use error::{
    BuildError, FlushError, IdentityError, Rejection, ResumeError, SendError, TopicError, Unreachable,
};
pub use fate::{Acked, Cause, DeliveryError, Failure, Fate, FirstFailed, Halt, PartitionName};
pub use gapless_common::error_code::ErrorCode;
pub use gapless_common::records::{Compression, HeaderRef};
pub use gapless_common::seam::Seams;
pub use gapless_common::types::{Offset, PartitionId, TopicId};
pub use observer::Observer;
pub use producer::{Permit, Producer, Topic};
pub use record::{Record, RecordView};
pub use resume::{Resume, Settled, SettledBatch, SettledFate, Unsettled};
pub use stats::Stats;
