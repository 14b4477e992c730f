//! The task of one broker: connects when there is something to send, decides when a request leaves, takes answers in
//! their order, keeps the deadlines of its partitions.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use gapless_common::backoff::Backoff;
use gapless_common::channel::{Channel, ChannelDeath, ChannelError, TrySendError};
use gapless_common::protocol::ApiKey;
use gapless_common::protocol::messages::ProduceResponse;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Link;
use super::line::Line;
use super::request::{Draft, InFlight, Part, REQUEST_SIZE, Responses, Wait, answer_all, hint, translate};
use crate::accumulator::{Entry, Partition, Pick};
use crate::config::Acks;
use crate::linger::{Decision, RoundTrip, Situation};
use crate::metadata::link;
use crate::observer::Event;
use crate::partition::Answer;
use crate::shared::Shared;

/// Deadlines are judged at most this much late, so that many that pass one after the other are judged together.
const DEADLINE_GRAIN: Duration = Duration::from_millis(5);
/// The longest a broker's throttling is obeyed: past it the request timeout would judge a healthy connection.
const THROTTLE_MAX: Duration = Duration::from_secs(10);

/// Serves a link until the producer shuts down.
pub(crate) async fn run(shared: Arc<Shared>, link: Arc<Link>) {
    let mut shutdown = shared.shutdown();
    let mut sender = Sender::new(Arc::clone(&shared), link);
    tokio::select! {
        biased;
        () = shutdown.wait() => {}
        () = sender.serve() => {}
    }
}

pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    pub(super) line: Option<Line>,
    pub(super) connecting: Option<BoxFuture<'static, Result<Channel, ChannelError>>>,
    /// No attempt to connect before this.
    pub(super) connect_at: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Oldest first; answers come in this order.
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) unfilled_in_flight: usize,
    /// When the last request made only of unfilled batches left.
    unfilled_left: Option<Instant>,
    /// Partitions with a batch that needs no company, and those with an unfilled one. Entries may be void.
    pub(super) full: VecDeque<(Arc<Partition>, Entry)>,
    pub(super) unfilled: VecDeque<(Arc<Partition>, Entry)>,
    inbox: Vec<(Arc<Partition>, Entry)>,
    /// Partitions to be woken at a time.
    later: BTreeMap<Instant, Vec<Arc<Partition>>>,
    /// Partitions to be woken when there is another producer id, and which one there was when they were last woken.
    without_identity: Vec<Arc<Partition>>,
    identity_seen: u64,
    /// When deadlines have to be judged.
    judge_at: Instant,
    /// The broker asked for silence until then.
    pub(super) throttled_until: Option<Instant>,
    round_trip: RoundTrip,
    yielded: bool,
}

/// What the task woke for.
enum Wake {
    Answer,
    Death(Arc<ChannelDeath>),
    Connected(Result<Channel, ChannelError>),
    Bell,
    Alarm,
}

impl Sender {
    fn new(shared: Arc<Shared>, link: Arc<Link>) -> Self {
        let backoff = shared.backoff();
        let judge_at = Instant::now() + shared.config.delivery_timeout;
        Self {
            shared,
            link,
            line: None,
            connecting: None,
            connect_at: None,
            backoff,
            in_flight: VecDeque::new(),
            unfilled_in_flight: 0,
            unfilled_left: None,
            full: VecDeque::new(),
            unfilled: VecDeque::new(),
            inbox: Vec::new(),
            later: BTreeMap::new(),
            without_identity: Vec::new(),
            identity_seen: 0,
            judge_at,
            throttled_until: None,
            round_trip: RoundTrip::default(),
            yielded: false,
        }
    }

    async fn serve(&mut self) {
        let mut alarm = std::pin::pin!(sleep_until(self.judge_at));
        loop {
            self.take_inbox();
            self.wake_sleepers();
            self.judge_deadlines();
            let wake_at = match self.send_what_may() {
                Decision::YieldFirst => {
                    tokio::task::yield_now().await;
                    self.yielded = true;
                    continue;
                }
                Decision::WaitFor(wait) => Some(Instant::now() + wait),
                Decision::Send | Decision::Wait => None,
            };
            if self.connect_if_needed() {
                continue;
            }
            self.set_alarm(alarm.as_mut(), wake_at);
            match self.next_event(alarm.as_mut()).await {
                Wake::Answer => self.take_answers(),
                Wake::Death(death) => {
                    self.take_answers();
                    self.lose_line(&death);
                }
                Wake::Connected(result) => self.connected(result),
                Wake::Bell | Wake::Alarm => {}
            }
        }
    }

