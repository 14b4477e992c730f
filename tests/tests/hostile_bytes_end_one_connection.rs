//! Any bytes on the Kafka port end at most the connection they came on: no panic, no growth, and everybody else is served.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{ApiKey, messages::ApiVersionsRequest},
};
use gapless_tests::{
    broker::Broker,
    raw::{RawClient, frame},
    requests::{TOPIC, every_request, sample},
    wait::wait_until,
};

const MIB: u64 = 1 << 20;

/// The broker answers a sound request on a new connection.
fn assert_serves(broker: &Broker) {
    let mut client = RawClient::connect(broker.address());
    let response = client.call(&ApiVersionsRequest::default(), 0);
    assert_eq!(response.error_code, ErrorCode::NONE);
}

/// Sends `bytes` on a new connection; the broker must close it without an answer.
fn assert_refused(broker: &Broker, why: &str, bytes: &[u8]) {
    let mut client = RawClient::connect(broker.address());
    // It may be closed before everything is written.
    let _ = client.write(bytes);
    client.assert_closed(why);
}

#[test]
fn frame_lengths_that_cannot_be_are_refused_before_memory_is_taken() {
    let mut broker = Broker::start();
    let before = broker.resident_bytes();
    for length in [-1, i32::MIN, 0, 1, 7, (64 << 20) + 1, i32::MAX] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 8]);
        assert_refused(&broker, &format!("a frame of {length} bytes"), &bytes);
    }
    assert!(broker.resident_bytes() < before + 8 * MIB);
    assert_serves(&broker);
}

#[test]
fn announced_bytes_cost_nothing_until_they_come_and_are_not_waited_for_for_ever() {
    let mut broker = Broker::builder().flag("--frame-timeout", "1s").start();
    let before = broker.resident_bytes();
    let mut waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut client = RawClient::connect(broker.address());
            client.write(&(60_i32 << 20).to_be_bytes()).unwrap();
            client.write(&[0; 100]).unwrap();
            client
        })
        .collect();
    assert_serves(&broker);
    assert!(broker.resident_bytes() < before + 16 * MIB, "2.4 GB were announced, 4 KB were sent");
    for client in &mut waiting {
        client.assert_closed("a frame that is never finished");
    }
    assert_serves(&broker);
    wait_until("their memory back", || broker.metric("gapless_broker_in_flight_bytes", &[]) == 0.0);
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_the_idle_timeout() {
    let broker = Broker::builder().flag("--idle-timeout", "1s").start();
    let mut silent = RawClient::connect(broker.address());
    let mut served = RawClient::connect(broker.address());
    served.call(&ApiVersionsRequest::default(), 0);
    silent.assert_closed("nothing was ever said");
    served.assert_closed("nothing was said for a second");
    assert_serves(&broker);
}

#[test]
fn other_protocols_and_unknown_requests_are_closed_with_a_log_line() {
    let broker = Broker::start();
    let unknown_api = frame_with_head(9999, 0);
    let consumer_group = frame_with_head(11, 5);
    let unknown_version = frame_with_head(ApiKey::Fetch.to_i16(), 99);
    let old_produce = frame_with_head(ApiKey::Produce.to_i16(), 2);
    let negative_version = frame_with_head(ApiKey::Metadata.to_i16(), -1);
    // Length, correlation id, error 0, nothing: what an ApiVersions response begins with.
    let response = [&[0, 0, 0, 10][..], &[0, 0, 0, 7, 0, 0, 0, 0, 0, 0]].concat();
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 506]].concat();
    for (what, bytes) in [
        ("an unknown API", unknown_api),
        ("an API that is not served", consumer_group),
        ("an unknown version", unknown_version),
        ("Produce before record batches", old_produce),
        ("a negative version", negative_version),
        ("a response", response),
        ("HTTP", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", tls),
        ("a line", b"hello there, is this Kafka?\n".to_vec()),
    ] {
        let lines = broker.log().lines().count();
        assert_refused(&broker, what, &bytes);
        assert_serves(&broker);
        if lines == 0 {
            wait_until("a log line", || broker.log().lines().count() > 0);
        }
    }
    // A stranger who comes back a hundred times does not fill the log.
    for _ in 0..100 {
        assert_refused(&broker, "HTTP", b"GET / HTTP/1.1\r\n\r\n");
    }
    let lines = broker.log().lines().count();
    assert!(lines < 60, "109 refusals made {lines} log lines");
}

