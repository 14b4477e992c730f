//! What is asked of any bytes that reach a decoder. Each body takes bytes, panics if something does not hold that must, and says
//! how far the bytes came. The targets under `fuzz/` give a body what a fuzzer finds; the tests here give it a fixed number
//! of cases from a fixed seed.
//!
//! - [`protocol`]: requests as the broker decodes them, responses as a client does.
//! - [`record_batches`]: what a client sends for a partition, and what a consumer takes apart.
//! - [`frames`]: a stream of bytes cut into frames.
//! - [`recovery`]: a partition's files of any content, opened.
//! - [`damage`]: a partition's files as they were, damaged, opened, and compared with what was written.
//! - [`schema`]: sound messages of every API and version, made from their declarations.
//! - [`seeds`]: sound inputs of every body.
//! - [`mutation`]: changes to sound bytes, and the peak of this process's memory.

pub mod damage;
pub mod frames;
pub mod mutation;
pub mod protocol;
pub mod record_batches;
pub mod recovery;
pub mod schema;
pub mod seeds;

/// How far some bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They were refused.
    Refused,
    /// They were what they should be, and everything that must hold of them does.
    Taken,
}
