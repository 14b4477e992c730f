//! Corners of the protocol, asked of a whole broker.

use std::time::Duration;

use gapless_common::{
    channel::Channel,
    error_code::ErrorCode,
    protocol::messages::{
        CreatePartitionsRequest, DeleteRecordsRequest, DescribeClusterRequest, DescribeLogDirsRequest,
        FetchRequest, FetchResponse, MetadataRequest,
        create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic},
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsResult},
        fetch::{FetchPartition, FetchTopic, PartitionData},
        metadata::MetadataRequestTopic,
    },
    types::{Offset, TopicId},
};

use crate::{
    config::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX},
    testing::{Rig, append, client, create, create_with, delete, grow, in_flight},
};

/// A wait that no test sits out: what is answered later than at once was kept waiting.
const FOR_EVER_MS: i32 = 300_000;
/// Fails a test instead.
const PATIENCE: Duration = Duration::from_secs(60);

fn fetch(min_bytes: i32, partition: FetchPartition) -> FetchRequest {
    let topic = FetchTopic { topic: "events".into(), partitions: vec![partition], ..FetchTopic::default() };
    FetchRequest { max_wait_ms: FOR_EVER_MS, min_bytes, topics: vec![topic], ..FetchRequest::default() }
}

fn from(fetch_offset: i64) -> FetchPartition {
    FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }
}

async fn answer(client: &Channel, request: FetchRequest) -> FetchResponse {
    client.send(request, 12, PATIENCE).await.unwrap().await.unwrap()
}

async fn partition(client: &Channel, request: FetchRequest) -> PartitionData {
    answer(client, request).await.responses.remove(0).partitions.remove(0)
}

#[tokio::test]
async fn a_fetch_does_not_wait_for_bytes_that_cannot_come() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create_with(&client, "events", &[("segment.bytes", "1024")]).await, ErrorCode::NONE);
    for _ in 0..3 {
        append(&client, "events", &"x".repeat(500)).await;
    }
    // The first segment is full: nothing will be added to what it holds.
    let data = partition(&client, fetch(1 << 20, from(0))).await;
    assert_eq!(data.error_code, ErrorCode::NONE);
    assert!(data.records.unwrap().len() < 1024);
    // More than the whole response may have.
    let request = FetchRequest { max_bytes: 100, ..fetch(i32::MAX, from(2)) };
    assert!(!partition(&client, request).await.records.unwrap().is_empty());
    // Nothing is asked for.
    let request = FetchRequest { topics: Vec::new(), ..fetch(1, from(0)) };
    assert_eq!(answer(&client, request).await.responses.len(), 0);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_fetch_waits_until_there_is_as_much_as_it_asks_for() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let (waiting, other) = (client(&broker).await, client(&broker).await);
    assert_eq!(create(&other, "events").await, ErrorCode::NONE);
    let value = "x".repeat(1000);
    let pending = waiting.send(fetch(10_000, from(0)), 12, PATIENCE).await.unwrap();
    for _ in 0..10 {
        append(&other, "events", &value).await;
    }
    let data = pending.await.unwrap().responses.remove(0).partitions.remove(0);
    assert!(data.records.unwrap().len() >= 10_000);
    assert_eq!(data.high_watermark, 10);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_fetch_that_waits_hears_that_its_topic_is_deleted() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let other = client(&broker).await;
    assert_eq!(create(&other, "events").await, ErrorCode::NONE);
    let id = broker.shared.catalogue.by_name("events").unwrap().id;
    let by_name = fetch(1, from(0));
    let topic = FetchTopic { topic_id: id, partitions: vec![from(0)], ..FetchTopic::default() };
    let by_id = FetchRequest { topics: vec![topic], ..fetch(1, from(0)) };
    let mut waiting = Vec::new();
    for (request, version, code) in
        [(by_name, 12, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), (by_id, 13, ErrorCode::UNKNOWN_TOPIC_ID)]
    {
        let client = client(&broker).await;
        let pending = client.send(request, version, PATIENCE).await.unwrap();
        waiting.push((client, pending, code));
    }
    while in_flight(&broker) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(delete(&other, "events").await, ErrorCode::NONE);
    for (_open, pending, code) in waiting {
        assert_eq!(pending.await.unwrap().responses[0].partitions[0].error_code, code);
    }
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_client_that_read_under_an_epoch_never_heard_of_is_told_so() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    append(&client, "events", "x").await;
    let unheard_of = FetchPartition { last_fetched_epoch: 77, ..from(1) };
    let data = partition(&client, fetch(1, unheard_of)).await;
    assert_eq!(data.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let data = partition(&client, fetch(1, FetchPartition { last_fetched_epoch: 0, ..from(0) })).await;
    assert_eq!(data.error_code, ErrorCode::NONE);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn topic_ids_count_in_metadata_from_version_12_on() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    let id = TopicId::from_random_bits(77);
    for (version, topic_id, name, code) in [
        (10, id, Some("events"), ErrorCode::NONE),
        (11, id, None, ErrorCode::INVALID_REQUEST),
        (12, id, None, ErrorCode::UNKNOWN_TOPIC_ID),
        (12, id, Some("events"), ErrorCode::INVALID_REQUEST),
        (12, TopicId::ZERO, Some("events"), ErrorCode::NONE),
    ] {
        let topic = MetadataRequestTopic { topic_id, name: name.map(Into::into) };
        let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
        let response = client.send(request, version, PATIENCE).await.unwrap().await.unwrap();
        assert_eq!(response.topics[0].error_code, code, "version {version}, name {name:?}");
    }
    assert!(broker.stop().await);
}

