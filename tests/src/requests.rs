//! One full request of every API and version served, as bytes.

use gapless_common::protocol::{
    ApiKey, Message, Request,
    messages::{
        ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
        DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
        FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
        OffsetForLeaderEpochRequest, create_partitions, create_topics, delete_records, delete_topics,
        describe_configs, describe_log_dirs, fetch, list_offsets, metadata, offset_for_leader_epoch,
    },
};

use crate::{
    batch::{Stamp, batch},
    raw::{frame, produce_request},
};

/// The topic that the requests are about.
pub const TOPIC: &str = "asked-for";

/// One request frame.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its API.
    pub api: ApiKey,
    /// Its version.
    pub version: i16,
    /// The frame, with its length.
    pub frame: Vec<u8>,
}

/// A request of every API in every version, with its arrays and optional fields filled.
///
/// # Panics
/// If one cannot be encoded.
pub fn every_request() -> Vec<Sample> {
    ApiKey::ALL.iter().flat_map(|api| api.versions().map(move |version| sample(*api, version))).collect()
}

/// A request of this API and version, with its arrays and optional fields filled.
///
/// # Panics
/// If it cannot be encoded.
pub fn sample(api: ApiKey, version: i16) -> Sample {
    let bytes = match api {
        ApiKey::Produce => of(&produce(), version),
        ApiKey::Fetch => of(&fetch_request(), version),
        ApiKey::ListOffsets => of(&list_offsets_request(), version),
        ApiKey::Metadata => of(&metadata_request(), version),
        ApiKey::FindCoordinator => of(&find_coordinator(version), version),
        ApiKey::ApiVersions => of(
            &ApiVersionsRequest { client_software_name: "tests".into(), client_software_version: "1".into() },
            version,
        ),
        ApiKey::CreateTopics => of(&create_topics_request(), version),
        ApiKey::DeleteTopics => of(&delete_topics_request(version), version),
        ApiKey::DeleteRecords => of(&delete_records_request(), version),
        ApiKey::InitProducerId => of(
            &InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 1000,
                ..InitProducerIdRequest::default()
            },
            version,
        ),
        ApiKey::OffsetForLeaderEpoch => of(&leader_epoch_request(), version),
        ApiKey::DescribeConfigs => of(&describe_configs_request(), version),
        ApiKey::DescribeLogDirs => of(&describe_log_dirs_request(), version),
        ApiKey::CreatePartitions => of(&create_partitions_request(), version),
        ApiKey::DescribeCluster => of(&DescribeClusterRequest::default(), version),
    };
    Sample { api, version, frame: bytes }
}

fn of<R: Request + Message>(request: &R, version: i16) -> Vec<u8> {
    frame(7, request, version)
}

fn produce() -> gapless_common::protocol::messages::ProduceRequest {
    produce_request(TOPIC, 0, batch(&[b"value"], Some(Stamp { id: 1_000_000, epoch: 0, sequence: 0 })))
}

fn fetch_request() -> FetchRequest {
    let partition = fetch::FetchPartition { partition_max_bytes: 1000, ..fetch::FetchPartition::default() };
    let topic = fetch::FetchTopic {
        topic: TOPIC.into(),
        partitions: vec![partition],
        ..fetch::FetchTopic::default()
    };
    FetchRequest { max_wait_ms: 10, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() }
}

fn list_offsets_request() -> ListOffsetsRequest {
    let partition = list_offsets::ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = list_offsets::ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition] };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() }
}

fn metadata_request() -> MetadataRequest {
    let topic = metadata::MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
}

fn find_coordinator(version: i16) -> FindCoordinatorRequest {
    let mut request = FindCoordinatorRequest::default();
    if version >= 4 {
        request.coordinator_keys = vec!["group".into()];
    } else {
        request.key = "group".into();
    }
    request
}

fn create_topics_request() -> CreateTopicsRequest {
    let setting = create_topics::CreatableTopicConfig {
        name: "max.message.bytes".into(),
        value: Some("100000".into()),
    };
    let topic = create_topics::CreatableTopic {
        name: TOPIC.into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![setting],
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..CreateTopicsRequest::default() }
}

fn delete_topics_request(version: i16) -> DeleteTopicsRequest {
    let mut request = DeleteTopicsRequest { timeout_ms: 1000, ..DeleteTopicsRequest::default() };
    if version >= 6 {
        request.topics =
            vec![delete_topics::DeleteTopicState { name: Some("absent".into()), ..Default::default() }];
    } else {
        request.topic_names = vec!["absent".into()];
    }
    request
}

fn delete_records_request() -> DeleteRecordsRequest {
    let partition = delete_records::DeleteRecordsPartition { partition_index: 0, offset: 0 };
    let topic = delete_records::DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![partition] };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 }
}

fn describe_log_dirs_request() -> DescribeLogDirsRequest {
    let topic = describe_log_dirs::DescribableLogDirTopic { topic: TOPIC.into(), partitions: vec![0] };
    DescribeLogDirsRequest { topics: Some(vec![topic]) }
}

fn create_partitions_request() -> CreatePartitionsRequest {
    let assignment = create_partitions::CreatePartitionsAssignment { broker_ids: vec![1] };
    let topic = create_partitions::CreatePartitionsTopic {
        name: TOPIC.into(),
        count: 2,
        assignments: Some(vec![assignment]),
    };
    CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: true }
}

fn leader_epoch_request() -> OffsetForLeaderEpochRequest {
    let partition = offset_for_leader_epoch::OffsetForLeaderPartition::default();
    let topic =
        offset_for_leader_epoch::OffsetForLeaderTopic { topic: TOPIC.into(), partitions: vec![partition] };
    OffsetForLeaderEpochRequest { topics: vec![topic], ..OffsetForLeaderEpochRequest::default() }
}

fn describe_configs_request() -> DescribeConfigsRequest {
    const TOPIC_RESOURCE: i8 = 2;
    let resource = describe_configs::DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: TOPIC.into(),
        ..Default::default()
    };
    DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() }
}
