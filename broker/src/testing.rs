//! What tests of a whole broker share: one in this process, on a disk that can be made to fail, and a client.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use gapless_common::{
    channel::{Channel, ChannelConfig},
    error_code::ErrorCode,
    protocol::messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, ProduceRequest,
        ProduceResponse,
        create_partitions::CreatePartitionsTopic,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        delete_topics::DeleteTopicState,
        metadata::MetadataRequestTopic,
        produce::{PartitionData, TopicData},
    },
    records::{Compression, OpenBatch, RecordRef},
    seam::Seams,
};

use crate::{
    broker::{Broker, StartError},
    config::{Config, ListenerConfig},
    storage::{
        Files, RealFiles,
        faulty::{Faults, FaultyFiles},
    },
};

/// A data directory, and brokers on it one after the other.
pub(crate) struct Rig {
    pub directory: tempfile::TempDir,
    pub faults: Arc<Faults>,
    pub config: Config,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let listener =
            ListenerConfig { name: "PLAINTEXT".into(), listen: "127.0.0.1:0".into(), advertise: None };
        let config = Config { listeners: vec![listener], http_listen: None, ..Config::default() };
        Self { directory: tempfile::tempdir().unwrap(), faults: Arc::default(), config }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) async fn try_start(&self, boot: &str) -> Result<Broker, StartError> {
        let seams = Seams::real();
        let inner: Arc<dyn Files> = Arc::new(RealFiles::new(self.data_dir(), seams.spawner.clone()));
        let files = Arc::new(FaultyFiles { inner, faults: Arc::clone(&self.faults) });
        Broker::start(self.config.clone(), files, boot, seams).await
    }

    pub(crate) async fn start(&self, boot: &str) -> Broker {
        self.try_start(boot).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

pub(crate) async fn client(broker: &Broker) -> Channel {
    let address = broker.kafka_addresses()[0].1.to_string();
    Channel::connect(&Seams::real(), &address, &ChannelConfig::default()).await.unwrap()
}

pub(crate) async fn create(client: &Channel, topic: &str) -> ErrorCode {
    create_with(client, topic, &[]).await
}

/// With settings of its own.
pub(crate) async fn create_with(client: &Channel, topic: &str, settings: &[(&str, &str)]) -> ErrorCode {
    let setting = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    };
    let topic = CreatableTopic {
        name: topic.into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: settings.iter().map(setting).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    client.call(request).await.unwrap().topics[0].error_code
}

/// Has the topic so many partitions from now on.
pub(crate) async fn grow(client: &Channel, topic: &str, count: i32) -> ErrorCode {
    let topic = CreatePartitionsTopic { name: topic.into(), count, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
    client.call(request).await.unwrap().results[0].error_code
}

pub(crate) async fn delete(client: &Channel, topic: &str) -> ErrorCode {
    let topic = DeleteTopicState { name: Some(topic.into()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], ..DeleteTopicsRequest::default() };
    client.call(request).await.unwrap().responses[0].error_code
}

pub(crate) async fn find(client: &Channel, topic: &str) -> ErrorCode {
    let topic = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    client.call(request).await.unwrap().topics[0].error_code
}

pub(crate) fn batch(value: &str) -> Bytes {
    let mut open = OpenBatch::new(0, 256);
    let record = RecordRef { timestamp_ms: 0, key: None, value: Some(value.as_bytes()), headers: &[] };
    let _ = open.try_push(&record, 1 << 20);
    let mut closed = open.close(Compression::None, None);
    closed.stamp_plain();
    closed.bytes()
}

pub(crate) fn produce(topic: &str, acks: i16, value: &str) -> ProduceRequest {
    let partition = PartitionData { index: 0, records: Some(batch(value).into()) };
    let topic = TopicData { name: topic.into(), partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 60_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// Sends it in the last version that calls topics by their names.
pub(crate) async fn call_by_name(client: &Channel, request: ProduceRequest) -> ProduceResponse {
    client.send(request, 12, Duration::from_secs(30)).await.unwrap().await.unwrap()
}

/// The offset of the appended record.
pub(crate) async fn append(client: &Channel, topic: &str, value: &str) -> i64 {
    let response = call_by_name(client, produce(topic, -1, value)).await;
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::NONE, "{:?}", partition.error_message);
    partition.base_offset
}

/// Requests read and not yet answered.
pub(crate) fn in_flight(broker: &Broker) -> u32 {
    let metrics = broker.shared.metrics.render(&[]);
    let value = metrics.lines().find_map(|line| line.strip_prefix("gapless_broker_requests_in_flight "));
    value.unwrap().parse().unwrap()
}
