//! Which requests are under way, in order, and what an answer, a deadline or a death means to them. Pure: time comes
//! in as an argument, frames go in and out as bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::{ChannelDeath, ProtocolError};
use crate::protocol::ApiKey;

/// What a request learns: its answer's frame, or why there is none.
pub(super) type Answer = Result<Bytes, Arc<ChannelDeath>>;

/// A year from now: what stands for "never", since an [`Instant`] has no largest value.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whom a request shares its slots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Produce requests: bounded by themselves, as in Kafka's `max.in.flight.requests.per.connection` for producers.
    Produce,
    /// Everything else a caller sends.
    Other,
    /// The channel's own; there is never more than one, so it needs no slot.
    Heartbeat,
}

impl Lane {
    pub(super) const fn of(api: ApiKey) -> Self {
        if matches!(api, ApiKey::Produce) { Self::Produce } else { Self::Other }
    }
}

/// When a request is done.
#[derive(Debug)]
pub(super) enum Until {
    /// When its response is in.
    Answered(oneshot::Sender<Answer>),
    /// When its last byte is handed to the connection (acks = 0).
    Written(oneshot::Sender<Answer>),
    /// When its response is in, which nobody reads.
    Heartbeat,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) correlation: i32,
    pub(super) api: ApiKey,
    pub(super) lane: Lane,
    /// Counted from the moment it was queued: a peer that does not read is as dead as one that does not answer.
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) until: Until,
}

/// Bytes to be written, with the request that is done once they are.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) completes: Option<i32>,
}

/// What the receiving task should do next.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Look again at this time, unless something happens.
    LookAgain(Instant),
    /// Ask for a sign of life.
    HeartbeatDue,
    /// The channel is dead.
    Dead(ChannelDeath),
}

/// The state of a living channel.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Not yet taken by the writer. Bounded by the slots.
    pub(super) queue: Vec<Piece>,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    next_correlation: i32,
    /// When the peer last gave a sign of life.
    heard: Instant,
    heartbeat_interval: Duration,
    /// When the receiving task will look at the deadlines by itself.
    pub(super) alarm: Instant,
}

impl Pipeline {
    pub(super) fn new(first_correlation: i32, now: Instant, heartbeat_interval: Duration) -> Self {
        Self {
            queue: Vec::new(),
            waiting: VecDeque::new(),
            next_correlation: first_correlation,
            heard: now,
            heartbeat_interval,
            alarm: later(now, heartbeat_interval),
        }
    }

    /// The id that the next [`Pipeline::push`] will use.
    pub(super) const fn next_correlation(&self) -> i32 {
        self.next_correlation
    }

    /// Queues a request behind all others. Returns true if its deadline comes before the next look at deadlines.
    pub(super) fn push(
        &mut self,
        api: ApiKey,
        lane: Lane,
        timeout: Duration,
        now: Instant,
        frame: impl IntoIterator<Item = Bytes>,
        until: Until,
    ) -> bool {
        let correlation = self.next_correlation;
        self.next_correlation = if correlation == i32::MAX { 0 } else { correlation + 1 };
        self.queue.extend(frame.into_iter().map(|bytes| Piece { bytes, completes: None }));
        if let (Until::Written(_), Some(last)) = (&until, self.queue.last_mut()) {
            last.completes = Some(correlation);
        }
        let deadline = later(now, timeout);
        self.waiting.push_back(Waiting { correlation, api, lane, deadline, timeout, until });
        let sooner = deadline < self.alarm;
        self.alarm = self.alarm.min(deadline);
        sooner
    }

    /// A response with this correlation id is in: whose it is. It must be the oldest that waits for one.
    pub(super) fn answered(&mut self, found: Option<i32>, now: Instant) -> Result<Waiting, ProtocolError> {
        self.heard = now;
        let oldest = self.waiting.iter().position(|request| !matches!(request.until, Until::Written(_)));
        let expected = oldest.and_then(|at| self.waiting.get(at)).map(|request| request.correlation);
        match oldest {
            Some(at) if found.is_some() && found == expected => {
                self.waiting.remove(at).ok_or(ProtocolError::Correlation { found, expected })
            }
            _ => Err(ProtocolError::Correlation { found, expected }),
        }
    }

    /// The last byte of a request that waits for no response was written. `None` if the channel died before.
    pub(super) fn written(&mut self, correlation: i32) -> Option<Waiting> {
        let at = self.waiting.iter().position(|request| request.correlation == correlation)?;
        self.waiting.remove(at)
    }

    /// Judges all deadlines. To be asked only when everything that the peer has sent was read: what was answered
    /// never expires, however late we come to read it.
    pub(super) fn judge(&mut self, now: Instant) -> Judgement {
        if let Some(expired) = self.waiting.iter().find(|request| request.deadline <= now) {
            let (api, after) = (expired.api, expired.timeout);
            return Judgement::Dead(match expired.until {
                Until::Heartbeat => ChannelDeath::HeartbeatMissed { after },
                Until::Answered(_) | Until::Written(_) => ChannelDeath::Timeout { api, after },
            });
        }
        let expects_response = self.waiting.iter().any(|request| !matches!(request.until, Until::Written(_)));
        let heartbeat = later(self.heard, self.heartbeat_interval);
        if !expects_response && heartbeat <= now {
            return Judgement::HeartbeatDue;
        }
        let first_deadline = self.waiting.iter().map(|request| request.deadline).min();
        // Without heartbeat to come, a look per interval is still cheap and keeps new requests from having to wake us.
        let idle = if expects_response { later(now, self.heartbeat_interval) } else { heartbeat };
        self.alarm = first_deadline.map_or(idle, |deadline| deadline.min(idle));
        Judgement::LookAgain(self.alarm)
    }

    /// Requests of callers under way, written or not.
    pub(super) fn in_flight(&self) -> usize {
        self.waiting.iter().filter(|request| request.lane != Lane::Heartbeat).count()
    }

    /// Takes everything that is under way, when the channel dies.
    pub(super) fn take_all(&mut self) -> VecDeque<Waiting> {
        self.queue = Vec::new();
        std::mem::take(&mut self.waiting)
    }
}

fn later(now: Instant, duration: Duration) -> Instant {
    now + duration.min(NEVER)
}