fn frame_with_head(api: i16, version: i16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 14];
    bytes.extend_from_slice(&api.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_35_and_its_own_range_alone() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    // As Apache Kafka's own clients begin: version 5, flexible, with name and version of the software.
    let mut bytes = vec![0, 18, 0, 5, 0, 0, 0, 3, 0, 1, b'c', 0];
    bytes.extend_from_slice(b"\x05java\x064.4.0\0");
    let mut whole = (bytes.len() as i32).to_be_bytes().to_vec();
    whole.extend_from_slice(&bytes);
    client.write(&whole).unwrap();
    let answer = client.read_frame().unwrap();
    // Correlation id 3, error 35, one API: 18, from 0 to 4.
    assert_eq!(answer.as_ref(), [0, 0, 0, 3, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    let again = client.call(&ApiVersionsRequest::default(), 0);
    assert_eq!(again.error_code, ErrorCode::NONE, "the connection goes on");
}

#[test]
fn lengths_inside_a_message_that_lie_are_refused_and_cost_nothing() {
    let mut broker = Broker::start();
    let before = broker.resident_bytes();
    for version in [4, 9] {
        let sound = sample(ApiKey::Metadata, version).frame;
        // Every four bytes and every byte in turn become a huge length, which some of them are read as.
        for at in 8..sound.len() {
            for lie in [
                &[0x7f, 0xff, 0xff, 0xff][..],
                &[0xff, 0xff, 0xff, 0xff, 0x07],
                &[0x80, 0, 0, 0],
                &[0xff, 0xfe],
            ] {
                let mut bytes = sound.clone();
                for (to, from) in bytes.iter_mut().skip(at).zip(lie) {
                    *to = *from;
                }
                let mut client = RawClient::connect(broker.address());
                client.write(&bytes).unwrap();
                client.stream().shutdown(Shutdown::Write).unwrap();
                client.read_to_end();
            }
        }
    }
    // Ten bytes that make a careless decoder ask for hundreds of gigabytes: two billion topics.
    for (version, count) in [(2, &[0x7f, 0xff, 0xff, 0xff][..]), (7, &[0xff, 0xff, 0xff, 0xff, 0x0f])] {
        let mut body = vec![0, 19, 0, version, 0, 0, 0, 1, 0xff, 0xff];
        if version >= 5 {
            body.push(0);
        }
        body.extend_from_slice(count);
        body.extend_from_slice(&[0; 4]);
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        assert_refused(&broker, "two billion topics", &bytes);
    }
    assert!(broker.resident_bytes() < before + 16 * MIB);
    assert_serves(&broker);
}

#[test]
fn every_request_cut_short_at_every_byte_is_refused() {
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    for whole in every_request() {
        // The frame's length is right, the message in it stops early.
        for kept in 0..whole.frame.len() - 4 {
            let mut bytes = (kept as i32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&whole.frame[4..4 + kept]);
            assert_refused(
                &broker,
                &format!("{} v{} of {kept} bytes", whole.api.name(), whole.version),
                &bytes,
            );
        }
    }
    assert_serves(&broker);
    assert_eq!(
        broker.metric("gapless_broker_appended_records_total", &[]),
        0.0,
        "nothing of it was appended"
    );
}

#[test]
fn every_request_whose_sender_goes_away_at_any_byte_is_forgotten() {
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    for api in ApiKey::ALL {
        let whole = sample(*api, *api.versions().end());
        for kept in 0..whole.frame.len() {
            let mut client = RawClient::connect(broker.address());
            client.write(&whole.frame[..kept]).unwrap();
        }
    }
    assert_serves(&broker);
    wait_until("their connections gone", || broker.metric("gapless_broker_connections", &[]) == 0.0);
    assert_eq!(broker.metric("gapless_broker_in_flight_bytes", &[]), 0.0);
    assert_eq!(broker.metric("gapless_broker_appended_records_total", &[]), 0.0);
}

#[test]
fn every_whole_request_is_answered() {
    let broker = Broker::start();
    for whole in every_request() {
        let mut client = RawClient::connect(broker.address());
        client.write(&whole.frame).unwrap();
        let answer = client.read_frame();
        let answer =
            answer.unwrap_or_else(|error| panic!("{} v{}: {error}", whole.api.name(), whole.version));
        assert_eq!(
            answer.first_chunk(),
            Some(&7_i32.to_be_bytes()),
            "{} v{}",
            whole.api.name(),
            whole.version
        );
    }
}

#[test]
fn requests_changed_at_random_never_take_the_broker_down() {
    const SEED: u64 = 0x6a09_e667;
    const CONNECTIONS: usize = 3_000;
    let mut broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    let samples = every_request();
    let mut rng = fastrand::Rng::with_seed(SEED);
    let before = broker.resident_bytes();
    for _ in 0..CONNECTIONS {
        let mut client = RawClient::connect(broker.address());
        for _ in 0..4 {
            let mut bytes = samples[rng.usize(..samples.len())].frame.clone();
            for _ in 0..rng.usize(1..=4) {
                // The length in front stays right: what is inside is to be reached.
                let at = rng.usize(4..bytes.len());
                match rng.u8(..3) {
                    0 => bytes[at] = rng.u8(..),
                    1 => bytes[at] ^= 1 << rng.u8(..8),
                    _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
                }
            }
            if client.write(&bytes).is_err() {
                break;
            }
        }
        client.stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut some = [0; 64];
        // Whether and what it answers is its own affair.
        let _ = client.stream().read(&mut some);
    }
    assert_serves(&broker);
    let grown = broker.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * MIB, "seed {SEED:#x}: {grown} bytes more than before");
    let ended = broker.stop();
    assert_eq!(ended.code, 0, "seed {SEED:#x}: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "seed {SEED:#x}: {}", ended.stderr);
}

#[test]
fn a_client_that_never_reads_is_slowed_then_closed_while_others_are_served() {
    let mut broker = Broker::builder().flag("--frame-timeout", "2s").start();
    let mut greedy = RawClient::connect(broker.address());
    greedy.create_topic(TOPIC);
    let megabyte = vec![b'x'; 1_000_000];
    greedy.produce(TOPIC, 0, gapless_tests::batch::batch(&[&megabyte], None));
    let before = broker.resident_bytes();

    // Each of these asks for the same megabyte. Nothing is read, so in the end nothing more can be written.
    let mut asks = sample(ApiKey::Fetch, 11).frame;
    asks.extend(frame(8, &ApiVersionsRequest::default(), 0));
    greedy.stream().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut written = 0_usize;
    let closed = loop {
        match greedy.stream().write(&asks[written % asks.len()..]) {
            Ok(count) => written += count,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                assert_serves(&broker);
                let grown = broker.resident_bytes().saturating_sub(before);
                assert!(grown < 100 * MIB, "{grown} bytes more than before");
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(closed.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "closed in the end: {closed}"
    );
    assert_serves(&broker);
    wait_until("its memory back", || {
        let metrics = broker.metrics();
        metrics.sum("gapless_broker_in_flight_bytes", &[])
            + metrics.sum("gapless_broker_requests_in_flight", &[])
            == 0.0
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let broker = Broker::builder().flag("--max-connections", 3).start();
    let mut within: Vec<_> = (0..3).map(|_| RawClient::connect(broker.address())).collect();
    for client in &mut within {
        client.call(&ApiVersionsRequest::default(), 0);
    }
    let mut beyond = RawClient::connect(broker.address());
    beyond.assert_closed("a fourth connection");
    broker.wait_for_metric("gapless_broker_connections_refused_total", &[("reason", "limit")], 1.0);
    within.pop();
    wait_until("a free place", || {
        let mut client = RawClient::connect(broker.address());
        let request = frame(1, &ApiVersionsRequest::default(), 0);
        client.write(&request).is_ok() && client.read_frame().is_ok()
    });
}
