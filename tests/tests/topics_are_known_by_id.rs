//! From Produce version 13 on a batch names its topic by id: a topic that is deleted and created again gets nothing that was
//! meant for its old self, neither from a request on its way nor from a producer that has not heard of it.

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{DeleteTopicsRequest, MetadataRequest, metadata::MetadataRequestTopic},
    types::TopicId,
};
use gapless_producer::{Cause, DeliveryError, Producer, Record, Resume};
use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    load::runtime,
    raw::{RawClient, produce_request},
};

const BY_ID: i16 = 13;

fn id_of(client: &mut RawClient, topic: &str) -> TopicId {
    let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![wanted]), ..MetadataRequest::default() };
    client.call(&request, 12).topics[0].topic_id
}

/// Deletes the topic and creates another of its name; gives both ids.
fn make_anew(client: &mut RawClient, topic: &str) -> (TopicId, TopicId) {
    let old = id_of(client, topic);
    let request =
        DeleteTopicsRequest { topic_names: vec![topic.into()], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.call(&request, 5).responses[0].error_code, ErrorCode::NONE);
    client.create_topic(topic);
    (old, id_of(client, topic))
}

/// Sends one record by the topic's id; gives error and offset.
fn send(client: &mut RawClient, id: TopicId, stamp: Stamp) -> (ErrorCode, i64) {
    let mut request = produce_request("", 0, batch(&[b"record"], Some(stamp)));
    request.topic_data[0].topic_id = id;
    let response = client.call(&request, BY_ID);
    assert_eq!(response.responses[0].topic_id, id, "the answer calls the topic as the request did");
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

#[test]
fn an_old_id_is_refused_and_the_new_one_is_another_topic() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("events");
    let (producer, epoch) = client.init_producer_id();
    let at = |sequence| Stamp { id: producer, epoch, sequence };
    let first = id_of(&mut client, "events");
    assert_eq!(send(&mut client, first, at(0)), (ErrorCode::NONE, 0));
    assert_eq!(send(&mut client, first, at(0)), (ErrorCode::NONE, 0), "a repeat");
    assert_eq!(send(&mut client, TopicId([7; 16]), at(1)).0, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(send(&mut client, TopicId::ZERO, at(1)).0, ErrorCode::UNKNOWN_TOPIC_ID);

    let (old, new) = make_anew(&mut client, "events");
    assert_eq!(old, first);
    assert_ne!(old, new);
    assert_eq!(send(&mut client, old, at(1)).0, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(client.end_offset("events", 0), 0);
    assert_eq!(send(&mut client, new, at(0)), (ErrorCode::NONE, 0));
}

#[test]
fn our_producer_writes_nothing_into_the_successor_until_its_caller_resumes() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("events");
    runtime().block_on(async {
        // Without sequences, so that nothing but the id stands in the way.
        let producer = Producer::builder()
            .bootstrap_servers(broker.address())
            .idempotence(false)
            .build()
            .await
            .expect("the broker is there");
        let sender = &producer;
        let send = |value: &'static str| async move {
            sender.send(Record::new("events").value(value)).await.expect("there is room").await
        };
        send("for the old one").await.expect("all is well");
        let (old, new) = make_anew(&mut client, "events");
        let Err(DeliveryError::NotWritten(failure)) = send("for the old one, too").await else {
            panic!("it cannot be written to a topic that is gone");
        };
        assert_eq!(*failure.cause, Cause::TopicRecreated { old, new });
        assert_eq!(client.end_offset("events", 0), 0);
        producer.resume("events", 0, 1, Resume::Skip).await.expect("it is halted");
        send("for the new one").await.expect("all is well");
    });
    assert_eq!(client.fetch_all("events", 0), [(0, b"for the new one".to_vec())]);
}
