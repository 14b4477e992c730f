//! How things end: in fates, in draining and halts, in close. And how a partition goes on after them.

use std::collections::VecDeque;
use std::sync::Arc;

use gapless_common::seeded_bug::{SeededBug, is_on};
use gapless_common::types::{ProducerEpoch, Sequence, TopicId};
use tokio::time::Instant;

use super::settle::{CannotResume, Doubts};
use super::{Batch, Effects, Entry, LastAcked, Machine, Moment, State};
use crate::config::OnFailure;
use crate::fate::{Cause, Fate, FirstFailed};
use crate::resume::Unsettled;

impl<B: Batch> Machine<B> {
    /// Time has passed. `trouble` says what stands in the way of the connection now, if anything does. Answers that are
    /// already here must be taken first.
    pub(crate) fn tick(&mut self, moment: Moment, trouble: Option<&Arc<str>>, effects: &mut Effects<B>) {
        if self.is_settling() {
            self.tick_settling(moment, trouble, effects);
        } else if matches!(self.state, State::Probe | State::Flowing | State::Rewind)
            && let Some(entry) = self.oldest().and_then(|at| self.queue.get(at))
            && entry.batch.admitted() + self.rules.delivery_timeout <= moment.now
        {
            let last = trouble.or(self.trouble.as_ref()).cloned();
            self.drain(Cause::DeliveryTimeout { after: self.rules.delivery_timeout, last }, false, moment);
        }
        self.advance(moment, effects);
    }

