//! Waiting for conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take before a test gives up. Far above what anything here needs, so that a slow machine
/// never turns a right result into a wrong one.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` gives a value.
///
/// # Panics
/// After [`LIMIT`], naming `what` was waited for.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match wait_within(LIMIT, look) {
        Some(value) => value,
        None => panic!("waited {} s in vain: {what}", LIMIT.as_secs()),
    }
}

/// Waits until `holds` does.
///
/// # Panics
/// After [`LIMIT`], naming `what` was waited for.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// As [`wait_for`], but `None` after `limit`.
pub fn wait_within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = look() {
            return Some(value);
        }
        if begun.elapsed() > limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
