//! Whatever happens to the connection, at whatever byte: what was acknowledged is in the log exactly once, in order, and the
//! producer, ours or librdkafka's, sends again by itself. No record fails for it.

use std::{sync::Arc, time::Duration};

use gapless_common::protocol::ApiKey;
use gapless_producer::{Acked, DeliveryError, Producer, Record};
use gapless_tests::{
    broker::Broker,
    cli, librdkafka,
    load::runtime,
    oracle::{check, value_of},
    proxy::{Direction, Frame, Proxy, Verdict},
    wait::wait_until,
};
use rustix::process::Signal;

const PRODUCE: i16 = ApiKey::Produce as i16;

/// A broker that can be reached through the proxy alone.
fn behind(rule: impl Fn(&Frame<'_>) -> Verdict + Send + Sync + 'static) -> (Proxy, Broker) {
    let proxy = Proxy::start(rule);
    let broker = Broker::builder().flag("--advertise", proxy.address()).start();
    proxy.lead_to(broker.address());
    // Made directly: no rule counts these frames.
    let mut client = gapless_tests::raw::RawClient::connect(broker.address());
    client.create_topic("wire");
    (proxy, broker)
}

/// The log as seen without the proxy in between.
fn assert_exactly_once(broker: Broker, records: u64) {
    let data_dir = broker.data_dir().to_owned();
    let address = broker.address().to_owned();
    let read = gapless_tests::raw::RawClient::connect(&address).fetch_all("wire", 0);
    let read: Vec<_> = read
        .into_iter()
        .map(|(offset, value)| librdkafka::Record {
            offset,
            value: Some(value),
            ..librdkafka::Record::default()
        })
        .collect();
    check(&read, records, |_| true).unwrap_or_else(|faults| panic!("{}: {faults}", data_dir.display()));
}

async fn producer(address: &str, request_timeout: Duration) -> Producer {
    Producer::builder()
        .bootstrap_servers(address)
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(20))
        .request_timeout(request_timeout)
        .heartbeat_interval(Duration::from_millis(500))
        .batch_size(512)
        .build()
        .await
        .expect("the broker can be reached through the proxy")
}

/// Sends records one after the other, each once the one before it is acknowledged; gives their offsets.
fn one_by_one(address: &str, records: u64) -> Vec<Option<i64>> {
    runtime().block_on(async {
        let producer = producer(address, Duration::from_secs(30)).await;
        let mut offsets = Vec::new();
        for number in 0..records {
            let record = Record::new("wire").partition(0).value(value_of(number));
            let acked = producer.send(record).await.expect("there is room").await;
            offsets.push(acked.expect("a broken connection costs no record").offset.map(|offset| offset.0));
        }
        offsets
    })
}

/// Sends everything at once.
fn all_at_once(address: &str, records: u64, request_timeout: Duration) -> Vec<Result<Acked, DeliveryError>> {
    runtime().block_on(async {
        let producer = producer(address, request_timeout).await;
        let mut under_way = Vec::new();
        for number in 0..records {
            let record = Record::new("wire").partition(0).value(value_of(number));
            under_way.push(producer.send(record).await.expect("there is room"));
        }
        let mut results = Vec::new();
        for delivery in under_way {
            results.push(delivery.await);
        }
        results
    })
}

fn assert_all_acked_in_order(results: &[Result<Acked, DeliveryError>]) {
    for (number, result) in results.iter().enumerate() {
        let acked = result.as_ref().unwrap_or_else(|error| panic!("record {number}: {error}"));
        // An answer that was lost for good leaves an offset unknown, never wrong.
        if let Some(offset) = acked.offset {
            assert_eq!(offset.0, number as i64);
        }
    }
}

