//! The command line: flags, environment, and the way from them to a [`Config`].

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, ValueEnum};
use gapless_common::units::{parse_duration, parse_size};

use crate::{
    config::{
        CHECKPOINT_INTERVAL_BYTES_DEFAULT, Config, ConfigError, DEFAULT_LISTENER, ListenerConfig,
        RETENTION_CHECK_INTERVAL_DEFAULT,
    },
    log::Durability,
    storage::spare,
    tools::args::Command,
};

/// A Kafka-compatible message broker that loses nothing it acknowledged.
///
/// Prints one line on standard output when it is ready and logs to standard error. SIGTERM and SIGINT stop it cleanly.
/// Every flag can also be given in the environment; durations take a unit (5ms, 3s, 10m), sizes are bytes or take one
/// (64KiB, 1MiB).
#[derive(Debug, Parser)]
#[command(name = "gapless-broker", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than running a broker.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Kafka protocol: where to listen. May be repeated; port 0 picks a free one.
    #[arg(
        long,
        env = "GAPLESS_LISTEN",
        value_name = "[NAME=]HOST:PORT",
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    listen: Vec<String>,

    /// What clients of that listener are told to connect to [default: the listen address].
    #[arg(
        long,
        env = "GAPLESS_ADVERTISE",
        value_name = "[NAME=]HOST:PORT",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    advertise: Vec<String>,

    /// Metrics and health: /metrics, /healthz, /readyz.
    #[arg(
        long,
        env = "GAPLESS_HTTP_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9644",
        help_heading = "Network"
    )]
    http_listen: String,

    /// Past it a connection is closed at once, with a log line.
    #[arg(long, env = "GAPLESS_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    max_connections: u32,

    /// A connection silent for so long is closed.
    #[arg(long, env = "GAPLESS_IDLE_TIMEOUT", value_name = "DURATION", default_value = "10m", value_parser = parse_duration, help_heading = "Network")]
    idle_timeout: Duration,

    /// A request begun must be finished, and an answer must make progress, within it.
    #[arg(long, env = "GAPLESS_FRAME_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration, help_heading = "Network")]
    frame_timeout: Duration,

    /// Directory of all that is kept; made if it is missing. One broker at a time.
    #[arg(
        long,
        env = "GAPLESS_DATA_DIR",
        value_name = "DIR",
        default_value = "./gapless-data",
        help_heading = "Log"
    )]
    data_dir: PathBuf,

    /// What acks=all waits for: the disk (fsync), or the operating system's page cache (os), as Apache Kafka does.
    #[arg(
        long,
        env = "GAPLESS_DURABILITY",
        value_name = "MODE",
        default_value = "fsync",
        help_heading = "Log"
    )]
    durability: DurabilityArg,

    /// Bytes after which a new segment is begun (topic setting segment.bytes).
    #[arg(long, env = "GAPLESS_SEGMENT_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = parse_segment_bytes, help_heading = "Log")]
    segment_bytes: u32,

    /// The largest record batch (topic setting max.message.bytes) [default: 1048588 bytes].
    #[arg(long, env = "GAPLESS_MAX_MESSAGE_BYTES", value_name = "SIZE", default_value = "1048588", hide_default_value = true,
          value_parser = parse_message_bytes, help_heading = "Log")]
    max_message_bytes: u32,

    /// Bytes a second at which what is stored is read and compared with its checksums; 0: never.
    #[arg(long, env = "GAPLESS_SCRUB_RATE", value_name = "SIZE", default_value = "4MiB", value_parser = parse_rate, help_heading = "Log")]
    scrub_rate: u64,

    /// How long records are kept, by their timestamps: a duration, or milliseconds; -1 keeps them for ever (topic setting
    /// retention.ms).
    #[arg(long, env = "GAPLESS_RETENTION_MS", value_name = "DURATION", default_value = "7d", allow_negative_numbers = true,
          value_parser = parse_retention_ms, help_heading = "Log")]
    retention_ms: i64,

    /// Bytes of each partition that are kept; -1 keeps all (topic setting retention.bytes).
    #[arg(long, env = "GAPLESS_RETENTION_BYTES", value_name = "SIZE", default_value = "-1", allow_negative_numbers = true,
          value_parser = parse_retention_bytes, help_heading = "Log")]
    retention_bytes: i64,

    /// How long the sequences of a silent producer are remembered.
    #[arg(long, env = "GAPLESS_PRODUCER_ID_EXPIRATION", value_name = "DURATION", default_value = "24h", value_parser = parse_duration, help_heading = "Log")]
    producer_id_expiration: Duration,

    /// Partitions of a topic that is created on first use.
    #[arg(long, env = "GAPLESS_PARTITIONS", value_name = "N", default_value_t = 1, help_heading = "Topics")]
    partitions: i32,

    /// Create a topic when a client first asks for it.
    #[arg(long, env = "GAPLESS_AUTO_CREATE_TOPICS", value_name = "BOOL", default_value_t = true, action = ArgAction::Set, help_heading = "Topics")]
    auto_create_topics: bool,

    /// The largest request.
    #[arg(long, env = "GAPLESS_MAX_REQUEST_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = parse_frame_bytes, help_heading = "Memory")]
    max_request_bytes: usize,

    /// Memory of all requests under way; at least two of the largest.
    #[arg(long, env = "GAPLESS_MAX_INFLIGHT_BYTES", value_name = "SIZE", default_value = "128MiB", value_parser = parse_memory_bytes, help_heading = "Memory")]
    max_inflight_bytes: usize,

    /// A clean stop's limit.
    #[arg(long, env = "GAPLESS_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Operation")]
    shutdown_timeout: Duration,

    /// Partitions that get metric series of their own; the rest are counted.
    #[arg(
        long,
        env = "GAPLESS_METRICS_PARTITIONS",
        value_name = "N",
        default_value_t = 1000,
        help_heading = "Operation"
    )]
    metrics_partitions: usize,

    /// error, warn, info, debug or trace.
    #[arg(
        long,
        env = "GAPLESS_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        help_heading = "Operation"
    )]
    pub log_level: tracing::level_filters::LevelFilter,

    /// How log lines look.
    #[arg(
        long,
        env = "GAPLESS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Operation"
    )]
    pub log_format: LogFormat,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DurabilityArg {
    Fsync,
    Os,
}

