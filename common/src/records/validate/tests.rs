use super::super::crc;
use super::super::testing::{closed, mend_crc, numbered, some_records};
use super::super::{ClosedBatch, batches, iterate, patched_header};
use super::*;
use crate::error_code::ErrorCode;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, Sequence};
use bytes::Bytes;
use proptest::prelude::*;

fn stamped(mut batch: ClosedBatch) -> Vec<u8> {
    batch.stamp(ProducerId(5), ProducerEpoch(0), Sequence::ZERO);
    batch.bytes().to_vec()
}

fn check(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    validate_from_client(bytes, &BatchLimits { decompressed_max: 1 << 20 })
}

/// Overwrites bytes and mends the checksum.
fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    mend_crc(&mut bytes);
    bytes
}

/// Adds bytes at the end, in the batch, and mends its length and checksum.
fn lengthened(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    let bytes = [bytes, more].concat();
    with(&bytes, 8, &(bytes.len() as i32 - 12).to_be_bytes())
}

// Three records of nine bytes: length, attributes, timestamp delta, offset delta, key length, value length, two bytes of value, headers.
const RECORD: usize = 9;
const FIRST: usize = HEADER_SIZE;
const SECOND: usize = FIRST + RECORD;

#[test]
fn every_refusal_has_its_code() {
    let good = stamped(numbered(3, Compression::None));
    assert_eq!(good.len(), FIRST + 3 * RECORD);
    assert!(check(&good).is_ok());
    let mut bad_crc = good.clone();
    bad_crc[HEADER_SIZE + 7] ^= 1;
    let record = |index, fault| BatchError::Record { index, fault };
    let producer = |producer_epoch, base_sequence| BatchError::Producer {
        producer_id: 5,
        producer_epoch,
        base_sequence,
    };

    let table: Vec<(&str, Vec<u8>, BatchError, ErrorCode)> = vec![
        ("nothing", vec![], BatchError::Empty, ErrorCode::INVALID_RECORD),
        ("half a header", good[..30].to_vec(), BatchError::no_header(30), ErrorCode::CORRUPT_MESSAGE),
        (
            "cut off",
            good[..80].to_vec(),
            BatchError::Truncated { needed: 88, available: 80 },
            ErrorCode::CORRUPT_MESSAGE,
        ),
        ("negative length", with(&good, 8, &[0xff; 4]), BatchError::Length(-1), ErrorCode::CORRUPT_MESSAGE),
        (
            "huge length",
            with(&good, 8, &i32::MAX.to_be_bytes()),
            BatchError::Truncated { needed: i32::MAX as usize + 12, available: 88 },
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "two batches",
            [good.clone(), good.clone()].concat(),
            BatchError::NotOneBatch { batch: 88, available: 176 },
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a byte behind",
            [good.clone(), vec![0]].concat(),
            BatchError::NotOneBatch { batch: 88, available: 89 },
            ErrorCode::INVALID_RECORD,
        ),
        ("magic 1", with(&good, 16, &[1]), BatchError::Magic(1), ErrorCode::INVALID_RECORD),
        ("magic 3", with(&good, 16, &[3]), BatchError::Magic(3), ErrorCode::INVALID_RECORD),
        (
            "damaged",
            bad_crc.clone(),
            BatchError::Crc {
                stored: BatchHeader::parse(&good).unwrap().crc,
                computed: crc::compute(&bad_crc),
            },
            ErrorCode::CORRUPT_MESSAGE,
        ),
        ("base offset", with(&good, 7, &[9]), BatchError::BaseOffset(9), ErrorCode::INVALID_RECORD),
        (
            "no records",
            with(&good, 57, &[0; 4]),
            BatchError::Count { record_count: 0, last_offset_delta: 2 },
            ErrorCode::INVALID_RECORD,
        ),
        (
            "negative count",
            with(&good, 57, &[0xff; 4]),
            BatchError::Count { record_count: -1, last_offset_delta: 2 },
            ErrorCode::INVALID_RECORD,
        ),
        (
            "last offset delta",
            with(&good, 23, &[0, 0, 0, 3]),
            BatchError::Count { record_count: 3, last_offset_delta: 3 },
            ErrorCode::INVALID_RECORD,
        ),
        ("codec 5", with(&good, 22, &[5]), BatchError::Codec(5), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("append time", with(&good, 22, &[8]), BatchError::TimestampType, ErrorCode::INVALID_TIMESTAMP),
        (
            "transactional",
            with(&good, 22, &[16]),
            BatchError::Transactional,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ),
        ("control", with(&good, 22, &[32]), BatchError::Control, ErrorCode::INVALID_RECORD),
        ("transaction's end", with(&good, 22, &[48]), BatchError::Control, ErrorCode::INVALID_RECORD),
        ("delete horizon", with(&good, 22, &[64]), BatchError::DeleteHorizon, ErrorCode::INVALID_RECORD),
        ("negative epoch", with(&good, 51, &[0xff; 2]), producer(-1, 0), ErrorCode::INVALID_RECORD),
        ("negative sequence", with(&good, 53, &[0xff; 4]), producer(0, -1), ErrorCode::INVALID_RECORD),
        (
            "more records announced",
            with(&with(&good, 57, &[0, 0, 0, 4]), 23, &[0, 0, 0, 3]),
            record(3, RecordFault::Truncated),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "fewer records announced",
            with(&with(&good, 57, &[0, 0, 0, 2]), 23, &[0, 0, 0, 1]),
            BatchError::MoreThanCounted { record_count: 2 },
            ErrorCode::INVALID_RECORD,
        ),
        (
            "bytes behind the last record",
            lengthened(&good, &[0]),
            BatchError::MoreThanCounted { record_count: 3 },
            ErrorCode::INVALID_RECORD,
        ),
        (
            "record longer than its fields",
            with(&good, SECOND, &[18]),
            record(1, RecordFault::Length { announced: 9, actual: 8 }),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "record shorter than its fields",
            with(&good, SECOND, &[14]),
            record(1, RecordFault::Length { announced: 7, actual: 8 }),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "negative record length",
            with(&good, SECOND, &[1]),
            record(1, RecordFault::Length { announced: -1, actual: 8 }),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "offset delta repeated",
            with(&good, SECOND + 3, &[0]),
            record(1, RecordFault::OffsetDelta(0)),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "value beyond the batch",
            with(&good, SECOND + 5, &[126]),
            record(1, RecordFault::Truncated),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "integer without end",
            with(&good, SECOND + 3, &[0xff; 6]),
            record(1, RecordFault::Integer),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "negative header count",
            with(&good, SECOND + 8, &[1]),
            record(1, RecordFault::HeaderCount(-1)),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "two thousand million headers",
            lengthened(&with(&good, FIRST + 2 * RECORD + 8, &[0xfe]), &[0xff, 0xff, 0xff, 0x0f]),
            record(2, RecordFault::Truncated),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "header without key",
            lengthened(&with(&good, FIRST + 2 * RECORD + 8, &[2]), &[1, 0]),
            record(2, RecordFault::HeaderKey(-1)),
            ErrorCode::INVALID_RECORD,
        ),
    ];
    for (name, bytes, error, code) in table {
        assert_eq!(check(&bytes), Err(error.clone()), "{name}");
        assert_eq!(error.error_code(), code, "{name}");
    }
}

#[test]
fn batches_that_apache_kafka_takes_are_taken() {
    let good = stamped(numbered(3, Compression::None));
    // Without idempotence the other two fields say nothing.
    let plain = with(&with(&good, 43, &[0xff; 8]), 51, &[0xff; 6]);
    assert!(check(&plain).is_ok());
    assert!(check(&with(&plain, 51, &[0, 3])).is_ok());
    // Any negative length is null, and record attributes mean nothing yet.
    let mut null = with(&good, FIRST + 5, &[0x03, 0]);
    null.remove(FIRST + 7);
    null.remove(FIRST + 7);
    null[FIRST] = 12;
    let null = with(&null, 8, &(null.len() as i32 - 12).to_be_bytes());
    assert!(check(&null).is_ok());
    assert!(check(&with(&good, FIRST + 1, &[0x7f])).is_ok());
}

#[test]
fn a_maximum_timestamp_that_is_wrong_is_corrected() {
    // Sarama never sets it: -1 (its produce_set.go).
    for codec in [Compression::None, Compression::Lz4] {
        let received = with(&stamped(numbered(50, codec)), 35, &[0xff; 8]);
        let header = check(&received).unwrap();
        assert_eq!(header.max_timestamp, 1_000);
        let head = patched_header(&received, &header, Offset(7), LeaderEpoch(1));
        let stored = [&head, &received[HEADER_SIZE..]].concat();
        assert!(super::super::check_crc(&stored));
        assert_eq!(BatchHeader::parse(&stored).unwrap().max_timestamp, 1_000);
    }
}

#[test]
fn sequences_may_wrap_inside_a_batch() {
    let mut batch = numbered(5, Compression::None);
    batch.stamp(ProducerId(5), ProducerEpoch(0), Sequence::new(i32::MAX).unwrap());
    let (first, last) = check(&batch.bytes()).unwrap().sequences().unwrap();
    assert_eq!((first.get(), last.get()), (i32::MAX, 3));
}

#[test]
fn compressed_records_are_walked_too() {
    for codec in Compression::ALL.into_iter().skip(1) {
        let good = stamped(numbered(200, codec));
        assert_eq!(check(&good).unwrap().attributes.compression(), Ok(codec));
        let more = with(&with(&good, 57, &201_i32.to_be_bytes()), 23, &200_i32.to_be_bytes());
        assert_eq!(
            check(&more),
            Err(BatchError::Record { index: 200, fault: RecordFault::Truncated }),
            "{codec}"
        );
        let fewer = with(&with(&good, 57, &199_i32.to_be_bytes()), 23, &198_i32.to_be_bytes());
        assert_eq!(check(&fewer), Err(BatchError::MoreThanCounted { record_count: 199 }), "{codec}");
        let other = with(&good, 22, &[if codec == Compression::Gzip { 4 } else { 1 }]);
        assert_eq!(check(&other).unwrap_err().error_code(), ErrorCode::INVALID_RECORD, "{codec}");
        // Cut off, with a length and checksum that say nothing is missing.
        for size in HEADER_SIZE..good.len() {
            let cut = with(&good[..size], 8, &(size as i32 - 12).to_be_bytes());
            assert_eq!(check(&cut).unwrap_err().error_code(), ErrorCode::INVALID_RECORD, "{codec} {size}");
        }
    }
}

#[test]
fn a_bomb_is_refused_and_honest_data_of_the_same_ratio_is_not() {
    let zeroes = vec![0; 2 << 20];
    for codec in Compression::ALL.into_iter().skip(1) {
        let mut open = super::super::OpenBatch::new(0, 1 << 22);
        open.try_push(&super::super::RecordRef { value: Some(&zeroes), ..Default::default() }, usize::MAX);
        let batch = stamped(open.close(codec, None));
        let ratio = zeroes.len() / batch.len();
        let expected = match codec {
            Compression::Snappy => 20,
            Compression::Lz4 => 200,
            Compression::Gzip => 900,
            _ => 5_000,
        };
        assert!(ratio >= expected, "{codec} shrinks {ratio}-fold");
        let refused = check(&batch).unwrap_err();
        assert_eq!(refused, BatchError::Expands { codec, decompressed_max: 1 << 20 });
        assert_eq!(refused.error_code(), ErrorCode::MESSAGE_TOO_LARGE);
        let iterated = iterate(Bytes::from(batch.clone()), 1 << 20).map(|_| ());
        assert_eq!(iterated, Err(BatchError::Expands { codec, decompressed_max: 1 << 20 }));
        assert!(validate_from_client(&batch, &BatchLimits { decompressed_max: 3 << 20 }).is_ok());
        assert!(validate_from_client(&batch, &BatchLimits::default()).is_ok());
    }
}

/// Everything that reads bytes from outside, none of which may panic.
fn read_all_ways(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let accepted = check(&bytes);
    for batch in batches(bytes.clone()).flatten() {
        if let Ok(records) = iterate(batch.1, 1 << 20) {
            let read = records.filter(Result::is_ok).count();
            assert!(accepted.is_err() || read > 0);
        }
    }
    if let Ok(header) = &accepted {
        let _head = patched_header(&bytes, header, Offset(1), LeaderEpoch(1));
        let read: Result<Vec<_>, _> = iterate(bytes, 1 << 20).unwrap().collect();
        let read = read.expect("what is accepted can be read");
        assert_eq!(read.len(), header.record_count as usize);
        assert_eq!(read.iter().map(|record| record.timestamp_ms).max(), Some(header.max_timestamp));
        assert!(read.iter().enumerate().all(|(place, record)| record.offset.0 == place as i64));
    }
    accepted.is_ok()
}

#[test]
fn a_batch_cut_at_any_byte_is_refused() {
    for codec in Compression::ALL {
        let good = stamped(numbered(60, codec));
        assert!(read_all_ways(&good));
        for size in 0..good.len() {
            assert!(!read_all_ways(&good[..size]), "{codec}, {size} bytes");
        }
    }
}

#[test]
fn changed_bytes_never_cause_a_panic() {
    const SEED: u64 = 0x6761_706c_6573_7321;
    const ROUNDS: usize = 6_000;
    let mut random = fastrand::Rng::with_seed(SEED);
    for codec in Compression::ALL {
        let good = stamped(numbered(120, codec));
        let mut accepted = 0;
        for _ in 0..ROUNDS {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                // Attributes and counts, or the records.
                let from = if random.u8(..) < 64 { 21 } else { HEADER_SIZE };
                let at = random.usize(from..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes[at] ^= 1 << random.u8(..8),
                    2 => bytes[at] = *random.choice(&[0, 0x7f, 0x80, 0xff]).unwrap(),
                    _ => {
                        let end = random.usize(at..bytes.len()).min(at + 8);
                        bytes.drain(at..end);
                    }
                }
            }
            if random.u8(..) < 250 {
                let length = bytes.len() as i32 - 12;
                bytes[8..12].copy_from_slice(&length.to_be_bytes());
                mend_crc(&mut bytes);
            }
            accepted += usize::from(read_all_ways(&bytes));
        }
        // Changed values are accepted, or the rounds never came beyond the checksum.
        assert!((10..ROUNDS).contains(&accepted), "{codec}: {accepted} accepted, seed {SEED:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_accepted(records in some_records(), codec in 0_i16..5) {
        let bytes = stamped(closed(&records, Compression::from_id(codec).unwrap()));
        let header = check(&bytes).unwrap();
        prop_assert_eq!(header.record_count as usize, records.len());
        prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|record| record.timestamp_ms).max());
    }

    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!read_all_ways(&noise));
    }
}
