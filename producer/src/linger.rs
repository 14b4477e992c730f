//! When a request leaves: the whole policy of lingering, without clock or socket.
//!
//! `auto` estimates no rates. While nothing is under way a record has nothing to wait for, so it leaves at once; while
//! something is under way, company gathers by itself, and only a full batch or a record that has waited its share of
//! a round trip may take another slot. One slot stays for full batches.

use std::time::Duration;

use crate::config::Linger;

/// Timers have this resolution: a shorter wait would be as long.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// What a record waits at most, as a share of the round trip.
const ROUND_TRIP_SHARE: u32 = 4;

/// What is known about one connection when the question comes up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// A full batch may be sent.
    pub(crate) full_ready: bool,
    /// How long the oldest record of those that may be sent has waited; `None`: there is none.
    pub(crate) oldest_waited: Option<Duration>,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Those of them made only of unfilled batches.
    pub(crate) unfilled_in_flight: usize,
    /// Further requests that may be in flight.
    pub(crate) free_slots: usize,
    /// Someone waits for what is queued: a flush, a close, a sender without room.
    pub(crate) hurry: bool,
    /// The task has already given way to others since it found something to send.
    pub(crate) yielded: bool,
    /// Smoothed round trip of requests that were not sent again.
    pub(crate) round_trip: Option<Duration>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Send a request now.
    Send,
    /// Let other tasks run once, then ask again: a burst under way should go out as one request.
    YieldFirst,
    /// Ask again after this time, or when something changes.
    WaitFor(Duration),
    /// Ask again when something changes.
    Wait,
}

impl Linger {
    /// Whether a request leaves.
    pub(crate) fn decide(self, now: Situation) -> Decision {
        if now.free_slots == 0 {
            return Decision::Wait;
        }
        if now.full_ready {
            return Decision::Send;
        }
        let Some(waited) = now.oldest_waited else { return Decision::Wait };
        if now.hurry {
            return Decision::Send;
        }
        match self {
            Self::Fixed(wait) => wait_until(wait, waited),
            Self::Auto { .. } if now.unfilled_in_flight == 0 => {
                if now.in_flight == 0 && !now.yielded {
                    Decision::YieldFirst
                } else {
                    Decision::Send
                }
            }
            Self::Auto { .. } if now.free_slots < 2 => Decision::Wait,
            Self::Auto { cap } => {
                let share = now.round_trip.unwrap_or_default() / ROUND_TRIP_SHARE;
                wait_until(cap.min(share.max(WAIT_MIN)), waited)
            }
        }
    }
}

fn wait_until(wait: Duration, waited: Duration) -> Decision {
    match wait.checked_sub(waited) {
        None | Some(Duration::ZERO) => Decision::Send,
        Some(left) => Decision::WaitFor(left),
    }
}

/// A smoothed round trip, as TCP smooths its own (RFC 6298): each new one weighs an eighth.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoundTrip(Option<Duration>);

impl RoundTrip {
    pub(crate) fn record(&mut self, measured: Duration) {
        self.0 = Some(match self.0 {
            None => measured,
            Some(smoothed) => (smoothed * 7 + measured) / 8,
        });
    }

    pub(crate) const fn smoothed(self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const AUTO: Linger = Linger::Auto { cap: Duration::from_millis(5) };

    /// An idle connection with one fresh record.
    fn idle() -> Situation {
        Situation {
            full_ready: false,
            oldest_waited: Some(Duration::ZERO),
            in_flight: 0,
            unfilled_in_flight: 0,
            free_slots: 5,
            hurry: false,
            yielded: false,
            round_trip: Some(MS(8)),
        }
    }

    /// One request of unfilled batches under way.
    fn busy() -> Situation {
        Situation { in_flight: 1, unfilled_in_flight: 1, free_slots: 4, ..idle() }
    }

    #[test]
    fn auto_decides_as_the_four_rules_say() {
        let cases = [
            ("nothing to send", Situation { oldest_waited: None, ..idle() }, Decision::Wait),
            ("a lone record gives way once", idle(), Decision::YieldFirst),
            ("and then leaves", Situation { yielded: true, ..idle() }, Decision::Send),
            ("a full batch leaves", Situation { full_ready: true, ..busy() }, Decision::Send),
            (
                "unless no slot is free",
                Situation { full_ready: true, free_slots: 0, ..busy() },
                Decision::Wait,
            ),
            (
                "full batches under way do not hold an unfilled one back",
                Situation { unfilled_in_flight: 0, in_flight: 4, free_slots: 1, ..busy() },
                Decision::Send,
            ),
            ("an unfilled one under way does, for a quarter round trip", busy(), Decision::WaitFor(MS(2))),
            ("and no longer", Situation { oldest_waited: Some(MS(2)), ..busy() }, Decision::Send),
            (
                "one slot stays for full batches",
                Situation { free_slots: 1, oldest_waited: Some(MS(9)), ..busy() },
                Decision::Wait,
            ),
            (
                "at least a millisecond",
                Situation { round_trip: Some(MS(1)), ..busy() },
                Decision::WaitFor(MS(1)),
            ),
            ("before any round trip too", Situation { round_trip: None, ..busy() }, Decision::WaitFor(MS(1))),
            ("at most the cap", Situation { round_trip: Some(MS(400)), ..busy() }, Decision::WaitFor(MS(5))),
            ("in a hurry at once", Situation { hurry: true, ..busy() }, Decision::Send),
            (
                "in a hurry with nothing",
                Situation { hurry: true, oldest_waited: None, ..busy() },
                Decision::Wait,
            ),
        ];
        for (name, situation, expected) in cases {
            assert_eq!(AUTO.decide(situation), expected, "{name}");
        }
    }

    #[test]
    fn fixed_waits_for_a_full_batch_or_its_time() {
        let fixed = Linger::Fixed(MS(20));
        let cases = [
            ("waits even when idle", idle(), Decision::WaitFor(MS(20))),
            ("its time is up", Situation { oldest_waited: Some(MS(21)), ..busy() }, Decision::Send),
            ("full", Situation { full_ready: true, ..idle() }, Decision::Send),
            ("in a hurry", Situation { hurry: true, ..idle() }, Decision::Send),
            ("no slot", Situation { free_slots: 0, oldest_waited: Some(MS(21)), ..busy() }, Decision::Wait),
        ];
        for (name, situation, expected) in cases {
            assert_eq!(fixed.decide(situation), expected, "{name}");
        }
        assert_eq!(Linger::Fixed(Duration::ZERO).decide(busy()), Decision::Send);
    }

    #[test]
    fn round_trips_are_smoothed() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.smoothed(), None);
        round_trip.record(MS(8));
        round_trip.record(MS(16));
        assert_eq!(round_trip.smoothed(), Some(MS(9)));
    }
}
