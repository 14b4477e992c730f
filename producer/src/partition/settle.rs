//! Settle: what a halt left unknown is sent again, in order, under its old id, epoch and sequences, so that brokers
//! recognise what they have. All of it acknowledged, the partition goes on in a new epoch; else it is halted again.
//!
//! It runs on the ordinary states, `Probe` to `Draining`; what differs is where fates go, when time is up, and that nothing new is
//! sent. Bytes are kept in the order of admission as long as there is room. Of the rest nothing can be found out: the first
//! that does not fit ends the keeping, since those behind it could prove nothing good of it alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use tokio::time::Instant;

use super::{Batch, Effects, Entry, Machine, Moment, Receipt, State};
use crate::fate::{Cause, FirstFailed};
use crate::resume::{SettledBatch, SettledFate, Unsettled};

/// Age from which on a batch is not sent again. Brokers forget a producer one day after its last batch
/// (`producer.id.expiration.ms`), and take a repeat for new then; half of that leaves room for clocks and settings.
const AGE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// What a halt left unknown, in the order of admission: what has been found out, what can be sent again, what cannot.
pub(super) struct Doubts<B> {
    decided: Vec<SettledBatch>,
    kept: VecDeque<Entry<B>>,
    out_of_reach: Vec<SettledBatch>,
    /// While it is being sent again (then `kept` is empty, and the machine's queue has the batches): until when.
    settling_until: Option<Instant>,
    /// What the partition halted for.
    pub(super) first: Option<FirstFailed>,
}

impl<B> Default for Doubts<B> {
    fn default() -> Self {
        Self {
            decided: Vec::new(),
            kept: VecDeque::new(),
            out_of_reach: Vec::new(),
            settling_until: None,
            first: None,
        }
    }
}

/// How a settle ended.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// Of all that the halt left unknown.
    pub(crate) batches: Vec<SettledBatch>,
    /// That of the halt it was for.
    pub(crate) generation: u64,
    /// Not all of it was acknowledged: the generation in which the partition is halted now, and what it first halted for.
    pub(crate) halted: Option<(u64, FirstFailed)>,
}

/// Why a partition is not resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CannotResume {
    NotHalted,
    /// Someone settles it.
    Settling,
    /// The generation in force.
    Generation(u64),
}

impl<B: Batch> Doubts<B> {
    /// What was kept was meant for a topic that is gone. What is under way is the machine's to stop.
    pub(super) fn topic_is_gone(&mut self) {
        self.give_up(&Unsettled::TopicRecreated);
    }

    /// Nothing that is kept will be sent again.
    fn give_up(&mut self, why: &Unsettled) {
        let lost = self.kept.drain(..).map(|entry| unknown(&entry.batch, why.clone()));
        self.out_of_reach.splice(0..0, lost);
    }
}

fn unknown<B: Batch>(batch: &B, why: Unsettled) -> SettledBatch {
    SettledBatch { records: batch.records(), fate: SettledFate::Unknown(why) }
}

impl<B: Batch> Machine<B> {
    pub(super) const fn is_settling(&self) -> bool {
        self.doubts.settling_until.is_some()
    }

    pub(super) const fn settles_until(&self) -> Option<Instant> {
        self.doubts.settling_until
    }

    /// A halt ends this batch as unknown: its bytes are kept, if they can be of use and there is room.
    pub(super) fn doubt(&mut self, entry: &mut Entry<B>, behind_hole: bool, recreated: bool) {
        let doubts = &mut self.doubts;
        let why = if !self.rules.idempotent {
            Unsettled::NotIdempotent
        } else if recreated {
            Unsettled::TopicRecreated
        } else if let Some(batch) = if doubts.out_of_reach.is_empty() { entry.batch.keep() } else { None } {
            doubts.kept.push_back(Entry {
                batch,
                first: entry.first,
                stamped: entry.stamped,
                attempts: entry.attempts,
                lost_attempts: entry.lost_attempts.max(1),
                flight: None,
                settled: None,
                behind_hole,
            });
            return;
        } else {
            Unsettled::NoRoom
        };
        doubts.out_of_reach.push(unknown(&entry.batch, why));
    }

    pub(super) const fn may_resume(&self, generation: u64) -> Result<(), CannotResume> {
        if self.is_settling() {
            return Err(CannotResume::Settling);
        }
        match self.state {
            State::Halted if generation == self.generation => Ok(()),
            State::Halted => Err(CannotResume::Generation(self.generation)),
            _ => Err(CannotResume::NotHalted),
        }
    }

