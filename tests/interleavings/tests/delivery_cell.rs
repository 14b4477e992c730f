//! The delivery cell under `loom`, which runs every interleaving of a few threads: whoever waits is woken, whatever
//! moment the outcome comes at.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gapless_interleavings::model;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

/// What the cell is built on, as `loom` provides it.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../../../producer/src/delivery/cell.rs"]
mod cell;

use cell::{Cell, Slot};

/// A delivery reduced to its waiting.
struct Waiter {
    cell: Arc<Cell<u32>>,
    slot: Slot,
}

impl Waiter {
    fn new(cell: &Arc<Cell<u32>>) -> Self {
        Self { cell: Arc::clone(cell), slot: Slot::NONE }
    }
}

impl Future for Waiter {
    type Output = u32;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        let this = self.get_mut();
        match this.cell.get_or_wait(&mut this.slot, cx.waker()) {
            Some(outcome) => Poll::Ready(*outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.cell.leave(self.slot);
    }
}

#[test]
fn who_waits_is_woken_whenever_the_outcome_comes() {
    model(|| {
        let cell = Arc::new(Cell::new());
        let other = {
            let waiter = Waiter::new(&cell);
            thread::spawn(move || block_on(waiter))
        };
        let resolving = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || drop(cell.resolve(7)))
        };
        assert_eq!(block_on(Waiter::new(&cell)), 7);
        assert_eq!(other.join().unwrap(), 7);
        resolving.join().unwrap();
    });
}

#[test]
fn one_that_goes_away_takes_no_others_wake_up_with_it() {
    model(|| {
        let cell = Arc::new(Cell::new());
        let resolving = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || drop(cell.resolve(7)))
        };
        let leaving = {
            let waiter = Waiter::new(&cell);
            thread::spawn(move || {
                let mut waiter = pin!(waiter);
                // Waits, or is answered; and is dropped either way.
                let _ = waiter.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            })
        };
        assert_eq!(block_on(Waiter::new(&cell)), 7);
        resolving.join().unwrap();
        leaving.join().unwrap();
    });
}

#[test]
fn the_first_outcome_stands() {
    model(|| {
        let cell = Arc::new(Cell::new());
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || drop(cell.resolve(1)))
        };
        drop(cell.resolve(2));
        other.join().unwrap();
        let first = block_on(Waiter::new(&cell));
        assert!(first == 1 || first == 2);
        assert_eq!(block_on(Waiter::new(&cell)), first);
    });
}
