//! The settings of a producer, their defaults, and what contradicts what.

use std::sync::Arc;
use std::time::Duration;

use gapless_common::backoff;
use gapless_common::records::Compression;
use gapless_common::units::DisplayDuration;

/// Where a broker listens by default.
pub const BOOTSTRAP_SERVERS: &str = "127.0.0.1:9092";
/// A little below the broker's `max.message.bytes` (1,048,588), as in librdkafka.
pub const BATCH_SIZE: usize = 1_000_000;
/// The smallest batch: one small record has room.
pub const BATCH_SIZE_MIN: usize = 512;
/// The largest batch: what a frame of the broker's default `--max-request-bytes` carries, with room for its head.
pub const BATCH_SIZE_MAX: usize = 63 * 1024 * 1024;
/// As in Java.
pub const BUFFER_MEMORY: usize = 32 * 1024 * 1024;
/// Kafka brokers remember five batches of a producer for duplicates; a sixth in flight could not be recognised.
pub const MAX_IN_FLIGHT_IDEMPOTENT: usize = 5;
/// Bounds the memory of requests in flight without idempotence.
pub const MAX_IN_FLIGHT: usize = 1_000;
/// The longest that linger `auto` lets a record wait.
pub const LINGER_CAP: Duration = Duration::from_millis(5);
/// Past this a wait is a mistake (a unit mixed up), not a setting: a day.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Never: a record counts as sent when it was handed to the socket. It may be lost without a word.
    None,
    /// When the leader has it in its page cache.
    Leader,
    /// When it is as durable as the broker makes it. The promise needs this.
    #[default]
    All,
}

impl Acks {
    /// The number in a Produce request.
    #[must_use]
    pub const fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }

    /// Reads Kafka's spellings: `0`, `1`, `all`, `-1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::None),
            "1" => Some(Self::Leader),
            "all" | "-1" => Some(Self::All),
            _ => None,
        }
    }

    /// Kafka's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        }
    }
}

/// How long a record may wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linger {
    /// Only while waiting pays: while a request is under way anyway, and never longer than `cap`.
    Auto {
        /// The longest wait.
        cap: Duration,
    },
    /// Until the batch is full or its oldest record has waited so long.
    Fixed(Duration),
}

impl Default for Linger {
    fn default() -> Self {
        Self::Auto { cap: LINGER_CAP }
    }
}

/// What happens to a partition when one of its records fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It halts: every later record fails with the first, in order, until the caller resumes.
    #[default]
    Halt,
    /// The caller resumed beforehand: what was in flight ends with its own fate, what was never written goes on.
    Skip,
}

/// How a record without a partition gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// By the key's murmur2, as Java does; without a key one partition at a time, switching by bytes.
    #[default]
    Murmur2,
    /// By the key's CRC-32, as librdkafka's default `consistent_random` does; a record without a key, or with an empty
    /// one, as above.
    ConsistentRandom,
    /// One partition after the other, whatever the key, as Java's `RoundRobinPartitioner`. Batches fill more slowly.
    RoundRobin,
    /// Not at all: a record that names no partition is refused.
    Explicit,
}

impl Partitioner {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Murmur2, Self::ConsistentRandom, Self::RoundRobin, Self::Explicit];

    /// Reads the names that Java (`default`) and librdkafka use; `round_robin` and `explicit` are our own.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "murmur2" | "murmur2_random" | "default" => Some(Self::Murmur2),
            "consistent_random" => Some(Self::ConsistentRandom),
            "round_robin" => Some(Self::RoundRobin),
            "explicit" => Some(Self::Explicit),
            _ => None,
        }
    }

    /// librdkafka's name, where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2_random",
            Self::ConsistentRandom => "consistent_random",
            Self::RoundRobin => "round_robin",
            Self::Explicit => "explicit",
        }
    }
}

