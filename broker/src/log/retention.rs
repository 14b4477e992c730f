//! Which segments a log may forget: a pure function, with Kafka's rules, from what the segments hold and what time it is.
//!
//! Segments go oldest first, and whole. One goes when its latest record is older than `retention.ms`, when the log without it
//! still has `retention.bytes`, or when all of it lies below the log's start (DeleteRecords). Time is the records' own,
//! as with Kafka: what is written today with timestamps of last year goes at the next check, unless the topic stamps
//! records itself (`message.timestamp.type=LogAppendTime`) or keeps everything (`retention.ms=-1`).

use std::time::Duration;

use gapless_common::types::Offset;

/// What a topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Milliseconds for which records are kept (`retention.ms`); `None`: for ever.
    pub ms: Option<i64>,
    /// Bytes of each partition that are kept (`retention.bytes`); `None`: all.
    pub bytes: Option<u64>,
    /// Milliseconds after which the active segment is sealed although it is not full (`segment.ms`), so that what is
    /// in it can expire.
    pub segment_ms: i64,
}

/// A segment, as far as retention is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The offset behind its last record.
    pub next_offset: Offset,
    pub size: u64,
    /// The largest timestamp of its records; `i64::MIN` without records.
    pub max_timestamp: i64,
}

/// How many of the segments, from the oldest on, may go. `segments` are all there are, the last one being active, which goes
/// only if there is anything in it; nothing goes that holds something at or above `limit`, which nobody may have seen yet.
pub(super) fn expired(
    segments: &[Held],
    log_start: Offset,
    limit: Offset,
    limits: &RetentionLimits,
    now_ms: i64,
) -> usize {
    let too_old =
        |segment: &Held| limits.ms.is_some_and(|keep| now_ms.saturating_sub(segment.max_timestamp) > keep);
    let mut surplus = limits.bytes.map(|keep| {
        let all: u64 = segments.iter().map(|segment| segment.size).sum();
        all.saturating_sub(keep)
    });
    let mut count = 0;
    for (segment, at) in segments.iter().zip(1..) {
        let is_active = at == segments.len();
        let too_much = surplus.is_some_and(|surplus| surplus > 0 && segment.size <= surplus);
        let goes = segment.next_offset <= log_start || too_old(segment) || too_much;
        if !goes || segment.next_offset > limit || (is_active && segment.size == 0) {
            break;
        }
        // Kafka counts what it deletes for its age before it looks at sizes.
        surplus = surplus.map(|surplus| surplus.saturating_sub(segment.size));
        count = at;
    }
    count
}

/// A wall clock that has jumped ahead is not believed for so long: time for whoever keeps it to set it right, before it costs
/// records.
const JUMP_HELD_FOR: Duration = Duration::from_secs(3600);
/// Two readings of the wall clock may differ by so much from what the monotonic clock says lay between them.
const JUMP_MIN_MS: i64 = 60_000;

/// What time retention takes it to be.
///
/// Apache Kafka believes the wall clock, and a clock that is set a month ahead by mistake deletes what it has. Here a clock
/// that jumps ahead of the monotonic one is believed only after [`JUMP_HELD_FOR`]; one that is set back is believed at
/// once, since that only keeps more. A machine that was suspended looks like a jump, and its records go an hour late. A
/// clock that is wrong when the broker starts cannot be told from one that is right.
#[derive(Debug)]
pub struct RetentionClock {
    /// What is believed, and the monotonic time since the start at which it was.
    believed: (i64, Duration),
    /// When a jump was first seen.
    jumped: Option<Duration>,
}

impl RetentionClock {
    /// From the first reading; `elapsed` counts from anywhere.
    #[must_use]
    pub const fn new(wall_ms: i64, elapsed: Duration) -> Self {
        Self { believed: (wall_ms, elapsed), jumped: None }
    }

    /// The time to go by, in milliseconds since 1970, when the wall clock shows `wall_ms`.
    pub fn now(&mut self, wall_ms: i64, elapsed: Duration) -> i64 {
        let passed = elapsed.saturating_sub(self.believed.1).as_millis();
        let expected = self.believed.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        let now = if wall_ms <= expected.saturating_add(JUMP_MIN_MS) {
            self.jumped = None;
            wall_ms
        } else {
            let since = *self.jumped.get_or_insert(elapsed);
            if elapsed.saturating_sub(since) < JUMP_HELD_FOR {
                expected
            } else {
                self.jumped = None;
                wall_ms
            }
        };
        self.believed = (now, elapsed);
        now
    }