    async fn next_event(&mut self, alarm: Pin<&mut Sleep>) -> Wake {
        let Self { line, in_flight, connecting, link, .. } = self;
        let answered = std::future::poll_fn(|cx| match in_flight.front_mut() {
            Some(front) => front.poll_answered(cx),
            None => std::task::Poll::Pending,
        });
        let died = async {
            match line {
                Some(line) => (&mut line.death).await,
                None => std::future::pending().await,
            }
        };
        let opened = async {
            match connecting {
                Some(connecting) => connecting.await,
                None => std::future::pending().await,
            }
        };
        // Answers first: what was answered never expires, and never counts as lost.
        tokio::select! {
            biased;
            () = answered => Wake::Answer,
            death = died => Wake::Death(death),
            result = opened => Wake::Connected(result),
            () = link.rung() => Wake::Bell,
            () = alarm => Wake::Alarm,
        }
    }

    fn take_inbox(&mut self) {
        self.link.take_inbox(&mut self.inbox);
        for (partition, entry) in self.inbox.drain(..) {
            if entry.full {
                self.full.push_back((partition, entry));
            } else {
                self.unfilled.push_back((partition, entry));
            }
        }
    }

    /// Wakes the partitions whose time has come, or that have a producer id to begin with.
    fn wake_sleepers(&mut self) {
        let now = Instant::now();
        let mut woken = false;
        while self.later.first_key_value().is_some_and(|(at, _)| *at <= now)
            && let Some((_, partitions)) = self.later.pop_first()
        {
            for partition in partitions {
                partition.wake();
                woken = true;
            }
        }
        let identity = self.shared.identity_number();
        if identity != std::mem::replace(&mut self.identity_seen, identity) {
            for partition in std::mem::take(&mut self.without_identity) {
                partition.wake();
                woken = true;
            }
        }
        if woken {
            self.take_inbox();
        }
    }

    fn judge_deadlines(&mut self) {
        let now = Instant::now();
        if self.link.take_changed() {
            self.judge_at = now;
        }
        if self.judge_at > now {
            return;
        }
        // Whatever is admitted from now on expires no sooner.
        let mut next = now + self.shared.config.delivery_timeout;
        let trouble = self.link.trouble();
        for partition in self.link.current_members() {
            if let Some(deadline) = partition.tick(trouble.as_ref(), &self.shared) {
                next = next.min(deadline);
            }
        }
        self.judge_at = next.max(now + DEADLINE_GRAIN);
        self.take_inbox();
    }

    fn set_alarm(&self, alarm: Pin<&mut Sleep>, wake_at: Option<Instant>) {
        let soonest = [
            Some(self.judge_at),
            wake_at,
            self.later.first_key_value().map(|(at, _)| *at),
            self.connect_at.filter(|_| self.wants_line()),
            self.throttled_until,
        ];
        if let Some(soonest) = soonest.into_iter().flatten().min()
            && alarm.deadline() != soonest
        {
            alarm.reset(soonest);
        }
    }

    /// Sends as many requests as may leave now. Answers when to ask again.
    fn send_what_may(&mut self) -> Decision {
        loop {
            if self.line.as_ref().is_none_or(|line| line.channel.is_dead()) {
                return Decision::Wait;
            }
            let now = Instant::now();
            if self.throttled_until.is_some_and(|until| until > now) {
                return Decision::Wait;
            }
            self.throttled_until = None;
            let decision = self.shared.config.linger.decide(self.situation(now));
            match decision {
                Decision::Send => {
                    self.yielded = false;
                    if !self.send_request() {
                        return Decision::Wait;
                    }
                }
                Decision::YieldFirst => return Decision::YieldFirst,
                other => {
                    self.yielded = false;
                    return other;
                }
            }
        }
    }

