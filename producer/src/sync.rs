//! The primitives under the delivery cell, by one name: `tests/delivery_cell.rs` compiles the cell against `loom`'s.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
