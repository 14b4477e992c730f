//! A million records from each kind of pipelined idempotent producer while the broker is killed with `kill -9` ten times, each
//! time at a share of the acknowledged records; then every record must be in the log exactly once, in order.

use std::{env, process::ExitCode, time::Instant};

use gapless_tests::{
    broker::Broker,
    librdkafka::consume,
    load::{PARTITIONS, Run, by_command_line, by_library, by_librdkafka, through_kills},
    oracle::check,
};

const USAGE: &str =
    "usage: kills [--records N] [--kills N] [--durability fsync|os] [library|command-line|librdkafka …]";

struct Settings {
    records: u64,
    kills: u64,
    durability: String,
    senders: Vec<String>,
}

fn settings() -> Option<Settings> {
    let mut settings =
        Settings { records: 1_000_000, kills: 10, durability: "fsync".to_owned(), senders: Vec::new() };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--records" => settings.records = arguments.next()?.parse().ok()?,
            "--kills" => settings.kills = arguments.next()?.parse().ok()?,
            "--durability" => settings.durability = arguments.next()?,
            "library" | "command-line" | "librdkafka" => settings.senders.push(argument),
            _ => return None,
        }
    }
    if settings.senders.is_empty() {
        settings.senders = ["library", "command-line", "librdkafka"].map(str::to_owned).into();
    }
    Some(settings)
}

fn sender(name: &str) -> fn(&Run<'_>) -> Vec<bool> {
    match name {
        "library" => by_library,
        "command-line" => by_command_line,
        _ => by_librdkafka,
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(settings) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut kept = true;
    for name in &settings.senders {
        let mut broker = Broker::builder().flag("--durability", &settings.durability).start();
        let begun = Instant::now();
        let acked = through_kills(&mut broker, "soak", settings.records, settings.kills, sender(name));
        let took = begun.elapsed().as_secs_f64();
        let count = acked.iter().filter(|acked| **acked).count();
        let read = consume(broker.address(), "soak", PARTITIONS);
        let verdict = check(&read, settings.records, |number| acked[number as usize]);
        println!(
            "{name}: {} records, {count} acknowledged, {} in the log, {} kills, {took:.1} s: {}",
            settings.records,
            read.len(),
            settings.kills,
            match &verdict {
                Ok(()) => "every acknowledged record is there exactly once, in order",
                Err(faults) => faults,
            }
        );
        kept &= verdict.is_ok() && count as u64 == settings.records;
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