    fn situation(&mut self, now: Instant) -> Situation {
        // Void entries would make it seem that something waits.
        while let Some((partition, entry)) = self.full.front()
            && !partition.is_listed(&self.link, *entry)
        {
            self.full.pop_front();
        }
        while let Some((partition, entry)) = self.unfilled.front()
            && !partition.is_listed(&self.link, *entry)
        {
            self.unfilled.pop_front();
        }
        let free = match &self.line {
            Some(line) => line.channel.free_slots(ApiKey::Produce),
            None => 0,
        };
        Situation {
            full_ready: !self.full.is_empty(),
            oldest_waited: self.unfilled.front().map(|(_, entry)| now.duration_since(entry.since)),
            unfilled_left: self.unfilled_left.map(|at| now.duration_since(at)),
            unfilled_in_flight: self.unfilled_in_flight,
            free_slots: free.min(self.shared.config.max_in_flight.saturating_sub(self.in_flight.len())),
            hurry: self.shared.is_hurried(),
            yielded: self.yielded,
            round_trip: self.round_trip.estimate(),
        }
    }

    /// Sends one request of one batch from each ready partition. False if there was nothing to send after all, or the
    /// connection would not take it.
    fn send_request(&mut self) -> bool {
        let Some(line) = &self.line else { return false };
        let (id, version, channel) = (line.id, line.version, line.channel.clone());
        let mut draft = Draft::default();
        let mut again = Vec::new();
        while draft.size < REQUEST_SIZE {
            let Some((partition, entry)) = self.next_ready() else { break };
            let room = if draft.is_empty() { usize::MAX } else { REQUEST_SIZE - draft.size };
            match partition.pick(&self.link, entry, id, room, &self.shared) {
                Pick::Batch(picked) => {
                    draft.has_full |= picked.full;
                    draft.has_retry |= picked.again;
                    let part = Part {
                        partition: Arc::clone(&partition),
                        ticket: picked.ticket,
                        topic_id: picked.topic_id,
                    };
                    draft.add(part, picked.bytes);
                    // Its next batch goes into the next request.
                    again.extend(picked.next.map(|entry| (partition, entry)));
                }
                Pick::Stale | Pick::Nothing => {}
                Pick::NotBefore(at) => self.later.entry(at).or_default().push(partition),
                Pick::Identity => self.without_identity.push(partition),
                Pick::NoRoom => {
                    let queue = if entry.full { &mut self.full } else { &mut self.unfilled };
                    queue.push_front((partition, entry));
                    break;
                }
            }
        }
        for (partition, entry) in again {
            let queue = if entry.full { &mut self.full } else { &mut self.unfilled };
            queue.push_back((partition, entry));
        }
        if draft.is_empty() {
            // What was picked in vain may have left something else to be picked.
            return !self.full.is_empty() || !self.unfilled.is_empty();
        }
        self.dispatch(&channel, version, draft)
    }

    /// The partition to be served next: the one whose oldest record came first, be its batch full or not, so that partitions
    /// which are always full leave the others their share.
    fn next_ready(&mut self) -> Option<(Arc<Partition>, Entry)> {
        let first = |queue: &VecDeque<(Arc<Partition>, Entry)>| queue.front().map(|(_, entry)| entry.since);
        match (first(&self.full), first(&self.unfilled)) {
            (Some(full), Some(unfilled)) if unfilled < full => self.unfilled.pop_front(),
            (None, _) => self.unfilled.pop_front(),
            _ => self.full.pop_front(),
        }
    }

