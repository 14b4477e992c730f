//! Sound messages of every API and version, made from their declarations: whatever a field may be, some message has it.

use fastrand::Rng;
use gapless_common::{
    protocol::{
        ApiKey,
        messages::*,
        schema::{Field, Kind},
        wire::Wire,
    },
    records::{Compression, OpenBatch, RecordRef},
};

/// The declarations of an API: request, response.
pub fn kinds(api: ApiKey) -> (Kind, Kind) {
    match api {
        ApiKey::Produce => (ProduceRequest::KIND, ProduceResponse::KIND),
        ApiKey::Fetch => (FetchRequest::KIND, FetchResponse::KIND),
        ApiKey::ListOffsets => (ListOffsetsRequest::KIND, ListOffsetsResponse::KIND),
        ApiKey::Metadata => (MetadataRequest::KIND, MetadataResponse::KIND),
        ApiKey::FindCoordinator => (FindCoordinatorRequest::KIND, FindCoordinatorResponse::KIND),
        ApiKey::ApiVersions => (ApiVersionsRequest::KIND, ApiVersionsResponse::KIND),
        ApiKey::CreateTopics => (CreateTopicsRequest::KIND, CreateTopicsResponse::KIND),
        ApiKey::DeleteTopics => (DeleteTopicsRequest::KIND, DeleteTopicsResponse::KIND),
        ApiKey::DeleteRecords => (DeleteRecordsRequest::KIND, DeleteRecordsResponse::KIND),
        ApiKey::InitProducerId => (InitProducerIdRequest::KIND, InitProducerIdResponse::KIND),
        ApiKey::OffsetForLeaderEpoch => {
            (OffsetForLeaderEpochRequest::KIND, OffsetForLeaderEpochResponse::KIND)
        }
        ApiKey::DescribeConfigs => (DescribeConfigsRequest::KIND, DescribeConfigsResponse::KIND),
        ApiKey::DescribeLogDirs => (DescribeLogDirsRequest::KIND, DescribeLogDirsResponse::KIND),
        ApiKey::CreatePartitions => (CreatePartitionsRequest::KIND, CreatePartitionsResponse::KIND),
        ApiKey::DescribeCluster => (DescribeClusterRequest::KIND, DescribeClusterResponse::KIND),
    }
}

/// Every API in every version.
pub fn versions() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL.iter().flat_map(|api| api.versions().map(move |version| (*api, version)))
}

/// A request with its header, without the frame's length.
pub fn request(api: ApiKey, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut out = api.to_i16().to_be_bytes().to_vec();
    out.extend(version.to_be_bytes());
    out.extend(rng.i32(..).to_be_bytes());
    out.extend([0, 3]);
    out.extend(b"abc");
    if api.request_header_version(version) >= 2 {
        out.push(0);
    }
    write(kinds(api).0, Shape::of(api, version), &mut out, rng);
    out
}

/// A response with its header, without the frame's length.
pub fn response(api: ApiKey, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut out = rng.i32(..).to_be_bytes().to_vec();
    if api.response_header_version(version) >= 1 {
        out.push(0);
    }
    write(kinds(api).1, Shape::of(api, version), &mut out, rng);
    out
}

/// How a value is written.
#[derive(Clone, Copy)]
struct Shape {
    version: i16,
    flexible: bool,
    nullable: bool,
}

impl Shape {
    fn of(api: ApiKey, version: i16) -> Self {
        Self { version, flexible: api.is_flexible(version), nullable: false }
    }
}

fn write(kind: Kind, shape: Shape, out: &mut Vec<u8>, rng: &mut Rng) {
    match kind {
        Kind::Bool => out.push(u8::from(rng.bool())),
        Kind::Int8 => out.push(number(rng) as u8),
        Kind::Int16 => out.extend((number(rng) as i16).to_be_bytes()),
        Kind::Int32 => out.extend((number(rng) as i32).to_be_bytes()),
        Kind::Int64 => out.extend(number(rng).to_be_bytes()),
        Kind::Uuid => out.extend(rng.u128(..).to_be_bytes()),
        _ if shape.nullable && rng.u8(..4) == 0 => length(None, kind, shape, out),
        Kind::Text => {
            let text: String = (0..rng.usize(..12)).map(|_| rng.alphabetic()).collect();
            length(Some(text.len()), kind, shape, out);
            out.extend(text.bytes());
        }
        Kind::Bytes => {
            let bytes: Vec<u8> = (0..rng.usize(..20)).map(|_| rng.u8(..)).collect();
            length(Some(bytes.len()), kind, shape, out);
            out.extend(bytes);
        }
        Kind::Records => {
            let batch = batch(rng);
            length(Some(batch.len()), kind, shape, out);
            out.extend(batch);
        }
        Kind::Array(element) => {
            let count = rng.usize(..3);
            length(Some(count), kind, shape, out);
            for _ in 0..count {
                write(*element, Shape { nullable: false, ..shape }, out, rng);
            }
        }
        Kind::Struct(fields) => structure(fields, shape, out, rng),
    }
}

fn structure(fields: &[Field], shape: Shape, out: &mut Vec<u8>, rng: &mut Rng) {
    let within = |field: &Field| Shape { nullable: field.nullable.contain(shape.version), ..shape };
    let here = || fields.iter().filter(|field| field.versions.contain(shape.version));
    for field in here().filter(|field| field.tag.is_none()) {
        write(field.kind, within(field), out, rng);
    }
    if !shape.flexible {
        return;
    }
    let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
    for field in here() {
        let Some(tag) = field.tag.filter(|_| rng.bool()) else { continue };
        let mut value = Vec::new();
        write(field.kind, within(field), &mut value, rng);
        tagged.push((tag, value));
    }
    // A field of a later day, which is skipped.
    if rng.u8(..8) == 0 {
        tagged.push((1000, b"later".to_vec()));
    }
    tagged.sort_by_key(|(tag, _)| *tag);
    varint(tagged.len() as u32, out);
    for (tag, value) in tagged {
        varint(tag, out);
        varint(value.len() as u32, out);
        out.extend(value);
    }
}

/// Small ones, and those at which arithmetic goes wrong.
fn number(rng: &mut Rng) -> i64 {
    match rng.u8(..8) {
        0 => -1,
        1 => i64::MAX,
        2 => i64::MIN,
        3 => rng.i64(..),
        _ => rng.i64(..100),
    }
}

fn length(len: Option<usize>, kind: Kind, shape: Shape, out: &mut Vec<u8>) {
    match (shape.flexible, kind) {
        (true, _) => varint(len.map_or(0, |len| len as u32 + 1), out),
        (false, Kind::Text) => out.extend(len.map_or(-1, |len| len as i16).to_be_bytes()),
        (false, _) => out.extend(len.map_or(-1, |len| len as i32).to_be_bytes()),
    }
}

fn varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A sound record batch of one to four records, with any codec.
pub fn batch(rng: &mut Rng) -> Vec<u8> {
    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut open = OpenBatch::new(1_000, 256);
    for _ in 0..rng.usize(1..=4) {
        let value = vec![rng.u8(..); rng.usize(..300)];
        let record = RecordRef {
            timestamp_ms: rng.i64(..1 << 40),
            key: rng.bool().then_some(b"key"),
            value: (rng.u8(..4) > 0).then_some(&value),
            headers: &[],
        };
        open.try_push(&record, usize::MAX);
    }
    let mut closed = open.close(CODECS[rng.usize(..CODECS.len())], None);
    closed.stamp_plain();
    closed.bytes().to_vec()
}
