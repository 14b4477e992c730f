//! Flags of the producer itself.

use std::time::Duration;

use clap::Args;
use gapless_common::units::parse_duration;
use gapless_producer::{Acks, Compression, Config, Linger, OnFailure, Partitioner};

use super::values::parse_bytes;
use super::{ConnectionFlags, ConnectionSettings, properties};
use crate::cli::exit::Stop;

/// How records are gathered, sent and sent again.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Delivery")]
pub struct ProducerFlags {
    /// When the broker answers: all, 1 (its page cache) or 0 (never; nothing is promised) [default: all]
    #[arg(long, env = "GAPLESS_ACKS", value_name = "ACKS", value_parser = parse_acks)]
    acks: Option<Acks>,

    /// Number the records, so that none is lost, doubled or out of order [default: true with --acks all]
    #[arg(long, env = "GAPLESS_IDEMPOTENCE", value_name = "BOOL")]
    idempotence: Option<bool>,

    /// Requests under way at once, at most 5 with idempotence [default: 5]
    #[arg(long, env = "GAPLESS_MAX_IN_FLIGHT", value_name = "N")]
    max_in_flight: Option<usize>,

    /// How long a record may go without acknowledgement [default: 120s]
    #[arg(long, env = "GAPLESS_DELIVERY_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    delivery_timeout: Option<Duration>,

    /// The most a batch grows to, before compression; also the longest line [default: 1000000]
    #[arg(long, env = "GAPLESS_BATCH_SIZE", value_name = "SIZE", value_parser = parse_bytes, help_heading = "Batching")]
    batch_size: Option<usize>,

    /// How long a record waits for company: auto (only while waiting pays, at most 5ms) or a duration [default: auto]
    #[arg(long, env = "GAPLESS_LINGER", value_name = "DURATION", value_parser = parse_linger, help_heading = "Batching")]
    linger: Option<Linger>,

    /// Memory of records not yet acknowledged; when it is full, reading waits [default: 32MiB]
    #[arg(long, env = "GAPLESS_BUFFER_MEMORY", value_name = "SIZE", value_parser = parse_bytes, help_heading = "Batching")]
    buffer_memory: Option<usize>,

    /// none, gzip, snappy, lz4 or zstd [default: none]
    #[arg(long, env = "GAPLESS_COMPRESSION", value_name = "CODEC", value_parser = parse_compression, help_heading = "Batching")]
    compression: Option<Compression>,

    /// The codec's level [default: its own]
    #[arg(
        long,
        env = "GAPLESS_COMPRESSION_LEVEL",
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Batching"
    )]
    compression_level: Option<i32>,

    /// How records get a partition: by key as Java (murmur2_random) or librdkafka (consistent_random), in turn (round_robin), or
    /// only by --partition (explicit) [default: murmur2_random]
    #[arg(long, env = "GAPLESS_PARTITIONER", value_name = "NAME", value_parser = parse_partitioner, help_heading = "Batching")]
    partitioner: Option<Partitioner>,

    /// The wait before a first retry; it doubles up to --retry-backoff-max, with jitter [default: 50ms]
    #[arg(long, env = "GAPLESS_RETRY_BACKOFF", value_name = "DURATION", value_parser = parse_duration)]
    retry_backoff: Option<Duration>,

    /// The longest wait before a retry [default: 1s]
    #[arg(long, env = "GAPLESS_RETRY_BACKOFF_MAX", value_name = "DURATION", value_parser = parse_duration)]
    retry_backoff_max: Option<Duration>,

    /// Silence on a connection after which it is tried with a cheap request [default: 10s]
    #[arg(long, env = "GAPLESS_HEARTBEAT_INTERVAL", value_name = "DURATION", value_parser = parse_duration,
          help_heading = "Connection")]
    heartbeat_interval: Option<Duration>,
}

impl ProducerFlags {
    /// The producer's settings: flags before -X, that before the file, that before the defaults.
    pub fn settle(&self, connection: &ConnectionFlags, skip_failed: bool) -> Result<Config, Stop> {
        let mut config = Config::default();
        let mut settings = ConnectionSettings::of(&config);
        for property in connection.properties()? {
            let known = properties::apply_to_connection(&property, &mut settings)?
                || properties::apply_to_producer(&property, &mut config)?
                || properties::is_harmless(&property)?;
            if !known {
                return Err(property.unknown());
            }
        }
        connection.apply(&mut settings);
        config.bootstrap_servers = settings.bootstrap_servers;
        config.client_id = settings.client_id;
        config.connect_timeout = settings.connect_timeout;
        config.request_timeout = settings.request_timeout;
        config.on_failure = if skip_failed { OnFailure::Skip } else { OnFailure::Halt };
        self.apply(&mut config);
        config.validate().map_err(|error| {
            let flag = match error.setting {
                "bootstrap_servers" => "bootstrap-server".to_owned(),
                setting => setting.replace('_', "-"),
            };
            Stop::Usage(format!("--{flag} {}: {}", error.value, in_flags(&error.remedy)))
        })?;
        Ok(config)
    }

