//! A batch that is not sound is refused with Kafka's code, nothing of it is appended, and it is counted.

use gapless_common::{
    error_code::ErrorCode,
    records::{BatchHeader, Compression, HEADER_SIZE},
    types::{Offset, ProducerEpoch, ProducerId},
};
use gapless_tests::{
    batch::{Stamp, altered, batch, compressed, of_bytes},
    broker::Broker,
    raw::{RawClient, produce_request},
    wait::wait_until,
};

const CORRUPT: ErrorCode = ErrorCode::CORRUPT_MESSAGE;
const INVALID: ErrorCode = ErrorCode::INVALID_RECORD;
const TOO_LARGE: ErrorCode = ErrorCode::MESSAGE_TOO_LARGE;

/// One record of four bytes, as it stands in a batch.
const RECORD: &[u8] = &[20, 0, 0, 0, 1, 8, b't', b'e', b's', b't', 0];

fn header() -> BatchHeader {
    BatchHeader::parse(&batch(&[b"test"], None)).expect("a sound batch")
}

/// What is sent, what is answered, and under which reason it is counted.
fn cases() -> Vec<(&'static str, Vec<u8>, ErrorCode, &'static str)> {
    let sound = batch(&[b"one", b"two", b"three"], Some(Stamp { id: 1, epoch: 0, sequence: 0 }));
    let with = |change: fn(&mut BatchHeader)| altered(&sound, change);
    let mut flipped = sound.clone();
    flipped[HEADER_SIZE + 3] ^= 0x40;
    let mut twice = sound.clone();
    twice.extend_from_slice(&sound);
    let mut trailing = sound.clone();
    trailing.push(0);
    let zipped = compressed(&[&[b'x'; 1000], b"two"], None, Compression::Gzip);
    let mut garbled = zipped.clone();
    let middle = garbled.len() / 2;
    garbled[middle..].fill(0xff);
    let garbled = gapless_tests::batch::with_checksum(garbled);
    vec![
        ("a flipped bit under the checksum", flipped, CORRUPT, "corrupt"),
        ("no bytes", Vec::new(), INVALID, "invalid"),
        ("half a header", sound[..30].to_vec(), CORRUPT, "corrupt"),
        ("a header without its records", sound[..HEADER_SIZE].to_vec(), CORRUPT, "corrupt"),
        ("one byte short", sound[..sound.len() - 1].to_vec(), CORRUPT, "corrupt"),
        ("one byte more", trailing, INVALID, "invalid"),
        ("two batches", twice, INVALID, "invalid"),
        ("magic 1", with(|h| h.magic = 1), INVALID, "invalid"),
        ("magic 3", with(|h| h.magic = 3), INVALID, "invalid"),
        ("a base offset", with(|h| h.base_offset = Offset(5)), INVALID, "invalid"),
        ("no records", with(|h| (h.record_count, h.last_offset_delta) = (0, -1)), INVALID, "invalid"),
        ("a negative count", with(|h| (h.record_count, h.last_offset_delta) = (-3, -4)), INVALID, "invalid"),
        ("a count that is not the last delta's", with(|h| h.record_count = 4), INVALID, "invalid"),
        (
            "more records counted than there are",
            with(|h| (h.record_count, h.last_offset_delta) = (4, 3)),
            INVALID,
            "invalid",
        ),
        (
            "fewer records counted than there are",
            with(|h| (h.record_count, h.last_offset_delta) = (2, 1)),
            INVALID,
            "invalid",
        ),
        (
            "2^31 - 1 records",
            with(|h| (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1)),
            INVALID,
            "invalid",
        ),
        ("a negative sequence", with(|h| h.base_sequence = -1), INVALID, "invalid"),
        ("the smallest sequence", with(|h| h.base_sequence = i32::MIN), INVALID, "invalid"),
        ("a negative epoch", with(|h| h.producer_epoch = ProducerEpoch(-1)), INVALID, "invalid"),
        ("a control batch", with(|h| h.attributes.0 |= 0x20), INVALID, "invalid"),
        (
            "an unknown codec",
            with(|h| h.attributes.0 |= 7),
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            "invalid",
        ),
        ("codec gzip on plain records", with(|h| h.attributes.0 |= 1), INVALID, "invalid"),
        ("garbled compression", garbled, INVALID, "invalid"),
        (
            "a record that is longer than the batch",
            of_bytes(header(), &[0xfe, 0xff, 0x03, 0, 0, 0]),
            INVALID,
            "invalid",
        ),
        ("a record of negative length", of_bytes(header(), &[1, 0, 0, 0, 1, 0, 0]), INVALID, "invalid"),
        ("a key longer than its record", of_bytes(header(), &[12, 0, 0, 0, 80, 1, 0]), INVALID, "invalid"),
        ("a value longer than its record", of_bytes(header(), &[12, 0, 0, 0, 1, 80, 0]), INVALID, "invalid"),
        ("more headers than bytes", of_bytes(header(), &[12, 0, 0, 0, 1, 0, 0x7e]), INVALID, "invalid"),
        ("a length without an end", of_bytes(header(), &[0xff; 12]), INVALID, "invalid"),
        (
            "a second record that is not counted",
            of_bytes(header(), &[RECORD, RECORD].concat()),
            INVALID,
            "invalid",
        ),
        (
            "a transactional batch",
            with(|h| h.attributes.0 |= 0x10),
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "invalid",
        ),
        (
            "a record larger than the topic allows",
            batch(&[&vec![b'x'; 1_100_000]], None),
            TOO_LARGE,
            "too_large",
        ),
        (
            "a timestamp two hours ahead",
            with(|h| {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                h.base_timestamp = now.as_millis() as i64 + 7_200_000;
                h.max_timestamp = h.base_timestamp;
            }),
            ErrorCode::INVALID_TIMESTAMP,
            "timestamp",
        ),
    ]
}

