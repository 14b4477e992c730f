//! The command line of `gapless-broker log`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

/// What can be done instead of running a broker.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Looks into a data directory on which no broker runs, and repairs it when asked to.
    #[command(subcommand)]
    Log(LogCommand),
    /// Prints a script that completes commands and flags in a shell.
    Completions {
        /// Whose.
        shell: Shell,
    },
    /// Prints the manual page, or writes those of all commands to a directory.
    Man {
        /// Write them here.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Tools for a data directory.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Reads everything and changes nothing. Exits 0 if all is sound, 1 if something is wrong, which is named by file and position.
    Check(CheckArgs),
    /// Prints every batch: offsets, leader epoch, producer, sequences, codec, size, place.
    Dump(DumpArgs),
    /// Goes on without what is lost in one partition. What is cut out is saved under torn/ first.
    Repair(RepairArgs),
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `log check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// One line for each finding, or one JSON object.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// `log dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// Only of this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Only of partitions with this number.
    #[arg(long, value_name = "N")]
    pub partition: Option<i32>,
    /// Only batches that hold this offset or later ones.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub from: i64,
    /// Print the records too: timestamp, key, value, headers.
    #[arg(long)]
    pub records: bool,
    /// Text, or a JSON object a line.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// `log repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// The topic.
    #[arg(long)]
    pub topic: String,
    /// The number of the partition.
    #[arg(long, value_name = "N")]
    pub partition: i32,
    /// Cut off everything from the first bad place on, good records behind it too.
    #[arg(long, required_unless_present = "set_aside")]
    pub truncate: bool,
    /// Take out only what is bad; the log keeps what lies above, and a hole that is accepted from now on.
    #[arg(long, conflicts_with = "truncate")]
    pub set_aside: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}
