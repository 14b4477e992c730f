//! The command line: each flag is also an environment variable, `GAPLESS_` and its name in capitals.

mod bench;
mod connection;
mod output;
mod pages;
mod producer;
mod properties;
mod properties_file;
mod publish;
mod read;
mod topic;
mod values;
mod verify;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub use bench::BenchArgs;
pub use connection::{ConnectionFlags, ConnectionSettings};
pub use output::{OutputFlags, OutputFormat};
pub use pages::{CompletionsArgs, ManArgs};
pub use publish::{Decompress, InputFormat, PublishArgs, ReportBy};
pub use read::{ReadArgs, ReadOutput, StartOffset};
pub use topic::{CreateArgs, DeleteArgs, DescribeArgs, ListArgs, TopicCommand};
pub use verify::VerifyArgs;

/// Publishes to Kafka and says what became of every record; reads it back.
///
/// Works with gapless-broker and with Apache Kafka. Flags can be set in the environment as GAPLESS_ and their name in
/// capitals; durations take a unit (5ms, 3s, 10m), sizes are bytes or take one (64KiB, 1MiB).
#[derive(Debug, Parser)]
#[command(name = "gapless-producer", version, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    /// What is logged to standard error: off, error, warn, info, debug or trace.
    #[arg(long, env = "GAPLESS_LOG_LEVEL", value_name = "LEVEL", default_value = "error", global = true)]
    pub log_level: LevelFilter,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish records from files or standard input.
    Publish(Box<PublishArgs>),
    /// Print the records of a topic.
    Read(ReadArgs),
    /// List, create, describe and delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Prove that what a report calls acknowledged is in the topic once, in order, byte for byte.
    Verify(VerifyArgs),
    /// Measure latency and throughput under a load of your choice.
    Bench(Box<BenchArgs>),
    /// Print a script that completes commands and flags in a shell.
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them to a directory.
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn every_command(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            every_command(sub, visit);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_and_has_a_help_text() {
        let mut seen = 0;
        every_command(&Args::command(), &mut |command| {
            for flag in
                command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
            {
                assert!(flag.get_help().is_some(), "{} {}", command.get_name(), flag.get_id());
                let Some(long) = flag.get_long() else { continue };
                let variable = format!("GAPLESS_{}", long.replace('-', "_").to_uppercase());
                let env = flag.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(env.as_ref(), Some(&variable), "{} --{long}", command.get_name());
                seen += 1;
            }
        });
        assert!(seen > 40, "{seen}");
    }
}
