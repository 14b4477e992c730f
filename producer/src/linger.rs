//! When a request leaves: the whole policy of lingering, without clock or socket.
//!
//! `auto` estimates no rates. While nothing is under way a record has nothing to wait for, so it leaves at once; while
//! something is under way, requests of unfilled batches keep a distance of a quarter round trip, counted from when the last
//! one *left*: a record that comes later than that waits for nothing, and one that comes sooner for the rest of it only. What
//! gathers meanwhile goes along. One slot stays for full batches.
//!
//! `docs/linger.md` says why, and what came of it.

use std::time::Duration;

use crate::config::Linger;

/// Timers have this resolution: a shorter distance would be as long.
const DISTANCE_MIN: Duration = Duration::from_millis(1);
/// The distance between requests of unfilled batches, as a share of the round trip. Four requests then fill a round trip, and
/// the fifth slot is the one for full batches.
const ROUND_TRIP_SHARE: u32 = 4;
/// How much of the difference to a longer round trip is believed. Under load most of a round trip is time in queues, which
/// a longer distance between requests would not shorten: so the estimate keeps close to the shortest ones, and needs some
/// hundred to follow a path that has become longer.
const RISE_SHARE: u32 = 64;

/// What is known about one connection when the question comes up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// A full batch may be sent.
    pub(crate) full_ready: bool,
    /// How long the oldest record of those that may be sent has waited; `None`: there is none.
    pub(crate) oldest_waited: Option<Duration>,
    /// How long ago the last request made only of unfilled batches left; `None`: none has.
    pub(crate) unfilled_left: Option<Duration>,
    /// Requests in flight that are made only of unfilled batches.
    pub(crate) unfilled_in_flight: usize,
    /// Further requests that may be in flight.
    pub(crate) free_slots: usize,
    /// Someone waits for what is queued: a flush, a close, a sender without room.
    pub(crate) hurry: bool,
    /// The task has already given way to others since it found something to send.
    pub(crate) yielded: bool,
    /// The round trip of requests that were not sent again, without most of what it is lengthened by load.
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
            Self::Fixed(wait) => match wait.saturating_sub(waited) {
                Duration::ZERO => Decision::Send,
                left => Decision::WaitFor(left),
            },
            Self::Auto { cap } => now.decide_unfilled(cap),
        }
    }
}

impl Situation {
    /// Whether unfilled batches, which nobody is in a hurry for, leave under `auto`.
    fn decide_unfilled(self, cap: Duration) -> Decision {
        if self.unfilled_in_flight > 0 {
            if self.free_slots < 2 {
                return Decision::Wait;
            }
            let share = self.round_trip.unwrap_or_default() / ROUND_TRIP_SHARE;
            let distance = share.max(DISTANCE_MIN).min(cap);
            let left = distance.saturating_sub(self.unfilled_left.unwrap_or(distance));
            if !left.is_zero() {
                return Decision::WaitFor(left);
            }
        }
        if self.yielded { Decision::Send } else { Decision::YieldFirst }
    }
}

/// The round trip that the distance is a share of: falls at once, rises slowly.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoundTrip(Option<Duration>);

impl RoundTrip {
    pub(crate) fn record(&mut self, measured: Duration) {
        self.0 = Some(match self.0 {
            Some(known) if known < measured => known + (measured - known) / RISE_SHARE,
            _ => measured,
        });
    }

    pub(crate) const fn estimate(self) -> Option<Duration> {
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
            unfilled_left: Some(MS(500)),
            unfilled_in_flight: 0,
            free_slots: 5,
            hurry: false,
            yielded: false,
            round_trip: Some(MS(8)),
        }
    }

    /// One request of unfilled batches that left just now.
    fn busy() -> Situation {
        Situation { unfilled_left: Some(Duration::ZERO), unfilled_in_flight: 1, free_slots: 4, ..idle() }
    }

    #[test]
    fn auto_decides_as_its_rules_say() {
        let cases = [
            ("nothing to send", Situation { oldest_waited: None, ..idle() }, Decision::Wait),
            ("a lone record gives way once", idle(), Decision::YieldFirst),
            ("and then leaves", Situation { yielded: true, ..idle() }, Decision::Send),
            ("the first one too", Situation { unfilled_left: None, ..idle() }, Decision::YieldFirst),
            ("a full batch leaves", Situation { full_ready: true, ..busy() }, Decision::Send),
            (
                "unless no slot is free",
                Situation { full_ready: true, free_slots: 0, ..busy() },
                Decision::Wait,
            ),
            (
                "full batches under way do not hold an unfilled one back",
                Situation { unfilled_in_flight: 0, free_slots: 1, yielded: true, ..busy() },
                Decision::Send,
            ),
            ("unfilled ones keep a quarter round trip apart", busy(), Decision::WaitFor(MS(2))),
            (
                "of which the rest is left",
                Situation { unfilled_left: Some(Duration::from_micros(1_500)), ..busy() },
                Decision::WaitFor(Duration::from_micros(500)),
            ),
            (
                "whatever the record itself has waited",
                Situation { oldest_waited: Some(MS(9)), ..busy() },
                Decision::WaitFor(MS(2)),
            ),
            (
                "a record that comes later gives way once",
                Situation { unfilled_left: Some(MS(2)), ..busy() },
                Decision::YieldFirst,
            ),
            (
                "and then leaves",
                Situation { unfilled_left: Some(MS(2)), yielded: true, ..busy() },
                Decision::Send,
            ),
            (
                "one slot stays for full batches",
                Situation { free_slots: 1, unfilled_left: Some(MS(9)), yielded: true, ..busy() },
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
    fn a_cap_below_the_resolution_is_kept() {
        let never = Linger::Auto { cap: Duration::ZERO };
        assert_eq!(never.decide(Situation { yielded: true, ..busy() }), Decision::Send);
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
    fn round_trips_fall_at_once_and_rise_slowly() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.estimate(), None);
        for (measured, estimate) in [(MS(8), MS(8)), (MS(72), MS(9)), (MS(9), MS(9)), (MS(3), MS(3))] {
            round_trip.record(measured);
            assert_eq!(round_trip.estimate(), Some(estimate));
        }
        // A path that has become longer is believed in the end.
        (0..300).for_each(|_| round_trip.record(MS(30)));
        assert!(round_trip.estimate().is_some_and(|estimate| estimate > MS(29)), "{round_trip:?}");
    }
}
