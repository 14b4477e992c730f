//! Counts the memory that a piece of code has in use at most.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
pub struct Counting;

fn note(change: isize) {
    // A thread that ends may free memory after its counters are gone; no test measures there.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both blocks may be in use while their contents move.
        note(new_size as isize);
        note(-(layout.size() as isize));
        // SAFETY: as the caller vouches.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// What `run` returns, and the most bytes that it had in use beyond those in use before.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = run();
    (result, (PEAK.get() - before).unsigned_abs())
}

#[test]
fn the_peak_is_seen() {
    let (len, peak) = peak_of(|| {
        let short = vec![1u8; 1000];
        drop(vec![1u8; 5000]);
        short.len()
    });
    assert_eq!((len, peak), (1000, 6000));
}