/// Of each pair of frames the first is cut, each time one byte later.
fn cut_every_other(
    direction: Direction,
    up_to: usize,
) -> impl Fn(&Frame<'_>) -> Verdict + Send + Sync + 'static {
    move |frame| {
        let cut_at = frame.nth / 2;
        if frame.api == PRODUCE && frame.direction == direction && frame.nth % 2 == 0 && cut_at < up_to {
            Verdict::CutAfter(cut_at)
        } else {
            Verdict::Pass
        }
    }
}

/// More bytes than a Produce request of one record has here; and than its response has.
const REQUEST_BYTES: usize = 260;
const RESPONSE_BYTES: usize = 80;

#[test]
fn a_request_of_our_producer_may_be_cut_at_any_byte() {
    let (proxy, broker) = behind(cut_every_other(Direction::Request, REQUEST_BYTES));
    let records = REQUEST_BYTES as u64;
    let offsets = one_by_one(&proxy.address(), records);
    assert_eq!(offsets, (0..records as i64).map(Some).collect::<Vec<_>>());
    assert!(proxy.connections() > REQUEST_BYTES / 2);
    assert_exactly_once(broker, records);
}

#[test]
fn a_response_to_our_producer_may_be_cut_at_any_byte_and_the_retry_is_answered_from_memory() {
    let (proxy, broker) = behind(cut_every_other(Direction::Response, RESPONSE_BYTES));
    let records = RESPONSE_BYTES as u64;
    let offsets = one_by_one(&proxy.address(), records);
    assert_eq!(offsets, (0..records as i64).map(Some).collect::<Vec<_>>());
    // Where the whole response was shorter than the cut, it arrived before the connection ended.
    let duplicates = broker.metric("gapless_broker_batches_duplicate_total", &[]);
    assert!(duplicates >= 30.0 && duplicates <= RESPONSE_BYTES as f64, "{duplicates} repeats");
    assert_exactly_once(broker, records);
}

#[test]
fn requests_of_librdkafka_may_be_cut_at_any_byte_from_either_side() {
    for (direction, up_to) in [(Direction::Request, REQUEST_BYTES), (Direction::Response, RESPONSE_BYTES)] {
        let (proxy, broker) = behind(cut_every_other(direction, up_to));
        let properties = [
            ("enable.idempotence", "true"),
            ("linger.ms", "0"),
            ("reconnect.backoff.ms", "1"),
            ("reconnect.backoff.max.ms", "2"),
            ("retry.backoff.ms", "1"),
            ("retry.backoff.max.ms", "5"),
        ];
        let sender = librdkafka::Sender::new(&proxy.address(), &properties);
        let deliveries = sender.deliveries();
        for number in 0..up_to as u64 {
            let record =
                librdkafka::Record { value: Some(value_of(number)), ..librdkafka::Record::default() };
            sender.send("wire", number, &record);
            wait_until("its acknowledgement", || deliveries.acked() > number);
        }
        sender.finish();
        assert_exactly_once(broker, up_to as u64);
    }
}

#[test]
fn order_holds_across_reconnects_with_five_requests_in_flight() {
    let rule = |frame: &Frame<'_>| match (frame.api, frame.direction) {
        // Cut at bytes that wander over the frame.
        (PRODUCE, Direction::Request) if frame.nth % 7 == 3 => {
            Verdict::CutAfter((frame.nth * 7919) % (frame.bytes.len() + 1))
        }
        (PRODUCE, Direction::Response) if frame.nth % 11 == 5 => {
            Verdict::CutAfter((frame.nth * 7919) % (frame.bytes.len() + 1))
        }
        _ => Verdict::Pass,
    };
    let (proxy, broker) = behind(rule);
    let records = 3000;
    let results = all_at_once(&proxy.address(), records, Duration::from_secs(30));
    assert_all_acked_in_order(&results);
    assert!(proxy.count(Direction::Request, PRODUCE) > 150);
    assert!(proxy.connections() > 20);
    drop(proxy);
    assert_exactly_once(broker, records);
}

#[test]
fn order_holds_for_librdkafka_too() {
    let rule = |frame: &Frame<'_>| match (frame.api, frame.direction) {
        (PRODUCE, Direction::Request) if frame.nth % 7 == 3 => {
            Verdict::CutAfter((frame.nth * 7919) % (frame.bytes.len() + 1))
        }
        (PRODUCE, Direction::Response) if frame.nth % 11 == 5 => Verdict::CutAfter(0),
        _ => Verdict::Pass,
    };
    let (proxy, broker) = behind(rule);
    let records: Vec<_> = (0..3000)
        .map(|number| librdkafka::Record { value: Some(value_of(number)), ..librdkafka::Record::default() })
        .collect();
    let properties = [
        ("enable.idempotence", "true"),
        ("batch.num.messages", "10"),
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "10"),
    ];
    let delivered = librdkafka::produce(&proxy.address(), "wire", &properties, &records);
    assert!(delivered.iter().all(|delivered| delivered.outcome.is_ok()));
    assert_exactly_once(broker, records.len() as u64);
}

