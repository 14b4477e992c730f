//! Flags about what a command prints.

use clap::{Args, ValueEnum};

/// How the one result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// What publish, bench and verify print. A command where `--quiet` means something else says so with `mut_arg`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputFlags {
    /// How the result is printed on standard output
    #[arg(long, env = "GAPLESS_OUTPUT", value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,

    /// Neither progress nor result: the exit code alone
    #[arg(long, short, env = "GAPLESS_QUIET")]
    pub quiet: bool,
}
