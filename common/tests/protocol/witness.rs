//! Every message in every version served, against the crate `kafka-protocol`, which others generated from Kafka's
//! schemas: what one side writes, the other reads to the same values, field by field and name by name.

use std::fmt;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use gapless_common::protocol::{
    Decoder, Request, Text, decode_request_header, decode_response, encode_request_frame,
    encode_response_frame, messages as ours,
};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{
    Decodable, Encodable, StrBytes, decode_request_header_from_buffer, encode_request_header_into_buffer,
};

use crate::generate;
use crate::subjects::{self, Read, Subject, joined};
use crate::tree::Tree;

const SEED: u64 = 0x6761_706c_6573_7301;

/// Random messages of each kind in each version.
const SAMPLES: usize = 60;

/// Fields that came after the last version served, and those that the witness keeps of unknown tags.
const THEIRS_ONLY: &[(&str, &str)] = &[
    ("FetchRequest", "high_watermark"),
    ("MetadataResponse", "error_code"),
    ("InitProducerIdRequest", "enable_2_pc"),
    ("InitProducerIdRequest", "keep_prepared_txn"),
    ("InitProducerIdResponse", "ongoing_txn_producer_id"),
    ("InitProducerIdResponse", "ongoing_txn_producer_epoch"),
];

/// What only we refuse to write, as Kafka's own classes do: the witness drops every tagged field in versions without
/// it, and writes null where the version knows none.
const STRICTER: &[&str] = &[
    "current_leader has a value, but this version has no such field",
    "diverging_epoch has a value, but this version has no such field",
    "node_endpoints has a value, but this version has no such field",
    "replica_state has a value, but this version has no such field",
    "snapshot_id has a value, but this version has no such field",
    "name is null, which this version does not allow",
    "topics is null, which this version does not allow",
];

impl Subject {
    fn assert_same(&self, ours: &Tree, theirs: &Tree, context: &str) {
        let theirs_only = |field: &str, value: &Tree| match field {
            // Nothing that one side writes may be unknown to the other.
            "unknown_tagged_fields" => *value == Tree::List(Vec::new()),
            field => THEIRS_ONLY.contains(&(self.name, field)),
        };
        let differences = ours.differences(theirs, &theirs_only);
        assert!(differences.is_empty(), "{context}\n{}", differences.join("\n"));
    }
}

#[test]
fn defaults_are_those_of_the_schema() {
    for subject in subjects::all() {
        let (ours, theirs) = (subject.defaults)();
        subject.assert_same(&ours, &theirs, subject.name);
    }
}

#[test]
fn what_one_side_writes_the_other_reads_to_the_same_values() {
    let mut refused = 0;
    for subject in subjects::all() {
        let mut rng = Rng::with_seed(SEED);
        let versions: Vec<i16> = subject.api.versions().collect();
        for version in versions.iter().copied() {
            for _ in 0..SAMPLES {
                let sample = generate::message(&subject.kind, subject.api, version, false, &mut rng).bytes;
                let context = format!("seed {SEED:#x}, {} v{version}: {sample:02x?}", subject.name);
                let read = |side: Read, bytes: &[u8], write: &[i16]| {
                    side(bytes, version, write).unwrap_or_else(|error| panic!("{error}\n{context}"))
                };
                let ours = read(subject.ours, &sample, &versions);
                let theirs = read(subject.theirs, &sample, &versions);
                subject.assert_same(&ours.value, &theirs.value, &context);

                // In its own version and in every other: the same bytes, or a refusal by both.
                for ((other, ours), theirs) in versions.iter().zip(&ours.written).zip(&theirs.written) {
                    match (ours, theirs) {
                        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "as v{other}; {context}"),
                        (Err(_), Err(_)) => refused += 1,
                        (Err(error), Ok(_)) => {
                            let stricter = STRICTER.iter().any(|reason| error.ends_with(reason));
                            assert!(stricter, "only we refuse: {error}, as v{other}; {context}");
                        }
                        (Ok(_), Err(error)) => panic!("only they refuse as v{other}: {error}; {context}"),
                    }
                }

                let at = versions.iter().position(|other| *other == version).unwrap();
                let from_theirs = read(subject.ours, theirs.written[at].as_ref().unwrap(), &[]);
                assert_eq!(from_theirs.value, ours.value, "{context}");
                let from_ours = read(subject.theirs, ours.written[at].as_ref().unwrap(), &[]);
                assert_eq!(from_ours.value, theirs.value, "{context}");
            }
        }
    }
    assert!(refused > 0, "some values cannot be said in other versions");
}

