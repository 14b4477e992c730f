//! A broker as far as a producer can tell by its clock: takes every batch, answers when a flush that began later has ended,
//! and counts requests. What arrives during one flush shares the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gapless_common::frame::FrameReader;
use gapless_common::protocol::messages::api_versions::ApiVersion;
use gapless_common::protocol::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use gapless_common::protocol::messages::produce::{PartitionResponse, TopicResponse};
use gapless_common::protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use gapless_common::protocol::{
    ApiKey, Decoder, Message, Part, RequestHeader, decode_request_header, encode_response_frame,
};
use gapless_common::seam::{Connection, Seams, WriteHalf};
use gapless_common::types::TopicId;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Where it listens.
pub const ADDRESS: &str = "10.0.0.1:9092";
/// The one topic there is.
pub const TOPIC: &str = "curve";
/// The largest request: what a producer's largest one takes, and its head.
const FRAME_MAX: usize = 8 * 1024 * 1024;
/// Answers that wait for a flush: more than a producer has requests under way.
const ANSWERS_MAX: usize = 16;

/// Counts the Produce requests that came; clones count together.
#[derive(Clone, Default)]
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    pub fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves a topic of so many partitions for ever, on a disk whose flushes take so long.
pub async fn serve(seams: Seams, partitions: u16, flush: Duration, requests: Requests) {
    let mut listener = seams.network.listen(ADDRESS).await.unwrap();
    loop {
        let Connection { reader, writer, .. } = listener.accept().await.unwrap();
        let (answers, to_write) = mpsc::channel(ANSWERS_MAX);
        seams.spawner.spawn(write_behind_flushes(to_write, writer, flush));
        let requests = requests.clone();
        seams.spawner.spawn(async move {
            let mut frames = FrameReader::new(reader, FRAME_MAX);
            while let Some(frame) = frames.next().await.unwrap() {
                let mut input = Decoder::new(frame);
                let header = decode_request_header(&mut input).unwrap();
                answers.send(answer(&header, &mut input, partitions, &requests)).await.unwrap();
            }
        });
    }
}

async fn write_behind_flushes(
    mut answers: mpsc::Receiver<Vec<u8>>,
    mut writer: Box<dyn WriteHalf>,
    flush: Duration,
) {
    while let Some(first) = answers.recv().await {
        let mut group = first;
        while let Ok(next) = answers.try_recv() {
            group.extend(next);
        }
        if !flush.is_zero() {
            sleep(flush).await;
        }
        writer.write_all(&group).await.unwrap();
    }
}

fn answer(header: &RequestHeader, input: &mut Decoder, partitions: u16, requests: &Requests) -> Vec<u8> {
    let version = header.api_version;
    match ApiKey::from_i16(header.api_key).unwrap() {
        ApiKey::ApiVersions => encode(header, &versions()),
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(input, version).unwrap();
            encode(header, &metadata(&request, partitions))
        }
        ApiKey::InitProducerId => encode(
            header,
            &InitProducerIdResponse { producer_id: 1, producer_epoch: 0, ..Default::default() },
        ),
        ApiKey::Produce => {
            requests.0.fetch_add(1, Ordering::Relaxed);
            encode(header, &acknowledge(&ProduceRequest::decode(input, version).unwrap()))
        }
        other => panic!("a producer does not ask {other:?}"),
    }
}

fn versions() -> ApiVersionsResponse {
    let range = |key: &ApiKey| ApiVersion {
        api_key: key.to_i16(),
        min_version: *key.versions().start(),
        max_version: *key.versions().end(),
    };
    ApiVersionsResponse { api_keys: ApiKey::ALL.iter().map(range).collect(), ..Default::default() }
}

fn metadata(request: &MetadataRequest, partitions: u16) -> MetadataResponse {
    const NODE: i32 = 1;
    let address: SocketAddr = ADDRESS.parse().unwrap();
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: address.ip().to_string().as_str().into(),
        port: i32::from(address.port()),
        ..Default::default()
    };
    let partition = |index: u16| MetadataResponsePartition {
        partition_index: i32::from(index),
        leader_id: NODE,
        leader_epoch: 0,
        ..Default::default()
    };
    let topics = request.topics.iter().flatten().map(|asked| MetadataResponseTopic {
        name: asked.name.clone(),
        topic_id: TopicId([1; 16]),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    });
    MetadataResponse { brokers: vec![broker], topics: topics.collect(), ..Default::default() }
}

fn acknowledge(request: &ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| TopicResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| PartitionResponse {
                index: partition.index,
                // Nobody asks here at which offset a record is.
                base_offset: 0,
                log_start_offset: 0,
                ..Default::default()
            })
            .collect(),
    });
    ProduceResponse { responses: topics.collect(), ..Default::default() }
}

fn encode<M: Message>(header: &RequestHeader, body: &M) -> Vec<u8> {
    let key = ApiKey::from_i16(header.api_key).unwrap();
    let parts = encode_response_frame(key, header.api_version, header.correlation_id, body).unwrap();
    let bytes = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::External { .. } => panic!("nothing external here"),
    };
    parts.iter().flat_map(bytes).collect()
}