fn parse_sized<T: TryFrom<u64> + std::fmt::Display>(text: &str, min: u64, max: u64) -> Result<T, String> {
    let size = parse_size(text).map_err(|error| error.to_string())?;
    if !(min..=max).contains(&size) {
        return Err(format!("{size} bytes are not within {min} and {max}"));
    }
    T::try_from(size).map_err(|_| format!("{size} bytes are too many for this machine"))
}

/// Positions in a segment are 31 bits in Kafka's tools, which read these files.
fn parse_segment_bytes(text: &str) -> Result<u32, String> {
    parse_sized(text, 1 << 20, i32::MAX as u64)
}

/// Kafka's "for ever", and "all".
const NO_LIMIT: &str = "-1";

/// Kafka's name ends in its unit, so a bare number is in milliseconds.
fn parse_retention_ms(text: &str) -> Result<i64, String> {
    if text == NO_LIMIT {
        return Ok(-1);
    }
    if let Ok(milliseconds) = text.parse::<u64>() {
        return i64::try_from(milliseconds)
            .map_err(|_| "too many milliseconds; -1 keeps records for ever".into());
    }
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    i64::try_from(duration.as_millis()).map_err(|_| "too long; -1 keeps records for ever".into())
}

fn parse_retention_bytes(text: &str) -> Result<i64, String> {
    if text == NO_LIMIT { Ok(-1) } else { parse_sized(text, 0, i64::MAX as u64) }
}

fn parse_message_bytes(text: &str) -> Result<u32, String> {
    parse_sized(text, 1, i32::MAX as u64)
}

/// A frame's length is a signed 32-bit number; below 1 MiB no default batch fits.
fn parse_frame_bytes(text: &str) -> Result<usize, String> {
    parse_sized(text, 1 << 20, i32::MAX as u64)
}

fn parse_rate(text: &str) -> Result<u64, String> {
    parse_sized(text, 0, 1 << 40)
}

fn parse_memory_bytes(text: &str) -> Result<usize, String> {
    parse_sized(text, 2 << 20, 1 << 40)
}

fn named(address: &str) -> (Option<&str>, &str) {
    match address.split_once('=') {
        Some((name, address)) => (Some(name), address),
        None => (None, address),
    }
}

