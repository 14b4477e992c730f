//! The scrub: walks through all that is flushed, slowly and for ever, and compares it with its checksums, so that rot is
//! found while there may still be a copy of what it ate. Which part is next, and when, is decided without clock or file.

use std::{sync::Arc, time::Duration};

use gapless_common::{protocol::Text, types::Offset};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{log::Scrubbed, shared::Shared, topics::Catalogue};

/// A pass begins no sooner than so long after the one before: little data is not read again all the time.
const PASS_INTERVAL: Duration = Duration::from_secs(3600);
/// Steps a second, as long as [`STEP_BYTES`] allows: what others wait for, on a disk that does one thing at a time.
const STEPS_PER_SECOND: u64 = 16;
/// Bounds of one step. One is a batch at least, whatever its size.
const STEP_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(4 << 20);

/// A partition, in the order in which they are walked through: topic and number.
type Key = (Text, i32);

/// Where the scrub stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Start,
    In(Key, Offset),
    Behind(Key),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Of this partition, from this offset on.
    Scrub(Key, Offset),
    /// The pass is over; the next one begins then.
    Rest(Instant),
}

/// Decides what the scrub does next, and how long it rests in between.
struct Schedule {
    bytes_per_second: u64,
    place: Place,
    pass_began: Instant,
}

impl Schedule {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, place: Place::Start, pass_began: now }
    }

    fn step_bytes(&self) -> u64 {
        (self.bytes_per_second / STEPS_PER_SECOND).clamp(*STEP_BYTES.start(), *STEP_BYTES.end())
    }

    /// `first_from` tells the first partition there is, at or behind a key.
    fn next(&mut self, first_from: impl Fn(Option<&Key>, bool) -> Option<Key>) -> Step {
        let (key, from) = match &self.place {
            Place::Start => (first_from(None, true), Offset(0)),
            Place::Behind(key) => (first_from(Some(key), false), Offset(0)),
            Place::In(key, offset) => match first_from(Some(key), true) {
                Some(found) if found == *key => (Some(found), *offset),
                // It was deleted.
                other => (other, Offset(0)),
            },
        };
        let Some(key) = key else { return Step::Rest(self.pass_began + PASS_INTERVAL) };
        self.place = Place::In(key.clone(), from);
        Step::Scrub(key, from)
    }

    /// A step is done; how long to rest before the next one.
    fn done(&mut self, key: Key, scrubbed: &Scrubbed) -> Duration {
        self.place = match scrubbed.next {
            Some(offset) => Place::In(key, offset),
            None => Place::Behind(key),
        };
        let micros = scrubbed.bytes.saturating_mul(1_000_000) / self.bytes_per_second.max(1);
        Duration::from_micros(micros)
    }

    fn begin_pass(&mut self, now: Instant) {
        (self.place, self.pass_began) = (Place::Start, now);
    }
}

/// Scrubs for as long as it is let, at `--scrub-rate`; not at all if that is 0.
pub(crate) async fn run(broker: Arc<Shared>) {
    if broker.config.scrub_bytes_per_second == 0 {
        return;
    }
    let mut schedule = Schedule::new(broker.config.scrub_bytes_per_second, Instant::now());
    loop {
        match schedule.next(|key, inclusive| partition_from(&broker.catalogue, key, inclusive)) {
            Step::Rest(until) => {
                sleep_until(until).await;
                schedule.begin_pass(Instant::now());
            }
            Step::Scrub(key, from) => {
                let scrubbed = match broker.catalogue.partition(&key.0, key.1) {
                    Some(log) => log.scrub(from, schedule.step_bytes()).await,
                    None => Scrubbed { bytes: 0, next: None, corrupt: false },
                };
                broker.metrics.scrubbed_bytes.increment(scrubbed.bytes);
                broker.metrics.scrub_corrupt_batches.increment(u64::from(scrubbed.corrupt));
                match schedule.done(key, &scrubbed) {
                    // Thousands of empty partitions take a while, and nobody else's turn.
                    Duration::ZERO => tokio::task::yield_now().await,
                    rest => sleep(rest).await,
                }
            }
        }
    }
}

/// The first partition at or behind `key`.
fn partition_from(topics: &Catalogue, key: Option<&Key>, inclusive: bool) -> Option<Key> {
    let topic = topics.first_from(key.map(|(name, _)| &**name))?;
    let first = match key {
        Some((name, partition)) if *name == topic.name => partition + i32::from(!inclusive),
        _ => 0,
    };
    // Every topic has one at least.
    match topic.partition(first) {
        Some(_) => Some((topic.name.clone(), first)),
        None => topics.first_behind(&topic.name).map(|next| (next.name.clone(), 0)),
    }
}

#[cfg(test)]
mod tests;
