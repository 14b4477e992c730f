//! Runs seeds until stopped, or one with its log:
//!
//! `cargo run --release -p gapless-simulation --example simulate -- [--seed N] [--runs N] [--threads N] [--verbose]`
//!
//! - `--seed N`: the first seed; alone it is the only one. Without it seeds begin at the time of day.
//! - `--runs N`: so many runs; without it and without `--seed`, until stopped.
//! - `--verbose`: the log of the run, with simulated times. Best with one seed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]

use std::{env, process::ExitCode, time::Duration};

use gapless_common::seam::{RealWallClock, WallClock as _};
use gapless_simulation::plan::Kind;
use gapless_simulation::runner::{Report, Runs, run_all};
use tracing_subscriber::EnvFilter;

/// How often counts are shown, in runs.
const SHOWN_EVERY: u64 = 500;

fn main() -> ExitCode {
    let (mut seed, mut runs, mut threads, mut verbose) = (None, None, 2, false);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = |value: Option<String>| value.and_then(|value| value.parse().ok());
        let understood = match argument.as_str() {
            "--seed" => number(arguments.next()).map(|value| seed = Some(value)),
            "--runs" => number(arguments.next()).map(|value| runs = Some(value)),
            "--threads" => number(arguments.next()).map(|value| threads = value),
            "--verbose" => {
                verbose = true;
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            eprintln!("{argument}: expected [--seed N] [--runs N] [--threads N] [--verbose]");
            return ExitCode::FAILURE;
        }
    }
    if verbose {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("debug,trace=off"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_timer(Simulated)
            .with_writer(std::io::stderr)
            .init();
    }
    let count = runs.unwrap_or(if seed.is_some() { 1 } else { u64::MAX });
    let first = seed.unwrap_or_else(|| RealWallClock.now_ms().unsigned_abs());
    let runs = Runs { first, count, threads, failures_max: usize::MAX };
    let mut told = 0;
    let report = run_all(&runs, |report| {
        for (_, failure) in report.failures.iter().skip(told) {
            println!("FAILED {failure}");
        }
        told = report.failures.len();
        if report.counts.runs.is_multiple_of(SHOWN_EVERY) {
            show(report);
        }
        true
    });
    show(&report);
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(report: &Report) {
    let counts = &report.counts;
    println!(
        "{} runs, {} failed, {:.1} simulated hours; {} records: {} acknowledged, {} not written, {} unknown, {} of crashed \
         producers, {} resumes; {} seen; {} starts of the broker",
        counts.runs,
        report.failures.len(),
        Duration::from_millis(counts.simulated_ms).as_secs_f64() / 3600.0,
        counts.admitted,
        counts.acked,
        counts.not_written,
        counts.unknown,
        counts.untold,
        counts.resumed,
        counts.seen,
        counts.starts,
    );
    let times = |kind: &Kind| format!("{kind:?} {}", counts.kinds.get(kind).copied().unwrap_or(0));
    println!("  faults: {}", Kind::ALL.iter().map(times).collect::<Vec<_>>().join(", "));
    let disk = &counts.disk;
    println!(
        "  disks: {} writes, {} flushes, {} of all files at once; lost {} sectors, {} torn, {} names; failed {} flushes, {} writes, {} reads; {} times \
         full, {} bits rotten",
        disk.writes,
        disk.flushes,
        disk.whole_syncs,
        disk.sectors_lost,
        disk.sectors_torn,
        disk.names_lost,
        disk.flush_errors,
        disk.write_errors,
        disk.read_errors,
        disk.no_space,
        disk.rotten,
    );
}

/// Milliseconds of the simulation, where there is one.
struct Simulated;

impl tracing_subscriber::fmt::time::FormatTime for Simulated {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:>7}", gapless_simulation::world::now_ms().unwrap_or(0))
    }
}
