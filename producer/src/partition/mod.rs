//! The state machine of one partition: which batch may be sent next, and what an answer, a lost connection or a passed
//! deadline means for it. Events in, effects out; no clock, no socket, no channel.
//!
//! | state | event | next |
//! |---|---|---|
//! | `Probe`: one batch in flight; for each new epoch, connection and leader | acknowledged | `Flowing` |
//! | `Flowing`: up to the limit | retriable error, 45 for a batch that is not the oldest, disconnect | `Rewind` |
//! | `Rewind`: sends nothing | everything in flight answered or lost | `Probe`, oldest first |
//! | any | the oldest batch refused for good or past its deadline, fenced, topic id changed, log diverged | `Draining` |
//! | `Draining`: sends nothing, for at most one request timeout | all answered, or time up | `Halted`; or, if the caller skips failures, `Probe` in a new epoch |
//! | `Halted` | resume, leaving what failed | `Probe` in a new epoch |
//! | `Halted` | resume, settling first: what is unknown is sent again as it was, from `Probe` on | all acknowledged: `Probe` in a new epoch; else `Halted` |
//! | any | close | `Closed` |
//!
//! `Probe` exists because Apache Kafka up to 4.4 lets a partition without a record begin at any sequence (KAFKA-15591): with
//! A refused and B accepted, A would be lost.
//!
//! A new leader needs no event of its own: [`Machine::next`] is asked for a connection, and another one than before means
//! that nothing goes out until what is in flight on the old one is decided.
//!
//! - `mod.rs`: what is known of a partition, and sending; `answer.rs`: what an answer means; `ending.rs`: deadlines,
//!   draining, halts, close; `settle.rs`: what a halt left unknown, and sending it again.

mod answer;
mod ending;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::backoff::Backoff;
use gapless_common::types::{Offset, ProducerEpoch, ProducerId, Sequence, TopicId};
use tokio::time::Instant;

use crate::config::OnFailure;
use crate::fate::{Cause, Fate, FirstFailed};
use crate::resume::SettledFate;
use settle::Doubts;

pub(crate) use answer::{Answer, Refusal, Retry};
pub(crate) use settle::{CannotResume, Settlement};

/// What the machine must know of a batch. Its bytes are none of its business.
pub(crate) trait Batch: Sized {
    /// How many records it holds; at least one.
    fn records(&self) -> u32;

    /// Bytes it takes in a request.
    fn size(&self) -> usize;

    /// When its oldest record was admitted.
    fn admitted(&self) -> Instant;

    /// Fixes the bytes; `None` without idempotence. Called again, with another stamp, only for a batch that was certainly
    /// never written.
    fn stamp(&mut self, stamp: Option<Stamp>);

    /// Two halves, in order, or the batch back if it holds a single record.
    fn split(self) -> Result<[Self; 2], Self>;

    /// The same bytes once more, for a settle, before this one ends as unknown; nobody waits for what becomes of them. `None`
    /// if there is no room to keep them.
    fn keep(&mut self) -> Option<Self>;
}

/// Who sends, as brokers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// The place of a batch in the stream of records of one producer to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) first: Sequence,
}

/// The rules that do not change while a producer lives.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) idempotent: bool,
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    /// How long `Draining` waits: one request timeout.
    pub(crate) drain_limit: Duration,
    pub(crate) on_failure: OnFailure,
    pub(crate) backoff: Backoff,
}

/// One connection among all that were ever opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// One attempt to send one batch; its answer carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// When something happens, and randomness for a backoff.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) random_bits: u64,
}

/// What may be sent on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing before an event changes that.
    Nothing,
    /// Nothing before this time (backoff).
    NotBefore(Instant),
    /// Nothing before there is a producer id other than the one named.
    Identity { other_than: Option<ProducerId> },
    /// A batch that the machine holds: [`Machine::send`].
    Held,
    /// A batch that was never sent: [`Machine::push`], then [`Machine::send`].
    New,
}

