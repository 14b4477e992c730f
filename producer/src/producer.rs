//! The handles that callers hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use gapless_common::records::HEADER_SIZE;
use gapless_common::seam::Seams;
use gapless_common::types::PartitionId;

use crate::accumulator::{Attempt, Leave, Obstacle, Partition};
use crate::builder::Builder;
use crate::config::{Config, DURATION_MAX};
use crate::delivery::Delivery;
use crate::error::{BuildError, FlushError, Rejection, ResumeError, SendError, Unreachable};
use crate::fate::{Cause, DeliveryError, Halt};
use crate::memory::Grant;
use crate::observer::Observers;
use crate::record::{Record, RecordView};
use crate::resume::{Resume, Settled};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::topic::TopicState;
use crate::{metadata, sender};

/// Bytes of a batch for which a task that rolls it lets others run: one unit of Tokio's cooperative budget each.
const BYTES_PER_BUDGET: usize = 64 * 1024;
/// The most units at once: so many are left of a fresh budget for the rest of the task.
const BUDGET_MAX: usize = 64;

/// A producer. Clones share everything: connections, memory, and the order of records.
///
/// Dropping the last handle (topic handles included) is [`Producer::close`] without waiting: what is not acknowledged ends
/// as not written or unknown.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Handles go to any task and thread.
const _: () = {
    const fn is_handle<T: Clone + Send + Sync + Unpin + 'static>() {}
    const fn is_result<T: Send + Sync + Unpin + 'static>() {}
    const fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    is_handle::<Producer>();
    is_handle::<Topic>();
    is_handle::<Builder>();
    is_result::<Delivery>();
    is_result::<Permit>();
    is_error::<BuildError>();
    is_error::<SendError>();
    is_error::<Rejection>();
    is_error::<DeliveryError>();
    is_error::<FlushError>();
    is_error::<ResumeError>();
};

/// Ends the producer when the last of its handles goes.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end(Cause::Closed);
    }
}

