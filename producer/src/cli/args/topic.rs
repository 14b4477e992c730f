//! `topic list|create|describe|delete`.

use clap::{Args, Subcommand};

use super::values::parse_pair;
use super::{ConnectionFlags, OutputFormat};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Print the names of all topics, one a line.
    List(ListArgs),
    /// Create topics.
    Create(CreateArgs),
    /// Print partitions, leaders, offsets and settings of topics.
    Describe(DescribeArgs),
    /// Delete topics and all their records.
    Delete(DeleteArgs),
}

/// `topic list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// How to print
    #[arg(long, env = "GAPLESS_OUTPUT", value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// `topic create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// How many partitions [default: the broker's own]
    #[arg(long, env = "GAPLESS_PARTITIONS", value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,

    /// How many brokers keep each partition [default: the broker's own]
    #[arg(long, env = "GAPLESS_REPLICATION_FACTOR", value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,

    /// A setting of the topic, such as max.message.bytes=2000000. May be repeated
    #[arg(long, env = "GAPLESS_CONFIG", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub config: Vec<(String, String)>,

    /// A topic that exists is no failure
    #[arg(long, env = "GAPLESS_IF_NOT_EXISTS")]
    pub if_not_exists: bool,
}

/// `topic describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Names of the topics [default: all]
    #[arg(value_name = "TOPIC")]
    pub topics: Vec<String>,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// How to print
    #[arg(long, env = "GAPLESS_OUTPUT", value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// `topic delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// A topic that does not exist is no failure
    #[arg(long, env = "GAPLESS_IF_EXISTS")]
    pub if_exists: bool,
}
