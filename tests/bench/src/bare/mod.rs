//! The bare pair: what this work costs without a protocol. Blocking threads, records in Kafka's format in batches, CRC-32C, a
//! few batches in flight over TCP; at the other end the checksum, a file, an answer. No retry, no index, no metadata,
//! nothing shared: what a real pair spends beyond this is its own.
//!
//! A batch travels behind its length and its number, an answer is the number: [`HEAD_SIZE`] and [`ANSWER_SIZE`] bytes.

pub mod client;
mod encode;
pub mod server;

/// Length (4 bytes) and number (8), both big-endian.
const HEAD_SIZE: usize = 12;
/// The number of the batch that is in the file.
const ANSWER_SIZE: usize = 8;
/// As many as an idempotent producer may have.
const IN_FLIGHT: usize = 5;
/// The largest batch: what Kafka's brokers accept by default, and room for its head.
const BATCH_MAX: usize = 1 << 21;
