//! The crate `kafka-protocol` as a witness: what one side writes, the other reads.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::prelude::*;

use super::testing::{OwnedRecord, closed, records_of, some_records};
use super::{BatchLimits, Compression, validate_from_client};
use crate::types::{ProducerEpoch, ProducerId, Sequence};

fn their_codec(codec: Compression) -> theirs::Compression {
    match codec {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

/// They keep headers in a map, and add deltas without wrapping.
fn in_their_terms(records: &mut [OwnedRecord]) {
    for record in records {
        record.timestamp_ms &= (1 << 50) - 1;
        for (place, (key, _)) in record.headers.iter_mut().enumerate() {
            key.push_str(&place.to_string());
        }
    }
}

fn to_theirs(record: &OwnedRecord, place: usize, base_sequence: i32) -> theirs::Record {
    let headers = record
        .headers
        .iter()
        .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)));
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 12,
        producer_epoch: 3,
        timestamp_type: theirs::TimestampType::Creation,
        offset: place as i64,
        sequence: base_sequence + place as i32,
        timestamp: record.timestamp_ms,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: headers.collect::<IndexMap<_, _>>(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_read_what_we_write(mut records in some_records(), codec in 0_i16..5) {
        in_their_terms(&mut records);
        let mut batch = closed(&records, Compression::from_id(codec).unwrap());
        batch.stamp(ProducerId(12), ProducerEpoch(3), Sequence::ZERO.plus(40));
        let read = theirs::RecordBatchDecoder::decode(&mut batch.bytes()).unwrap();
        prop_assert_eq!(read.version, 2);
        let expected: Vec<_> =
            records.iter().enumerate().map(|(place, record)| to_theirs(record, place, 40)).collect();
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn we_read_what_they_write(mut records in some_records(), codec in 0_i16..5) {
        in_their_terms(&mut records);
        let theirs: Vec<_> =
            records.iter().enumerate().map(|(place, record)| to_theirs(record, place, 40)).collect();
        let options = theirs::RecordEncodeOptions {
            version: 2,
            compression: their_codec(Compression::from_id(codec).unwrap()),
        };
        let mut bytes = BytesMut::new();
        theirs::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
        let bytes = bytes.freeze();
        let header = validate_from_client(&bytes, &BatchLimits::default()).unwrap();
        prop_assert_eq!(header.attributes.compression().unwrap().id(), codec);
        prop_assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(12), ProducerEpoch(3)));
        prop_assert_eq!(header.base_sequence, 40);
        prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|record| record.timestamp_ms).max());
        prop_assert_eq!(records_of(bytes), records);
    }
}
