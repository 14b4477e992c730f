//! The broker as a whole: started, running, stopped.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use gapless_common::seam::{Listener, Seams, TaskHandle};
use tokio::time::{Instant, timeout_at};

use crate::{
    api,
    config::{Config, ConfigError, split_address},
    descriptors::Descriptors,
    housekeeping, http, listener,
    log::{CleanMark, FlushMarks, Flusher, LogEnvironment, OpenFiles, Prior, State},
    metrics::{BrokerMetrics, StaticFacts},
    open_connections::OpenConnections,
    rate_limited_log::RateLimitedLog,
    request_memory::MemoryBudget,
    scrub,
    shared::{Endpoint, Shared, Vitals},
    stage::StageSetter,
    storage::{Files, LockGuard, group_flush::DiskFlush, is_full, small_file::SmallFileError, spare::Spare},
    topics::{Catalogue, OpenTopicsError, Store, meta::Meta},
};

pub(crate) const LOCK: &str = ".lock";

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting contradicts another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be listened on.
    #[error("{flag} {address}: {source}; choose another address or port (port 0 picks a free one)")]
    Listen {
        /// The flag that gave it.
        flag: &'static str,
        /// As it was given.
        address: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The data directory cannot be made, locked or written.
    #[error("the data directory cannot be used: {0}")]
    DataDir(io::Error),
    /// Another broker works on the data directory.
    #[error("the data directory is locked by another broker; stop that one or choose another directory")]
    Locked,
    /// A small file of the data directory is unreadable.
    #[error(transparent)]
    Meta(#[from] SmallFileError),
    /// The topics could not be read.
    #[error(transparent)]
    Topics(#[from] OpenTopicsError),
    /// The metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

impl StartError {
    /// One sentence for the command line, which names the flag.
    pub fn sentence(&self, data_dir: &std::path::Path) -> String {
        match self {
            Self::Config(_) | Self::Listen { .. } | Self::Metrics(_) => self.to_string(),
            Self::DataDir(_) | Self::Locked | Self::Meta(_) | Self::Topics(_) => {
                format!("--data-dir {}: {self}", data_dir.display())
            }
        }
    }
}

/// A running broker.
///
/// Dropping it leaves its tasks running, and its data directory locked, until their runtime ends; [`Broker::stop`] ends
/// them in order.
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    flusher: Flusher,
    kafka: Vec<(String, SocketAddr)>,
    http: Option<SocketAddr>,
    tasks: Vec<TaskHandle>,
}

impl Broker {
    /// Starts a broker on a data directory and returns when it serves clients. `boot_id` tells one start of the machine
    /// from the next.
    ///
    /// # Errors
    /// What cannot work, in a sentence. Nothing keeps running then.
    pub async fn start(
        config: Config,
        files: Arc<dyn Files>,
        boot_id: &str,
        seams: Seams,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let open_files = OpenFiles::new(files, Descriptors::new(config.descriptors).sealed_files_max());
        let files = open_files.shedding();
        let metrics = Arc::new(BrokerMetrics::new(&StaticFacts {
            durability: config.durability.name(),
            connections_limit: config.max_connections,
            in_flight_limit_bytes: config.max_inflight_bytes,
            sealed_files_limit: open_files.bound(),
            errors_of: api::errors_of,
        })?);
        let lock = lock(&*files).await?;
        let vitals = Arc::new(Vitals::new(Arc::clone(&metrics)));
        let mut tasks = Tasks(Vec::new());
        let http = match &config.http_listen {
            None => None,
            Some(address) => {
                let listener = listen(&seams, "--http-listen", address).await?;
                let bound = listener.local_addr();
                tasks.0.push(seams.spawner.spawn(http::serve(Arc::clone(&vitals), listener)));
                Some(bound)
            }
        };
        // Before anything is changed.
        let clean = CleanMark::take(&*files).await.map_err(StartError::DataDir)?;
        let meta = Meta::open(Arc::clone(&files), boot_id, &seams.random).await?;
        let group_flush =
            DiskFlush::new(seams.spawner.clone(), &*files).await.map_err(StartError::DataDir)?;
        let marks = FlushMarks::read(&*files).await;
        let (flusher, flushing) = Flusher::start(
            &seams.spawner,
            Arc::clone(&files),
            Arc::new(group_flush),
            metrics.clone(),
            marks.clone(),
        );
        tasks.0.push(flushing);
        let prior = Prior::new(meta.boot(), marks, clean);
        let spare = Spare::new(Arc::clone(&files), config.spare_bytes_max);
        let environment = LogEnvironment {
            files: Arc::clone(&files),
            flusher: flusher.clone(),
            spawner: seams.spawner.clone(),
            open_files: open_files.clone(),
            spare: spare.clone(),
        };
        let store = Store::new(environment, &config, &meta, prior);
        let recovered = store.recover().await?;
        metrics.recovery_truncated_bytes.set(recovered.truncated_bytes as f64);
        let mut logs = recovered.topics.iter().flat_map(|topic| &topic.partitions);
        let all_recovered = !logs.any(|log| matches!(log.state(), State::Offline { .. }));
        let catalogue = Catalogue::new(
            store,
            recovered.topics,
            config.clone(),
            seams.random.fork(),
            seams.spawner.clone(),
        );

        let mut kafka = Vec::new();
        let mut listeners = Vec::new();
        for listener_config in &config.listeners {
            let listener = listen(&seams, "--listen", &listener_config.listen).await?;
            let bound = listener.local_addr();
            let advertised = listener_config.advertise.as_deref().unwrap_or(&listener_config.listen);
            let (host, port) = split_address("--advertise", advertised)?;
            // Port 0 stands for the one that was picked.
            let port = if port == 0 { bound.port() } else { port };
            kafka.push((listener_config.name.clone(), bound));
            listeners.push((listener, Arc::new(Endpoint { host: host.to_owned(), port })));
        }
        // Recovery is done, and the ports are ours.
        match meta.confirm(all_recovered).await {
            Err(SmallFileError::Io { source, .. }) if is_full(&source) => {
                // Retention and clients can free the disk only once this serves.
                spare.give_up().await;
                meta.confirm(all_recovered).await?;
            }
            confirmed => confirmed?,
        }
        let budget = MemoryBudget::new(config.max_inflight_bytes, config.max_request_bytes);
        let shared = Arc::new(Shared {
            connections: OpenConnections::new(metrics.connections.clone()),
            config,
            seams: seams.clone(),
            files,
            open_files,
            spare,
            catalogue,
            meta,
            metrics,
            budget,
            stage_setter: StageSetter::default(),
            strangers: RateLimitedLog::default(),
            lock: Mutex::new(Some(lock)),
        });
        for (listener, endpoint) in listeners {
            tasks.0.push(seams.spawner.spawn(listener::accept(Arc::clone(&shared), listener, endpoint)));
        }
        tasks.0.push(seams.spawner.spawn(housekeeping::keep_house(Arc::clone(&shared))));
        tasks.0.push(seams.spawner.spawn(housekeeping::keep_spare(Arc::clone(&shared))));
        tasks.0.push(seams.spawner.spawn(housekeeping::enforce_retention(Arc::clone(&shared))));
        tasks.0.push(seams.spawner.spawn(scrub::run(Arc::clone(&shared))));
        shared.catalogue.empty_trash();
        shared.metrics.ready.set(1.0);
        vitals.now_running(&shared);
        tracing::info!("acks=all waits for {}", shared.config.durability.in_words());
        Ok(Self { shared, flusher, kafka, http, tasks: tasks.keep() })
    }

    /// The listeners and where they are bound, in the order of the configuration.
    #[must_use]
    pub fn kafka_addresses(&self) -> &[(String, SocketAddr)] {
        &self.kafka
    }

    /// The topics and their logs, for who embeds a broker and has no use for a client.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    /// Where metrics and health are served.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Stops within the shutdown timeout: no new connections or requests; what is in flight is finished, for which there
    /// is half of the time; everything is flushed. False if something could not be: the reason is in the log, and under
    /// `--durability fsync` no acks=all that was acknowledged depends on it.
    pub async fn stop(self) -> bool {
        let shared = &self.shared;
        let (began, limit) = (Instant::now(), shared.config.shutdown_timeout);
        shared.metrics.ready.set(0.0);
        shared.stage_setter.stop();
        if timeout_at(began + limit / 2, shared.connections.none()).await.is_err() {
            tracing::warn!(
                "connections were still busy after half of {limit:?} (--shutdown-timeout) and are cut"
            );
            shared.stage_setter.abort();
        }
        let finish = async {
            let flushed = shared.flush_all().await;
            // A request in the middle of its work is not cut; so a disk that does not answer holds it here.
            shared.connections.none().await;
            flushed
        };
        let clean = timeout_at(began + limit, finish).await.unwrap_or_else(|_| {
            tracing::error!("the disk did not finish within {limit:?} (--shutdown-timeout)");
            false
        });
        self.flusher.stop();
        // What is written from here on only spares the next start some reading.
        let note = async {
            if clean {
                shared.note_all().await;
                self.flusher.ended().await;
            }
        };
        let noted = timeout_at(began + limit, note).await.is_ok();
        for task in &self.tasks {
            task.abort();
        }
        if clean && noted {
            shared.mark_clean(began + limit).await;
        }
        shared.unlock();
        clean
    }
}

/// Tasks of a start that may still fail.
struct Tasks(Vec<TaskHandle>);

impl Tasks {
    fn keep(mut self) -> Vec<TaskHandle> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn lock(files: &dyn Files) -> Result<LockGuard, StartError> {
    files.create_dir(Path::new("")).await.map_err(StartError::DataDir)?;
    files.lock(Path::new(LOCK)).await.map_err(StartError::DataDir)?.ok_or(StartError::Locked)
}

async fn listen(seams: &Seams, flag: &'static str, address: &str) -> Result<Box<dyn Listener>, StartError> {
    seams.network.listen(address).await.map_err(|source| StartError::Listen {
        flag,
        address: address.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