#[tokio::test]
async fn what_is_little_to_ask_is_not_much_to_answer() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    let topic = MetadataRequestTopic { name: Some("events".into()), ..MetadataRequestTopic::default() };
    let ask =
        |times| MetadataRequest { topics: Some(vec![topic.clone(); times]), ..MetadataRequest::default() };
    assert_eq!(client.call(ask(PARTITIONS_MAX)).await.unwrap().topics.len(), 1);
    assert!(client.call(ask(PARTITIONS_MAX + 1)).await.is_err());
    assert!(broker.stop().await);
}

#[tokio::test]
async fn who_asks_for_controllers_is_told_that_this_is_no_such_port() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    for (endpoint_type, code) in [
        (1, ErrorCode::NONE),
        (2, ErrorCode::MISMATCHED_ENDPOINT_TYPE),
        (3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE),
    ] {
        let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(client.call(request).await.unwrap().error_code, code, "{endpoint_type}");
    }
    assert!(broker.stop().await);
}

async fn delete_before(client: &Channel, partition_index: i32, offset: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    let topics = vec![DeleteRecordsTopic { name: "events".into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
    let partition = client.call(request).await.unwrap().topics.remove(0).partitions.remove(0);
    (partition.error_code, partition.low_watermark)
}

#[tokio::test]
async fn deleted_records_are_out_of_range_now_and_after_a_restart() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let other = client(&broker).await;
    assert_eq!(delete_before(&other, 0, 1).await, (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(create_with(&other, "events", &[("segment.bytes", "1024")]).await, ErrorCode::NONE);
    for _ in 0..6 {
        append(&other, "events", &"x".repeat(500)).await;
    }
    assert_eq!(delete_before(&other, 7, 1).await, (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(delete_before(&other, 0, 7).await, (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete_before(&other, 0, 4).await, (ErrorCode::NONE, 4));
    assert_eq!(delete_before(&other, 0, 2).await, (ErrorCode::NONE, 4), "it does not go back");
    let log = broker.shared.catalogue.partition("events", 0).unwrap();
    // What lies below is unlinked afterwards.
    while log.size_bytes() > 1300 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(log);
    assert!(broker.stop().await);
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    for (offset, code) in [(3, ErrorCode::OFFSET_OUT_OF_RANGE), (4, ErrorCode::NONE)] {
        let data = partition(&client, fetch(1, from(offset))).await;
        assert_eq!((data.error_code, data.log_start_offset), (code, if offset == 4 { 4 } else { -1 }));
    }
    assert_eq!(delete_before(&client, 0, -1).await, (ErrorCode::NONE, 6));
    assert!(broker.stop().await);
}

#[tokio::test]
async fn what_a_topic_no_longer_keeps_is_deleted_by_itself() {
    let mut rig = Rig::new();
    rig.config.retention_check_interval = Duration::from_millis(20);
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    let settings = [("retention.ms", "1000"), ("segment.bytes", "1024")];
    assert_eq!(create_with(&client, "events", &settings).await, ErrorCode::NONE);
    assert_eq!(create_with(&client, "kept", &[("retention.ms", "-1")]).await, ErrorCode::NONE);
    // Their records are of 1970.
    for topic in ["events", "kept"] {
        append(&client, topic, "x").await;
    }
    let log = |topic| broker.shared.catalogue.partition(topic, 0).unwrap();
    while log("events").log_start_offset().0 < 1 || log("events").size_bytes() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(log("kept").log_start_offset().0, 0);
    assert_eq!(append(&client, "events", "y").await, 1);
    assert!(broker.stop().await);
}

fn more(count: i32, brokers: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
    let assignments = brokers.map(|brokers| brokers.iter().map(assignment).collect());
    CreatePartitionsTopic { name: "events".into(), count, assignments }
}

#[tokio::test]
async fn partitions_can_only_become_more() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(grow(&client, "events", 2).await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    append(&client, "events", "kept").await;
    let too_many = PARTITIONS_PER_TOPIC_MAX + 1;
    let table = [
        (vec![more(1, None)], ErrorCode::INVALID_PARTITIONS),
        (vec![more(0, None)], ErrorCode::INVALID_PARTITIONS),
        (vec![more(-1, None)], ErrorCode::INVALID_PARTITIONS),
        (vec![more(too_many, None)], ErrorCode::INVALID_PARTITIONS),
        (vec![more(i32::MAX, None)], ErrorCode::INVALID_PARTITIONS),
        (vec![more(3, Some(&[&[1]]))], ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (vec![more(2, Some(&[&[2]]))], ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (vec![more(2, Some(&[&[1, 2]]))], ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (vec![more(2, None), more(3, None)], ErrorCode::INVALID_REQUEST),
    ];
    for (topics, code) in table {
        let request = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
        let results = client.call(request.clone()).await.unwrap().results;
        for result in &results {
            assert_eq!(result.error_code, code, "{request:?}");
            assert!(result.error_message.as_ref().is_some_and(|why| !why.is_empty()), "{request:?}");
        }
        assert_eq!(results.len(), request.topics.len());
    }
    let mut request = CreatePartitionsRequest {
        topics: vec![more(2, Some(&[&[1]]))],
        timeout_ms: 1000,
        validate_only: true,
    };
    let count = || broker.shared.catalogue.by_name("events").unwrap().partitions.len();
    for (validate_only, expected) in [(true, 1), (false, 2)] {
        request.validate_only = validate_only;
        assert_eq!(client.call(request.clone()).await.unwrap().results[0].error_code, ErrorCode::NONE);
        assert_eq!((count(), broker.shared.catalogue.partitions()), (expected, expected));
    }
    assert_eq!(append(&client, "events", "goes on").await, 1);
    assert!(broker.stop().await);
    let broker = rig.start("a").await;
    assert_eq!(broker.shared.catalogue.by_name("events").unwrap().partitions.len(), 2);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_topic_that_has_grown_is_deleted_as_a_whole() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    let before = broker.shared.catalogue.by_name("events").unwrap();
    assert_eq!(grow(&client, "events", 3).await, ErrorCode::NONE);
    let added = broker.shared.catalogue.partition("events", 2).unwrap();
    // Whoever deletes it may have looked it up before it grew.
    broker.shared.catalogue.delete(&before).await.unwrap();
    assert!(added.read(Offset(0), 1000, true).await.is_err(), "it is out of service");
    assert_eq!(broker.shared.catalogue.partitions(), 0);
    assert!(broker.shared.catalogue.grow(&before, 4).await.is_err());
    assert!(broker.stop().await);
}

#[tokio::test]
async fn the_room_that_partitions_take_is_told() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    assert_eq!(create(&client, "empty").await, ErrorCode::NONE);
    append(&client, "events", "record").await;
    let size = i64::try_from(broker.shared.catalogue.partition("events", 0).unwrap().size_bytes()).unwrap();
    assert!(size > 0);
    let asked = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
        topic: topic.into(),
        partitions: partitions.to_vec(),
    };
    let some = vec![asked("events", &[0, 0, 1]), asked("empty", &[]), asked("no-such", &[0])];
    let table = [(None, vec![("empty", 0, 0), ("events", 0, size)]), (Some(some), vec![("events", 0, size)])];
    for (topics, expected) in table {
        let answer = client.call(DescribeLogDirsRequest { topics }).await.unwrap();
        let [DescribeLogDirsResult { error_code, log_dir, topics, total_bytes, usable_bytes }] =
            &answer.results[..]
        else {
            panic!("{answer:?}");
        };
        assert_eq!((answer.error_code, *error_code), (ErrorCode::NONE, ErrorCode::NONE));
        assert_eq!(**log_dir, *rig.data_dir().display().to_string());
        assert!(0 < *usable_bytes && usable_bytes < total_bytes, "{usable_bytes} of {total_bytes}");
        let found: Vec<_> = (topics.iter())
            .flat_map(|topic| topic.partitions.iter().map(move |found| (&*topic.name, found)))
            .map(|(name, found)| (name, found.partition_index, found.partition_size))
            .collect();
        assert_eq!(found, expected);
    }
    assert!(broker.stop().await);
}
