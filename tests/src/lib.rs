//! The harness: real processes, real sockets, real clients, and an oracle that knows what must be in the log.
//!
//! - [`binaries`]: builds the broker and the command line once, in the profile of the running test.
//! - [`broker`]: starts the broker, kills, freezes and restarts it, reads its metrics; gone for sure when dropped.
//! - [`cli`]: runs the producer's command line and reads its summary.
//! - [`librdkafka`]: the client that most of the world uses, as producer and as consumer.
//! - [`raw`], [`batch`], [`requests`]: requests made by hand, right and wrong ones, on a bare socket.
//! - [`proxy`]: a connection that is cut, swallowed, held back or thinned out, frame by frame.
//! - [`mock`]: the mock cluster of librdkafka: brokers of another make that refuse, move leaders and go away on demand.
//! - [`load`] and [`oracle`]: numbered records sent while the broker dies, and the check of what is there afterwards.
//! - [`frozen`]: a sender that outlives halts, and leaves no hole behind.
//! - [`mounts`]: a small file system of its own, where the user may mount one.
//! - [`exposition`] and [`http`]: metrics read as Prometheus would read them.
//! - [`terminal`]: a program that asks, and somebody who answers.
//! - [`monitoring`]: the catalogue, the dashboards and the alert rules of `grafana/`.
//! - [`wait`]: waiting for conditions; no test passes or fails by a clock.
//!
//! Test files are named after the promise they check. A failing test prints what the broker logged.

pub mod batch;
pub mod binaries;
pub mod broker;
pub mod cli;
pub mod exposition;
pub mod frozen;
pub mod http;
pub mod librdkafka;
pub mod load;
pub mod mock;
pub mod monitoring;
pub mod mounts;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod requests;
pub mod terminal;
pub mod wait;
