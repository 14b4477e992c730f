//! The way from settings to a running producer.

use std::sync::Arc;
use std::time::Duration;

use gapless_common::records::Compression;
use gapless_common::seam::Seams;

use crate::config::{Acks, Config, Linger, OnFailure, Partitioner};
use crate::error::BuildError;
use crate::observer::{Observer, Observers};
use crate::producer::Producer;

/// Collects settings; [`Builder::build`] checks them and connects.
#[derive(Clone, Default)]
pub struct Builder {
    config: Config,
    seams: Option<Seams>,
    observers: Observers,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $name;
            self
        })*
    };
}

impl Builder {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts from settings made elsewhere.
    #[must_use]
    pub fn from_config(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// `HOST:PORT`, or several separated by commas: brokers to ask first for the others. Default `127.0.0.1:9092`.
    #[must_use]
    pub fn bootstrap_servers(mut self, servers: impl AsRef<str>) -> Self {
        self.config.bootstrap_servers = servers
            .as_ref()
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(Arc::from)
            .collect();
        self
    }

    /// What the brokers' logs call this producer. Default `gapless-producer`.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<Arc<str>>) -> Self {
        self.config.client_id = client_id.into();
        self
    }

    /// Whether batches carry sequences, so that brokers refuse gaps and recognise repeats. Default: with `acks` all.
    #[must_use]
    pub const fn idempotence(mut self, idempotence: bool) -> Self {
        self.config.idempotence = Some(idempotence);
        self
    }

    /// The codec of batches, and its level (`None`: the codec's own default). Default none.
    #[must_use]
    pub const fn compression(mut self, compression: Compression, level: Option<i32>) -> Self {
        self.config.compression = compression;
        self.config.compression_level = level;
        self
    }

    /// The wait after a first failure and the longest one; it doubles in between, with jitter. Default 50 ms to 1 s.
    #[must_use]
    pub const fn retry_backoff(mut self, first: Duration, max: Duration) -> Self {
        self.config.retry_backoff = first;
        self.config.retry_backoff_max = max;
        self
    }

    setters! {
        /// When a broker answers. Default all.
        acks: Acks,
        /// Requests under way on one connection: 1 to 5 with idempotence. Default 5.
        max_in_flight: usize,
        /// The most bytes a batch grows to, before compression; also the largest record. Default 1,000,000.
        batch_size: usize,
        /// How long a record may wait for company. Default `auto`, at most 5 ms.
        linger: Linger,
        /// Bytes of all records not yet acknowledged; when it is full, `send` waits. Default 32 MiB.
        buffer_memory: usize,
        /// How long one request may go without an answer before its connection is given up. Default 30 s.
        request_timeout: Duration,
        /// How long a record may go without acknowledgement, counted from its admission. Default 120 s.
        delivery_timeout: Duration,
        /// How long opening a connection may take. Default 5 s.
        connect_timeout: Duration,
        /// How long `build` tries to reach a first broker, and `send` waits for an unknown topic. Default 10 s.
        metadata_timeout: Duration,
        /// Age at which metadata is asked for again without a reason. Default 5 min.
        metadata_age_max: Duration,
        /// Whether brokers may create a topic that does not exist. Default true.
        auto_create_topics: bool,
        /// Silence on a connection after which it is tried with a cheap request. Default 10 s.
        heartbeat_interval: Duration,
        /// How a record without a partition gets one. Default murmur2, as Java.
        partitioner: Partitioner,
        /// What happens to a partition when one of its records fails. Default: it halts.
        on_failure: OnFailure,
    }

    /// Where network, clock, tasks and randomness come from. Default: the machine.
    #[must_use]
    pub fn seams(mut self, seams: Seams) -> Self {
        self.seams = Some(seams);
        self
    }

    /// Who is told what happens to batches, partitions and connections, for metrics and traces. Each call adds one.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.add(observer);
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Checks the settings and reaches a first broker. Must be called within a Tokio runtime, whose tasks then do the
    /// sending.
    ///
    /// # Errors
    /// A setting that cannot be; no broker reached within `metadata_timeout`, with each address and the stage at which it
    /// failed; a broker that refuses a producer id.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, or in one without time or I/O, as all of Tokio does.
    pub async fn build(self) -> Result<Producer, BuildError> {
        self.config.validate()?;
        Producer::start(self.config, self.seams.unwrap_or_else(Seams::real), self.observers).await
    }
}
