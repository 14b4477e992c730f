//! Every message, as both sides know it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use gapless_common::protocol::schema::Kind;
use gapless_common::protocol::wire::Wire;
use gapless_common::protocol::{ApiKey, DecodeError, Decoder, Encoder, Message, Part, messages as ours};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::allocations::peak_of;
use crate::tree::Tree;

/// What one side makes of bytes.
pub struct Reading {
    pub value: Tree,
    /// The value written in each version asked for, or why it cannot be.
    pub written: Vec<Result<Vec<u8>, String>>,
}

/// Reads a version, and writes what was read in others.
pub type Read = fn(&[u8], i16, &[i16]) -> Result<Reading, String>;

/// A message.
pub struct Subject {
    pub name: &'static str,
    pub api: ApiKey,
    pub is_request: bool,
    pub kind: Kind,
    /// Both sides' default values.
    pub defaults: fn() -> (Tree, Tree),
    pub ours: Read,
    pub theirs: Read,
    /// Our decoder on bytes of any kind.
    pub attack: fn(&mut Decoder, i16) -> Result<(), DecodeError>,
}

macro_rules! subjects {
    ($($api:ident $request:ident $response:ident,)*) => {
        vec![$(subjects!(@one $api $request true), subjects!(@one $api $response false)),*]
    };
    (@one $api:ident $message:ident $is_request:literal) => {
        Subject {
            name: stringify!($message),
            api: ApiKey::$api,
            is_request: $is_request,
            kind: <ours::$message as Wire>::KIND,
            defaults: || {
                let ours = format!("{:?}", ours::$message::default());
                let theirs = format!("{:?}", theirs::$message::default());
                (Tree::of(&ours), Tree::of(&theirs))
            },
            ours: read_ours::<ours::$message>,
            theirs: read_theirs::<theirs::$message>,
            attack: attack::<ours::$message>,
        }
    };
}

/// Requests and responses of all APIs.
pub fn all() -> Vec<Subject> {
    subjects! {
        Produce ProduceRequest ProduceResponse,
        Fetch FetchRequest FetchResponse,
        ListOffsets ListOffsetsRequest ListOffsetsResponse,
        Metadata MetadataRequest MetadataResponse,
        FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
        ApiVersions ApiVersionsRequest ApiVersionsResponse,
        CreateTopics CreateTopicsRequest CreateTopicsResponse,
        DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
        DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
        InitProducerId InitProducerIdRequest InitProducerIdResponse,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
        DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
        DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
        CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
        DescribeCluster DescribeClusterRequest DescribeClusterResponse,
    }
}

#[test]
fn every_api_is_a_subject() {
    let subjects: Vec<(ApiKey, bool)> =
        all().iter().map(|subject| (subject.api, subject.is_request)).collect();
    let expected: Vec<(ApiKey, bool)> =
        ApiKey::ALL.iter().flat_map(|api| [(*api, true), (*api, false)]).collect();
    assert_eq!(subjects, expected);
}

fn read_ours<M: Message + fmt::Debug>(bytes: &[u8], version: i16, write: &[i16]) -> Result<Reading, String> {
    let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut input, version).map_err(|error| error.to_string())?;
    let written = write.iter().map(|version| write_ours(&message, *version)).collect();
    Ok(Reading { value: Tree::of(&format!("{message:?}")), written })
}

fn write_ours<M: Message>(message: &M, version: i16) -> Result<Vec<u8>, String> {
    let mut out = Encoder::new();
    message.encode(&mut out, version).map_err(|error| format!("{} {}", error.path(), error.problem()))?;
    let size = out.size();
    let bytes = joined(&out.finish());
    assert_eq!(bytes.len(), size, "the encoder counts what it writes");
    Ok(bytes)
}

/// The bytes that a sender would write.
pub fn joined(parts: &[Part]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        assert!(!part.is_empty());
        match part {
            Part::Bytes(bytes) => all.extend_from_slice(bytes),
            Part::External { .. } => panic!("nothing external was given"),
        }
    }
    all
}

fn read_theirs<M: Decodable + Encodable + fmt::Debug>(
    bytes: &[u8],
    version: i16,
    write: &[i16],
) -> Result<Reading, String> {
    let mut input = Bytes::copy_from_slice(bytes);
    let message = M::decode(&mut input, version).map_err(|error| error.to_string())?;
    if !input.is_empty() {
        return Err(format!("{} bytes follow", input.len()));
    }
    let written = write
        .iter()
        .map(|version| {
            let mut out = BytesMut::new();
            message.encode(&mut out, *version).map(|()| out.to_vec()).map_err(|error| error.to_string())
        })
        .collect();
    Ok(Reading { value: Tree::of(&format!("{message:?}")), written })
}

/// Memory that decoding may take: per byte of the frame, and in any case (`decoder.rs`), and a little for errors and for
/// the frame's reference count.
fn memory_max(frame: usize) -> usize {
    16 * frame + 64 * 1024 + 1024
}

/// Bytes either are no message, or the message can be written and read back. Either way memory is bounded.
fn attack<M: Message + PartialEq + fmt::Debug>(input: &mut Decoder, version: i16) -> Result<(), DecodeError> {
    let size = input.remaining();
    let (message, peak) = peak_of(|| M::decode(input, version));
    assert!(peak <= memory_max(size), "{peak} bytes of memory for a frame of {size}: {message:?}");
    let message = message?;

    let mut out = Encoder::new();
    message.encode(&mut out, version).unwrap();
    let written = Bytes::from(joined(&out.finish()));
    assert_eq!(M::decode(&mut Decoder::new(written), version).unwrap(), message);
    Ok(())
}
