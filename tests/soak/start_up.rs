//! How long a start takes behind a lot of data, and how much of it is read: after `kill -9` under load and after a clean stop,
//! each with the page cache dropped where that is allowed. Figures, no verdict but for the number of records.

use std::{
    env, fs,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use gapless_producer::{Producer, Record};
use gapless_tests::{broker::Broker, librdkafka, raw::RawClient};

const USAGE: &str = "usage: start_up [--gigabytes N] [--partitions N] [--data-dir DIR]";
const TOPIC: &str = "much";
const VALUE_BYTES: u64 = 10_000;

struct Settings {
    gigabytes: f64,
    partitions: i32,
    data_dir: Option<String>,
}

fn settings() -> Option<Settings> {
    let mut settings = Settings { gigabytes: 10.0, partitions: 100, data_dir: None };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--gigabytes" => settings.gigabytes = arguments.next()?.parse().ok()?,
            "--partitions" => settings.partitions = arguments.next()?.parse().ok()?,
            "--data-dir" => settings.data_dir = Some(arguments.next()?),
            _ => return None,
        }
    }
    Some(settings)
}

/// Sends so many records, spread evenly, and returns with some of them still under way.
fn fill(address: &str, records: u64, partitions: i32) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let producer =
            Producer::builder().bootstrap_servers(address).build().await.expect("the broker is there");
        let value = vec![b'x'; VALUE_BYTES as usize];
        for number in 0..records {
            let partition =
                i32::try_from(number % partitions as u64).expect("below the number of partitions");
            let record = Record::new(TOPIC).partition(partition).value(value.clone());
            // Whether all of them arrived is asked at the end, by counting.
            drop(producer.send(record).await.expect("the producer takes the record"));
        }
        producer.flush(Duration::from_secs(600)).await.expect("everything is acknowledged");
        for partition in 0..partitions {
            let record = Record::new(TOPIC).partition(partition).value(value.clone());
            drop(producer.send(record).await.expect("the producer takes the record"));
        }
    });
}

/// Bytes that a process has read so far: by its calls, and from the disk.
fn bytes_read(id: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{id}/io")).unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
    };
    (field("rchar:"), field("read_bytes:"))
}

/// Writes back and drops the page cache; says whether it could.
fn drop_page_cache() -> bool {
    let synced = Command::new("sync").status().is_ok_and(|status| status.success());
    synced && fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn start(broker: &mut Broker, after: &str) {
    let cold = drop_page_cache();
    let said = broker.log().lines().count();
    let begun = Instant::now();
    broker.restart();
    let took = begun.elapsed();
    let (by_calls, from_disk) = bytes_read(broker.process().id());
    println!(
        "after {after}, page cache {}: ready after {:.0} ms, {by_calls} bytes read, {from_disk} of them from the disk",
        if cold { "dropped" } else { "as it was" },
        took.as_secs_f64() * 1e3,
    );
    for line in broker.log().lines().skip(said).filter(|line| line.contains("recover")) {
        println!("  {line}");
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(Settings { gigabytes, partitions, data_dir }) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let builder = Broker::builder();
    let mut broker = match data_dir {
        Some(folder) => builder.data_dir(folder).start(),
        None => builder.start(),
    };
    println!("first start: ready after {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    librdkafka::create_topic(broker.address(), TOPIC, partitions, &[]);
    let records = (gigabytes * 1e9) as u64 / VALUE_BYTES;
    let begun = Instant::now();
    fill(broker.address(), records, partitions);
    let took = begun.elapsed().as_secs_f64();
    println!("{records} records of {VALUE_BYTES} bytes in {partitions} partitions, {took:.0} s");
    broker.kill();
    start(&mut broker, "kill -9");
    broker.stop();
    start(&mut broker, "a clean stop");
    let mut client = RawClient::connect(broker.address());
    let held: i64 = (0..partitions).map(|partition| client.end_offset(TOPIC, partition)).sum();
    println!("{held} records are there");
    if held >= i64::try_from(records).unwrap_or(i64::MAX) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
