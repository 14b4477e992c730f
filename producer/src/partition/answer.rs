//! What the answer to one attempt means.

use std::sync::Arc;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::Offset;

use super::{Batch, Effects, Entry, LastAcked, Machine, Moment, Receipt, State, Ticket};
use crate::fate::Cause;

/// What became of one attempt.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Written, now or earlier.
    Acked { base: Option<Offset>, append_time_ms: Option<i64> },
    /// Refused.
    Refused(Refusal),
    /// Handed to a socket, and the connection ended before an answer came.
    Lost(Arc<str>),
    /// Never handed to a socket.
    NotSent(Arc<str>),
}

/// A broker's refusal.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<Arc<str>>,
    /// Where the log starts, if the broker says so.
    pub(crate) log_start: Option<Offset>,
    /// Another broker is known to lead the partition: there is nothing to find out or to wait for.
    pub(crate) led_elsewhere: bool,
}

/// Why a batch is sent again: the label `reason` of `retries_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Disconnected,
    NotLeader,
    OutOfOrder,
    Split,
    Storage,
    Corrupt,
    Throttled,
    Other,
}

impl Retry {
    pub(crate) const ALL: [Self; 8] = [
        Self::Disconnected,
        Self::NotLeader,
        Self::OutOfOrder,
        Self::Split,
        Self::Storage,
        Self::Corrupt,
        Self::Throttled,
        Self::Other,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::NotLeader => "not_leader",
            Self::OutOfOrder => "out_of_order",
            Self::Split => "split",
            Self::Storage => "storage",
            Self::Corrupt => "corrupt",
            Self::Throttled => "throttled",
            Self::Other => "other",
        }
    }

    const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::LEADER_NOT_AVAILABLE
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::FENCED_LEADER_EPOCH
            | ErrorCode::UNKNOWN_LEADER_EPOCH
            | ErrorCode::UNKNOWN_TOPIC_ID => Self::NotLeader,
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => Self::OutOfOrder,
            ErrorCode::KAFKA_STORAGE_ERROR => Self::Storage,
            ErrorCode::CORRUPT_MESSAGE => Self::Corrupt,
            ErrorCode::THROTTLING_QUOTA_EXCEEDED => Self::Throttled,
            _ => Self::Other,
        }
    }
}

/// A refusal after which the batch may be in the log. Besides the codes that say so, whatever says nothing: an unexpected
/// failure inside the broker may have struck after the append.
fn may_be_written(code: ErrorCode) -> bool {
    code.may_have_been_written()
        || matches!(code, ErrorCode::UNKNOWN_SERVER_ERROR | ErrorCode::NETWORK_EXCEPTION)
        || !ErrorCode::KNOWN.contains(&code)
}