    /// When [`Machine::tick`] has something to do at the latest; `None`: not before another event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Probe | State::Flowing | State::Rewind if self.is_settling() => self.settles_until(),
            State::Draining { until, .. } => Some(until),
            State::Probe | State::Flowing | State::Rewind => {
                let entry = self.oldest().and_then(|at| self.queue.get(at))?;
                Some(entry.batch.admitted() + self.rules.delivery_timeout)
            }
            State::Halted | State::Closed => None,
        }
    }

    /// Metadata names the topic's id. Another one than before: what was acknowledged went with the old topic.
    pub(crate) fn topic_seen(&mut self, id: TopicId, moment: Moment, effects: &mut Effects<B>) {
        let old = self.topic_id;
        if id == TopicId::ZERO || id == old {
            return;
        }
        self.topic_id = id;
        if old == TopicId::ZERO {
            return;
        }
        self.doubts.topic_is_gone();
        let untouched =
            self.last_acked == LastAcked::Nothing && self.queue.iter().all(|entry| entry.attempts == 0);
        if untouched {
            return;
        }
        self.last_acked = LastAcked::Nothing;
        let recreated = Cause::TopicRecreated { old, new: id };
        match &mut self.state {
            State::Probe | State::Flowing | State::Rewind => self.drain(recreated, true, moment),
            // Whatever it stopped for: nothing that was meant for the old topic may go out into the new one.
            State::Draining { cause, whole, .. } => {
                let fenced = matches!(**cause, Cause::Fenced { .. });
                (*cause, *whole) = (Arc::new(recreated), true);
                if fenced {
                    self.give_up_identity();
                }
            }
            State::Halted | State::Closed => return,
        }
        self.advance(moment, effects);
    }

    pub(super) fn drain(&mut self, cause: Cause, whole: bool, moment: Moment) {
        if matches!(self.state, State::Probe | State::Flowing | State::Rewind) {
            let limit = moment.now + self.rules.drain_limit;
            let until = self.settles_until().map_or(limit, |end| end.min(limit));
            self.bump_pending = None;
            self.state = State::Draining { until, cause: Arc::new(cause), whole };
        }
    }

    /// Hands out fates that are certain, and leaves a state whose end has come.
    pub(super) fn advance(&mut self, moment: Moment, effects: &mut Effects<B>) {
        let popped = self.pop_settled(effects);
        match &self.state {
            State::Draining { whole: false, .. } if popped => {
                // The oldest batch, on whose account all stopped, is written after all: nothing failed.
                self.state = State::Rewind;
            }
            State::Draining { until, .. } if self.in_flight == 0 || *until <= moment.now => {
                return self.end_draining(effects);
            }
            _ => {}
        }
        if self.is_settling() && self.queue.is_empty() {
            return self.end_settling(None, effects);
        }
        if matches!(self.state, State::Rewind) && self.in_flight == 0 {
            self.end_rewind(moment, effects);
        }
    }

    fn pop_settled(&mut self, effects: &mut Effects<B>) -> bool {
        let mut popped = false;
        while self.queue.front().is_some_and(|entry| entry.settled.is_some())
            && let Some(entry) = self.queue.pop_front()
        {
            popped = true;
            if self.is_settling() {
                self.found_written(entry, effects);
                continue;
            }
            let fate = fate_of(&entry, || Arc::new(Cause::Abandoned));
            effects.resolved.push((entry.batch, fate));
        }
        popped
    }

    fn end_rewind(&mut self, moment: Moment, effects: &mut Effects<B>) {
        self.state = State::Probe;
        if is_on(SeededBug::RetryOutOfOrder) && self.queue.len() > 1 {
            self.queue.rotate_left(1);
            return self.renumber();
        }
        let Some(cause) = self.bump_pending.take() else { return };
        // A new epoch gives the same records new sequences: only for records that are certainly not in the log.
        let doubtful = self.queue.iter().any(|entry| entry.lost_attempts > 0 || entry.settled.is_some());
        if doubtful {
            self.drain(Cause::clone(&cause), true, moment);
            return self.end_draining(effects);
        }
        self.renumber();
    }

    /// What waits gets new sequences, in a new epoch.
    fn renumber(&mut self) {
        for entry in &mut self.queue {
            entry.first = None;
            entry.stamped = false;
        }
        self.last_acked = LastAcked::Nothing;
        self.next_epoch();
    }

    pub(super) fn end_draining(&mut self, effects: &mut Effects<B>) {
        let State::Draining { cause, whole, .. } = std::mem::replace(&mut self.state, State::Halted) else {
            return;
        };
        if matches!(*cause, Cause::Fenced { .. }) {
            self.give_up_identity();
        }
        if self.is_settling() {
            return self.end_settling(Some(Unsettled::Stopped(cause)), effects);
        }
        let first = FirstFailed {
            not_written: self.oldest().and_then(|at| self.queue.get(at)).is_none_or(is_not_written),
            cause: Arc::clone(&cause),
        };
        self.generation += 1;
        let dropped = is_on(SeededBug::DropTimedOutBatch) && matches!(*cause, Cause::DeliveryTimeout { .. });
        let skip = self.rules.on_failure == OnFailure::Skip || dropped;
        let go_on = if skip { self.take_unwritten(whole) } else { VecDeque::new() };
        let recreated = matches!(*cause, Cause::TopicRecreated { .. });
        let mut next_cause = Some(cause);
        let behind = Arc::new(Cause::Behind(first.clone()));
        let mut hole = false;
        for mut entry in std::mem::replace(&mut self.queue, go_on) {
            let fate = fate_of(&entry, || next_cause.take().unwrap_or_else(|| Arc::clone(&behind)));
            match &fate {
                Fate::NotWritten(_) => hole = true,
                Fate::Unknown(_) if !skip => self.doubt(&mut entry, hole, recreated),
                Fate::Unknown(_) | Fate::Acked { .. } => {}
            }
            effects.resolved.push((entry.batch, fate));
        }
        self.in_flight = 0;
        if skip {
            self.start_over();
        } else {
            self.doubts.first = Some(first.clone());
            effects.halted = Some((self.generation, first));
        }
    }

    /// What goes on in a new epoch when failures are skipped: all that is certainly not written, behind the last batch of which
    /// that cannot be said (or fates would come out of order) and behind the one that failed.
    fn take_unwritten(&mut self, whole: bool) -> VecDeque<Entry<B>> {
        let mut go_on = VecDeque::new();
        let oldest = self.oldest();
        while let Some(at) = self.queue.len().checked_sub(1)
            && let Some(entry) = self.queue.back()
        {
            // A cause in the partition, and not in a batch, must still be heard of by someone who tried.
            let failed = oldest == Some(at) && (!whole || entry.attempts > 0);
            if failed || entry.settled.is_some() || !is_not_written(entry) {
                break;
            }
            let Some(entry) = self.queue.pop_back() else { break };
            go_on.push_front(Entry { first: None, stamped: false, ..entry });
        }
        go_on
    }

    /// The caller goes on without what failed.
    pub(crate) fn skip(&mut self, generation: u64) -> Result<(), CannotResume> {
        self.may_resume(generation)?;
        self.start_over();
        Ok(())
    }

    pub(super) fn start_over(&mut self) {
        self.doubts = Doubts::default();
        self.probe_afresh();
        self.next_epoch();
    }

    pub(super) fn probe_afresh(&mut self) {
        self.state = State::Probe;
        self.backoff.reset();
        self.not_before = None;
        self.trouble = None;
    }

    /// Epochs rise for one partition alone: a bump for the whole producer doubled records elsewhere (librdkafka 4953).
    fn next_epoch(&mut self) {
        self.next_sequence = Sequence::ZERO;
        match &mut self.identity {
            Some(identity) if identity.epoch.0 < i16::MAX => {
                identity.epoch = ProducerEpoch(identity.epoch.0 + 1)
            }
            _ => self.give_up_identity(),
        }
    }

    fn give_up_identity(&mut self) {
        self.given_up = self.identity.take().map(|identity| identity.id).or(self.given_up);
    }

    /// Ends everything now: the unsent is not written, the sent unknown.
    pub(crate) fn close(&mut self, cause: &Arc<Cause>, effects: &mut Effects<B>) {
        self.pop_settled(effects);
        if self.is_settling() {
            // They had their fates when the partition halted.
            self.queue.clear();
        }
        self.doubts = Doubts::default();
        let mut draining = match std::mem::replace(&mut self.state, State::Closed) {
            State::Draining { cause, .. } => Some(cause),
            _ => None,
        };
        self.in_flight = 0;
        while let Some(entry) = self.queue.pop_front() {
            let fate = fate_of(&entry, || draining.take().unwrap_or_else(|| Arc::clone(cause)));
            effects.resolved.push((entry.batch, fate));
        }
    }
}

/// No attempt was lost and none is unanswered.
fn is_not_written<B>(entry: &Entry<B>) -> bool {
    entry.lost_attempts == 0 && entry.flight.is_none()
}

fn fate_of<B>(entry: &Entry<B>, cause: impl FnOnce() -> Arc<Cause>) -> Fate {
    match entry.settled {
        Some(receipt) => Fate::Acked { base: receipt.base, append_time_ms: receipt.append_time_ms },
        None if is_not_written(entry) => Fate::NotWritten(cause()),
        None => Fate::Unknown(cause()),
    }
}
