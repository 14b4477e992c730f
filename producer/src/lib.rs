//! A Kafka producer that says what became of every record.
//!
//! ```no_run
//! use std::time::Duration;
//! use gapless_producer::{Producer, Record};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder().bootstrap_servers("127.0.0.1:9092").build().await?;
//! let delivery = producer.send(Record::new("events").key("user-7").value("signed in")).await?;
//! let ack = delivery.await?;
//! println!("{} at {:?}", ack.partition, ack.offset);
//! producer.flush(Duration::from_secs(30)).await?;
//! # Ok(())
//! # }
//! ```

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
mod partition;
mod partitioner;
mod producer;
mod record;
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
pub use fate::{Acked, Cause, DeliveryError, Failure, Halt, PartitionName, Resume};
pub use gapless_common::records::{Compression, HeaderRef};
pub use producer::{Permit, Producer, Topic};
pub use record::{Record, RecordView};
pub use stats::Stats;
