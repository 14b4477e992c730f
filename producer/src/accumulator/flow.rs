//! The back of a partition: a sender picks batches and brings answers; time passes; things end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use gapless_common::types::TopicId;
use tokio::time::Instant;

use super::resume::Woken;
use super::{Entry, Filling, Front, Gate, Outgoing, Partition, Place};
use crate::fate::{Cause, Fate, Halt};
use crate::observer::Event;
use crate::partition::{Answer, Batch as _, ConnectionId, Effects, Machine, Next, Ticket};
use crate::resume::SettledFate;
use crate::sender::Link;
use crate::shared::Shared;

/// What a sender got.
pub(crate) enum Pick {
    Batch(Picked),
    /// The entry was void.
    Stale,
    /// Nothing may be sent, or nothing is there. The partition lists itself again.
    Nothing,
    /// Nothing before this time: wake the partition then.
    NotBefore(Instant),
    /// Nothing before there is a producer id, which has been asked for: wake the partition then.
    Identity,
    /// The batch is larger than the room left in this request; the entry stays good.
    NoRoom,
}

/// One batch on its way to a socket.
pub(crate) struct Picked {
    pub(crate) ticket: Ticket,
    pub(crate) bytes: Bytes,
    /// The topic it is meant for; zero: its id is not known.
    pub(crate) topic_id: TopicId,
    /// Full, or sent before: a request with it is not one of unfilled batches only.
    pub(crate) full: bool,
    pub(crate) again: bool,
    /// The partition's next entry, if it has more to send.
    pub(crate) next: Option<Entry>,
}

impl Partition {
    /// Takes the next batch to be sent on `connection`, of at most `room` bytes, for an entry of `link`'s queue.
    pub(crate) fn pick(
        &self,
        link: &Arc<Link>,
        entry: Entry,
        connection: ConnectionId,
        room: usize,
        shared: &Shared,
    ) -> Pick {
        let mut woken = Woken::default();
        let mut machine = self.back();
        {
            let front = self.front();
            if front.listing.number != entry.number || !Arc::ptr_eq(&front.link, link) {
                return Pick::Stale;
            }
        }
        let now = Instant::now();
        let mut next = machine.next(connection, now);
        if let Next::Identity { other_than } = next
            && let Some(identity) = shared.identity(other_than)
        {
            machine.identify(identity);
            next = machine.next(connection, now);
        }
        let full = match next {
            Next::Nothing => return self.leave(Place::Blocked, now, Pick::Nothing),
            Next::NotBefore(at) => return self.leave(Place::Blocked, now, Pick::NotBefore(at)),
            Next::Identity { .. } => return self.leave(Place::Blocked, now, Pick::Identity),
            Next::Held if machine.held_size().is_some_and(|size| size > room) => return Pick::NoRoom,
            Next::Held => true,
            Next::New => {
                let mut front = self.front();
                match front.next_size() {
                    None => {
                        front.listing.move_to(Place::Idle, now);
                        return Pick::Nothing;
                    }
                    Some(size) if size > room => return Pick::NoRoom,
                    Some(_) => {}
                }
                let Some((filling, full)) = front.take() else { return Pick::Nothing };
                drop(front);
                machine.push(close(filling, shared));
                full
            }
        };
        let topic_id = machine.topic_id();
        let Some(sending) = machine.send(connection) else {
            return self.leave(Place::Blocked, now, Pick::Nothing);
        };
        let (ticket, attempt, closed) = (sending.ticket, sending.attempt, sending.batch.closed());
        let again = attempt > 1;
        let bytes = closed.bytes();
        let metrics = &shared.metrics;
        metrics.sent_bytes.increment(bytes.len() as u64);
        if !again {
            metrics.records_sent.increment(u64::from(closed.record_count()));
            metrics.batch_records.record(f64::from(closed.record_count()));
            metrics.batch_fill.record(closed.uncompressed_size() as f64 / shared.config.batch_size as f64);
            metrics.batch_wait.record(now.duration_since(sending.batch.admitted()));
        }
        woken.untold.add(shared.observers.as_ref(), || Event::Sent {
            batch: sending.batch.info(&self.name),
            attempt,
            broker: link.id(),
            waited: now.duration_since(sending.batch.admitted()),
        });
        let next = self.list_again(&mut self.front(), &machine, now);
        Pick::Batch(Picked { ticket, bytes, topic_id, full: full || again, again, next })
    }

    fn leave(&self, place: Place, now: Instant, pick: Pick) -> Pick {
        self.front().listing.move_to(place, now);
        pick
    }

    /// Puts the partition where its state belongs now; the entry to be queued, if it may send something.
    fn list_again(&self, front: &mut Front, machine: &Machine<Outgoing>, now: Instant) -> Option<Entry> {
        let since = front.oldest();
        let place = if machine.held_size().is_some() {
            if machine.may_send() { Place::Full } else { Place::Blocked }
        } else if since.is_none() {
            Place::Idle
        } else if !machine.may_send() {
            Place::Blocked
        } else if front.sealed.is_empty() {
            Place::Unfilled
        } else {
            Place::Full
        };
        front.listing.move_to(place, since.unwrap_or(now))
    }

