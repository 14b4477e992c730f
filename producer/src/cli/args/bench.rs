//! `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use gapless_common::units::parse_duration;

use super::producer::ProducerFlags;
use super::values::{parse_bytes, parse_rate};
use super::{ConnectionFlags, OutputFlags};

/// `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "\
Latency is counted from the moment at which a record was due, not from the moment at which it could be sent: when the
broker stalls, records that had to wait for it count with their whole wait (an open loop). Without --rate every record is
due when there is room for it: that measures throughput, and its latency is that of a full buffer.

  gapless-producer bench --rate 10000 --duration 30s --plot latency.svg   latency at a rate that is bearable
  gapless-producer bench --duration 10s                                   the most there is
  gapless-producer bench --sample-file my.log --compression zstd          with real content

Records due within 200 µs are due together. What falls into the warm-up counts nowhere. CPU seconds are this process's own
(not on every system); batch fill is the average size of a batch before compression, as a share of --batch-size.

Exit code: 0 every record was acknowledged, 1 not every one, 2 wrong usage, 130 interrupted (what was measured until then
is printed).",
    // Whoever measures wants the figures.
    mut_arg("quiet", |flag| flag.help("No progress"))
)]
pub struct BenchArgs {
    /// Where to publish; it should be a topic for this alone
    #[arg(
        long,
        short,
        env = "GAPLESS_TOPIC",
        value_name = "TOPIC",
        default_value = "bench",
        help_heading = "Load"
    )]
    pub topic: String,

    /// Partitions of the topic: created with so many if it is not there, refused if it has others [default: as it is]
    #[arg(long, env = "GAPLESS_PARTITIONS", value_name = "N", value_parser = value_parser!(i32).range(1..),
          help_heading = "Load")]
    pub partitions: Option<i32>,

    /// Bytes of each value, random ones
    #[arg(long, env = "GAPLESS_RECORD_SIZE", value_name = "SIZE", value_parser = parse_bytes, default_value = "100",
          help_heading = "Load")]
    pub record_size: usize,

    /// Take the lines of this file as values instead, again and again
    #[arg(
        long,
        env = "GAPLESS_SAMPLE_FILE",
        value_name = "FILE",
        conflicts_with = "record_size",
        help_heading = "Load"
    )]
    pub sample_file: Option<PathBuf>,

    /// So many different keys, in turn [default: none, records without a key]
    #[arg(long, env = "GAPLESS_KEYS", value_name = "N", value_parser = value_parser!(u32).range(1..=10_000_000),
          help_heading = "Load")]
    pub keys: Option<u32>,

    /// Records due in a second, of all producers together [default: as many as there is room for]
    #[arg(long, env = "GAPLESS_RATE", value_name = "N", value_parser = parse_rate, help_heading = "Load")]
    pub rate: Option<f64>,

    /// Stop after so many records, warm-up apart
    #[arg(long, short = 'n', env = "GAPLESS_RECORDS", value_name = "N", value_parser = value_parser!(u64).range(1..),
          help_heading = "Load")]
    pub records: Option<u64>,

    /// Stop after so long, warm-up apart [default: 10s, without --records]
    #[arg(long, env = "GAPLESS_DURATION", value_name = "DURATION", value_parser = parse_duration, help_heading = "Load")]
    pub duration: Option<Duration>,

    /// What is sent so long at first is not counted
    #[arg(long, env = "GAPLESS_WARM_UP", value_name = "DURATION", value_parser = parse_duration, default_value = "1s",
          help_heading = "Load")]
    pub warm_up: Duration,

    /// Producers in this process, each with its own connections
    #[arg(long, env = "GAPLESS_PRODUCERS", value_name = "N", value_parser = value_parser!(u32).range(1..=1000),
          default_value_t = 1, help_heading = "Load")]
    pub producers: u32,

    #[command(flatten)]
    pub producer: ProducerFlags,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    #[command(flatten)]
    pub output: OutputFlags,

    /// Draw latency by percentile and rate over time into this file (SVG)
    #[arg(long, env = "GAPLESS_PLOT", value_name = "FILE", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}
