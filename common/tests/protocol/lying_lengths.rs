//! Lengths that lie: refused before anything is allocated, by an error that names message, version, field and numbers.

use bytes::Bytes;
use fastrand::Rng;
use gapless_common::protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, MetadataRequest,
    ProduceRequest, ProduceResponse,
};
use gapless_common::protocol::{Decoder, Message};

use crate::allocations::peak_of;
use crate::generate::{self, Length, Width, put_varint};
use crate::subjects;

const SEED: u64 = 0x6761_706c_6573_7361;

/// Random messages of each kind in each version.
const SAMPLES: usize = 10;

/// Memory that a refusal may take: the error itself.
const REFUSAL_MAX: usize = 1024;

fn refusal<M: Message>(bytes: &'static [u8], version: i16) -> String {
    let mut input = Decoder::new(Bytes::from_static(bytes));
    let (error, peak) = peak_of(|| M::decode(&mut input, version).err());
    assert!(peak <= REFUSAL_MAX, "{peak} bytes of memory for {bytes:02x?}");
    error.unwrap().to_string()
}

#[test]
fn a_lying_length_is_refused_with_message_version_field_and_numbers() {
    type Row = (fn(&'static [u8], i16) -> String, i16, &'static [u8], &'static str);
    let table: &[Row] = &[
        // The request of ten bytes that made another codec ask for 481 GB.
        (
            refusal::<CreateTopicsRequest>,
            4,
            b"\x7f\xff\xff\xff\0\0\0\0\0\0",
            "CreateTopicsRequest v4: topics cannot have 2147483647 elements of at least 16 bytes in the 6 bytes that remain",
        ),
        (
            refusal::<CreateTopicsRequest>,
            5,
            b"\xff\xff\xff\xff\x0f\0\0\0\0\0",
            "CreateTopicsRequest v5: topics cannot have 4294967294 elements of at least 10 bytes in the 5 bytes that remain",
        ),
        (
            refusal::<ProduceRequest>,
            3,
            b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\0\0",
            "ProduceRequest v3: topic_data[0].partition_data cannot have 2 elements of at least 8 bytes in the 9 bytes that remain",
        ),
        (
            refusal::<ProduceRequest>,
            3,
            b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\x02x",
            "ProduceRequest v3: topic_data[0].partition_data[0].records needs 2 bytes, but only 1 remain",
        ),
        (
            refusal::<ProduceRequest>,
            3,
            b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\x80\0\0\0",
            "ProduceRequest v3: topic_data[0].partition_data[0].records has a length of -2147483648",
        ),
        (
            refusal::<MetadataRequest>,
            0,
            b"\xff\xff\xff\xff",
            "MetadataRequest v0: topics is null, which this version does not allow",
        ),
        (
            refusal::<MetadataRequest>,
            1,
            b"\0\0\0\x01\x80\0",
            "MetadataRequest v1: topics[0].name has a length of -32768",
        ),
        (
            refusal::<MetadataRequest>,
            9,
            b"\x02\0\0\0\0\0\0",
            "MetadataRequest v9: topics[0].name is null, which this version does not allow",
        ),
        (
            refusal::<DeleteTopicsRequest>,
            1,
            b"\0\0\0\x01\0\x02\xc3(\0\0\0\0",
            "DeleteTopicsRequest v1: topic_names[0] is not UTF-8",
        ),
        (
            refusal::<ApiVersionsRequest>,
            3,
            b"\xff\xff\xff\xff\xffgo",
            "ApiVersionsRequest v3: client_software_name has a variable-length number of more than 32 bits",
        ),
        // Tagged fields: their number, the size of an unknown one, the size of a known one, too short and too long.
        (
            refusal::<ApiVersionsRequest>,
            3,
            b"\x01\x01\xff\xff\xff\xff\x0f\x05\x00\x06\x00",
            "ApiVersionsRequest v3: tagged_fields needs 1 bytes, but only 0 remain",
        ),
        (
            refusal::<ApiVersionsRequest>,
            3,
            b"\x01\x01\x01\x05\xff\xff\xff\xff\x0f\0",
            "ApiVersionsRequest v3: tagged_fields needs 4294967295 bytes, but only 1 remain",
        ),
        (
            refusal::<ProduceResponse>,
            10,
            b"\x01\0\0\0\0\x01\x00\x02\x7f\x01",
            "ProduceResponse v10: node_endpoints cannot have 126 elements of at least 11 bytes in the 1 bytes that remain",
        ),
        (
            refusal::<ProduceResponse>,
            10,
            b"\x01\0\0\0\0\x01\x00\x02\x01\x01",
            "ProduceResponse v10: tagged_fields ends 1 bytes too early",
        ),
        (refusal::<FetchRequest>, 3, b"", "FetchRequest v3 is not served, only versions 4 to 17 are"),
    ];
    for (refusal, version, bytes, message) in table {
        assert_eq!(refusal(bytes, *version), *message);
    }
}

/// What a length of this width could claim instead. `remaining` are the bytes after it.
fn lies(width: Width, remaining: usize) -> Vec<Vec<u8>> {
    let varint = |value: u32| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        bytes
    };
    let too_many = remaining + 1;
    match width {
        Width::Two => [i16::MAX, i16::MIN, -2, too_many as i16].map(|lie| lie.to_be_bytes().to_vec()).into(),
        Width::Four => [i32::MAX, i32::MIN, -2, too_many as i32].map(|lie| lie.to_be_bytes().to_vec()).into(),
        // A compact length is one less than it says.
        Width::Compact => vec![varint(u32::MAX), varint(too_many as u32 + 1), vec![0xff; 6]],
        Width::Plain => vec![varint(u32::MAX), varint(too_many as u32), vec![0xff; 6]],
    }
}

#[test]
fn every_length_of_every_message_may_lie() {
    for subject in subjects::all() {
        let mut rng = Rng::with_seed(SEED);
        for version in subject.api.versions() {
            for _ in 0..SAMPLES {
                let sample = generate::message(&subject.kind, subject.api, version, true, &mut rng);
                for Length { at, size, width } in sample.lengths {
                    for lie in lies(width, sample.bytes.len() - at - size) {
                        let mut bytes = sample.bytes.clone();
                        bytes.splice(at..at + size, lie.iter().copied());
                        let context = format!(
                            "seed {SEED:#x}, {} v{version}, {lie:02x?} at {at} of {:02x?}",
                            subject.name, sample.bytes
                        );
                        let result = (subject.attack)(&mut Decoder::new(bytes.into()), version);
                        assert!(result.is_err(), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_frame_of_nothing_but_empty_names_is_refused() {
    // One byte each, and a view of 32 bytes in memory: thirty times the frame.
    let count: u32 = 1 << 20;
    let mut bytes = Vec::new();
    put_varint(&mut bytes, count + 1);
    bytes.resize(bytes.len() + count as usize, 1);
    bytes.extend([0, 0, 0, 0, 0]);
    let mut input = Decoder::new(bytes.into());
    let (error, peak) = peak_of(|| DeleteTopicsRequest::decode(&mut input, 4).err());
    assert!(peak <= REFUSAL_MAX, "{peak} bytes of memory");
    assert_eq!(
        error.unwrap().to_string(),
        "DeleteTopicsRequest v4: topic_names would take 33554432 bytes of memory, and only \
         16842768 are left of what the size of the frame allows"
    );
}