impl<B: Batch> Machine<B> {
    /// Takes the answer to an attempt. One that comes too late (its batch has its fate already) changes nothing.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        moment: Moment,
        effects: &mut Effects<B>,
    ) {
        let Some(at) = self.queue.iter().position(|entry| entry.flight == Some(ticket)) else { return };
        let Some(entry) = self.queue.get_mut(at) else { return };
        entry.flight = None;
        self.in_flight -= 1;
        match answer {
            Answer::Acked { base, append_time_ms } => self.acked(at, Receipt { base, append_time_ms }),
            Answer::Refused(refusal) => self.refused(at, refusal, moment, effects),
            Answer::Lost(trouble) => {
                entry.lost_attempts = entry.lost_attempts.saturating_add(1);
                self.trouble = Some(trouble);
                self.rewind(Retry::Disconnected, effects);
            }
            Answer::NotSent(trouble) => {
                self.trouble = Some(trouble);
                self.rewind(Retry::Disconnected, effects);
            }
        }
        self.advance(moment, effects);
    }

    fn acked(&mut self, at: usize, receipt: Receipt) {
        let Some(entry) = self.queue.get_mut(at) else { return };
        self.last_acked = match receipt.base {
            Some(base) => LastAcked::At(base.plus(i64::from(entry.batch.records()) - 1)),
            None => LastAcked::Somewhere,
        };
        entry.settled = Some(receipt);
        if self.rules.idempotent {
            // A broker takes a batch only behind all earlier ones of its epoch: so an earlier one whose answer was lost is in the
            // log. One that was refused each time is left to its own answer: if that contradicts, so much the worse for the
            // broker, but we acknowledge nothing that was refused.
            for earlier in self.queue.iter_mut().take(at) {
                if earlier.lost_attempts > 0 && earlier.flight.is_none() && earlier.settled.is_none() {
                    earlier.settled = Some(Receipt { base: None, append_time_ms: None });
                }
            }
        }
        if matches!(self.state, State::Probe) {
            self.state = State::Flowing;
        }
        self.backoff.reset();
        self.not_before = None;
        self.trouble = None;
    }

    fn refused(&mut self, at: usize, refusal: Refusal, moment: Moment, effects: &mut Effects<B>) {
        let code = refusal.code;
        let oldest = self.oldest() == Some(at);
        let Some(entry) = self.queue.get_mut(at) else { return };
        if may_be_written(code) {
            entry.lost_attempts = entry.lost_attempts.saturating_add(1);
        }
        self.trouble = Some(match &refusal.message {
            Some(message) => format!("{code}: {message}").into(),
            None => code.to_string().into(),
        });
        match code {
            // Older brokers say so where newer ones answer a repeat with success.
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                self.acked(at, Receipt { base: None, append_time_ms: None })
            }
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID
                if self.rules.idempotent =>
            {
                if oldest && self.proves_absence(at, code) {
                    self.found_absent(at, effects);
                } else if oldest {
                    self.diverged(code, refusal.log_start, moment, effects);
                } else {
                    // An older one must be sent first; nothing else is wrong.
                    self.rewind(Retry::of(code), effects);
                }
            }
            ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED => {
                self.drain(Cause::Fenced { code }, true, moment);
            }
            ErrorCode::MESSAGE_TOO_LARGE if entry.lost_attempts == 0 && entry.batch.records() > 1 => {
                self.split(at, refusal, moment, effects);
            }
            code if code.is_retriable() => {
                if !refusal.led_elsewhere {
                    effects.refresh_metadata |= Retry::of(code) == Retry::NotLeader;
                    self.not_before = Some(moment.now + self.backoff.next_delay(moment.random_bits));
                }
                self.rewind(Retry::of(code), effects);
            }
            _ => self.refused_for_good(oldest, refusal, moment, effects),
        }
    }

    fn refused_for_good(&mut self, oldest: bool, refusal: Refusal, moment: Moment, effects: &mut Effects<B>) {
        if oldest {
            self.drain(Cause::Refused { code: refusal.code, message: refusal.message }, false, moment);
        } else {
            // It is judged when those before it have their fate.
            self.rewind(Retry::of(refusal.code), effects);
        }
    }

    /// Error 45 or 59 for the oldest batch: the broker's log does not end where ours does.
    fn diverged(
        &mut self,
        code: ErrorCode,
        log_start: Option<Offset>,
        moment: Moment,
        effects: &mut Effects<B>,
    ) {
        let (by_retention, last_acked) = match (self.last_acked, log_start) {
            // Nothing was acknowledged, so nothing acknowledged can be missing.
            (LastAcked::Nothing, _) => (true, None),
            (LastAcked::At(last), Some(start)) => (start > last, Some(last)),
            (LastAcked::At(last), None) => (false, Some(last)),
            (LastAcked::Somewhere, _) => (false, None),
        };
        let cause = Cause::LogDiverged { code, last_acked, log_start };
        if by_retention && !self.is_settling() {
            self.bump_pending = Some(Arc::new(cause));
            self.not_before = Some(moment.now + self.backoff.next_delay(moment.random_bits));
            self.rewind(Retry::OutOfOrder, effects);
        } else {
            self.drain(cause, true, moment);
        }
    }

    /// MESSAGE_TOO_LARGE: the records go out again in two halves. Their sequences stay.
    fn split(&mut self, at: usize, refusal: Refusal, moment: Moment, effects: &mut Effects<B>) {
        let oldest = self.oldest() == Some(at);
        let Some(entry) = self.queue.remove(at) else { return };
        let Entry { batch, first, attempts, .. } = entry;
        let halves = match batch.split() {
            Ok(halves) => halves,
            Err(batch) => {
                self.queue.insert(
                    at,
                    Entry {
                        batch,
                        first,
                        stamped: true,
                        attempts,
                        lost_attempts: 0,
                        flight: None,
                        settled: None,
                        behind_hole: false,
                    },
                );
                return self.refused_for_good(oldest, refusal, moment, effects);
            }
        };
        let mut first = first;
        for (at, batch) in (at..).zip(halves) {
            let records = batch.records();
            let half = Entry {
                batch,
                first,
                stamped: false,
                attempts,
                lost_attempts: 0,
                flight: None,
                settled: None,
                behind_hole: false,
            };
            self.queue.insert(at, half);
            first = first.map(|sequence| sequence.plus(records));
        }
        self.rewind(Retry::Split, effects);
    }

    /// Position of the oldest batch without a fate.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.queue.iter().position(|entry| entry.settled.is_none())
    }

    fn rewind(&mut self, reason: Retry, effects: &mut Effects<B>) {
        if matches!(self.state, State::Probe | State::Flowing) {
            self.state = State::Rewind;
        }
        if matches!(self.state, State::Rewind) {
            effects.retries.push(reason);
        }
    }
}
