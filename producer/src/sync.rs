//! The primitives under the delivery cell and the memory's room, by one name: `tests/interleavings` compiles them
//! against `loom`'s.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
