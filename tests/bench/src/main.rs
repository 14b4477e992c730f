//! `gapless-bench`: what the pair does beside the machine's limits and beside others, measured in one run.
//!
//! Every broker and every client is a process of its own, so that CPU time and memory are each one's: this program starts itself
//! for that.
//! - [`compare`]: the one that runs all others, and shows what came of it.
//! - [`raw`]: the machine's limits; [`bare`]: what this work costs without a protocol.
//! - [`drive`]: a client under load, ours or librdkafka; [`offsets`]: what the broker has of it; [`read`]: librdkafka reads.
//! - [`run`]: what a client run says of itself; [`usage`]: what the kernel says of a process; [`machine`]: on what it ran;
//!   [`values`]: what is sent; [`summary`]: of several rounds, the median and the range.

mod bare;
mod compare;
mod drive;
mod failure;
mod machine;
mod offsets;
mod raw;
mod read;
mod run;
mod summary;
mod usage;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use bare::client::ClientArgs;
use bare::server::ServerArgs;
use compare::{CompareArgs, ReportArgs};
use drive::DriveArgs;
use raw::RawArgs;
use read::ReadArgs;

/// Measures gapless beside the machine's limits, a bare pair without a protocol, and other brokers and clients
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(CompareArgs),
    Report(ReportArgs),
    Raw(RawArgs),
    BareServer(ServerArgs),
    BareClient(ClientArgs),
    Drive(DriveArgs),
    Read(ReadArgs),
}

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Compare(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Raw(args) => args.run(),
        Command::BareServer(args) => args.run(),
        Command::BareClient(args) => args.run(),
        Command::Drive(args) => args.run(),
        Command::Read(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
