//! The command line, in the order in which a run meets it: flags ([`args`]), one of the commands ([`publish`], [`read`],
//! [`topic`], [`verify`], [`bench`]), what it tells ([`progress`], [`result`]), and how it ends ([`exit`]).

pub mod args;
mod base64;
mod bench;
mod digest;
pub mod exit;
mod files;
mod human;
mod latency;
mod metrics;
mod pages;
mod progress;
mod publish;
mod read;
mod result;
mod signals;
mod topic;
mod under_way;
mod verify;

use std::io;
use std::process::ExitCode;

use gapless_common::seam::Seams;

use args::{Args, Command};
use signals::Signals;

/// Runs one command to its end.
pub async fn run(args: Args) -> ExitCode {
    start_logging(&args);
    let seams = Seams::real();
    let result = match Signals::listen(&seams.spawner) {
        Err(stop) => Err(stop),
        Ok(signals) => match args.command {
            Command::Publish(args) => Box::pin(publish::run(*args, seams, signals)).await,
            Command::Read(args) => Box::pin(read::run(args, seams, signals)).await,
            Command::Topic(command) => Box::pin(topic::run(command, seams, signals)).await,
            Command::Bench(args) => Box::pin(bench::run(*args, seams, signals)).await,
            Command::Verify(args) => Box::pin(verify::run(args, seams, signals)).await,
            Command::Completions(args) => pages::completions(args.shell),
            Command::Man(args) => pages::man(&args),
        },
    };
    result.unwrap_or_else(|stop| stop.report())
}

fn start_logging(args: &Args) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_max_level(args.log_level)
        .with_target(false)
        .init();
}