#[test]
fn a_peer_that_falls_silent_is_given_up_after_the_request_timeout() {
    for direction in [Direction::Request, Direction::Response] {
        // The third Produce request, or its answer, is swallowed, and everything after it on that connection.
        let rule = move |frame: &Frame<'_>| {
            if frame.api == PRODUCE && frame.direction == direction && frame.nth == 2 {
                Verdict::Stall
            } else {
                Verdict::Pass
            }
        };
        let (proxy, broker) = behind(rule);
        let results = all_at_once(&proxy.address(), 500, Duration::from_secs(1));
        assert_all_acked_in_order(&results);
        assert!(proxy.connections() >= 2, "the silent connection was given up");
        assert_exactly_once(broker, 500);
    }
}

#[test]
fn a_network_of_one_byte_at_a_time_works_both_ways() {
    let (proxy, broker) = behind(|_| Verdict::Trickle);
    let results = all_at_once(&proxy.address(), 300, Duration::from_secs(30));
    assert_all_acked_in_order(&results);
    let read = librdkafka::consume(&proxy.address(), "wire", 1);
    assert_eq!(read.len(), 300);
    assert_exactly_once(broker, 300);
}

#[test]
fn a_broker_frozen_longer_than_the_request_timeout_loses_and_doubles_nothing() {
    let (proxy, mut broker) = behind(|_| Verdict::Pass);
    let address = proxy.address();
    let records = 2000;
    let sending = std::thread::spawn(move || all_at_once(&address, records, Duration::from_millis(700)));
    broker.wait_for_metric("gapless_broker_appended_batches_total", &[], 1.0);
    let before = proxy.connections();
    broker.freeze();
    wait_until("the producer to give the frozen broker up", || proxy.connections() > before);
    broker.thaw();
    assert_all_acked_in_order(&sending.join().expect("the producer ran to its end"));
    assert_exactly_once(broker, records);
}

#[test]
fn a_producer_frozen_for_a_while_goes_on_where_it_was() {
    let (proxy, broker) = behind(|_| Verdict::Pass);
    let arguments = [
        "publish",
        "--bootstrap-server",
        &proxy.address(),
        "--topic",
        "wire",
        "--request-timeout",
        "1s",
        "--delivery-timeout",
        "3s",
        "--output",
        "json",
        "-",
    ];
    let mut process = cli::start(arguments);
    let mut stdin = process.take_stdin().expect("standard input is piped");
    let mut send = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            std::io::Write::write_all(&mut stdin, &value_of(number)).unwrap();
            std::io::Write::write_all(&mut stdin, b"\n").unwrap();
        }
    };
    send(0..1000);
    broker.wait_for_metric("gapless_broker_appended_batches_total", &[], 1.0);
    process.freeze();
    // What lies in the pipe meanwhile, and longer than the delivery timeout: answers that were received count.
    send(1000..1010);
    std::thread::sleep(Duration::from_secs(4));
    process.signal(Signal::CONT);
    send(1010..2000);
    drop(stdin);
    let ended = process.end();
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert_exactly_once(broker, 2000);
}

#[test]
fn a_broker_that_is_killed_behind_the_proxy_is_found_again() {
    let (proxy, mut broker) = behind(|_| Verdict::Pass);
    let proxy = Arc::new(proxy);
    let address = proxy.address();
    let sending = std::thread::spawn(move || one_by_one(&address, 300));
    for share in [50.0, 150.0, 250.0] {
        broker.wait_for_metric("gapless_broker_partition_end_offset", &[("topic", "wire")], share);
        broker.restart();
    }
    let offsets = sending.join().expect("the producer ran to its end");
    assert_eq!(offsets.len(), 300);
    assert_exactly_once(broker, 300);
}