    /// Whether the wall clock is ahead of what is believed.
    #[must_use]
    pub const fn is_ahead(&self) -> bool {
        self.jumped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const KEEP_ALL: RetentionLimits = RetentionLimits { ms: None, bytes: None, segment_ms: i64::MAX };

    /// Segments of 10 offsets with these sizes and timestamps.
    fn segments(of: &[(u64, i64)]) -> Vec<Held> {
        of.iter()
            .zip(1..)
            .map(|((size, max_timestamp), at)| Held {
                next_offset: Offset(at * 10),
                size: *size,
                max_timestamp: *max_timestamp,
            })
            .collect()
    }

    #[test]
    fn segments_expire_by_age_oldest_first() {
        let by_age = RetentionLimits { ms: Some(100), ..KEEP_ALL };
        let all = segments(&[(50, 10), (50, 20), (50, 900), (50, 30)]);
        for (now, count) in [(110, 0), (111, 1), (120, 1), (121, 2), (131, 2), (1000, 2), (1001, 4)] {
            assert_eq!(expired(&all, Offset(0), Offset(40), &by_age, now), count, "at {now}");
        }
        assert_eq!(expired(&all, Offset(0), Offset(39), &by_age, 1001), 3, "not all of it can be seen yet");
        assert_eq!(expired(&all, Offset(0), Offset(40), &KEEP_ALL, i64::MAX), 0);
        assert_eq!(expired(&all, Offset(0), Offset(40), &by_age, i64::MIN), 0, "a clock of long ago");
    }

    #[test]
    fn an_empty_active_segment_stays() {
        let none = RetentionLimits { ms: Some(0), bytes: Some(0), ..KEEP_ALL };
        let all = segments(&[(50, 10), (0, i64::MIN)]);
        assert_eq!(expired(&all, Offset(20), Offset(20), &none, 1000), 1);
        assert_eq!(expired(&all[1..], Offset(20), Offset(20), &none, 1000), 0);
        assert_eq!(expired(&[], Offset(0), Offset(0), &none, 1000), 0);
    }

    #[test]
    fn what_is_left_never_falls_below_the_bytes_that_are_kept() {
        let all = segments(&[(100, 1), (200, 1), (50, 1), (70, 1)]);
        for (keep, count) in [(420, 0), (400, 0), (320, 1), (319, 1), (120, 2), (70, 3), (69, 3), (0, 4)] {
            let by_size = RetentionLimits { bytes: Some(keep), ..KEEP_ALL };
            assert_eq!(expired(&all, Offset(0), Offset(40), &by_size, 0), count, "{keep} bytes are kept");
        }
    }

    #[test]
    fn what_lies_below_the_start_goes() {
        let all = segments(&[(100, 1), (200, 1), (50, 1)]);
        for (start, count) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (30, 3)] {
            assert_eq!(expired(&all, Offset(start), Offset(30), &KEEP_ALL, 0), count, "from {start}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_goes_that_no_rule_gives_up(
            held in vec((0_u64..100, 0_i64..100), 0..8),
            keep_ms in proptest::option::of(0_i64..100),
            keep_bytes in proptest::option::of(0_u64..400),
            start in 0_i64..80,
            limit in 0_i64..90,
            now in 0_i64..250,
        ) {
            let all = segments(&held);
            let limits = RetentionLimits { ms: keep_ms, bytes: keep_bytes, segment_ms: i64::MAX };
            let count = expired(&all, Offset(start), Offset(limit), &limits, now);
            let left = |from: usize| all[from..].iter().map(|segment| segment.size).sum::<u64>();
            for (segment, at) in all[..count].iter().zip(1..) {
                prop_assert!(segment.next_offset <= Offset(limit));
                let old = keep_ms.is_some_and(|keep| now - segment.max_timestamp > keep);
                let much = keep_bytes.is_some_and(|keep| left(at) >= keep);
                prop_assert!(old || much || segment.next_offset <= Offset(start));
            }
            if let Some(next) = all.get(count)
                && next.size > 0
                && next.next_offset <= Offset(limit)
            {
                prop_assert!(keep_ms.is_none_or(|keep| now - next.max_timestamp <= keep));
                prop_assert!(keep_bytes.is_none_or(|keep| left(count) <= keep || left(count + 1) < keep));
                prop_assert!(next.next_offset > Offset(start));
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_after_an_hour() {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let mut clock = RetentionClock::new(1_000_000, minutes(0));
        assert_eq!(clock.now(1_300_000, minutes(5)), 1_300_000);
        // It drifts a little, and is believed.
        assert_eq!(clock.now(1_610_000, minutes(10)), 1_610_000);
        let month = 30 * 86_400_000;
        for later in (15..75).step_by(5) {
            let wall = month + i64::try_from(later).unwrap() * 60_000;
            assert_eq!(clock.now(wall, minutes(later)), 1_610_000 + (later as i64 - 10) * 60_000);
            assert!(clock.is_ahead());
        }
        assert_eq!(clock.now(month, minutes(75)), month, "it stands, and so it is believed");
        // Set back, at once.
        assert_eq!(clock.now(1000, minutes(80)), 1000);
        assert!(!clock.is_ahead());
        // A jump that is set right in time costs nothing.
        assert_eq!(clock.now(month, minutes(85)), 301_000);
        assert_eq!(clock.now(601_000, minutes(90)), 601_000);
        assert!(!clock.is_ahead());
    }
}