    /// Sends again what the halt left unknown, for at most `within`. [`Effects::settled`] tells the end, which may be at once.
    pub(crate) fn settle(
        &mut self,
        generation: u64,
        within: Duration,
        moment: Moment,
        effects: &mut Effects<B>,
    ) -> Result<(), CannotResume> {
        self.may_resume(generation)?;
        let oldest = self.doubts.kept.front().map(|entry| entry.batch.admitted());
        if oldest.is_some_and(|admitted| admitted + AGE_MAX <= moment.now) {
            self.doubts.give_up(&Unsettled::TooOld);
        }
        let until = moment.now + within;
        let until = oldest.map_or(until, |admitted| until.min(admitted + AGE_MAX));
        self.doubts.settling_until = Some(until);
        self.queue = std::mem::take(&mut self.doubts.kept);
        self.probe_afresh();
        self.advance(moment, effects);
        Ok(())
    }

    /// Whoever asked for the settle of this halt does not wait for it any more: the partition is halted as before. What was
    /// found out by now is told by the next settle.
    pub(crate) fn stop_settling(&mut self, generation: u64) {
        if self.is_settling() && self.generation == generation {
            self.put_back();
        }
    }

    pub(super) fn tick_settling(
        &mut self,
        moment: Moment,
        trouble: Option<&Arc<str>>,
        effects: &mut Effects<B>,
    ) {
        // Draining ends no later, and says why.
        if !matches!(self.state, State::Draining { .. })
            && self.settles_until().is_some_and(|until| until <= moment.now)
        {
            let last = trouble.or(self.trouble.as_ref()).cloned();
            self.end_settling(Some(Unsettled::Deadline { last }), effects);
        }
    }

    /// The batch is written.
    pub(super) fn found_written(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        let Receipt { base, append_time_ms } =
            entry.settled.unwrap_or(Receipt { base: None, append_time_ms: None });
        self.found(entry.batch, SettledFate::Acked { base, append_time_ms }, effects);
    }

    /// Whether this answer to the oldest batch says that it is in no log: it is out of order, as it must be behind a batch that
    /// was never written. Without such a hole it would mean that the log diverged. All that stood before it in doubt has
    /// been found out by now, so no old attempt can fill the hole.
    pub(super) fn proves_absence(&self, at: usize, code: ErrorCode) -> bool {
        self.is_settling()
            && code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            && self.queue.get(at).is_some_and(|entry| entry.behind_hole)
    }

    pub(super) fn found_absent(&mut self, at: usize, effects: &mut Effects<B>) {
        if let Some(entry) = self.queue.remove(at) {
            self.found(entry.batch, SettledFate::NotWritten, effects);
        }
    }

    fn found(&mut self, batch: B, fate: SettledFate, effects: &mut Effects<B>) {
        self.doubts.decided.push(SettledBatch { records: batch.records(), fate: fate.clone() });
        effects.found.push((batch, fate));
    }

    /// Everything is found out, or `why` not.
    pub(super) fn end_settling(&mut self, why: Option<Unsettled>, effects: &mut Effects<B>) {
        // An acknowledgement proves all that was sent before it.
        let proven = self.queue.iter().rposition(|entry| entry.settled.is_some());
        for _ in 0..proven.map_or(0, |at| at + 1) {
            if let Some(entry) = self.queue.pop_front() {
                self.found_written(entry, effects);
            }
        }
        self.put_back();
        if let Some(Unsettled::Stopped(cause)) = &why
            && matches!(**cause, Cause::TopicRecreated { .. })
        {
            self.doubts.topic_is_gone();
        }
        let mut batches = std::mem::take(&mut self.doubts.decided);
        let why = why.unwrap_or(Unsettled::Deadline { last: None });
        batches.extend(self.doubts.kept.iter().map(|entry| unknown(&entry.batch, why.clone())));
        batches.extend(self.doubts.out_of_reach.iter().cloned());
        let all_acked = batches.iter().all(|batch| matches!(batch.fate, SettledFate::Acked { .. }));
        let first = self.doubts.first.clone().filter(|_| !all_acked);
        let generation = self.generation;
        let halted = first.map(|first| {
            self.generation += 1;
            (self.generation, first)
        });
        if halted.is_none() {
            self.start_over();
        }
        effects.settled = Some(Settlement { batches, generation, halted });
    }

    /// What was not found out is kept for another settle. Each of these has lost an attempt already, so one more without an answer
    /// changes nothing.
    fn put_back(&mut self) {
        self.state = State::Halted;
        self.in_flight = 0;
        self.doubts.settling_until = None;
        self.doubts.kept = std::mem::take(&mut self.queue);
        for entry in &mut self.doubts.kept {
            entry.flight = None;
        }
    }
}
