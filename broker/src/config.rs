//! What a broker is told when it starts: one plain struct with the defaults of the command line.

use std::time::Duration;

use crate::{log::Durability, storage::spare};

/// Kafka's default of `max.message.bytes`: 1 MiB and the 12 bytes before a batch's length counts.
pub const MAX_MESSAGE_BYTES_DEFAULT: u32 = 1_048_588;
/// Kafka's default of `segment.bytes`.
pub const SEGMENT_BYTES_DEFAULT: u32 = 1 << 30;
/// Kafka's default of `segment.ms`: seven days.
pub const SEGMENT_MS_DEFAULT: i64 = 7 * 86_400_000;
/// Kafka's default of `retention.ms` (`log.retention.hours`): seven days.
pub const RETENTION_MS_DEFAULT: i64 = 7 * 86_400_000;
/// Kafka's default of `log.retention.check.interval.ms`.
pub const RETENTION_CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
/// Kafka's default of `message.timestamp.after.max.ms`: one hour.
pub const TIMESTAMP_AFTER_MAX_MS_DEFAULT: i64 = 3_600_000;
/// Kafka's default of `producer.id.expiration.ms`: one day.
pub const PRODUCER_ID_EXPIRATION_MS_DEFAULT: i64 = 86_400_000;
/// Read in some tens of milliseconds.
pub const CHECKPOINT_INTERVAL_BYTES_DEFAULT: u64 = 64 << 20;
/// Well below what clients go on sending again for (two minutes by default), so that only a slip is refused.
pub const PRODUCER_ID_EXPIRATION_MS_MIN: i64 = 60_000;
/// A hundredth of what a disk does: a terabyte in three days.
pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 << 20;
/// Partitions of one topic. A request for more is most likely a slip.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;
/// Partitions of all topics together: each holds a few file descriptors and some kilobytes.
pub const PARTITIONS_MAX: usize = 20_000;
/// This broker's node id. It has no peers yet, so any positive number would do; tools print it.
pub const NODE_ID: i32 = 1;

/// One address to listen on, and what clients that came in through it are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Ties `--listen` to `--advertise`; shown in the ready line.
    pub name: String,
    /// `HOST:PORT`; port 0 picks a free one.
    pub listen: String,
    /// `HOST:PORT` in metadata; port 0 stands for the bound port. `None`: the listen address.
    pub advertise: Option<String>,
}

/// Settings of one broker. `Default` is what the command line does without a flag.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one; the first is the one the ready line calls `kafka=`.
    pub listeners: Vec<ListenerConfig>,
    /// `HOST:PORT` of metrics and health; `None` serves none (embedded brokers).
    pub http_listen: Option<String>,
    /// What acks=all waits for.
    pub durability: Durability,
    /// Partitions of a topic that is created without a number of its own.
    pub partitions: i32,
    /// Whether metadata requests may create topics.
    pub auto_create_topics: bool,
    /// Bytes after which a new segment is begun, unless the topic says otherwise.
    pub segment_bytes: u32,
    /// The largest record batch, unless the topic says otherwise.
    pub max_message_bytes: u32,
    /// Milliseconds for which records are kept, unless the topic says otherwise; −1: for ever.
    pub retention_ms: i64,
    /// Bytes of each partition that are kept, unless the topic says otherwise; −1: all.
    pub retention_bytes: i64,
    /// How often what is no longer kept is looked for.
    pub retention_check_interval: Duration,
    /// How long a silent producer's sequences are remembered.
    pub producer_id_expiration_ms: i64,
    /// Bytes after which a checkpoint of a partition is taken: about so many are read of each after a crash. No flag: more
    /// costs time at the start, less costs a few small files now and then.
    pub checkpoint_interval_bytes: u64,
    /// File descriptors that the process may have (`RLIMIT_NOFILE`), which bounds connections, partitions and open segments
    /// ([`crate::descriptors`]); `None`: not known.
    pub descriptors: Option<usize>,
    /// The largest of the files whose room is kept for freeing a full disk ([`crate::storage::spare`]); 0: none is. No flag: a file system
    /// that is small gets a smaller one by itself.
    pub spare_bytes_max: u64,
    /// Past it a connection is closed at once.
    pub max_connections: usize,
    /// The largest frame.
    pub max_request_bytes: usize,
    /// Memory of all requests under way.
    pub max_inflight_bytes: usize,
    /// Bytes a second that the scrub reads; 0: there is none.
    pub scrub_bytes_per_second: u64,
    /// A connection silent for so long is closed.
    pub idle_timeout: Duration,
    /// A frame begun must be finished, and a response must make progress, within it.
    pub frame_timeout: Duration,
    /// A clean stop's limit.
    pub shutdown_timeout: Duration,
    /// Partitions that get metric series of their own.
    pub metrics_partitions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![ListenerConfig {
                name: DEFAULT_LISTENER.into(),
                listen: "127.0.0.1:9092".into(),
                advertise: None,
            }],
            http_listen: Some("127.0.0.1:9644".into()),
            durability: Durability::Fsync,
            partitions: 1,
            auto_create_topics: true,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT,
            retention_ms: RETENTION_MS_DEFAULT,
            retention_bytes: -1,
            retention_check_interval: RETENTION_CHECK_INTERVAL_DEFAULT,
            producer_id_expiration_ms: PRODUCER_ID_EXPIRATION_MS_DEFAULT,
            checkpoint_interval_bytes: CHECKPOINT_INTERVAL_BYTES_DEFAULT,
            descriptors: None,
            spare_bytes_max: spare::LARGE_BYTES_MAX,
            max_connections: 10_000,
            max_request_bytes: 64 << 20,
            max_inflight_bytes: 128 << 20,
            scrub_bytes_per_second: SCRUB_BYTES_PER_SECOND_DEFAULT,
            idle_timeout: Duration::from_secs(600),
            frame_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
            metrics_partitions: 1000,
        }
    }
}