    fn dispatch(&mut self, channel: &Channel, newest: i16, draft: Draft) -> bool {
        let (unfilled, has_retry) = (!draft.has_full, draft.has_retry);
        let version = draft.version(newest);
        let config = &self.shared.config;
        let (request, parts) = draft.finish(config.acks, config.request_timeout);
        let sent = Instant::now();
        let wait = if config.acks == Acks::None {
            // A slot is free, so this does not wait; if it did, nothing would have been sent.
            match channel.send_without_response(request, version, config.request_timeout).now_or_never() {
                Some(Ok(written)) => Ok(Wait::Written(written)),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("no free slot".to_owned()),
            }
        } else {
            match channel.try_send(request, version, config.request_timeout) {
                Ok(pending) => Ok(Wait::Response(pending)),
                Err(TrySendError::Full(_)) => Err("no free slot".to_owned()),
                Err(TrySendError::Failed(error)) => Err(error.to_string()),
            }
        };
        match wait {
            Ok(wait) => {
                if unfilled {
                    self.unfilled_in_flight += 1;
                    self.unfilled_left = Some(sent);
                }
                self.in_flight.push_back(InFlight { wait, answer: None, parts, sent, unfilled, has_retry });
                self.shared.metrics.requests_in_flight.increment(1);
                self.shared.totals.requests.add(1);
                true
            }
            Err(trouble) => {
                let trouble: Arc<str> = trouble.into();
                let closest = answer_all(parts, |_, _| Answer::NotSent(Arc::clone(&trouble)), &self.shared);
                self.expect(closest);
                // The batches come back through the inbox; if the connection is alive, after a pause.
                self.hold_back();
                false
            }
        }
    }

    fn expect(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.judge_at = self.judge_at.min(deadline);
        }
    }

    fn hold_back(&mut self) {
        let delay = self.backoff.next_delay(self.shared.seams.random.bits64());
        self.throttled_until = Some(Instant::now() + delay);
    }

    /// Takes every answer that is there.
    fn take_answers(&mut self) {
        while let Some(result) = self.in_flight.front_mut().and_then(InFlight::take_answer) {
            let Some(request) = self.in_flight.pop_front() else { return };
            self.unfilled_in_flight -= usize::from(request.unfilled);
            self.shared.metrics.requests_in_flight.decrement(1);
            match result {
                Ok(response) => self.answered(request, response),
                Err(death) => self.lost(request.parts, &death),
            }
        }
    }

    fn answered(&mut self, request: InFlight, response: Option<ProduceResponse>) {
        let took = request.sent.elapsed();
        self.shared.metrics.requested(ApiKey::Produce, took);
        self.shared.tell(|| Event::Answered { broker: self.link.id(), batches: request.parts.len(), took });
        if !request.has_retry {
            self.round_trip.record(took);
        }
        self.backoff.reset();
        if let Some(line) = &mut self.line {
            line.proven = true;
        }
        let Some(response) = response else {
            let written = Answer::Acked { base: None, append_time_ms: None };
            let closest = answer_all(request.parts, |_, _| written.clone(), &self.shared);
            return self.expect(closest);
        };
        let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0));
        if !throttle.is_zero() {
            self.throttled_until = Some(Instant::now() + throttle.min(THROTTLE_MAX));
        }
        let responses = Responses::of(&response);
        let mut incomplete = false;
        let mut moved = Vec::new();
        let (shared, broker) = (&self.shared, self.link.broker);
        let answer = |at: usize, part: &Part| {
            if let Some(found) = responses.find(at, part) {
                let leader = hint(found, part, broker)
                    .and_then(|hint| shared.directory.believe(&hint, &response.node_endpoints));
                moved.extend(leader.map(|leader| (Arc::clone(&part.partition), leader)));
                return translate(found, leader.is_some());
            }
            incomplete = true;
            Answer::Lost(format!("the broker's answer says nothing of {}", part.partition.name).into())
        };
        let closest = answer_all(request.parts, answer, shared);
        for (partition, leader) in moved {
            partition.assign(&link(shared, leader), true);
        }
        self.expect(closest);
        if incomplete && let Some(line) = &self.line {
            line.channel.close();
        }
    }

    pub(super) fn lost(&mut self, parts: Vec<Part>, death: &Arc<ChannelDeath>) {
        let address =
            self.line.as_ref().map_or_else(String::new, |line| format!("{}: ", line.channel.address()));
        let trouble: Arc<str> = format!("{address}{death}").into();
        let closest = answer_all(parts, |_, _| Answer::Lost(Arc::clone(&trouble)), &self.shared);
        self.expect(closest);
    }
}

impl Drop for Sender {
    /// The task ends: with the producer, or because its runtime did. Nobody may wait for answers for ever.
    fn drop(&mut self) {
        self.shared.metrics.requests_in_flight.decrement(self.in_flight.len() as f64);
        self.shared.abandon();
    }
}
