//! The task that asks: for topics and their leaders when someone wants to know or the answer grows old, for a producer id,
//! and the senders' links follow what it learns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::backoff::Backoff;
use gapless_common::channel::{Channel, ChannelError};
use gapless_common::protocol::ApiKey;
use gapless_common::protocol::messages::metadata::MetadataRequestTopic;
use gapless_common::protocol::messages::{InitProducerIdRequest, MetadataRequest, MetadataResponse};
use gapless_common::types::{PartitionId, ProducerEpoch, ProducerId};
use tokio::time::{Instant, sleep_until};

use super::Wanted;
use super::leaders::Leader;
use super::link;
use crate::accumulator::Partition;
use crate::error::{Attempt, IdentityError, with_sources};
use crate::fate::PartitionName;
use crate::partition::Identity;
use crate::shared::Shared;
use crate::topic::TopicState;

/// How often gauges that grow with time are set.
const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// An id that is refused this often in a row for a passing reason is worth a word to the user.
const IDENTITY_PATIENCE: u32 = 20;

/// Serves until the producer shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut shutdown = shared.shutdown();
    let mut task = Task::new(Arc::clone(&shared));
    tokio::select! {
        biased;
        () = shutdown.wait() => {}
        () = task.serve() => {}
    }
}

struct Task {
    shared: Arc<Shared>,
    wanted: Wanted,
    /// Where the search for a broker that answers goes on.
    next_candidate: usize,
    metadata: Pace,
    identity: Pace,
    /// Topics that were asked about at least once.
    asked: BTreeSet<Arc<str>>,
    /// When the answer is too old.
    stale_at: Instant,
    gauges_at: Instant,
}

/// When to ask again.
struct Pace {
    backoff: Backoff,
    not_before: Instant,
}

impl Pace {
    fn new(shared: &Shared) -> Self {
        Self { backoff: shared.backoff(), not_before: Instant::now() }
    }

    fn failed(&mut self, shared: &Shared) {
        self.not_before = Instant::now() + self.backoff.next_delay(shared.seams.random.bits64());
    }

    fn succeeded(&mut self, shared: &Shared) {
        self.backoff.reset();
        // Many partitions that lose their leader together ask once, not once each.
        self.not_before = Instant::now() + shared.config.retry_backoff;
    }
}