/// A batch on its way to a socket.
pub(crate) struct Sending<'a, B> {
    pub(crate) ticket: Ticket,
    pub(crate) batch: &'a B,
    /// Counts from 1.
    pub(crate) attempt: u32,
}

/// What follows from an event, for who runs the machine.
pub(crate) struct Effects<B> {
    /// Fates, in the order of admission.
    pub(crate) resolved: Vec<(B, Fate)>,
    /// The partition halted: what was never handed to the machine fails behind the first that failed.
    pub(crate) halted: Option<(u64, FirstFailed)>,
    /// Leadership or the topic may have changed.
    pub(crate) refresh_metadata: bool,
    /// Batches that have to be sent again, by reason.
    pub(crate) retries: Vec<Retry>,
    /// What a settle found out, in the order of admission.
    pub(crate) found: Vec<(B, SettledFate)>,
    /// A settle is over.
    pub(crate) settled: Option<Settlement>,
}

impl<B> Default for Effects<B> {
    fn default() -> Self {
        Self {
            resolved: Vec::new(),
            halted: None,
            refresh_metadata: false,
            retries: Vec::new(),
            found: Vec::new(),
            settled: None,
        }
    }
}

/// See the table above.
#[derive(Debug)]
enum State {
    Probe,
    Flowing,
    Rewind,
    Draining {
        until: Instant,
        cause: Arc<Cause>,
        /// The cause lies in the partition, not in its oldest batch: the answer to that batch does not end it.
        whole: bool,
    },
    Halted,
    Closed,
}

/// A batch that was handed to the machine and has no fate yet.
struct Entry<B> {
    batch: B,
    /// Fixed when it is first sent. `None` before, and without idempotence.
    first: Option<Sequence>,
    /// The batch's bytes carry that sequence.
    stamped: bool,
    attempts: u32,
    /// Attempts that were handed to a socket and may have been carried out without our knowing. Never falls.
    lost_attempts: u32,
    flight: Option<Ticket>,
    /// It is written, and waits for older ones to have their fate.
    settled: Option<Receipt>,
    /// An earlier batch of its epoch is certainly not in the log, and never will be: a broker that knows the epoch cannot take
    /// this one either.
    behind_hole: bool,
}

#[derive(Debug, Clone, Copy)]
struct Receipt {
    base: Option<Offset>,
    append_time_ms: Option<i64>,
}

/// The last record known to be written, as far as its offset is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastAcked {
    Nothing,
    At(Offset),
    /// Written, but the broker did not say where.
    Somewhere,
}

/// One partition, as its sender sees it.
pub(crate) struct Machine<B> {
    rules: Rules,
    state: State,
    /// Oldest first. Those in flight come before those waiting to be sent.
    queue: VecDeque<Entry<B>>,
    in_flight: usize,
    identity: Option<Identity>,
    /// The last id, when another is needed: its epochs are used up, or it was fenced.
    given_up: Option<ProducerId>,
    next_sequence: Sequence,
    connection: Option<ConnectionId>,
    last_acked: LastAcked,
    topic_id: TopicId,
    /// Counts halts (and skipped failures).
    generation: u64,
    /// What the halt left unknown.
    doubts: Doubts<B>,
    backoff: Backoff,
    not_before: Option<Instant>,
    /// What `Rewind` ends with, instead of plain `Probe`: a new epoch, since the broker lost our state to retention. If that
    /// turns out unsafe, this is the cause of the halt.
    bump_pending: Option<Arc<Cause>>,
    next_ticket: u64,
    /// The last trouble, for messages.
    trouble: Option<Arc<str>>,
}

impl<B: Batch> Machine<B> {
    pub(crate) fn new(rules: Rules) -> Self {
        let backoff = rules.backoff.clone();
        Self {
            rules,
            state: State::Probe,
            queue: VecDeque::new(),
            in_flight: 0,
            identity: None,
            given_up: None,
            next_sequence: Sequence::ZERO,
            connection: None,
            last_acked: LastAcked::Nothing,
            topic_id: TopicId::ZERO,
            generation: 0,
            doubts: Doubts::default(),
            backoff,
            not_before: None,
            bump_pending: None,
            next_ticket: 0,
            trouble: None,
        }
    }

