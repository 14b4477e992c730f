//! The log takes the next sequence and no other: a repeat is answered with the offset it has, a gap and an old epoch are
//! refused, nothing of them is appended, and all of it is visible in the metrics. Through restarts, too.

use gapless_common::error_code::ErrorCode;
use gapless_tests::{
    batch::{Stamp, altered, batch},
    broker::Broker,
    librdkafka,
    raw::RawClient,
};

const GAP: ErrorCode = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
const FENCED: ErrorCode = ErrorCode::INVALID_PRODUCER_EPOCH;

fn refused(broker: &Broker, reason: &str) -> f64 {
    broker.metric("gapless_broker_batches_refused_total", &[("reason", reason)])
}

fn duplicates(broker: &Broker) -> f64 {
    broker.metric("gapless_broker_batches_duplicate_total", &[])
}

/// Sends a batch of as many records as there are `values`; gives error and base offset.
fn send(client: &mut RawClient, stamp: Stamp, values: &[&[u8]]) -> (ErrorCode, i64) {
    let answer = client.produce("numbers", 0, batch(values, Some(stamp)));
    (answer.error_code, answer.base_offset)
}

#[test]
fn a_gap_is_refused_with_45_and_nothing_is_appended() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    let (id, epoch) = client.init_producer_id();
    let at = |sequence| Stamp { id, epoch, sequence };

    assert_eq!(send(&mut client, at(0), &[b"a", b"b"]), (ErrorCode::NONE, 0));
    for skipped in [3, 4, 100, i32::MAX] {
        assert_eq!(send(&mut client, at(skipped), &[b"x"]).0, GAP, "sequence {skipped} follows 1");
    }
    assert_eq!(
        send(&mut client, at(1), &[b"x", b"y"]).0,
        GAP,
        "overlaps the last batch without repeating it"
    );
    assert_eq!(refused(&broker, "gap"), 5.0);
    assert_eq!(client.end_offset("numbers", 0), 2);

    // The connection is still open and the stream goes on.
    assert_eq!(send(&mut client, at(2), &[b"c"]), (ErrorCode::NONE, 2));
    let read = client.fetch_all("numbers", 0);
    assert_eq!(read, [(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"c".to_vec())]);
}

#[test]
fn a_partition_without_a_record_accepts_only_sequence_0() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    let (id, epoch) = client.init_producer_id();
    let at = |sequence| Stamp { id, epoch, sequence };

    // The first batch was lost on its way: what follows it must not take its place.
    assert_eq!(send(&mut client, at(1), &[b"second"]).0, GAP);
    assert_eq!(send(&mut client, at(0), &[b"first"]), (ErrorCode::NONE, 0));
    assert_eq!(send(&mut client, at(1), &[b"second"]), (ErrorCode::NONE, 1));
    // Another producer may have been forgotten, so that any first sequence is as good as 0, now that there are records.
    let (other, epoch) = client.init_producer_id();
    assert_ne!(other, id);
    assert_eq!(send(&mut client, Stamp { id: other, epoch, sequence: 77 }, &[b"late"]), (ErrorCode::NONE, 2));
}

#[test]
fn a_producer_whose_first_batch_was_refused_may_not_start_behind_it() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    client.produce("numbers", 0, batch(&[b"somebody else's"], None));
    let (id, epoch) = client.init_producer_id();
    let first = batch(&[b"first"], Some(Stamp { id, epoch, sequence: 0 }));

    let mut damaged = first.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(client.produce("numbers", 0, damaged).error_code, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(send(&mut client, Stamp { id, epoch, sequence: 1 }, &[b"second"]).0, GAP);
    assert_eq!(client.produce("numbers", 0, first).error_code, ErrorCode::NONE);
    assert_eq!(send(&mut client, Stamp { id, epoch, sequence: 1 }, &[b"second"]), (ErrorCode::NONE, 2));
}

#[test]
fn a_repeat_of_one_of_the_last_five_batches_is_answered_with_its_first_offset() {
    let mut broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    let (id, epoch) = client.init_producer_id();
    let at = |sequence| Stamp { id, epoch, sequence };
    for number in 0..7 {
        let value = format!("batch {number}");
        assert_eq!(
            send(&mut client, at(2 * number), &[value.as_bytes(), b"and"]),
            (ErrorCode::NONE, i64::from(2 * number))
        );
    }

    for after_a_restart in [false, true] {
        if after_a_restart {
            broker.restart();
            client = RawClient::connect(broker.address());
        }
        let before = duplicates(&broker);
        for number in 2..7 {
            let value = format!("batch {number}");
            let answer = send(&mut client, at(2 * number), &[value.as_bytes(), b"and"]);
            assert_eq!(answer, (ErrorCode::NONE, i64::from(2 * number)), "batch {number} again");
        }
        assert_eq!(duplicates(&broker) - before, 5.0);
        // What lies further back is not remembered: better refused than doubled.
        assert_eq!(send(&mut client, at(2), &[b"batch 1", b"and"]).0, GAP);
        assert_eq!(client.end_offset("numbers", 0), 14);
    }
    assert_eq!(send(&mut client, at(14), &[b"next"]), (ErrorCode::NONE, 14));
}

