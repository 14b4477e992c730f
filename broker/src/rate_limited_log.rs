//! Log lines that strangers can cause, bounded: the first few of every second, and how many were left out.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(1);
/// Lines a period that are still read by a person.
const LINES_PER_PERIOD: u32 = 5;

/// Decides which of many like lines are written.
#[derive(Default)]
pub struct RateLimitedLog(Mutex<State>);

#[derive(Default)]
struct State {
    period_start: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl RateLimitedLog {
    /// `Some(n)`: write the line, and say that `n` before it were left out. `None`: leave it out.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.period_start.is_none_or(|start| now.duration_since(start) >= PERIOD) {
            state.period_start = Some(now);
            state.written = 0;
        }
        if state.written < LINES_PER_PERIOD {
            state.written += 1;
            Some(std::mem::take(&mut state.left_out))
        } else {
            state.left_out += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = RateLimitedLog::default();
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| log.admit(start).is_some()).count();
        assert_eq!(admitted, 5);
        assert_eq!(log.admit(start + PERIOD), Some(995));
        assert_eq!(log.admit(start + PERIOD), Some(0));
    }
}