impl Task {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            wanted: Wanted { refresh: true, ..Wanted::default() },
            next_candidate: 0,
            metadata: Pace::new(&shared),
            identity: Pace::new(&shared),
            asked: BTreeSet::new(),
            stale_at: now,
            gauges_at: now + GAUGES_EVERY,
            shared,
        }
    }

    async fn serve(&mut self) {
        loop {
            let wanted = self.shared.wants.take();
            // The pace is for questions asked again: a first record does not wait for it.
            if self.metadata.backoff.failures() == 0 && !wanted.topics.is_subset(&self.asked) {
                self.metadata.not_before = Instant::now();
            }
            self.wanted.refresh |= wanted.refresh;
            self.wanted.topics.extend(wanted.topics);
            self.wanted.identity |= wanted.identity;

            let now = Instant::now();
            if self.wants_metadata(now) && self.metadata.not_before <= now {
                self.refresh().await;
            }
            if self.wanted.identity && self.shared.was_reached() && self.identity.not_before <= Instant::now()
            {
                self.ask_for_identity().await;
            }
            if self.gauges_at <= now {
                self.set_gauges();
                self.gauges_at = now + GAUGES_EVERY;
            }
            let now = Instant::now();
            let ask_at = if self.wants_metadata(now) { self.metadata.not_before } else { self.stale_at };
            let identify_at =
                (self.wanted.identity && self.shared.was_reached()).then_some(self.identity.not_before);
            let wake_at = [Some(ask_at), identify_at, Some(self.gauges_at)].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = self.shared.wants.rung() => {}
                () = sleep_until(wake_at.unwrap_or(self.gauges_at)) => {}
            }
        }
    }

    fn wants_metadata(&self, now: Instant) -> bool {
        self.wanted.refresh || !self.wanted.topics.is_empty() || self.stale_at <= now
    }

    async fn refresh(&mut self) {
        let topics = self.shared.all_topics();
        let request = MetadataRequest {
            topics: Some(topics.iter().map(|topic| by_name(&topic.name)).collect()),
            allow_auto_topic_creation: self.shared.config.auto_create_topics,
            ..MetadataRequest::default()
        };
        let Some(channel) = self.channel().await else { return self.metadata.failed(&self.shared) };
        self.asked.extend(topics.iter().map(|topic| Arc::clone(&topic.name)));
        let asked = Instant::now();
        match channel.call(request).await {
            Ok(response) => {
                self.shared.metrics.requested(ApiKey::Metadata, asked.elapsed());
                self.shared.reached(channel.address());
                self.stale_at = Instant::now() + self.shared.config.metadata_age_max;
                // What was wanted while the answer was under way stays wanted.
                self.wanted.refresh = false;
                let unsettled = self.learn(&response, &topics);
                if unsettled.is_empty() {
                    self.metadata.succeeded(&self.shared);
                } else {
                    self.metadata.failed(&self.shared);
                }
                self.wanted.topics = unsettled;
                self.shared.progressed();
            }
            Err(error) => {
                tracing::debug!(address = channel.address(), cause = %with_sources(&error), "metadata not answered");
                self.shared.not_reached(Attempt::failed(&channel.address().into(), &error));
                channel.close();
                self.metadata.failed(&self.shared);
            }
        }
    }

    /// A connection to any broker: one that carries records if there is one, so that there are no more than needed.
    async fn channel(&mut self) -> Option<Channel> {
        if let Some(channel) = self.shared.all_links().iter().find_map(|link| link.channel()) {
            self.shared.set_spare(None);
            return Some(channel);
        }
        if let Some(channel) = self.shared.spare() {
            return Some(channel);
        }
        let mut candidates = self.shared.directory.all_addresses();
        candidates.extend(self.shared.config.bootstrap_servers.iter().cloned());
        let mut tried = BTreeSet::new();
        for step in 0..candidates.len() {
            let address = candidates.get((self.next_candidate + step) % candidates.len())?;
            if !tried.insert(Arc::clone(address)) {
                continue;
            }
            match Channel::connect(&self.shared.seams, address, &self.shared.channel_config()).await {
                Ok(channel) => {
                    self.next_candidate = (self.next_candidate + step) % candidates.len();
                    self.shared.set_spare(Some(channel.clone()));
                    return Some(channel);
                }
                Err(error) => self.shared.not_reached(Attempt::failed(address, &error)),
            }
        }
        self.shared.progressed();
        None
    }

    /// Takes over what a broker says; the topics that must be asked for again soon.
    fn learn(&self, response: &MetadataResponse, asked: &[Arc<TopicState>]) -> BTreeSet<Arc<str>> {
        let directory = &self.shared.directory;
        directory.learn_addresses(response);
        for link in self.shared.all_links() {
            if let Some(address) = link.broker.and_then(|id| directory.address_of(id)) {
                link.set_address(&address);
            }
        }
        let mut unsettled = BTreeSet::new();
        for topic in asked {
            let found = response.topics.iter().find(|found| found.name.as_deref() == Some(&*topic.name));
            let Some(found) = found else {
                unsettled.insert(Arc::clone(&topic.name));
                continue;
            };
            let leaders = directory.learn(&topic.name, found);
            if leaders.is_empty() {
                topic.answered(Some(found.error_code));
                if found.error_code.is_ok() || found.error_code.is_retriable() {
                    unsettled.insert(Arc::clone(&topic.name));
                }
                continue;
            }
            if leaders.iter().any(|leader| !matches!(leader, Leader::Broker(_))) {
                unsettled.insert(Arc::clone(&topic.name));
            }
            self.follow(topic, &leaders);
            for partition in topic.all_partitions() {
                partition.topic_seen(found.topic_id, &self.shared);
            }
            topic.learnt(u32::try_from(leaders.len()).unwrap_or(u32::MAX));
        }
        unsettled
    }

    /// Each partition goes to its leader's link.
    fn follow(&self, topic: &Arc<TopicState>, leaders: &[Leader]) {
        let (nowhere, _) = self.shared.link(None);
        for (number, leader) in (0..).zip(leaders) {
            let partition = topic.partition(number, || {
                let partition = PartitionId(i32::try_from(number).unwrap_or(i32::MAX));
                let name = PartitionName { topic: Arc::clone(&topic.name), partition };
                let partition = Partition::new(name, self.shared.rules(), Arc::clone(&nowhere));
                if self.shared.is_closing() {
                    partition.shut();
                }
                partition
            });
            let Some(partition) = partition else { return };
            match leader {
                Leader::Broker(id) => partition.assign(&link(&self.shared, *id), true),
                Leader::Nobody => partition.assign(&nowhere, false),
                Leader::Outdated => {}
            }
        }
        // A topic that was created again may have fewer than its old self.
        let mut gone = u32::try_from(leaders.len()).unwrap_or(u32::MAX);
        while let Some(partition) = topic.known_partition(gone) {
            partition.assign(&nowhere, false);
            gone += 1;
        }
    }

    async fn ask_for_identity(&mut self) {
        let Some(channel) = self.channel().await else { return self.identity.failed(&self.shared) };
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        let asked = Instant::now();
        let address: Arc<str> = channel.address().into();
        let refused = match channel.call(request).await {
            Ok(response) => {
                self.shared.metrics.requested(ApiKey::InitProducerId, asked.elapsed());
                if response.error_code.is_ok() && response.producer_id >= 0 {
                    let identity = Identity {
                        id: ProducerId(response.producer_id),
                        epoch: ProducerEpoch(response.producer_epoch),
                    };
                    self.wanted.identity = false;
                    self.identity.succeeded(&self.shared);
                    return self.shared.set_identity(Ok(identity));
                }
                if response.error_code.is_retriable() {
                    if self.identity.backoff.failures() == IDENTITY_PATIENCE {
                        tracing::warn!(%address, code = %response.error_code, "still no producer id; asking on");
                    }
                    return self.identity.failed(&self.shared);
                }
                IdentityError::Refused { address, code: response.error_code }
            }
            Err(ChannelError::NotServed { .. }) => IdentityError::NotServed { address },
            Err(error) => {
                tracing::debug!(%address, cause = %with_sources(&error), "no producer id");
                return self.identity.failed(&self.shared);
            }
        };
        tracing::warn!(cause = %refused, "no producer id");
        // Whoever still waits asks again, at the pace of the backoff.
        self.wanted.identity = false;
        self.identity.failed(&self.shared);
        self.shared.set_identity(Err(refused));
    }

    fn set_gauges(&self) {
        let now = Instant::now();
        let waiting = |partition: &Arc<Partition>| partition.admitted() > partition.resolved();
        let oldest = self
            .shared
            .all_partitions()
            .iter()
            .filter(|partition| waiting(partition))
            .filter_map(|p| p.oldest())
            .min();
        let age = oldest.map_or(Duration::ZERO, |oldest| now.duration_since(oldest));
        self.shared.metrics.oldest_unacked.set(age.as_secs_f64());
        self.shared.metrics.buffer_bytes.set(self.shared.memory.used());
    }
}

impl Drop for Task {
    /// Without it topics stay unknown and leaders unfollowed for ever.
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

fn by_name(name: &Arc<str>) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.as_ref().into()), ..MetadataRequestTopic::default() }
}