/// The name of a listener that was given none.
pub const DEFAULT_LISTENER: &str = "PLAINTEXT";

/// A setting that cannot work: which flag, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{flag}: {why}")]
pub struct ConfigError {
    /// The flag as it is typed.
    pub flag: &'static str,
    /// What is wrong with it and the remedy.
    pub why: String,
}

impl ConfigError {
    pub(crate) fn new(flag: &'static str, why: impl Into<String>) -> Self {
        Self { flag, why: why.into() }
    }
}

impl Config {
    /// Checks what one setting demands of another.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return Err(ConfigError::new("--listen", "at least one address is needed"));
        }
        for (at, listener) in self.listeners.iter().enumerate() {
            let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if listener.name.is_empty() || !listener.name.chars().all(of_a_name) {
                return Err(ConfigError::new(
                    "--listen",
                    format!(
                        "\"{}\" is no name for a listener: letters, digits, '.', '_' and '-' make one, as in INSIDE=0.0.0.0:9092",
                        listener.name
                    ),
                ));
            }
            if self.listeners.iter().take(at).any(|earlier| earlier.name == listener.name) {
                return Err(ConfigError::new(
                    "--listen",
                    format!("two listeners are named {}; name them apart, NAME=HOST:PORT", listener.name),
                ));
            }
            let (host, _) = split_address("--listen", &listener.listen)?;
            match &listener.advertise {
                Some(advertise) => {
                    let (host, _) = split_address("--advertise", advertise)?;
                    if is_unspecified(host) {
                        return Err(ConfigError::new(
                            "--advertise",
                            format!(
                                "clients cannot connect to {host}; give the name or address by which they reach this machine"
                            ),
                        ));
                    }
                }
                None if is_unspecified(host) => {
                    return Err(ConfigError::new(
                        "--advertise",
                        format!(
                            "needed because --listen {} is every address of this machine and no client can connect to that; \
                             for instance --advertise {}:{}",
                            listener.listen,
                            host_name(),
                            split_address("--listen", &listener.listen)?.1,
                        ),
                    ));
                }
                None => {}
            }
        }
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&self.partitions) {
            return Err(ConfigError::new(
                "--partitions",
                format!("{} is not within 1 and {}", self.partitions, PARTITIONS_PER_TOPIC_MAX),
            ));
        }
        for (flag, limit) in [("--idle-timeout", self.idle_timeout), ("--frame-timeout", self.frame_timeout)]
        {
            if limit.is_zero() {
                return Err(ConfigError::new(
                    flag,
                    "no client is that fast; give it some time, for instance 30s",
                ));
            }
        }
        if self.producer_id_expiration_ms < PRODUCER_ID_EXPIRATION_MS_MIN {
            return Err(ConfigError::new(
                "--producer-id-expiration",
                format!(
                    "{} ms are less than a minute ({PRODUCER_ID_EXPIRATION_MS_MIN} ms): what a client sends again would be \
                     appended twice; give it hours",
                    self.producer_id_expiration_ms
                ),
            ));
        }
        if self.max_inflight_bytes < 2 * self.max_request_bytes {
            return Err(ConfigError::new(
                "--max-inflight-bytes",
                format!(
                    "{} bytes are less than two frames of --max-request-bytes ({}); raise it, or lower the frame",
                    self.max_inflight_bytes, self.max_request_bytes
                ),
            ));
        }
        if self.max_message_bytes as usize > self.max_request_bytes {
            return Err(ConfigError::new(
                "--max-message-bytes",
                format!(
                    "{} bytes do not fit a frame of --max-request-bytes ({})",
                    self.max_message_bytes, self.max_request_bytes
                ),
            ));
        }
        Ok(())
    }
}