impl Producer {
    /// Settings to be made.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) async fn start(
        config: Config,
        seams: Seams,
        observers: Observers,
    ) -> Result<Self, BuildError> {
        let idempotent = config.is_idempotent();
        let patience = config.metadata_timeout;
        let shared = Shared::new(config, seams, observers);
        // From here on dropping the future ends what it has begun.
        let producer = Self { handle: Arc::new(Handle { shared: Arc::clone(&shared) }) };
        if idempotent {
            shared.wants.identity();
        }
        let (nowhere, _) = shared.link(None);
        shared.seams.spawner.spawn(sender::run(Arc::clone(&shared), nowhere));
        shared.seams.spawner.spawn(metadata::run(Arc::clone(&shared)));
        let ready = async {
            loop {
                let progress = shared.progress();
                let mut progress = std::pin::pin!(progress);
                progress.as_mut().enable();
                if let Some(error) = shared.identity_refused() {
                    return Err(BuildError::from(error));
                }
                if shared.was_reached() && (!idempotent || shared.has_identity()) {
                    return Ok(());
                }
                progress.await;
            }
        };
        match tokio::time::timeout(patience, ready).await {
            Ok(result) => result?,
            // A broker that is there, but gives no producer id yet (it loads its state), will do so.
            Err(_) if shared.was_reached() => {}
            Err(_) => return Err(shared.unreachable(patience).into()),
        }
        Ok(producer)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Admits a record, waiting for room in the buffer, and for the topic's partitions if they are not known.
    ///
    /// The order of records is the order of admission, which is the last thing this does: a future dropped before it was
    /// ready has sent nothing. The returned delivery tells what becomes of the record; dropping it changes nothing.
    ///
    /// # Errors
    /// The record, given back with the reason: the partition is halted, the topic cannot be used or is not known within
    /// `metadata_timeout`, the record is larger than `batch_size`, the producer is closed.
    pub async fn send(&self, record: Record) -> Result<Delivery, SendError> {
        let shared = self.shared();
        let topic = shared.topic(record.topic());
        let attempt = |grant: Option<&mut Grant<'_>>, leave: Leave| {
            record.with_view(|view| topic.attempt(shared, view, grant, leave))
        };
        let result = match attempt(None, Leave::Nothing) {
            Ok(delivery) => return Ok(delivery),
            Err(obstacle) => admit(shared, &topic, obstacle, attempt).await,
        };
        result.map_err(|reason| SendError { record: Box::new(record), reason })
    }

    /// Admits a record if that needs no waiting.
    ///
    /// # Errors
    /// The record, given back with the reason: as [`Producer::send`], or the buffer is full, or the topic's partitions are
    /// not known yet.
    pub fn try_send(&self, record: Record) -> Result<Delivery, SendError> {
        let shared = self.shared();
        let topic = shared.topic(record.topic());
        let result = record.with_view(|view| topic.attempt(shared, view, None, Leave::Roll));
        conclude(result, shared, &topic).map_err(|reason| SendError { record: Box::new(record), reason })
    }

    /// Waits for room for one record of up to `size` bytes (key, value and headers together) to `topic`: for callers who need
    /// to know whether a record was admitted when their task may be cancelled at any moment. The room is given back when this
    /// future, or the permit, is dropped.
    ///
    /// # Errors
    /// As [`Producer::send`], as far as it does not depend on the record.
    pub async fn reserve(&self, topic: &str, size: usize) -> Result<Permit, Rejection> {
        self.topic(topic).reserve(size).await
    }

    /// A handle to one topic: spares the look-up for each record, and takes records whose bytes the caller keeps.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic { state: self.shared().topic(name), handle: Arc::clone(&self.handle) }
    }

    /// Waits until everything admitted before has its fate, without lingering. Changes no state, and may be dropped at any
    /// moment.
    ///
    /// # Errors
    /// Partitions are halted (again at each call, until they are resumed), or time is up.
    pub async fn flush(&self, time_limit: Duration) -> Result<(), FlushError> {
        flush(self.shared(), time_limit).await
    }

    /// Takes no more records, waits as [`Producer::flush`] does, and then ends what is left: what was never sent is not
    /// written, what was sent and not answered is unknown. Dropped before, no more records are taken, but those that were
    /// are still sent, until the last handle goes or this is called again.
    ///
    /// # Errors
    /// As [`Producer::flush`]. The producer is closed all the same.
    pub async fn close(&self, time_limit: Duration) -> Result<(), FlushError> {
        let shared = self.shared();
        shared.shut();
        let result = flush(shared, time_limit).await;
        shared.end(Cause::Closed);
        result
    }

    /// Lets a halted partition go on. `generation` is that of the [`Halt`] that the caller has seen. With [`Resume::Skip`] it goes
    /// on at once; with [`Resume::Settle`] this first waits for what the brokers say, and what is returned may hold another
    /// halt. Dropped before, that stops, and the partition stays halted as it was; what was found out is told by the next
    /// settle.
    ///
    /// # Errors
    /// It is not halted, or by now in another generation; someone else settles it; the producer is closed.
    pub async fn resume(
        &self,
        topic: &str,
        partition: i32,
        generation: u64,
        how: Resume,
    ) -> Result<Settled, ResumeError> {
        let shared = self.shared();
        let topic = shared.topic(topic);
        let number = u32::try_from(partition).ok();
        let Some(found) = number.and_then(|number| topic.known_partition(number)) else {
            return Err(ResumeError::NotHalted {
                topic: Arc::clone(&topic.name),
                partition: PartitionId(partition),
            });
        };
        match how {
            Resume::Skip => found.skip(generation, shared),
            Resume::Settle(within) => found.settle(generation, within.min(DURATION_MAX), shared).await,
        }
    }

    /// Partitions that are halted.
    #[must_use]
    pub fn halts(&self) -> Vec<Arc<Halt>> {
        self.shared().all_partitions().iter().filter_map(|partition| partition.halt()).collect()
    }

    /// Brokers that records wait for and that could never be reached; `after` says for how long that has been tried. `None`
    /// while there is no such broker. A caller that does not want to wait for the delivery timeout looks here.
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        self.shared().never_reached()
    }

    /// Running totals.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let admitted = shared.all_partitions().iter().map(|partition| partition.admitted()).sum();
        shared.totals.snapshot(admitted, shared.config.batch_size)
    }

    #[cfg(test)]
    pub(crate) fn handle_memory_used(&self) -> usize {
        self.shared().memory.used()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.handle.shared.config
    }
}

