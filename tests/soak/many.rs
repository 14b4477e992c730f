//! What very many partitions, and very many producers of one, cost. Figures; the verdict is that nothing was lost, and that
//! expired producers are forgotten.

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        RecordData, decode_response,
        messages::{
            ProduceRequest,
            produce::{PartitionData, TopicData},
        },
    },
};
use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    raw::{RawClient, frame, produce_request},
    wait::wait_within,
};

const USAGE: &str = "usage: many [--partitions N] [--topics N] [--producers N] [--data-dir DIR]";
/// Partitions in one request.
const AT_ONCE: i32 = 500;
/// Requests under way at once.
const PIPELINED: i64 = 100;
/// The least there is.
const EXPIRATION: &str = "1m";
const EXPIRY_PATIENCE: Duration = Duration::from_secs(180);

struct Settings {
    partitions: i32,
    topics: i32,
    producers: i64,
    data_dir: Option<String>,
}

fn settings() -> Option<Settings> {
    let mut settings = Settings { partitions: 10_000, topics: 5, producers: 100_000, data_dir: None };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--partitions" => settings.partitions = arguments.next()?.parse().ok()?,
            "--topics" => settings.topics = arguments.next()?.parse().ok()?,
            "--producers" => settings.producers = arguments.next()?.parse().ok()?,
            "--data-dir" => settings.data_dir = Some(arguments.next()?),
            _ => return None,
        }
    }
    (settings.topics > 0 && settings.partitions >= settings.topics).then_some(settings)
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn report(broker: &mut Broker, what: &str, begun: Instant) {
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let (memory, files) = (broker.resident_bytes() >> 10, broker.open_descriptors());
    println!("{what}: {took:.0} ms; {memory} KiB resident, {files} descriptors");
}

/// One record to each partition of a topic.
fn write_to_all(client: &mut RawClient, topic: &str, partitions: i32) {
    let mut from = 0;
    while from < partitions {
        let to = partitions.min(from + AT_ONCE);
        let data = |index| {
            let records = Some(RecordData::Memory(batch(&[b"a record of some bytes"], None).into()));
            PartitionData { index, records }
        };
        let partition_data = (from..to).map(data).collect();
        let topic = TopicData { name: topic.into(), partition_data, ..TopicData::default() };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 60_000,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        let response = client.call(&request, 9);
        let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let written = answers.filter(|answer| answer.error_code == ErrorCode::NONE).count();
        assert_eq!(written, usize::try_from(to - from).unwrap_or(0), "every partition takes its record");
        from = to;
    }
}

/// The first batch of each of these producers, one request each without waiting in between; how many were refused.
fn first_batches(client: &mut RawClient, ids: std::ops::Range<i64>) -> usize {
    let mut out = Vec::new();
    for id in ids.clone() {
        let stamp = Stamp { id, epoch: 0, sequence: 0 };
        out.extend(frame(1, &produce_request("producers", 0, batch(&[b"x"], Some(stamp))), 9));
    }
    client.write(&out).expect("the broker takes requests");
    ids.filter(|_| {
        let answer = client.read_frame().expect("the broker answers");
        let (_, answer) = decode_response::<ProduceRequest>(answer, 9).expect("an answer that can be read");
        answer.responses[0].partition_responses[0].error_code != ErrorCode::NONE
    })
    .count()
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(Settings { partitions, topics, producers, data_dir }) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // The records' time is of 2025.
    let builder = Broker::builder().flag("--retention-ms", -1).flag("--producer-id-expiration", EXPIRATION);
    let begun = Instant::now();
    let mut broker = match data_dir {
        Some(folder) => builder.data_dir(folder).start(),
        None => builder.start(),
    };
    report(&mut broker, "empty, ready", begun);

    let each = partitions / topics;
    let names: Vec<String> = (0..topics).map(|number| format!("many-{number}")).collect();
    let mut client = RawClient::connect(broker.address());
    let begun = Instant::now();
    for name in &names {
        assert_eq!(client.try_create_topic(name, each), ErrorCode::NONE, "{each} partitions can be made");
    }
    report(&mut broker, &format!("{topics} topics of {each} partitions made"), begun);
    for round in ["first", "second"] {
        let begun = Instant::now();
        names.iter().for_each(|name| write_to_all(&mut client, name, each));
        report(&mut broker, &format!("the {round} record written to each"), begun);
    }
    let begun = Instant::now();
    broker.kill();
    broker.restart();
    report(&mut broker, "ready after kill -9", begun);
    let begun = Instant::now();
    broker.stop();
    report_stop(begun);
    let begun = Instant::now();
    broker.restart();
    report(&mut broker, "ready after a clean stop", begun);
    let mut client = RawClient::connect(broker.address());
    let held: i64 = names
        .iter()
        .flat_map(|name| (0..each).map(move |partition| (name, partition)))
        .map(|(name, partition)| client.end_offset(name, partition))
        .sum();
    println!("{held} records are there");
    let mut whole = held == i64::from(2 * each * topics);

    client.create_topic("producers");
    let begun = Instant::now();
    let mut refused = 0;
    let mut from = 0;
    while from < producers {
        let to = producers.min(from + PIPELINED);
        refused += first_batches(&mut client, 1_000_000 + from..1_000_000 + to);
        from = to;
    }
    report(&mut broker, &format!("{producers} producers, {refused} of them refused"), begun);
    let begun = Instant::now();
    broker.kill();
    broker.restart();
    report(&mut broker, "ready after kill -9", begun);
    println!("{} producers are remembered", broker.metric("gapless_broker_producers", &[]));
    let begun = Instant::now();
    let forgotten = wait_within(EXPIRY_PATIENCE, || {
        (broker.metric("gapless_broker_producers", &[]) == 0.0).then_some(())
    });
    let remembered = broker.metric("gapless_broker_producers", &[]);
    whole &= forgotten.is_some();
    report(&mut broker, &format!("{remembered} producers are left after {EXPIRATION} and some"), begun);
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn report_stop(begun: Instant) {
    println!("stopped: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
}
