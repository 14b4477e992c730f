//! As many records as go, by our library and by librdkafka, to one broker: records a second, and the CPU time of both ends.
//! A look at speed, not a benchmark: closed loop, one partition a producer thread can keep busy.

use std::{
    env, fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use gapless_producer::{Producer, RecordView};
use gapless_tests::{
    broker::Broker,
    librdkafka::{self, Record},
    raw::RawClient,
};

const USAGE: &str =
    "usage: flood [--records N] [--size BYTES] [--durability fsync|os] [library|librdkafka …]";

struct Settings {
    records: u64,
    size: usize,
    durability: String,
    senders: Vec<String>,
}

fn settings() -> Option<Settings> {
    let mut settings =
        Settings { records: 2_000_000, size: 100, durability: "fsync".to_owned(), senders: Vec::new() };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--records" => settings.records = arguments.next()?.parse().ok()?,
            "--size" => settings.size = arguments.next()?.parse().ok()?,
            "--durability" => settings.durability = arguments.next()?,
            "library" | "librdkafka" => settings.senders.push(argument),
            _ => return None,
        }
    }
    if settings.senders.is_empty() {
        settings.senders = ["library", "librdkafka"].map(str::to_owned).into();
    }
    Some(settings)
}

/// CPU seconds, user and system, of a process.
fn cpu_seconds(process: &str) -> f64 {
    // Fields 14 and 15, counted behind the name in parentheses; the kernel's ticks are a hundredth of a second.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the kernel knows its processes");
    let behind = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |at: usize| behind.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok());
    (ticks(11).expect("user time") + ticks(12).expect("system time")) / 100.0
}

fn by_library(address: &str, records: u64, value: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let producer =
            Producer::builder().bootstrap_servers(address).build().await.expect("the broker is there");
        let topic = producer.topic("flood");
        for _ in 0..records {
            // Whether all of them arrived is asked at the end, by counting.
            drop(topic.send(RecordView::new().value(value)).await.expect("the producer takes the record"));
        }
        producer.flush(Duration::from_secs(600)).await.expect("everything is acknowledged");
    });
}

fn by_librdkafka(address: &str, records: u64, value: &[u8]) {
    let properties = [
        ("enable.idempotence", "true"),
        ("linger.ms", "5"),
        ("batch.size", "1000000"),
        ("batch.num.messages", "100000"),
        ("queue.buffering.max.messages", "1000000"),
    ];
    let sender = librdkafka::Sender::new(address, &properties);
    let record = Record { partition: -1, value: Some(value.to_vec()), ..Record::default() };
    for number in 0..records {
        sender.send("flood", number, &record);
    }
    assert!(sender.finish().iter().all(|delivered| delivered.outcome.is_ok()), "everything is acknowledged");
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(settings) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let value = vec![b'x'; settings.size];
    for name in &settings.senders {
        let mut broker = Broker::builder().flag("--durability", &settings.durability).start();
        RawClient::connect(broker.address()).create_topic("flood");
        let broker_id = broker.process().id().to_string();
        let (before, before_broker, begun) = (cpu_seconds("self"), cpu_seconds(&broker_id), Instant::now());
        match name.as_str() {
            "library" => by_library(broker.address(), settings.records, &value),
            _ => by_librdkafka(broker.address(), settings.records, &value),
        }
        let took = begun.elapsed().as_secs_f64();
        let (spent, spent_broker) = (cpu_seconds("self") - before, cpu_seconds(&broker_id) - before_broker);
        let end = RawClient::connect(broker.address()).end_offset("flood", 0);
        assert_eq!(
            end,
            i64::try_from(settings.records).unwrap_or(-1),
            "{name}: everything is in the log, once"
        );
        println!(
            "{name}: {} records of {} bytes in {took:.2} s, {:.0} records/s; CPU seconds: producer {spent:.2}, broker {spent_broker:.2}",
            settings.records,
            settings.size,
            settings.records as f64 / took,
        );
    }
    ExitCode::SUCCESS
}
