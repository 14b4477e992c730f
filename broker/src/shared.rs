//! What every part of a running broker can reach, and what can be seen of it from outside.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use gapless_common::seam::Seams;
use tokio::time::{Instant, timeout_at};

use crate::{
    config::Config,
    descriptors::Descriptors,
    log::{CleanMark, OpenFiles, PartitionLog, State, StorageError},
    metrics::BrokerMetrics,
    open_connections::OpenConnections,
    rate_limited_log::RateLimitedLog,
    request_memory::MemoryBudget,
    stage::{Stage, StageSetter},
    storage::{Files, LockGuard, spare::Spare},
    topics::{Catalogue, meta::Meta},
};

/// Partitions whose checkpoints are written at once when the broker stops: as many as a disk takes.
const NOTED_AT_ONCE: usize = 16;

/// The address that clients of one listener are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What every part of a running broker can reach.
pub struct Shared {
    /// As it was started.
    pub config: Config,
    /// Time, network, tasks, randomness.
    pub seams: Seams,
    /// The data directory.
    pub files: Arc<dyn Files>,
    /// The files of sealed segments.
    pub open_files: OpenFiles,
    /// Room for what must be written before a full disk is freed.
    pub spare: Spare,
    /// The topics.
    pub catalogue: Catalogue,
    /// What the broker knows of itself.
    pub meta: Meta,
    /// Everything that is counted.
    pub metrics: Arc<BrokerMetrics>,
    /// Memory of requests under way.
    pub budget: Arc<MemoryBudget>,
    /// Connections being served.
    pub connections: Arc<OpenConnections>,
    /// For whoever stops the broker; everybody else looks through [`Shared::stage`].
    pub stage_setter: StageSetter,
    /// Log lines that clients can bring about.
    pub strangers: RateLimitedLog,
    /// Here, so that it is held for as long as any task may still write, whatever becomes of the
    /// [`crate::Broker`].
    pub lock: Mutex<Option<LockGuard>>,
}

impl Shared {
    /// Lets go of the data directory: nothing here writes any more.
    pub fn unlock(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Connections that there can be beside the logs that there are, by `--max-connections` and by the descriptors of the
    /// process.
    pub fn connections_max(&self) -> usize {
        let descriptors = Descriptors::new(self.config.descriptors);
        descriptors.connections_max(self.catalogue.partitions()).min(self.config.max_connections)
    }

    /// How far a stop has come.
    pub fn stage(&self) -> Stage {
        self.stage_setter.watch()
    }

    /// Logs what a client did wrong, or can bring about as often as it likes; many such lines a second are cut.
    pub fn say_of_stranger(&self, line: impl FnOnce() -> String) {
        match self.strangers.admit(Instant::now()) {
            Some(0) => tracing::warn!("{}", line()),
            Some(left_out) => tracing::warn!("{} ({left_out} lines like it left out)", line()),
            None => {}
        }
    }

    /// Closes all logs; true when everything in them has been flushed. All at once, so that one that hangs holds up no
    /// other.
    pub async fn flush_all(&self) -> bool {
        let topics = self.catalogue.all();
        let logs =
            topics.iter().flat_map(|topic| topic.partitions.iter().zip(0..).map(move |log| (topic, log)));
        let mut closing: stream::FuturesUnordered<_> = logs
            .map(|(topic, (log, partition))| async move {
                let flushed = log.flush_and_close().await;
                flushed.inspect_err(|error| {
                    tracing::error!("{}-{partition} could not be flushed: {error}", topic.name);
                })
            })
            .collect();
        let mut all = true;
        while let Some(flushed) = closing.next().await {
            all &= flushed.is_ok();
        }
        all
    }

    /// All logs are closed: notes what spares the next start the reading of them.
    pub async fn note_all(&self) {
        stream::iter(self.logs())
            .for_each_concurrent(NOTED_AT_ONCE, |log| async move { log.note_all().await })
            .await;
    }

    /// Nothing runs any more: leaves the mark of a clean stop, if it was one.
    pub async fn mark_clean(&self, until: Instant) {
        match timeout_at(until, CleanMark::write(&*self.files, &self.logs())).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => tracing::info!("no mark of a clean stop: not all partitions are well"),
            Ok(Err(error)) => tracing::warn!("no mark of a clean stop: {error}"),
            Err(_) => tracing::warn!("no mark of a clean stop: there was no time for it"),
        }
    }

    fn logs(&self) -> Vec<Arc<PartitionLog>> {
        self.catalogue.all().iter().flat_map(|topic| topic.partitions.clone()).collect()
    }

    /// Partitions that are not fully served, with the reason and the way back.
    pub fn impaired_partitions(&self) -> Vec<(String, String)> {
        let mut impaired = Vec::new();
        for topic in self.catalogue.all() {
            for (log, partition) in topic.partitions.iter().zip(0..) {
                let why = match log.state() {
                    State::Online => continue,
                    State::Offline { why } => StorageError::Offline { why }.to_string(),
                    State::Quarantined { at, why } => StorageError::Quarantined { at, why }.to_string(),
                };
                impaired.push((format!("{}-{partition}", topic.name), why));
            }
        }
        impaired
    }
}

/// What HTTP shows, from before recovery on.
pub struct Vitals {
    /// Everything that is counted.
    pub metrics: Arc<BrokerMetrics>,
    running: OnceLock<Arc<Shared>>,
}

impl Vitals {
    /// Before recovery.
    pub fn new(metrics: Arc<BrokerMetrics>) -> Self {
        Self { metrics, running: OnceLock::new() }
    }

    /// Recovery is done, and clients are served.
    pub fn now_running(&self, broker: &Arc<Shared>) {
        // Said once, by the start.
        let _ = self.running.set(Arc::clone(broker));
    }

    /// The broker, once it serves clients and until it stops.
    pub fn ready(&self) -> Option<&Arc<Shared>> {
        self.running.get().filter(|shared| !shared.stage().is_stopping())
    }

    /// The broker, once recovery is done.
    pub fn running(&self) -> Option<&Arc<Shared>> {
        self.running.get()
    }
}
