//! The real broker and producer, as the libraries that they are, in one thread and from one seed: on a simulated disk,
//! network and clock, with an oracle that knows what must be in the log afterwards.

pub mod disk;
