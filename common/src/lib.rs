//! What both ends of gapless must agree on, in the order in which a record meets it:
//!
//! - [`records`]: record batches (magic 2): built in place, closed (compressed, checksummed), validated, iterated.
//! - [`protocol`]: the messages of the Kafka protocol, each declared once, and their bounded codec.
//! - [`channel`]: one connection to a peer that carries pipelined requests in order (Single-Socket Channel).
//! - [`types`], [`error_code`]: the field's words as types, and Kafka's error codes.
//! - [`frame`], [`backoff`], [`units`]: lengths judged before they are believed; when to try again; durations and sizes as
//!   people write them.
//! - [`seam`]: time, network, spawning and randomness, passed in so that everything can be simulated; [`seeded_bug`]: what
//!   the simulation must find.
//!
//! Nothing here knows of files or command lines.

// What a peer sends is judged, not trusted: nothing of it may end in a panic.
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

pub mod backoff;
pub mod channel;
pub mod error_code;
pub mod frame;
pub mod protocol;
pub mod records;
pub mod seam;
pub mod seeded_bug;
pub mod types;
pub mod units;
