//! The real broker and producer, as the libraries that they are, in one thread and from one seed: on a simulated disk,
//! network and clock, with an oracle that knows what must be in the log afterwards.
//!
//! One seed is one run, whatever the machine:
//! - [`plan`]: what a seed stands for: topics, producers, and what goes wrong when.
//! - [`world`]: one run, over one paused Tokio runtime.
//! - [`host`], [`network`], [`disk`], [`clock`]: the seams. A host's tasks stop while it is frozen and are dropped when it
//!   crashes.
//! - [`server`], [`sender`], [`consumer`], [`reader`]: the real broker, programs that use the real producer, and some that
//!   read; [`record`]: records that say who sent them.
//! - [`ledger`]: what callers were told and consumers saw; [`oracle`]: what must be in the log then.
//! - [`runner`]: many seeds; [`trace`]: a hash that tells whether two runs of one seed were the same.
//! - `bugs`: what the simulation must find, where that is not a line in the product.

pub mod admin;
#[cfg(feature = "seeded-bugs")]
pub mod bugs;
pub mod clock;
pub mod consumer;
pub mod disk;
pub mod host;
pub mod ledger;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod reader;
pub mod record;
pub mod runner;
pub mod sender;
pub mod server;
pub mod trace;
pub mod world;
