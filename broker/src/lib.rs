//! Placeholder of a crate that is being written.

pub mod log;
pub mod storage;