/// Splits `HOST:PORT`; an IPv6 host stands in brackets, which are kept off.
pub(crate) fn split_address<'a>(flag: &'static str, address: &'a str) -> Result<(&'a str, u16), ConfigError> {
    let malformed =
        || ConfigError::new(flag, format!("\"{address}\" is not HOST:PORT, for instance 127.0.0.1:9092"));
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(malformed());
    }
    Ok((host, port))
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(listen: &str, advertise: Option<&str>) -> Config {
        Config {
            listeners: vec![ListenerConfig {
                name: DEFAULT_LISTENER.into(),
                listen: listen.into(),
                advertise: advertise.map(Into::into),
            }],
            ..Config::default()
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn listening_everywhere_needs_an_address_for_clients() {
        for everywhere in ["0.0.0.0:9092", "[::]:9092"] {
            let error = listening(everywhere, None).validate().unwrap_err();
            assert_eq!(error.flag, "--advertise");
            assert!(error.why.contains(&host_name()), "suggests the host's name: {error}");
            assert_eq!(listening(everywhere, Some("broker.example:9092")).validate(), Ok(()));
            assert_eq!(listening(everywhere, Some(everywhere)).validate().unwrap_err().flag, "--advertise");
        }
    }

    #[test]
    fn addresses_that_are_none_are_named() {
        for bad in ["localhost", ":9092", "localhost:", "localhost:99999", "localhost:kafka"] {
            let error = listening(bad, None).validate().unwrap_err();
            assert_eq!(error.flag, "--listen", "{bad}");
            assert!(error.why.contains(bad), "{error}");
        }
        assert_eq!(split_address("--listen", "[::1]:0"), Ok(("::1", 0)));
    }

    #[test]
    fn names_of_listeners_fit_the_ready_line() {
        for (name, good) in [("INSIDE-1.a_b", true), ("", false), ("in side", false), ("a=b", false)] {
            let mut config = listening("127.0.0.1:0", None);
            config.listeners[0].name = name.into();
            assert_eq!(config.validate().is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let inflight = Config { max_inflight_bytes: 1 << 20, ..Config::default() };
        assert_eq!(inflight.validate().unwrap_err().flag, "--max-inflight-bytes");
        let message = Config { max_message_bytes: u32::MAX, ..Config::default() };
        assert_eq!(message.validate().unwrap_err().flag, "--max-message-bytes");
        for (config, flag) in [
            (Config { idle_timeout: Duration::ZERO, ..Config::default() }, "--idle-timeout"),
            (Config { frame_timeout: Duration::ZERO, ..Config::default() }, "--frame-timeout"),
            (Config { producer_id_expiration_ms: 59_999, ..Config::default() }, "--producer-id-expiration"),
        ] {
            assert_eq!(config.validate().unwrap_err().flag, flag);
        }
        let partitions = Config { partitions: 0, ..Config::default() };
        assert_eq!(partitions.validate().unwrap_err().flag, "--partitions");
    }
}