    /// The id of the topic that what is sent now is meant for; zero: not known.
    pub(crate) const fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// No batch is in its hands.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Size of the next batch to be sent among those it holds.
    pub(crate) fn held_size(&self) -> Option<usize> {
        self.next_to_send().and_then(|at| self.queue.get(at)).map(|entry| entry.batch.size())
    }

    /// When the oldest record in its hands was admitted.
    pub(crate) fn oldest_admitted(&self) -> Option<Instant> {
        self.queue.front().map(|entry| entry.batch.admitted())
    }

    /// Something may be sent on some connection: [`Machine::next`] knows more.
    pub(crate) fn may_send(&self) -> bool {
        match self.state {
            State::Probe => self.in_flight == 0,
            State::Flowing => self.in_flight < self.rules.max_in_flight,
            State::Rewind | State::Draining { .. } | State::Halted | State::Closed => false,
        }
    }

    /// What may be sent on `connection` now.
    pub(crate) fn next(&self, connection: ConnectionId, now: Instant) -> Next {
        if !self.may_send() || (self.is_probing(connection) && self.in_flight > 0) {
            return Next::Nothing;
        }
        if let Some(not_before) = self.not_before.filter(|at| *at > now) {
            return Next::NotBefore(not_before);
        }
        if self.is_settling() {
            // Stamped long ago; and nothing new goes out before it is known what became of the old.
            return if self.next_to_send().is_some() { Next::Held } else { Next::Nothing };
        }
        if self.rules.idempotent && self.identity.is_none() {
            return Next::Identity { other_than: self.given_up };
        }
        if self.next_to_send().is_some() { Next::Held } else { Next::New }
    }

    fn is_probing(&self, connection: ConnectionId) -> bool {
        matches!(self.state, State::Probe) || self.connection != Some(connection)
    }

    fn next_to_send(&self) -> Option<usize> {
        self.queue.iter().position(|entry| entry.flight.is_none() && entry.settled.is_none())
    }

    /// The producer id and its first epoch, where [`Next::Identity`] asks for one.
    pub(crate) fn identify(&mut self, identity: Identity) {
        if self.identity.is_none() && self.given_up != Some(identity.id) {
            self.identity = Some(identity);
            self.next_sequence = Sequence::ZERO;
        }
    }

    /// Hands over the next batch in the order of admission.
    pub(crate) fn push(&mut self, batch: B) {
        self.queue.push_back(Entry {
            batch,
            first: None,
            stamped: false,
            attempts: 0,
            lost_attempts: 0,
            flight: None,
            settled: None,
            behind_hole: false,
        });
    }

    /// Sends the next batch that the machine holds: after [`Next::Held`], or [`Machine::push`]. From here on it counts as handed
    /// to a socket, until [`Answer::NotSent`].
    pub(crate) fn send(&mut self, connection: ConnectionId) -> Option<Sending<'_, B>> {
        if self.is_probing(connection) {
            self.state = State::Probe;
            self.connection = Some(connection);
        }
        let at = self.next_to_send()?;
        let ticket = Ticket(self.next_ticket);
        let entry = self.queue.get_mut(at)?;
        if !entry.stamped {
            let stamp = match self.identity {
                Some(identity) if self.rules.idempotent => {
                    // Fixed now, and for every later attempt. Half a batch that was split has its own from before.
                    let first = *entry.first.get_or_insert_with(|| {
                        let first = self.next_sequence;
                        self.next_sequence = first.plus(entry.batch.records());
                        first
                    });
                    Some(Stamp { identity, first })
                }
                _ => None,
            };
            entry.batch.stamp(stamp);
            entry.stamped = true;
        }
        entry.attempts += 1;
        let attempt = entry.attempts;
        entry.flight = Some(ticket);
        self.next_ticket += 1;
        self.in_flight += 1;
        Some(Sending { ticket, batch: &entry.batch, attempt })
    }
}