/// All settings. [`Config::validate`] says what does not go together.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT`s to ask first for the cluster's brokers.
    pub bootstrap_servers: Vec<Arc<str>>,
    /// What the brokers' logs call this producer.
    pub client_id: Arc<str>,
    /// When a broker answers.
    pub acks: Acks,
    /// Whether batches carry sequences, so that brokers refuse gaps and recognise repeats. `None`: exactly with `acks` all.
    pub idempotence: Option<bool>,
    /// Requests under way on one connection.
    pub max_in_flight: usize,
    /// The most bytes a batch grows to, before compression; also the largest record.
    pub batch_size: usize,
    /// How long a record may wait for company.
    pub linger: Linger,
    /// Bytes of all records that are not yet acknowledged; a full buffer makes `send` wait.
    pub buffer_memory: usize,
    /// How long one request may go without an answer before its connection is given up.
    pub request_timeout: Duration,
    /// How long a record may go without acknowledgement, counted from its admission.
    pub delivery_timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long `build` tries to reach a first broker, and `send` waits for what is not known of a topic.
    pub metadata_timeout: Duration,
    /// Age at which metadata is asked for again without a reason.
    pub metadata_age_max: Duration,
    /// Whether brokers may create a topic that does not exist.
    pub auto_create_topics: bool,
    /// The codec of batches.
    pub compression: Compression,
    /// The codec's level; `None` is its own default.
    pub compression_level: Option<i32>,
    /// The wait after a first failure; doubled after each further one, with jitter.
    pub retry_backoff: Duration,
    /// The longest such wait.
    pub retry_backoff_max: Duration,
    /// Silence on a connection after which it is tried with a cheap request.
    pub heartbeat_interval: Duration,
    /// How a record without a partition gets one.
    pub partitioner: Partitioner,
    /// What happens to a partition when one of its records fails.
    pub on_failure: OnFailure,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec![BOOTSTRAP_SERVERS.into()],
            client_id: "gapless-producer".into(),
            acks: Acks::All,
            idempotence: None,
            max_in_flight: MAX_IN_FLIGHT_IDEMPOTENT,
            batch_size: BATCH_SIZE,
            linger: Linger::default(),
            buffer_memory: BUFFER_MEMORY,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            metadata_timeout: Duration::from_secs(10),
            metadata_age_max: Duration::from_secs(300),
            auto_create_topics: true,
            compression: Compression::None,
            compression_level: None,
            retry_backoff: backoff::FIRST_DELAY,
            retry_backoff_max: backoff::DELAY_MAX,
            heartbeat_interval: Duration::from_secs(10),
            partitioner: Partitioner::default(),
            on_failure: OnFailure::default(),
        }
    }
}