    fn apply(&self, config: &mut Config) {
        fn set<T: Copy>(setting: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *setting = value;
            }
        }
        set(&mut config.acks, self.acks);
        set(&mut config.idempotence, self.idempotence.map(Some));
        set(&mut config.max_in_flight, self.max_in_flight);
        set(&mut config.batch_size, self.batch_size);
        set(&mut config.linger, self.linger);
        set(&mut config.buffer_memory, self.buffer_memory);
        set(&mut config.delivery_timeout, self.delivery_timeout);
        set(&mut config.compression, self.compression);
        set(&mut config.compression_level, self.compression_level.map(Some));
        set(&mut config.partitioner, self.partitioner);
        set(&mut config.retry_backoff, self.retry_backoff);
        set(&mut config.retry_backoff_max, self.retry_backoff_max);
        set(&mut config.heartbeat_interval, self.heartbeat_interval);
    }
}

/// Settings as the command line calls them: `retry_backoff` is `--retry-backoff`.
fn in_flags(remedy: &str) -> String {
    let flag = |word: &str| {
        if word.contains('_') { format!("--{}", word.replace('_', "-")) } else { word.to_owned() }
    };
    remedy.split(' ').map(flag).collect::<Vec<_>>().join(" ")
}

fn parse_acks(text: &str) -> Result<Acks, String> {
    Acks::parse(text).ok_or_else(|| "expected 0, 1 or all".to_owned())
}

fn parse_linger(text: &str) -> Result<Linger, String> {
    match text {
        "auto" => Ok(Linger::default()),
        _ => parse_duration(text).map(Linger::Fixed).map_err(|error| format!("{error}; or auto")),
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    Compression::parse(text).ok_or_else(|| "expected none, gzip, snappy, lz4 or zstd".to_owned())
}

fn parse_partitioner(text: &str) -> Result<Partitioner, String> {
    Partitioner::parse(text)
        .ok_or_else(|| "expected murmur2_random, consistent_random, round_robin or explicit".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use gapless_common::units::{DisplayDuration, DisplaySize};

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        connection: ConnectionFlags,
        #[command(flatten)]
        producer: ProducerFlags,
    }

    fn settle(args: &[&str]) -> Result<Config, String> {
        let flags =
            Flags::try_parse_from(std::iter::once(&"test").chain(args)).map_err(|error| error.to_string())?;
        flags.producer.settle(&flags.connection, false).map_err(|stop| format!("{stop:?}"))
    }

    #[test]
    fn flags_go_before_properties_and_those_before_defaults() {
        let config =
            settle(&["-X", "acks=1", "-X", "linger.ms=7", "--linger", "2ms", "-X", "client.id=me"]).unwrap();
        assert_eq!(config.acks, Acks::Leader);
        assert_eq!(config.linger, Linger::Fixed(Duration::from_millis(2)));
        assert_eq!(&*config.client_id, "me");
        assert_eq!(config.batch_size, Config::default().batch_size);
        let config = settle(&["-X", "acks=1", "-X", "acks=0"]).unwrap();
        assert_eq!(config.acks, Acks::None, "the later property counts");
        let config =
            settle(&["--bootstrap-server", "a:1,b:2", "--linger", "auto", "--batch-size", "64KiB"]).unwrap();
        assert_eq!(config.bootstrap_servers, ["a:1".into(), "b:2".into()]);
        assert_eq!(config.batch_size, 65_536);
    }

    #[test]
    fn contradictions_name_the_flag_the_limit_and_the_remedy() {
        for (args, expected) in [
            (&["--acks", "1", "--idempotence", "true"][..], "--acks 1: idempotence needs acks=all"),
            (&["--max-in-flight", "6"], "--max-in-flight 6: idempotence allows at most 5"),
            (&["--bootstrap-server", "nowhere"], "--bootstrap-server nowhere: write HOST:PORT"),
            (&["--batch-size", "1GiB"], "--batch-size 1073741824"),
            (
                &["--retry-backoff-max", "10ms"],
                "--retry-backoff-max 10ms: it is below --retry-backoff, 50ms: raise it",
            ),
            (&["--linger", "soon"], "write a number and a unit"),
            (&["--acks", "two"], "expected 0, 1 or all"),
            (&["--compression", "brotli"], "expected none, gzip, snappy, lz4 or zstd"),
            (&["-X", "linger.seconds=1"], "property linger.seconds is refused"),
        ] {
            let error = settle(args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn the_help_names_the_defaults_in_force() {
        let config = Config::default();
        let expected = [
            ("acks", config.acks.name().to_owned()),
            ("max_in_flight", config.max_in_flight.to_string()),
            ("delivery_timeout", "120s".to_owned()),
            ("batch_size", DisplaySize(config.batch_size as u64).to_string()),
            ("linger", "auto".to_owned()),
            ("buffer_memory", DisplaySize(config.buffer_memory as u64).to_string()),
            ("compression", config.compression.name().to_owned()),
            ("partitioner", config.partitioner.name().to_owned()),
            ("retry_backoff", DisplayDuration(config.retry_backoff).to_string()),
            ("retry_backoff_max", DisplayDuration(config.retry_backoff_max).to_string()),
            ("heartbeat_interval", DisplayDuration(config.heartbeat_interval).to_string()),
            ("connect_timeout", DisplayDuration(config.connect_timeout).to_string()),
            ("request_timeout", DisplayDuration(config.request_timeout).to_string()),
            ("bootstrap_server", config.bootstrap_servers[0].to_string()),
            ("client_id", config.client_id.to_string()),
        ];
        assert_eq!(parse_duration("120s"), Ok(config.delivery_timeout));
        let command = Flags::command();
        for (flag, default) in expected {
            let arg = command.get_arguments().find(|arg| arg.get_id() == flag).unwrap();
            let help = arg.get_help().unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "--{flag}: {help}");
        }
    }
}
