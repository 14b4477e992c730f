//! A million records from each kind of pipelined idempotent producer while the broker is killed with `kill -9` a hundred times,
//! each time at a share of the acknowledged records; then every record must be in the log exactly once, in order, at the
//! offset that was told.

use std::{env, process::ExitCode, time::Instant};

use gapless_tests::{
    broker::Broker,
    librdkafka::consume,
    load::{PARTITIONS, Sender, by_command_line, by_library, by_librdkafka, through},
    oracle::verdict,
};

const USAGE: &str =
    "usage: kills [--records N] [--kills N] [--durability fsync|os] [library|command-line|librdkafka …]
Senders that are named run together, each with N records.";

struct Settings {
    records: u64,
    kills: u64,
    durability: String,
    senders: Vec<String>,
}

fn settings() -> Option<Settings> {
    let mut settings =
        Settings { records: 1_000_000, kills: 100, durability: "fsync".to_owned(), senders: Vec::new() };
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
        settings.senders = ["library", "librdkafka"].map(str::to_owned).into();
    }
    Some(settings)
}

fn sender(name: &str) -> Sender {
    match name {
        "library" => by_library,
        "command-line" => by_command_line,
        _ => by_librdkafka,
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(Settings { records, kills, durability, senders }) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut broker = Broker::builder().flag("--durability", &durability).start();
    let begun = Instant::now();
    let topics: Vec<_> = senders.iter().map(String::as_str).collect();
    let by: Vec<_> = topics.iter().map(|name| sender(name)).collect();
    let told = through(&mut broker, &topics, records, kills, &by, &mut |broker, kill, _| {
        broker.restart();
        if kill.is_multiple_of(10) {
            eprintln!("{kill} kills after {:.0} s", begun.elapsed().as_secs_f64());
        }
    });
    let took = begun.elapsed().as_secs_f64();
    println!("{} together, {kills} kills, {took:.1} s, --durability {durability}", topics.join(" and "));
    let mut kept = true;
    for (topic, told) in topics.iter().zip(&told) {
        let read = consume(broker.address(), topic, PARTITIONS);
        let (line, is_kept) = verdict(topic, &read, records, told);
        println!("{line}");
        kept &= is_kept;
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