    /// The oldest record's admission, if this entry of `link`'s queue is good.
    pub(crate) fn is_listed(&self, link: &Arc<Link>, entry: Entry) -> bool {
        let front = self.front();
        front.listing.number == entry.number && Arc::ptr_eq(&front.link, link)
    }

    /// Something happened for which the partition may have waited.
    pub(crate) fn wake(self: &Arc<Self>) {
        let machine = self.back();
        self.list_if_waiting(&machine, Instant::now());
    }

    pub(super) fn list_if_waiting(self: &Arc<Self>, machine: &Machine<Outgoing>, now: Instant) {
        let mut front = self.front();
        if !matches!(front.listing.place, Place::Blocked | Place::Idle) {
            return;
        }
        if let Some(entry) = self.list_again(&mut front, machine, now) {
            let link = Arc::clone(&front.link);
            drop(front);
            link.list(Arc::clone(self), entry);
        }
    }

    /// Takes the answer to an attempt. When to look at the deadline next, if it came closer.
    pub(crate) fn answer(
        self: &Arc<Self>,
        ticket: Ticket,
        answer: Answer,
        shared: &Shared,
    ) -> Option<Instant> {
        let mut woken = Woken::default();
        let mut machine = self.back();
        let mut effects = Effects::default();
        let moment = shared.moment();
        machine.answer(ticket, answer, moment, &mut effects);
        self.apply(effects, shared, &mut woken);
        self.list_if_waiting(&machine, moment.now);
        machine.deadline()
    }

    /// Judges deadlines; when to look again. `trouble` is what stands in the way of the connection.
    pub(crate) fn tick(self: &Arc<Self>, trouble: Option<&Arc<str>>, shared: &Shared) -> Option<Instant> {
        let mut woken = Woken::default();
        let mut machine = self.back();
        let moment = shared.moment();
        let timeout = shared.config.delivery_timeout;
        let expired = |since: Instant| since + timeout <= moment.now;
        let mut effects = Effects::default();
        loop {
            if machine.is_empty() {
                let mut front = self.front();
                if front.oldest().is_some_and(expired)
                    && let Some((filling, _)) = front.take()
                {
                    drop(front);
                    machine.push(close(filling, shared));
                }
            }
            machine.tick(moment, trouble, &mut effects);
            // Who skips failures goes on with the next batch, which may have expired as well.
            if !machine.is_empty() || !self.front().oldest().is_some_and(expired) || effects.halted.is_some()
            {
                break;
            }
        }
        self.apply(effects, shared, &mut woken);
        self.list_if_waiting(&machine, moment.now);
        machine.deadline().or_else(|| self.front().oldest().map(|since| since + timeout))
    }

