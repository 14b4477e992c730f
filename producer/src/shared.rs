//! What the handles and the tasks of one producer share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use gapless_common::backoff::Backoff;
use gapless_common::channel::{Channel, ChannelConfig};
use gapless_common::protocol::Text;
use gapless_common::seam::Seams;
use gapless_common::types::ProducerId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::accumulator::Partition;
use crate::config::Config;
use crate::error::{Attempt, IdentityError, Unreachable};
use crate::fate::Cause;
use crate::memory::Memory;
use crate::metadata::{Directory, Wants};
use crate::metrics::ProducerMetrics;
use crate::observer::{Event, Observers};
use crate::partition::{ConnectionId, Identity, Moment, Rules};
use crate::sender::Link;
use crate::stats::Totals;
use crate::topic::TopicState;

/// One producer.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) seams: Seams,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: ProducerMetrics,
    pub(crate) totals: Totals,
    /// Those who watch; `None`: nobody.
    pub(crate) observers: Option<Arc<Observers>>,
    /// What the metadata task is to find out.
    pub(crate) wants: Wants,
    /// What it and the senders have found out.
    pub(crate) directory: Directory,
    topics: RwLock<BTreeMap<Arc<str>, Arc<TopicState>>>,
    /// By broker id; `None` is for partitions without a leader.
    links: RwLock<BTreeMap<Option<i32>, Arc<Link>>>,
    identity: Mutex<Identities>,
    /// Counts producer ids, so that tasks see that there is another.
    identity_number: AtomicU64,
    next_connection: AtomicU64,
    next_batch: AtomicU64,
    /// Flushes under way.
    flushing: AtomicUsize,
    progress: Notify,
    closing: AtomicBool,
    shutdown: watch::Sender<bool>,
    /// A connection that was opened to ask for metadata, until the link to that broker takes it over.
    spare: Mutex<Option<Channel>>,
    reach: Mutex<Reach>,
}

#[derive(Default)]
struct Identities {
    current: Option<Identity>,
    refused: Option<IdentityError>,
}

/// What came of reaching for brokers.
#[derive(Default)]
struct Reach {
    /// The address that answered a metadata request last.
    answered: Option<Arc<str>>,
    /// The last failure at each address since then.
    failed: BTreeMap<Arc<str>, Attempt>,
}