#[test]
fn a_duplicate_is_answered_even_when_the_topic_would_refuse_it_now() {
    let mut broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    let (id, epoch) = client.init_producer_id();
    let large = vec![b'x'; 10_000];
    assert_eq!(send(&mut client, Stamp { id, epoch, sequence: 0 }, &[&large]), (ErrorCode::NONE, 0));

    broker.stop();
    let mut broker =
        Broker::builder().data_dir(broker.data_dir()).flag("--max-message-bytes", "1000").start();
    let mut client = RawClient::connect(broker.address());
    assert_eq!(send(&mut client, Stamp { id, epoch, sequence: 0 }, &[&large]), (ErrorCode::NONE, 0));
    assert_eq!(
        send(&mut client, Stamp { id, epoch, sequence: 1 }, &[&large]).0,
        ErrorCode::MESSAGE_TOO_LARGE
    );
    broker.stop();
}

#[test]
fn an_old_epoch_is_refused_with_47_and_a_new_one_starts_at_0() {
    let mut broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    let (id, epoch) = client.init_producer_id();
    assert_eq!(send(&mut client, Stamp { id, epoch, sequence: 0 }, &[b"old"]), (ErrorCode::NONE, 0));

    // Clients bump the epoch by themselves and keep the id.
    let newer = epoch + 1;
    assert_eq!(
        send(&mut client, Stamp { id, epoch: newer, sequence: 1 }, &[b"x"]).0,
        GAP,
        "an epoch begins at 0"
    );
    assert_eq!(send(&mut client, Stamp { id, epoch: newer, sequence: 0 }, &[b"new"]), (ErrorCode::NONE, 1));
    for after_a_restart in [false, true] {
        if after_a_restart {
            broker.restart();
            client = RawClient::connect(broker.address());
        }
        let before = refused(&broker, "fenced");
        for sequence in [0, 1] {
            assert_eq!(
                send(&mut client, Stamp { id, epoch, sequence }, &[b"old"]).0,
                FENCED,
                "sequence {sequence}"
            );
        }
        assert_eq!(refused(&broker, "fenced") - before, 2.0);
        assert_eq!(client.end_offset("numbers", 0), 2);
    }
    assert_eq!(send(&mut client, Stamp { id, epoch: newer, sequence: 1 }, &[b"on"]), (ErrorCode::NONE, 2));
}

#[test]
fn sequences_wrap_from_2147483647_to_0_between_batches_and_inside_one() {
    let mut broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("numbers");
    client.produce("numbers", 0, batch(&[b"not the first record"], None));

    // The wrap lies between two batches for one producer, and within a batch for the other.
    for (first, name) in [(i32::MAX - 1, "between"), (i32::MAX - 2, "inside")] {
        let (id, epoch) = client.init_producer_id();
        let mut sequence = first;
        let mut offsets = Vec::new();
        for _ in 0..3 {
            let (error, offset) = send(&mut client, Stamp { id, epoch, sequence }, &[b"a", b"b"]);
            assert_eq!(error, ErrorCode::NONE, "{name} {sequence}");
            offsets.push((sequence, offset));
            sequence = (i64::from(sequence) + 2).rem_euclid(1 << 31) as i32;
        }
        broker.restart();
        client = RawClient::connect(broker.address());
        for (sequence, offset) in offsets {
            let again = send(&mut client, Stamp { id, epoch, sequence }, &[b"a", b"b"]);
            assert_eq!(again, (ErrorCode::NONE, offset), "{name} {sequence} again");
        }
        assert_eq!(send(&mut client, Stamp { id, epoch, sequence: sequence + 1 }, &[b"x"]).0, GAP, "{name}");
    }
}

#[test]
fn records_of_years_ago_or_ahead_are_remembered_like_any_other() {
    // Apache Kafka 4.4 counts a producer's age by its records' timestamps, and appends such a repeat a second time.
    const YEAR_MS: i64 = 31_557_600_000;
    let mut broker = Broker::start();
    let any_time = [("message.timestamp.after.max.ms", "9223372036854775807")];
    librdkafka::create_topic(broker.address(), "numbers", 1, &any_time);
    let mut sent = Vec::new();
    // Of 1971, 2015 and 2225.
    for (offset, years) in [(0, 1), (1, 45), (2, 255)] {
        let mut client = RawClient::connect(broker.address());
        let (id, epoch) = client.init_producer_id();
        let bytes =
            altered(&batch(&[b"of another time"], Some(Stamp { id, epoch, sequence: 0 })), |header| {
                header.base_timestamp = years * YEAR_MS;
                header.max_timestamp = header.base_timestamp;
            });
        let answer = client.produce("numbers", 0, bytes.clone());
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset));
        sent.push((offset, bytes));
    }
    for _ in 0..2 {
        broker.restart();
        let mut client = RawClient::connect(broker.address());
        for (offset, bytes) in &sent {
            let again = client.produce("numbers", 0, bytes.clone());
            assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, *offset));
        }
        assert_eq!(client.end_offset("numbers", 0), 3);
    }
}

#[test]
fn no_producer_id_is_given_out_twice() {
    let mut broker = Broker::start();
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::connect(broker.address());
        given.extend((0..20).map(|_| client.init_producer_id().0));
        broker.restart();
    }
    let mut distinct = given.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), given.len(), "{given:?}");
}