impl Args {
    /// The data directory and the settings of the broker.
    ///
    /// # Errors
    /// A flag that cannot work.
    pub fn into_config(self) -> Result<(PathBuf, Config), ConfigError> {
        let mut listeners: Vec<ListenerConfig> = self
            .listen
            .iter()
            .map(|listen| {
                let (name, address) = named(listen);
                ListenerConfig {
                    name: name.unwrap_or(DEFAULT_LISTENER).into(),
                    listen: address.into(),
                    advertise: None,
                }
            })
            .collect();
        for advertise in &self.advertise {
            let (name, address) = named(advertise);
            let listener = match name {
                Some(name) => listeners.iter_mut().find(|listener| listener.name == name),
                None => listeners.first_mut(),
            };
            let listener = listener.ok_or_else(|| {
                ConfigError::new(
                    "--advertise",
                    format!("{advertise} names a listener that --listen does not"),
                )
            })?;
            if listener.advertise.replace(address.into()).is_some() {
                return Err(ConfigError::new(
                    "--advertise",
                    format!("listener {} is given two addresses", listener.name),
                ));
            }
        }
        let config = Config {
            listeners,
            http_listen: Some(self.http_listen),
            durability: match self.durability {
                DurabilityArg::Fsync => Durability::Fsync,
                DurabilityArg::Os => Durability::Os,
            },
            partitions: self.partitions,
            auto_create_topics: self.auto_create_topics,
            segment_bytes: self.segment_bytes,
            max_message_bytes: self.max_message_bytes,
            checkpoint_interval_bytes: CHECKPOINT_INTERVAL_BYTES_DEFAULT,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            retention_check_interval: RETENTION_CHECK_INTERVAL_DEFAULT,
            producer_id_expiration_ms: i64::try_from(self.producer_id_expiration.as_millis())
                .unwrap_or(i64::MAX),
            scrub_bytes_per_second: self.scrub_rate,
            // Told by whoever runs the process.
            descriptors: None,
            spare_bytes_max: spare::LARGE_BYTES_MAX,
            max_connections: self.max_connections as usize,
            max_request_bytes: self.max_request_bytes,
            max_inflight_bytes: self.max_inflight_bytes,
            idle_timeout: self.idle_timeout,
            frame_timeout: self.frame_timeout,
            shutdown_timeout: self.shutdown_timeout,
            metrics_partitions: self.metrics_partitions,
        };
        config.validate()?;
        if let Some(http) = &config.http_listen {
            crate::config::split_address("--http-listen", http)?;
        }
        Ok((self.data_dir, config))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Config, ConfigError> {
        let all = std::iter::once(&"gapless-broker").chain(args);
        Args::parse_from(all).into_config().map(|(_, config)| config)
    }

    #[test]
    fn the_flags_are_well_formed_and_their_defaults_are_those_of_config() {
        Args::command().debug_assert();
        assert_eq!(format!("{:?}", parse(&[]).unwrap()), format!("{:?}", Config::default()));
    }

    #[test]
    fn listeners_and_their_addresses_are_tied_by_name() {
        let config = parse(&[
            "--listen",
            "IN=0.0.0.0:9092,OUT=0.0.0.0:9093",
            "--advertise",
            "OUT=example.org:19093,IN=broker:9092",
        ])
        .unwrap();
        let told: Vec<_> =
            config.listeners.iter().map(|l| (l.name.as_str(), l.advertise.as_deref())).collect();
        assert_eq!(told, [("IN", Some("broker:9092")), ("OUT", Some("example.org:19093"))]);
    }

    #[test]
    fn addresses_that_do_not_fit_together_are_refused_by_flag() {
        for (args, flag) in [
            (&["--advertise", "OTHER=a:1"][..], "--advertise"),
            (&["--advertise", "a:1", "--advertise", "b:1"], "--advertise"),
            (&["--listen", "a:1", "--listen", "b:1"], "--listen"),
            (&["--http-listen", "nowhere"], "--http-listen"),
        ] {
            assert_eq!(parse(args).unwrap_err().flag, flag, "{args:?}");
        }
    }

    #[test]
    fn retention_is_given_in_kafkas_units_or_in_peoples() {
        for (args, ms, bytes) in [
            (&["--retention-ms", "-1"][..], -1, -1),
            (&["--retention-ms=86400000", "--retention-bytes=1048576"], 86_400_000, 1 << 20),
            (&["--retention-ms", "1d", "--retention-bytes", "1MiB"], 86_400_000, 1 << 20),
            (&["--retention-ms", "0", "--retention-bytes", "-1"], 0, -1),
        ] {
            let config = parse(args).unwrap();
            assert_eq!((config.retention_ms, config.retention_bytes), (ms, bytes), "{args:?}");
        }
        for wrong in ["-2", "soon", "99999999999999999999"] {
            for flag in ["--retention-ms", "--retention-bytes"] {
                let args = ["gapless-broker", flag, wrong];
                assert!(Args::try_parse_from(args).is_err(), "{args:?}");
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_usage_errors() {
        for args in [
            &["--max-connections", "0"][..],
            &["--segment-bytes", "1"],
            &["--max-request-bytes", "3GiB"],
            &["--idle-timeout", "soon"],
            &["--durability", "maybe"],
        ] {
            assert!(
                Args::try_parse_from(std::iter::once(&"gapless-broker").chain(args)).is_err(),
                "{args:?}"
            );
        }
    }
}
