//! Request Pipeline: one task for each broker picks ready batches, sends them without waiting for earlier answers, and takes
//! the answers in their order.
//!
//! - `link.rs`: what callers, metadata and the task share;
//! - `task.rs`: the task: waits, decides when a request leaves, takes answers;
//! - `line.rs`: its connection;
//! - `request.rs`: a Produce request from ready partitions, and its answer back to them.

mod line;
mod link;
mod request;
mod task;

pub(crate) use link::Link;
pub(crate) use task::run;
