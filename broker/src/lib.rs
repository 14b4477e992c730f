//! The broker, in the order in which a request meets its parts:
//!
//! - [`broker`]: starts and stops; [`shared`] holds everything together. [`config`] is what it is told, [`cli`] how.
//! - [`listener`] accepts, and [`open_connections`] counts; [`descriptors`] says how many there can be; [`connection`] reads,
//!   handles and answers in order, paying from [`request_memory`].
//! - [`api`]: one file per Kafka API.
//! - [`topics`]: which topics exist, and what the broker knows of itself.
//! - [`log`]: the partition log: sequencer, segments, group commit, high watermark, recovery.
//! - [`storage`]: the files seam, below which there is only the disk.
//! - `scrub`: looks for rot in what nobody reads.
//! - `housekeeping`: what is done now and then: retention, among others.
//! - [`http`], [`scrape`], [`metrics`]: what operators see; [`rate_limited_log`]: what strangers can make them see.
//! - [`stage`]: how far a stop has come, told to everything that runs.
//! - [`tools`]: `gapless-broker log`, for a data directory on which no broker runs.
//!
//! A library first: [`Broker`] can be embedded in a test with a temporary directory and port 0.

pub mod api;
pub mod broker;
pub mod cli;
pub mod config;
pub mod connection;
pub mod descriptors;
mod housekeeping;
mod http;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod open_connections;
pub mod rate_limited_log;
pub mod request_memory;
pub mod scrape;
mod scrub;
pub mod shared;
pub mod stage;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod tools;
pub mod topics;

pub use broker::{Broker, StartError};
pub use config::{Config, ListenerConfig};
