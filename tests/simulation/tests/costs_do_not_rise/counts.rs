//! What is counted, and for whom: each side's costs go to its own book while one of its tasks is polled.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The producer's library, and whoever calls it.
    Producer,
    Broker,
}

/// Costs of one side, as sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Heap objects made, or moved to grow.
    pub allocations: u64,
    /// Their bytes. Every copy in user space needs a place to go to, so a batch that is copied once more shows here; a copy into
    /// room that is there already shows in instructions alone (`tests/bench/instructions`).
    pub allocated_bytes: u64,
    /// Polls of tasks, and jobs handed to threads that may block.
    pub wake_ups: u64,
    /// Of sockets and files.
    pub system_calls: u64,
    /// Bytes that went through them, in and out.
    pub moved_bytes: u64,
}

impl Counts {
    pub const NONE: Self =
        Self { allocations: 0, allocated_bytes: 0, wake_ups: 0, system_calls: 0, moved_bytes: 0 };

    /// Each with its name.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("allocations", self.allocations),
            ("allocated bytes", self.allocated_bytes),
            ("wake-ups", self.wake_ups),
            ("system calls", self.system_calls),
            ("moved bytes", self.moved_bytes),
        ]
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            allocated_bytes: self.allocated_bytes - before.allocated_bytes,
            wake_ups: self.wake_ups - before.wake_ups,
            system_calls: self.system_calls - before.system_calls,
            moved_bytes: self.moved_bytes - before.moved_bytes,
        }
    }
}

thread_local! {
    static AT_WORK: Cell<Option<Side>> = const { Cell::new(None) };
    static PRODUCER: Cell<Counts> = const { Cell::new(Counts::NONE) };
    static BROKER: Cell<Counts> = const { Cell::new(Counts::NONE) };
}

/// What a side has spent on this thread so far.
pub fn so_far(side: Side) -> Counts {
    match side {
        Side::Producer => PRODUCER.get(),
        Side::Broker => BROKER.get(),
    }
}

fn note(side: Side, change: impl FnOnce(&mut Counts)) {
    let change = |book: &Cell<Counts>| {
        let mut counts = book.get();
        change(&mut counts);
        book.set(counts);
    };
    // A thread that ends may allocate after its books are gone; nothing is measured there.
    let _ = match side {
        Side::Producer => PRODUCER.try_with(change),
        Side::Broker => BROKER.try_with(change),
    };
}

pub fn note_wake_up(side: Side) {
    note(side, |counts| counts.wake_ups += 1);
}

pub fn note_system_call(side: Side) {
    note(side, |counts| counts.system_calls += 1);
}

pub fn note_moved(side: Side, bytes: usize) {
    note(side, |counts| counts.moved_bytes += bytes as u64);
}

/// Until it is dropped, what is allocated goes to a side's book, or to nobody's.
pub struct AtWork {
    before: Option<Side>,
}

impl AtWork {
    pub fn of(side: impl Into<Option<Side>>) -> Self {
        Self { before: AT_WORK.replace(side.into()) }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.set(self.before);
    }
}

/// The system's allocator, with a look at the books.
pub struct Counting;

fn note_allocation(bytes: usize) {
    if let Ok(Some(side)) = AT_WORK.try_with(Cell::get) {
        note(side, |counts| {
            counts.allocations += 1;
            counts.allocated_bytes += bytes as u64;
        });
    }
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract; noting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout.size());
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout.size());
        // SAFETY: as the caller vouches.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // It may have to move.
        note_allocation(new_size);
        // SAFETY: as the caller vouches.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