    /// How long its oldest record has waited for its fate.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let machine = self.back();
        machine.oldest_admitted().or_else(|| self.front().oldest())
    }

    /// Another link sends for it from now on.
    pub(crate) fn assign(self: &Arc<Self>, link: &Arc<Link>, is_led: bool) {
        self.is_led.store(is_led, Ordering::Relaxed);
        let machine = self.back();
        let mut front = self.front();
        if Arc::ptr_eq(&front.link, link) {
            return;
        }
        let old = std::mem::replace(&mut front.link, Arc::clone(link));
        let entry = self.list_again(&mut front, &machine, Instant::now());
        drop(front);
        drop(machine);
        old.leave(self);
        link.join(Arc::clone(self));
        if let Some(entry) = entry {
            link.list(Arc::clone(self), entry);
        }
    }

    /// Metadata names the topic's id.
    pub(crate) fn topic_seen(self: &Arc<Self>, id: TopicId, shared: &Shared) {
        let mut woken = Woken::default();
        let mut machine = self.back();
        let mut effects = Effects::default();
        machine.topic_seen(id, shared.moment(), &mut effects);
        self.apply(effects, shared, &mut woken);
    }

    /// Takes no more records.
    pub(crate) fn shut(&self) {
        let mut front = self.front();
        if matches!(front.gate, Gate::Open) {
            front.gate = Gate::Closed;
        }
    }

    /// Ends all that has no fate yet.
    pub(crate) fn close(&self, cause: &Arc<Cause>, shared: &Shared) {
        let mut woken = Woken::default();
        let mut machine = self.back();
        let mut effects = Effects::default();
        machine.close(cause, &mut effects);
        self.apply(effects, shared, &mut woken);
        woken.in_vain = self.asked().take();
        let mut front = self.front();
        if matches!(std::mem::replace(&mut front.gate, Gate::Closed), Gate::Halted(_)) {
            shared.metrics.partitions_halted.decrement(1);
        }
        self.fail_front(front, cause, shared, &mut woken);
    }

    /// Carries out what the machine decided. Called under the back lock, so that deliveries resolve in the order of admission;
    /// who waits for them goes to `woken`, which is dropped after the lock is released.
    pub(super) fn apply(&self, effects: Effects<Outgoing>, shared: &Shared, woken: &mut Woken) {
        let Effects { resolved, halted, refresh_metadata, retries, found, settled } = effects;
        for reason in retries {
            shared.metrics.retried(reason);
            shared.totals.retries.add(1);
            woken.untold.add(shared.observers.as_ref(), || Event::Retried {
                partition: Arc::clone(&self.name),
                reason: reason.label(),
            });
        }
        if refresh_metadata {
            shared.refresh_metadata();
        }
        let progress = !resolved.is_empty() || halted.is_some() || !found.is_empty() || settled.is_some();
        let mut records = 0;
        for (batch, fate) in resolved {
            records += u64::from(batch.records());
            count(&batch, &fate, shared);
            woken.untold.add(shared.observers.as_ref(), || Event::Resolved {
                batch: batch.info(&self.name),
                fate: fate.clone(),
                took: batch.admitted().elapsed(),
            });
            woken.waiters.extend(batch.end(fate));
        }
        self.resolved.fetch_add(records, Ordering::Release);
        if let Some((generation, first)) = halted {
            let halt = Arc::new(Halt { partition: Arc::clone(&self.name), generation, first: first.clone() });
            tracing::warn!(partition = %self.name, generation, cause = %halt.first.cause, "partition halted");
            shared.metrics.partitions_halted.increment(1);
            woken.untold.add(shared.observers.as_ref(), || Event::Halted(Arc::clone(&halt)));
            let mut front = self.front();
            front.gate = Gate::Halted(halt);
            self.fail_front(front, &Arc::new(Cause::Behind(first)), shared, woken);
        }
        for (batch, fate) in found {
            recount(&batch, &fate, shared);
            woken
                .untold
                .add(shared.observers.as_ref(), || Event::Settled { batch: batch.info(&self.name), fate });
        }
        if let Some(settlement) = settled {
            self.settled(settlement, shared, woken);
        }
        if progress {
            shared.metrics.buffer_bytes.set(shared.memory.used());
            shared.progressed();
        }
    }

    /// What was never handed to the machine is not written.
    fn fail_front(
        &self,
        mut front: MutexGuard<'_, Front>,
        cause: &Arc<Cause>,
        shared: &Shared,
        woken: &mut Woken,
    ) {
        let mut fillings = std::mem::take(&mut front.sealed);
        fillings.extend(front.open.take());
        front.listing.move_to(Place::Idle, Instant::now());
        drop(front);
        let mut records = 0;
        for filling in fillings {
            records += u64::from(filling.batch.record_count());
            woken.untold.add(shared.observers.as_ref(), || Event::Resolved {
                batch: filling.info(shared.next_batch(), &self.name),
                fate: Fate::NotWritten(Arc::clone(cause)),
                took: filling.admitted.elapsed(),
            });
            woken.waiters.extend(filling.end(Fate::NotWritten(Arc::clone(cause)), &shared.memory));
        }
        if records > 0 {
            shared.metrics.failed(true, cause, records);
            shared.totals.not_written.add(records);
            self.resolved.fetch_add(records, Ordering::Release);
            shared.progressed();
        }
    }
}

fn close(filling: Filling, shared: &Shared) -> Outgoing {
    let config = &shared.config;
    filling.close(shared.next_batch(), config.compression, config.compression_level, &shared.memory)
}

fn count(batch: &Outgoing, fate: &Fate, shared: &Shared) {
    let (metrics, totals) = (&shared.metrics, &shared.totals);
    let records = u64::from(batch.records());
    match fate {
        Fate::Acked { .. } => count_acked(batch, shared),
        Fate::NotWritten(cause) => {
            metrics.failed(true, cause, records);
            totals.not_written.add(records);
        }
        Fate::Unknown(cause) => {
            metrics.failed(false, cause, records);
            totals.unknown.add(records);
        }
    }
}

fn count_acked(batch: &Outgoing, shared: &Shared) {
    let (metrics, totals) = (&shared.metrics, &shared.totals);
    let records = u64::from(batch.records());
    metrics.records_acked.increment(records);
    metrics.delivery_duration.record(Instant::now().duration_since(batch.admitted()));
    metrics.last_ack.set(shared.seams.wall_clock.now_ms() as f64 / 1000.0);
    totals.acked.add(records);
    totals.batches.add(1);
    totals.bytes.add(batch.closed().size() as u64);
    totals.bytes_uncompressed.add(batch.closed().uncompressed_size() as u64);
}

/// A settle found out what became of records that were counted as unknown.
fn recount(batch: &Outgoing, fate: &SettledFate, shared: &Shared) {
    let records = u64::from(batch.records());
    match fate {
        SettledFate::Acked { .. } => count_acked(batch, shared),
        SettledFate::NotWritten => shared.totals.not_written.add(records),
        SettledFate::Unknown(_) => return,
    }
    shared.totals.unknown.take_back(records);
}