#[test]
fn unknown_tagged_fields_change_nothing() {
    for subject in subjects::all() {
        for version in subject.api.versions().filter(|version| subject.api.is_flexible(*version)) {
            for at in 0..SAMPLES {
                let seed = SEED ^ at as u64;
                let sample =
                    generate::message(&subject.kind, subject.api, version, true, &mut Rng::with_seed(seed));
                let context = format!("seed {seed:#x}, {} v{version}: {sample:02x?}", subject.name);
                let ours = (subject.ours)(&sample.bytes, version, &[version]).expect(&context);
                let theirs = (subject.theirs)(&sample.bytes, version, &[]).expect(&context);
                let differences = ours.value.differences(&theirs.value, &|field, _| {
                    field == "unknown_tagged_fields" || THEIRS_ONLY.contains(&(subject.name, field))
                });
                assert!(differences.is_empty(), "{context}\n{}", differences.join("\n"));
                let written = ours.written[0].as_ref().unwrap();
                let again = (subject.ours)(written, version, &[]).expect(&context);
                assert_eq!(again.value, ours.value, "{context}");
            }
        }
    }
}

/// Request frames whose header one side wrote, read by the other.
fn assert_headers_agree<R: Request + fmt::Debug + PartialEq>(their_key: theirs::ApiKey) {
    for version in R::KEY.versions() {
        let context = format!("{} v{version}", R::KEY);
        assert_eq!(their_key as i16, R::KEY.to_i16(), "{context}");
        assert_eq!(
            R::KEY.request_header_version(version),
            their_key.request_header_version(version),
            "{context}"
        );
        assert_eq!(
            R::KEY.response_header_version(version),
            their_key.response_header_version(version),
            "{context}"
        );

        for client_id in [None, Some(""), Some("café")] {
            let name = client_id.map(Text::from);
            let frame = joined(&encode_request_frame(-7, name.as_ref(), &R::default(), version).unwrap());
            let mut theirs = Bytes::from(frame).split_off(4);
            let header = decode_request_header_from_buffer(&mut theirs).unwrap();
            assert_eq!(header.request_api_key, R::KEY.to_i16());
            assert_eq!(header.request_api_version, version);
            assert_eq!(header.correlation_id, -7);
            assert_eq!(header.client_id.as_ref().map(StrBytes::as_str), client_id);

            let mut bytes = BytesMut::new();
            encode_request_header_into_buffer(&mut bytes, &header).unwrap();
            bytes.extend_from_slice(&theirs);
            let mut input = Decoder::new(bytes.freeze());
            let header = decode_request_header(&mut input).unwrap();
            assert_eq!((header.api_key, header.api_version), (R::KEY.to_i16(), version), "{context}");
            assert_eq!((header.correlation_id, header.client_id), (-7, name), "{context}");
            assert_eq!(R::decode(&mut input, version).unwrap(), R::default(), "{context}");
        }

        let frame = joined(&encode_response_frame(R::KEY, version, 1234, &R::Response::default()).unwrap());
        let mut theirs = Bytes::from(frame).split_off(4);
        let header_version = their_key.response_header_version(version);
        let header = theirs::ResponseHeader::decode(&mut theirs, header_version).unwrap();
        assert_eq!(header.correlation_id, 1234);
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes, header_version).unwrap();
        bytes.extend_from_slice(&theirs);
        let (correlation_id, _) = decode_response::<R>(bytes.freeze(), version).unwrap();
        assert_eq!(correlation_id, 1234, "{context}");
    }
}

#[test]
fn headers_agree() {
    macro_rules! each {
        ($($api:ident $request:ident,)*) => {$(
            assert_headers_agree::<ours::$request>(theirs::ApiKey::$api);
        )*};
    }
    each! {
        Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest, Metadata MetadataRequest,
        FindCoordinator FindCoordinatorRequest, ApiVersions ApiVersionsRequest, CreateTopics CreateTopicsRequest,
        DeleteTopics DeleteTopicsRequest, DeleteRecords DeleteRecordsRequest,
        InitProducerId InitProducerIdRequest,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest, DescribeConfigs DescribeConfigsRequest,
        DescribeLogDirs DescribeLogDirsRequest, CreatePartitions CreatePartitionsRequest,
        DescribeCluster DescribeClusterRequest,
    }
}
