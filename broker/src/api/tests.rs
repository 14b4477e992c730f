//! Corners of the protocol, asked of a whole broker.

use std::time::Duration;

use gapless_common::{
    channel::Channel,
    error_code::ErrorCode,
    protocol::messages::{
        DescribeClusterRequest, FetchRequest, FetchResponse, MetadataRequest,
        fetch::{FetchPartition, FetchTopic, PartitionData},
        metadata::MetadataRequestTopic,
    },
    types::TopicId,
};

use crate::{
    config::PARTITIONS_MAX,
    testing::{Rig, append, client, create, create_with, delete, in_flight},
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
