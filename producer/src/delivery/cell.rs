//! One outcome that many wait for: published once, read without a lock.
//!
//! Compiled twice: in the library, and by `tests/interleavings` against `loom`, which tries every interleaving.

use std::sync::OnceLock;
use std::task::Waker;

use slab::Slab;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// A waiter's place in a cell; [`Slot::NONE`] until it has had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// The cell of one batch. All its records share it.
pub(crate) struct Cell<O> {
    /// Set after `outcome`: what spares those who come later the lock.
    resolved: AtomicBool,
    outcome: OnceLock<O>,
    waiters: Mutex<Slab<Waker>>,
}

impl<O> Cell<O> {
    pub(crate) fn new() -> Self {
        Self { resolved: AtomicBool::new(false), outcome: OnceLock::new(), waiters: Mutex::new(Slab::new()) }
    }

    fn waiters(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome, once there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&O> {
        if self.resolved.load(Ordering::Acquire) { self.outcome.get() } else { None }
    }

    /// Publishes the outcome; only the first one counts. Who waits is woken when what this returns is dropped: a waker runs
    /// code of strangers, so that happens outside of all locks.
    pub(crate) fn resolve(&self, outcome: O) -> Waiters {
        if self.outcome.set(outcome).is_err() {
            return Waiters(Slab::new());
        }
        self.resolved.store(true, Ordering::Release);
        // Who locks after this sees the outcome and does not wait; who locked before is in the list.
        Waiters(std::mem::take(&mut *self.waiters()))
    }

    /// The outcome, or a place among those who are woken when there is one.
    pub(crate) fn get_or_wait(&self, slot: &mut Slot, waker: &Waker) -> Option<&O> {
        if let Some(outcome) = self.get() {
            return Some(outcome);
        }
        let mut waiters = self.waiters();
        if let Some(outcome) = self.get() {
            return Some(outcome);
        }
        if let Some(known) = waiters.get_mut(slot.0 as usize) {
            known.clone_from(waker);
        } else {
            // A batch has at most 2^31 records, so the key fits; if it did not, the waiter would only keep its place
            // until the outcome, instead of giving it up when dropped.
            *slot = u32::try_from(waiters.insert(waker.clone())).map_or(Slot::NONE, Slot);
        }
        None
    }

    /// The waiter goes away.
    #[inline]
    pub(crate) fn leave(&self, slot: Slot) {
        if slot != Slot::NONE && self.get().is_none() {
            self.waiters().try_remove(slot.0 as usize);
        }
    }
}

/// Those who wait for an outcome that is there. Dropping it wakes them.
#[must_use = "dropping it wakes who waits: do that after the last lock is released"]
pub(crate) struct Waiters(Slab<Waker>);

impl Drop for Waiters {
    fn drop(&mut self) {
        for waker in self.0.drain() {
            waker.wake();
        }
    }
}