/// A handle to one topic of a [`Producer`].
#[derive(Clone)]
pub struct Topic {
    state: Arc<TopicState>,
    handle: Arc<Handle>,
}

impl Topic {
    /// Admits a record whose bytes the caller keeps: the cost is one copy of them. Otherwise as [`Producer::send`].
    ///
    /// # Errors
    /// Why it was not admitted.
    #[inline]
    pub fn send<'a>(
        &'a self,
        record: RecordView<'a>,
    ) -> impl Future<Output = Result<Delivery, Rejection>> + Send + use<'a> {
        Sending { topic: self, record, stage: Stage::New }
    }

    /// Admits a record if that needs no waiting.
    ///
    /// # Errors
    /// Why it was not admitted.
    pub fn try_send(&self, record: RecordView<'_>) -> Result<Delivery, Rejection> {
        let shared = &self.handle.shared;
        conclude(self.state.attempt(shared, &record, None, Leave::Roll), shared, &self.state)
    }

    /// Waits for room for one record of up to `size` bytes, key, value and headers together.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn reserve(&self, size: usize) -> Result<Permit, Rejection> {
        let shared = &self.handle.shared;
        if self.state.count().is_none() {
            self.state.known(shared).await?;
        }
        let limit = shared.config.batch_size;
        // Either the open batch grows by this, or a new one begins with it.
        let needed = size.saturating_add(PERMIT_MARGIN);
        if needed > limit {
            return Err(Rejection::TooLarge { size: needed, limit });
        }
        let grant = shared.memory.charge(needed, || shared.ring_all()).await.ok_or(Rejection::Closed)?;
        Ok(Permit { topic: self.clone(), size, charged: grant.into_bytes() })
    }

    /// How many partitions it has; waits until that is known.
    ///
    /// # Errors
    /// Why it will not be known.
    pub async fn partition_count(&self) -> Result<u32, Rejection> {
        if let Some(count) = self.state.count() {
            return Ok(count);
        }
        self.state.known(&self.handle.shared).await?;
        self.state.count().ok_or(Rejection::Closed)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }
}

/// A record on its way in. A future written by hand, since a compiler's would copy the record twice before it is looked at, which
/// takes a good part of the time of a small one.
struct Sending<'a> {
    topic: &'a Topic,
    record: RecordView<'a>,
    stage: Stage<'a>,
}

enum Stage<'a> {
    New,
    Waiting(BoxFuture<'a, Result<Delivery, Rejection>>),
    Done,
}

impl Future for Sending<'_> {
    type Output = Result<Delivery, Rejection>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::New = this.stage {
            this.stage = Stage::Done;
            let mut attempt = Attempt::new(Leave::Nothing, None);
            if let Some(admitted) =
                this.topic.state.admit(&this.topic.handle.shared, &this.record, &mut attempt)
            {
                return Poll::Ready(Ok(admitted.delivery(attempt.timestamp_ms)));
            }
            this.wait(&mut attempt);
        }
        // Not returned in one piece: the compiler would keep the result above in memory for its sake.
        let mut result = None;
        this.poll_waiting(cx, &mut result);
        match result {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl Sending<'_> {
    #[cold]
    fn wait(&mut self, attempt: &mut Attempt<'_, '_>) {
        let (topic, record) = (self.topic, self.record);
        let shared = &topic.handle.shared;
        let again =
            move |grant: Option<&mut Grant<'_>>, leave| topic.state.attempt(shared, &record, grant, leave);
        self.stage = Stage::Waiting(Box::pin(admit(shared, &topic.state, attempt.obstacle(), again)));
    }

    #[cold]
    fn poll_waiting(&mut self, cx: &mut Context<'_>, result: &mut Option<Result<Delivery, Rejection>>) {
        // Whoever polls what is done waits for ever; nothing is sent a second time.
        if let Stage::Waiting(waiting) = &mut self.stage
            && let Poll::Ready(ready) = waiting.as_mut().poll(cx)
        {
            *result = Some(ready);
            self.stage = Stage::Done;
        }
    }
}

/// What a batch and the lengths around one record take at most beyond key, value and headers, with room for a few headers.
const PERMIT_MARGIN: usize = HEADER_SIZE + 256;