#[test]
fn each_fault_gets_its_code_and_leaves_the_log_as_it_was() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("sound");
    assert_eq!(
        client.produce("sound", 0, of_bytes(header(), RECORD)).error_code,
        ErrorCode::NONE,
        "a right one"
    );
    let before = client.fetch_all("sound", 0);
    let mut faults = Vec::new();
    for (what, bytes, code, reason) in cases() {
        let counted = broker.metric("gapless_broker_batches_refused_total", &[("reason", reason)]);
        let answer = client.produce("sound", 0, bytes);
        if answer.error_code != code {
            faults.push(format!(
                "{what}: {:?} instead of {code:?} ({:?})",
                answer.error_code, answer.error_message
            ));
        }
        if answer.base_offset != -1 {
            faults.push(format!("{what}: refused with offset {}", answer.base_offset));
        }
        if answer.error_message.as_deref().is_none_or(str::is_empty) {
            faults.push(format!("{what}: no message says why"));
        }
        let now = broker.metric("gapless_broker_batches_refused_total", &[("reason", reason)]);
        if now != counted + 1.0 {
            faults.push(format!("{what}: not counted as {reason}"));
        }
        if client.end_offset("sound", 0) != 1 {
            faults.push(format!("{what}: something was appended"));
            break;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(client.fetch_all("sound", 0), before);
    // And the same connection goes on.
    assert_eq!(client.produce("sound", 0, batch(&[b"next"], None)).base_offset, 1);
}

#[test]
fn a_batch_that_expands_without_end_is_refused_and_one_that_shrinks_a_thousandfold_is_served() {
    let mut broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("bombs");
    let zeroes = vec![0_u8; 200 << 20];
    let honest = vec![0_u8; 20 << 20];
    for (next, codec) in [(0, Compression::Gzip), (1, Compression::Zstd)] {
        let before = broker.resident_bytes();
        let bomb = compressed(&[&zeroes], None, codec);
        assert!(bomb.len() < 1_000_000, "{codec:?}: {} bytes", bomb.len());
        let answer = client.produce("bombs", 0, bomb);
        assert_ne!(answer.error_code, ErrorCode::NONE, "{codec:?}");
        let grown = broker.resident_bytes().saturating_sub(before);
        assert!(grown < 100 << 20, "{codec:?}: {grown} bytes more after a bomb");

        let small = compressed(&[&honest], None, codec);
        assert!(small.len() * 500 < honest.len(), "{codec:?}: {} bytes", small.len());
        let answer = client.produce("bombs", 0, small);
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, next), "{codec:?}");
    }
    let read = client.fetch_all("bombs", 0);
    assert_eq!(read.len(), 2);
    assert!(read.iter().all(|(_, value)| *value == honest));
}

#[test]
fn zstd_needs_a_version_that_has_it() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("zipped");
    let request = produce_request("zipped", 0, compressed(&[&[b'x'; 1000]], None, Compression::Zstd));
    for (version, code) in [(6, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), (7, ErrorCode::NONE)] {
        let response = client.call(&request, version);
        assert_eq!(response.responses[0].partition_responses[0].error_code, code, "version {version}");
    }
}

#[test]
fn one_broken_batch_does_not_spoil_its_neighbours_in_the_request() {
    let broker = Broker::builder().flag("--partitions", 3).start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("mixed");
    let mut request = produce_request("mixed", 0, batch(&[b"good"], None));
    let mut bad = batch(&[b"bad"], None);
    *bad.last_mut().unwrap() ^= 1;
    let others = [(1, bad), (2, batch(&[b"good too"], None))];
    for (index, bytes) in others {
        let mut partition = request.topic_data[0].partition_data[0].clone();
        partition.index = index;
        partition.records = Some(gapless_common::protocol::RecordData::Memory(bytes.into()));
        request.topic_data[0].partition_data.push(partition);
    }
    let response = client.call(&request, 9);
    let codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|answer| (answer.index, answer.error_code))
        .collect();
    assert_eq!(codes, [(0, ErrorCode::NONE), (1, CORRUPT), (2, ErrorCode::NONE)]);
    assert_eq!([0, 1, 2].map(|partition| client.end_offset("mixed", partition)), [1, 0, 1]);
}

#[test]
fn acks_other_than_0_1_and_all_are_error_21() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("acks");
    for acks in [2, -2, i16::MAX] {
        let mut request = produce_request("acks", 0, batch(&[b"x"], None));
        request.acks = acks;
        let response = client.call(&request, 9);
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::INVALID_REQUIRED_ACKS, "acks={acks}");
    }
    assert_eq!(client.end_offset("acks", 0), 0);
}

#[test]
fn with_acks_0_an_error_closes_the_connection_and_success_says_nothing() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("silent");
    let mut request = produce_request("silent", 0, batch(&[b"good"], None));
    request.acks = 0;
    client.send(&request, 9);
    // Appended without a word: the next answer is that of the next request. It can be read once it is on disk.
    wait_until("the record", || client.end_offset("silent", 0) == 1);

    let mut bad = batch(&[b"bad"], Some(Stamp { id: ProducerId::NONE.0 + 2, epoch: 0, sequence: 5 }));
    *bad.last_mut().unwrap() ^= 1;
    let mut request = produce_request("silent", 0, bad);
    request.acks = 0;
    client.send(&request, 9);
    client.assert_closed("a refused batch under acks=0");
}