impl Config {
    /// Whether batches carry sequences.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotence.unwrap_or(matches!(self.acks, Acks::All))
    }

    /// What of these settings drops the promise "acknowledged exactly once, in order, without a gap", as settings and
    /// values; empty when it holds.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let mut weak = Vec::new();
        if self.acks != Acks::All {
            weak.push(format!("acks={}", self.acks.name()));
        }
        if !self.is_idempotent() {
            weak.push("idempotence=false".to_owned());
        }
        weak
    }

    /// Says what is out of range or contradicts something else.
    ///
    /// # Errors
    /// The first such setting, with the limit and a way out.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.bootstrap_servers.is_empty() {
            return Err(wrong("bootstrap_servers", "empty", "name at least one broker as HOST:PORT"));
        }
        for server in &self.bootstrap_servers {
            if !is_address(server) {
                return Err(wrong(
                    "bootstrap_servers",
                    server,
                    "write HOST:PORT, for example 127.0.0.1:9092",
                ));
            }
        }
        self.validate_promise()?;
        self.validate_sizes()?;
        self.validate_durations()?;
        validate_codec(self.compression, Compression::is_built)?;
        if let Some(level) = self.compression_level
            && self.compression == Compression::None
        {
            return Err(wrong(
                "compression_level",
                level,
                "there is none without compression: choose a codec or drop it",
            ));
        }
        Ok(())
    }

    fn validate_promise(&self) -> Result<(), ConfigError> {
        if self.is_idempotent() {
            if self.acks != Acks::All {
                return Err(wrong(
                    "acks",
                    self.acks.name(),
                    "idempotence needs acks=all: set that, or idempotence=false",
                ));
            }
            if self.max_in_flight > MAX_IN_FLIGHT_IDEMPOTENT {
                return Err(wrong(
                    "max_in_flight",
                    self.max_in_flight,
                    "idempotence allows at most 5, since brokers remember five batches: lower it, or set idempotence=false",
                ));
            }
        }
        in_range("max_in_flight", self.max_in_flight, 1, MAX_IN_FLIGHT)
    }

    fn validate_sizes(&self) -> Result<(), ConfigError> {
        in_range("batch_size", self.batch_size, BATCH_SIZE_MIN, BATCH_SIZE_MAX)?;
        if self.buffer_memory < self.batch_size {
            return Err(wrong(
                "buffer_memory",
                self.buffer_memory,
                &format!("a batch of {} bytes does not fit: raise it, or lower batch_size", self.batch_size),
            ));
        }
        Ok(())
    }

    fn validate_durations(&self) -> Result<(), ConfigError> {
        let least = Duration::from_millis(1);
        for (setting, value) in [
            ("request_timeout", self.request_timeout),
            ("delivery_timeout", self.delivery_timeout),
            ("connect_timeout", self.connect_timeout),
            ("metadata_timeout", self.metadata_timeout),
            ("metadata_age_max", self.metadata_age_max),
            ("retry_backoff", self.retry_backoff),
            ("retry_backoff_max", self.retry_backoff_max),
            ("heartbeat_interval", self.heartbeat_interval),
        ] {
            if value < least || value > DURATION_MAX {
                return Err(wrong(setting, DisplayDuration(value), "take something from 1 ms to 24 h"));
            }
        }
        if self.retry_backoff_max < self.retry_backoff {
            return Err(wrong(
                "retry_backoff_max",
                DisplayDuration(self.retry_backoff_max),
                &format!("it is below retry_backoff, {}: raise it", DisplayDuration(self.retry_backoff)),
            ));
        }
        let linger = match self.linger {
            Linger::Auto { cap } => cap,
            Linger::Fixed(wait) => wait,
        };
        if linger.saturating_add(self.request_timeout) > self.delivery_timeout {
            return Err(wrong(
                "delivery_timeout",
                DisplayDuration(self.delivery_timeout),
                &format!(
                    "it must leave time for linger {} and one request of request_timeout {}: raise it, or lower those",
                    DisplayDuration(linger),
                    DisplayDuration(self.request_timeout)
                ),
            ));
        }
        Ok(())
    }
}

/// The codec comes with a feature, which whoever built this may have left out.
fn validate_codec(codec: Compression, is_built: impl Fn(Compression) -> bool) -> Result<(), ConfigError> {
    if is_built(codec) {
        return Ok(());
    }
    let built: Vec<&str> =
        Compression::ALL.into_iter().filter(|codec| is_built(*codec)).map(Compression::name).collect();
    let remedy = format!(
        "this program was built without it: enable the feature {codec} of gapless-producer, or take {}",
        built.join(", ")
    );
    Err(wrong("compression", codec, &remedy))
}

/// `HOST:PORT` with a port that can be connected to.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn in_range(setting: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(wrong(setting, value, &format!("take something from {min} to {max}")))
}

fn wrong(setting: &'static str, value: impl ToString, remedy: &str) -> ConfigError {
    ConfigError { setting, value: value.to_string(), remedy: remedy.to_owned() }
}