/// Room for one record, kept until it is used or dropped.
pub struct Permit {
    topic: Topic,
    size: usize,
    /// Bytes charged for it.
    charged: usize,
}

impl Permit {
    /// Admits the record, at once.
    ///
    /// # Errors
    /// The partition is halted, the producer closed, or the record larger than what was reserved.
    pub fn send(mut self, record: RecordView<'_>) -> Result<Delivery, Rejection> {
        let (shared, state) = (&self.topic.handle.shared, &self.topic.state);
        let size = record.content_size();
        if size > self.size || record.encoded_size() > self.charged {
            return Err(Rejection::ReservationTooSmall { size, reserved: self.size });
        }
        let mut grant = shared.memory.granted(std::mem::take(&mut self.charged));
        conclude(state.attempt(shared, &record, Some(&mut grant), Leave::All), shared, state)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.charged > 0 {
            self.topic.handle.shared.memory.release(self.charged);
        }
    }
}

/// Admits a record that a first attempt did not, since `obstacle` was in the way.
async fn admit(
    shared: &Shared,
    topic: &TopicState,
    mut obstacle: Obstacle,
    attempt: impl Fn(Option<&mut Grant<'_>>, Leave) -> Result<Delivery, Obstacle>,
) -> Result<Delivery, Rejection> {
    let mut grant: Option<Grant<'_>> = None;
    let mut leave = Leave::Nothing;
    loop {
        match obstacle {
            Obstacle::Rejected(reason) => return Err(reason),
            Obstacle::NeedsTopic => topic.known(shared).await?,
            Obstacle::NeedsMemory(bytes) => {
                let granted = shared.memory.charge(bytes, || shared.ring_all()).await;
                grant = Some(granted.ok_or(Rejection::Closed)?);
                // It suffices for the record, so there is no second wait.
                leave = Leave::All;
            }
            Obstacle::Rolls => {
                // A task that sends in a loop never waits while there is room; so it must let the sender run.
                for _ in 0..(shared.config.batch_size / BYTES_PER_BUDGET).clamp(1, BUDGET_MAX) {
                    tokio::task::coop::consume_budget().await;
                }
                leave = leave.max(Leave::Roll);
            }
        }
        obstacle = match attempt(grant.as_mut(), leave) {
            Ok(delivery) => return Ok(delivery),
            Err(obstacle) => obstacle,
        };
    }
}

/// The result of an attempt that was not to wait.
fn conclude(
    result: Result<Delivery, Obstacle>,
    shared: &Shared,
    topic: &TopicState,
) -> Result<Delivery, Rejection> {
    result.map_err(|obstacle| match obstacle {
        Obstacle::Rejected(reason) => reason,
        Obstacle::NeedsTopic => {
            shared.wants.topic(&topic.name);
            Rejection::NotYetKnown { topic: Arc::clone(&topic.name) }
        }
        Obstacle::NeedsMemory(needed) => Rejection::Full { needed, limit: shared.memory.limit() },
        // Not with leave to roll.
        Obstacle::Rolls => Rejection::Full { needed: shared.config.batch_size, limit: shared.memory.limit() },
    })
}

async fn flush(shared: &Shared, time_limit: Duration) -> Result<(), FlushError> {
    let _hurry = shared.hurry();
    let mut waiting: Vec<(Arc<Partition>, u64)> = shared
        .all_partitions()
        .into_iter()
        .map(|partition| {
            let admitted = partition.admitted();
            (partition, admitted)
        })
        .collect();
    let all = async {
        loop {
            let progress = shared.progress();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            waiting.retain(|(partition, admitted)| partition.resolved() < *admitted);
            if waiting.is_empty() {
                return;
            }
            progress.await;
        }
    };
    let in_time = tokio::time::timeout(time_limit, all).await.is_ok();
    let halts: Vec<Arc<Halt>> =
        shared.all_partitions().iter().filter_map(|partition| partition.halt()).collect();
    if !halts.is_empty() {
        return Err(FlushError::Halted(halts));
    }
    if in_time {
        return Ok(());
    }
    let records =
        waiting.iter().map(|(partition, admitted)| admitted.saturating_sub(partition.resolved())).sum();
    Err(FlushError::Timeout { records, after: time_limit })
}
