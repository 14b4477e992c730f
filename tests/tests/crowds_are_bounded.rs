//! Many of everything at once (connections, strangers that come and go, producers, descriptors in use): each has a bound, memory
//! stays small, and those who are served are served on.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        decode_response,
        messages::{ApiVersionsRequest, ProduceRequest},
    },
};
use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    raw::{RawClient, frame, produce_request},
    wait::wait_until,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MIB: u64 = 1 << 20;

/// As many descriptors as this process may have: it needs one for each connection, too.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where it is as high as it goes.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[test]
fn ten_thousand_idle_connections_and_a_rush_of_strangers_hold_up_nobody() {
    // A hundred for everything else; what the machine does not give is not asked for.
    let crowd = descriptors().saturating_sub(500).min(10_000);
    let mut broker = Broker::builder().flag("--max-connections", crowd + 100).start();
    let mut served = RawClient::connect(broker.address());
    served.create_topic("served");
    let before = broker.resident_bytes();
    let idle: Vec<_> = (0..crowd).map(|_| TcpStream::connect(broker.address()).unwrap()).collect();
    broker.wait_for_metric("gapless_broker_connections", &[], crowd as f64 + 1.0);
    let each = broker.resident_bytes().saturating_sub(before) / crowd.max(1);
    assert!(each < 32 << 10, "{each} bytes for each of {crowd} idle connections");

    let address = broker.address().to_owned();
    let rush = thread::spawn(move || {
        for number in 0..3_000 {
            let mut stranger = TcpStream::connect(&address).unwrap();
            // Some say something first, which may come too late already.
            if number % 3 == 0 {
                let _ = stranger.write_all(b"\0\0");
            }
        }
    });
    let mut offset = 0;
    while !rush.is_finished() {
        assert_eq!(served.produce("served", 0, batch(&[b"on"], None)).base_offset, offset);
        offset += 1;
    }
    rush.join().unwrap();
    drop(idle);
    wait_until("their connections gone", || broker.metric("gapless_broker_connections", &[]) == 1.0);
    assert_eq!(served.produce("served", 0, batch(&[b"on"], None)).base_offset, offset);
}

#[test]
fn without_descriptors_connections_are_refused_and_logs_go_on() {
    let mut broker = Broker::builder().descriptors(64).start();
    let mut served = RawClient::connect(broker.address());
    served.create_topic("served");
    served.produce("served", 0, batch(&[b"0"], None));
    let mut crowd = Vec::new();
    let refused = (0..100).any(|_| {
        let mut client = RawClient::connect(broker.address());
        // Who is not accepted waits in the kernel's queue, where no answer comes from.
        client.stream().set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = client.write(&frame(1, &ApiVersionsRequest::default(), 0));
        let unserved = client.read_frame().is_err();
        crowd.push(client);
        unserved
    });
    assert!(refused, "64 descriptors cannot serve 100 connections");
    for number in 1..20_i64 {
        let value = number.to_string();
        assert_eq!(served.produce("served", 0, batch(&[value.as_bytes()], None)).base_offset, number);
    }
    drop(crowd);
    broker.wait_for_metric("gapless_broker_connections_refused_total", &[("reason", "descriptors")], 1.0);
    assert_eq!(broker.metric("gapless_broker_partitions_offline", &[]), 0.0);
    assert_eq!(served.fetch_all("served", 0).len(), 20);
    broker.restart();
    assert_eq!(RawClient::connect(broker.address()).fetch_all("served", 0).len(), 20);
}

#[test]
fn a_log_of_many_segments_takes_few_descriptors() {
    const DESCRIPTORS: u32 = 100;
    let mut broker = Broker::builder()
        .descriptors(DESCRIPTORS)
        .flag("--segment-bytes", "1MiB")
        .flag("--retention-ms", -1)
        .start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("long");
    let value = |number: u8| vec![number; 600 << 10];
    // Each has a segment of its own, with two files.
    let wanted: Vec<(i64, Vec<u8>)> = (0..60).map(|number| (i64::from(number), value(number))).collect();
    for (offset, value) in &wanted {
        assert_eq!(client.produce("long", 0, batch(&[value], None)).base_offset, *offset);
    }
    for _ in 0..2 {
        assert!(RawClient::connect(broker.address()).fetch_all("long", 0) == wanted);
        assert!(broker.metric("gapless_broker_partition_segments", &[]) >= 60.0);
        let (open, limit) = (
            broker.metric("gapless_broker_sealed_files_open", &[]),
            broker.metric("gapless_broker_sealed_files_limit", &[]),
        );
        assert!(open > 0.0 && open <= limit, "{open} of {limit} files");
        let all = broker.open_descriptors();
        assert!(all < DESCRIPTORS as usize / 2, "{all} descriptors");
        broker.restart();
    }
    // More partitions than there are descriptors are refused, and not begun.
    let refused = RawClient::connect(broker.address()).try_create_topic("wide", 50);
    assert_eq!(refused, ErrorCode::INVALID_PARTITIONS);
}

/// Sends a batch of each of these producers without waiting in between; gives the answers' codes.
fn one_batch_each(address: &str, ids: std::ops::Range<i64>) -> Vec<ErrorCode> {
    let mut stream = TcpStream::connect(address).unwrap();
    let answers = BufReader::new(stream.try_clone().unwrap());
    let count = ids.end - ids.start;
    let reader = thread::spawn(move || {
        let mut answers = answers;
        (0..count)
            .map(|_| {
                let mut length = [0; 4];
                answers.read_exact(&mut length).unwrap();
                let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
                answers.read_exact(&mut bytes).unwrap();
                let (_, answer) = decode_response::<ProduceRequest>(bytes.into(), 9).unwrap();
                answer.responses[0].partition_responses[0].error_code
            })
            .collect()
    });
    let mut out = Vec::new();
    for id in ids {
        let request =
            produce_request("crowded", 0, batch(&[b"x"], Some(Stamp { id, epoch: 0, sequence: 0 })));
        out.extend(frame(1, &request, 9));
        if out.len() > 1 << 16 {
            stream.write_all(&out).unwrap();
            out.clear();
        }
    }
    stream.write_all(&out).unwrap();
    let codes = reader.join().unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    codes
}

#[test]
fn a_hundred_thousand_producers_take_bounded_memory_and_one_more_is_refused_retriably() {
    let mut broker = Broker::builder().flag("--durability", "os").start();
    RawClient::connect(broker.address()).create_topic("crowded");
    let before = broker.resident_bytes();
    let codes = one_batch_each(broker.address(), 1_000..101_000);
    assert!(codes.iter().all(|code| *code == ErrorCode::NONE));
    let grown = broker.resident_bytes().saturating_sub(before);
    assert!(grown < 100 * MIB, "{grown} bytes for 100,000 producers");
    assert_eq!(broker.metric("gapless_broker_producers", &[]), 100_000.0);
    let late = one_batch_each(broker.address(), 101_000..101_010);
    assert!(late.iter().all(|code| *code == ErrorCode::KAFKA_STORAGE_ERROR), "{late:?}");
    // Who is known goes on, before and after a death.
    for sequence in 1..3 {
        let mut client = RawClient::connect(broker.address());
        let answer =
            client.produce("crowded", 0, batch(&[b"x"], Some(Stamp { id: 1_000, epoch: 0, sequence })));
        assert_eq!(answer.error_code, ErrorCode::NONE);
        broker.restart();
    }
    assert_eq!(broker.metric("gapless_broker_producers", &[]), 100_000.0);
}