impl Shared {
    pub(crate) fn new(config: Config, seams: Seams, observers: Observers) -> Arc<Self> {
        let nowhere = Link::new(None);
        Arc::new(Self {
            memory: Arc::new(Memory::new(config.buffer_memory, config.batch_size)),
            metrics: ProducerMetrics::new(config.buffer_memory),
            totals: Totals::default(),
            observers: (!observers.is_empty()).then(|| Arc::new(observers)),
            wants: Wants::default(),
            directory: Directory::default(),
            topics: RwLock::default(),
            links: RwLock::new(BTreeMap::from([(None, nowhere)])),
            identity: Mutex::default(),
            identity_number: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            next_batch: AtomicU64::new(0),
            flushing: AtomicUsize::new(0),
            progress: Notify::new(),
            closing: AtomicBool::new(false),
            shutdown: watch::Sender::new(false),
            spare: Mutex::default(),
            reach: Mutex::default(),
            config,
            seams,
        })
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            idempotent: self.config.is_idempotent(),
            max_in_flight: self.config.max_in_flight,
            delivery_timeout: self.config.delivery_timeout,
            drain_limit: self.config.request_timeout,
            on_failure: self.config.on_failure,
            backoff: self.backoff(),
        }
    }

    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max)
    }

    pub(crate) fn channel_config(&self) -> ChannelConfig {
        ChannelConfig {
            client_id: Text::from(self.config.client_id.as_ref()),
            max_in_flight: self.config.max_in_flight,
            request_timeout: self.config.request_timeout,
            heartbeat_interval: self.config.heartbeat_interval,
            connect_timeout: self.config.connect_timeout,
            ..ChannelConfig::default()
        }
    }

    /// The moment it is, with randomness for a backoff.
    pub(crate) fn moment(&self) -> Moment {
        Moment { now: Instant::now(), random_bits: self.seams.random.bits64() }
    }

    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn next_batch(&self) -> u64 {
        self.next_batch.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells those who watch. To be called without a lock; see [`crate::observer::Untold`].
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observers) = &self.observers {
            observers.tell(&event());
        }
    }

    // Topics and links.

    /// The topic of this name; known from now on if it was not.
    pub(crate) fn topic(&self, name: &str) -> Arc<TopicState> {
        if let Some(known) = self.topics().get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(topics.entry(Arc::clone(&name)).or_insert_with(|| TopicState::new(name)))
    }

    fn topics(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<TopicState>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all_topics(&self) -> Vec<Arc<TopicState>> {
        self.topics().values().cloned().collect()
    }

    pub(crate) fn all_partitions(&self) -> Vec<Arc<Partition>> {
        self.topics().values().flat_map(|topic| topic.all_partitions()).collect()
    }

    /// The link to a broker, and whether it is a new one, whose task is still to be started.
    pub(crate) fn link(&self, broker: Option<i32>) -> (Arc<Link>, bool) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = false;
        let link = links.entry(broker).or_insert_with(|| {
            is_new = true;
            Link::new(broker)
        });
        (Arc::clone(link), is_new)
    }

    pub(crate) fn all_links(&self) -> Vec<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Wakes all senders: the rules changed for them.
    pub(crate) fn ring_all(&self) {
        for link in self.all_links() {
            link.ring();
        }
    }

    // Producer ids.

    fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A producer id other than the one named; else it is asked for.
    pub(crate) fn identity(&self, other_than: Option<ProducerId>) -> Option<Identity> {
        let current = self.identities().current;
        let found = current.filter(|identity| Some(identity.id) != other_than);
        if found.is_none() {
            self.wants.identity();
        }
        found
    }

    pub(crate) fn set_identity(&self, result: Result<Identity, IdentityError>) {
        let mut identities = self.identities();
        match result {
            Ok(identity) => *identities = Identities { current: Some(identity), refused: None },
            Err(error) => identities.refused = Some(error),
        }
        drop(identities);
        self.identity_number.fetch_add(1, Ordering::Release);
        self.ring_all();
        self.progressed();
    }

    pub(crate) fn has_identity(&self) -> bool {
        self.identities().current.is_some()
    }

    /// Why brokers refuse a producer id, if they do.
    pub(crate) fn identity_refused(&self) -> Option<IdentityError> {
        self.identities().refused.clone()
    }

    pub(crate) fn identity_number(&self) -> u64 {
        self.identity_number.load(Ordering::Acquire)
    }

    // Connections and reaching.

    /// A connection that some link may take over.
    pub(crate) fn set_spare(&self, channel: Option<Channel>) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = channel;
    }

    /// The spare connection, if it leads to this address.
    pub(crate) fn take_spare(&self, address: &str) -> Option<Channel> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.take_if(|channel| channel.address() == address).filter(|channel| !channel.is_dead())
    }

    pub(crate) fn spare(&self) -> Option<Channel> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.clone().filter(|channel| !channel.is_dead())
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reached(&self, address: &str) {
        *self.reach() = Reach { answered: Some(address.into()), failed: BTreeMap::new() };
    }

    pub(crate) fn not_reached(&self, attempt: Attempt) {
        self.reach().failed.insert(Arc::clone(&attempt.address), attempt);
    }

    /// Some broker has answered a metadata request.
    pub(crate) fn was_reached(&self) -> bool {
        self.reach().answered.is_some()
    }

    /// What is known of addresses that do not answer.
    pub(crate) fn unreachable(&self, after: std::time::Duration) -> Unreachable {
        let reach = self.reach();
        Unreachable {
            after,
            attempts: reach.failed.values().cloned().collect(),
            named_by: reach.answered.clone(),
        }
    }

    /// Brokers that records wait for and that were never reached.
    pub(crate) fn never_reached(&self) -> Option<Unreachable> {
        let failing: Vec<(Instant, Attempt)> = self
            .all_links()
            .iter()
            .filter(|link| !link.is_unused())
            .filter_map(|link| link.never_reached())
            .collect();
        let since = failing.iter().map(|(since, _)| *since).min()?;
        let attempts: Vec<Attempt> = failing.into_iter().map(|(_, attempt)| attempt).collect();
        // Only an address that others were learnt from can be asked what it advertises.
        let named_by = self
            .reach()
            .answered
            .clone()
            .filter(|named| attempts.iter().all(|attempt| attempt.address != *named));
        Some(Unreachable { after: since.elapsed(), attempts, named_by })
    }

    pub(crate) fn refresh_metadata(&self) {
        self.wants.refresh();
    }

    // Flush, close, shutdown.

    /// Someone waits for what is queued.
    pub(crate) fn is_hurried(&self) -> bool {
        self.flushing.load(Ordering::Relaxed) > 0 || self.memory.is_short()
    }

    /// Until the guard is dropped, nothing lingers.
    pub(crate) fn hurry(&self) -> impl Drop + '_ {
        self.flushing.fetch_add(1, Ordering::Relaxed);
        self.ring_all();
        Hurry(&self.flushing)
    }

    /// Records got their fate, or a partition halted or went on.
    pub(crate) fn progressed(&self) {
        self.progress.notify_waiters();
    }

    pub(crate) fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// No more records are admitted.
    pub(crate) fn shut(&self) {
        self.closing.store(true, Ordering::Release);
        for partition in self.all_partitions() {
            partition.shut();
        }
        for topic in self.all_topics() {
            topic.changed();
        }
    }

    /// Ends everything that has no fate yet, and the tasks.
    pub(crate) fn end(&self, cause: Cause) {
        self.shut();
        let cause = Arc::new(cause);
        for partition in self.all_partitions() {
            partition.close(&cause, self);
        }
        self.metrics.oldest_unacked.set(0.0);
        self.metrics.buffer_bytes.set(0);
        self.memory.close();
        self.set_spare(None);
        self.shutdown.send_replace(true);
        self.progressed();
    }

    /// A task ends. If the producer was not closed, its runtime is going, and with it everyone who would send.
    pub(crate) fn abandon(&self) {
        if !*self.shutdown.borrow() {
            self.end(Cause::Abandoned);
        }
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        Shutdown(self.shutdown.subscribe())
    }
}

/// Tells a task to end.
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits until the producer ends.
    pub(crate) async fn wait(&mut self) {
        // An error means that the producer is gone altogether.
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

struct Hurry<'a>(&'a AtomicUsize);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