/// A setting that cannot be: which, what it was, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {value}: {remedy}")]
pub struct ConfigError {
    /// The setting, as the builder's method is called.
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// The limit, and what to do.
    pub remedy: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_promise() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.is_idempotent());
        assert_eq!(config.weaknesses(), Vec::<String>::new());
    }

    #[test]
    fn weaker_settings_work_and_say_so() {
        let leader = Config { acks: Acks::Leader, ..Config::default() };
        assert_eq!(leader.validate(), Ok(()));
        assert_eq!(leader.weaknesses(), ["acks=1", "idempotence=false"]);
        let plain = Config { idempotence: Some(false), max_in_flight: 50, ..Config::default() };
        assert_eq!(plain.validate(), Ok(()));
        assert_eq!(plain.weaknesses(), ["idempotence=false"]);
    }

    #[test]
    fn errors_name_setting_limit_and_remedy() {
        let base = Config::default;
        let cases: Vec<(Config, &str, &str)> = vec![
            (Config { bootstrap_servers: vec![], ..base() }, "bootstrap_servers", "HOST:PORT"),
            (
                Config { bootstrap_servers: vec!["localhost".into()], ..base() },
                "bootstrap_servers",
                "HOST:PORT",
            ),
            (Config { bootstrap_servers: vec!["h:0".into()], ..base() }, "bootstrap_servers", "HOST:PORT"),
            (
                Config { bootstrap_servers: vec!["h:99999".into()], ..base() },
                "bootstrap_servers",
                "HOST:PORT",
            ),
            (Config { acks: Acks::None, idempotence: Some(true), ..base() }, "acks", "idempotence=false"),
            (Config { max_in_flight: 6, ..base() }, "max_in_flight", "at most 5"),
            (Config { max_in_flight: 0, ..base() }, "max_in_flight", "from 1"),
            (Config { batch_size: 0, ..base() }, "batch_size", "from 512"),
            (Config { batch_size: 1 << 30, ..base() }, "batch_size", "to 66060288"),
            (Config { buffer_memory: 999_999, ..base() }, "buffer_memory", "1000000"),
            (Config { request_timeout: Duration::ZERO, ..base() }, "request_timeout", "1 ms"),
            (
                Config { delivery_timeout: Duration::from_secs(10), ..base() },
                "delivery_timeout",
                "request_timeout 30s",
            ),
            (
                Config { linger: Linger::Fixed(Duration::from_secs(100)), ..base() },
                "delivery_timeout",
                "linger 100s",
            ),
            (Config { retry_backoff: Duration::from_secs(2), ..base() }, "retry_backoff_max", "raise it"),
            (Config { compression_level: Some(3), ..base() }, "compression_level", "codec"),
        ];
        for (config, setting, remedy) in cases {
            let error = config.validate().unwrap_err();
            assert_eq!(error.setting, setting, "{error}");
            assert!(error.remedy.contains(remedy), "{error}");
        }
    }

    #[test]
    fn a_codec_that_is_not_built_is_refused_by_name() {
        let built = |codec| codec != Compression::Zstd && codec != Compression::Gzip;
        assert_eq!(validate_codec(Compression::Lz4, built), Ok(()));
        assert_eq!(
            validate_codec(Compression::Zstd, built).unwrap_err().to_string(),
            "compression zstd: this program was built without it: enable the feature zstd of gapless-producer, or take \
             none, snappy, lz4"
        );
        for compression in Compression::ALL {
            let config = Config { compression, ..Config::default() };
            assert_eq!(config.validate().is_ok(), compression.is_built(), "{compression}");
        }
    }

    #[test]
    fn names_are_those_of_the_field() {
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            assert_eq!(Acks::parse(acks.name()), Some(acks));
        }
        assert_eq!((Acks::parse("-1"), Acks::parse("2")), (Some(Acks::All), None));
        for partitioner in Partitioner::ALL {
            assert_eq!(Partitioner::parse(partitioner.name()), Some(partitioner));
        }
    }
}
