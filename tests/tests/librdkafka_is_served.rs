//! librdkafka writes and reads, unmodified: every codec, every acks, with and without idempotence, whatever is in a record.

use gapless_common::records::{Compression, batches};
use gapless_tests::wait::LIMIT;
use gapless_tests::{
    broker::Broker,
    librdkafka::{Delivered, Record, config, consume, consume_with, create_topic, produce},
    raw::RawClient,
};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Records over two partitions with null keys, null and empty values, headers, and text that compresses.
fn mixed(count: usize) -> Vec<Record> {
    (0..count)
        .map(|number| Record {
            partition: (number % 2) as i32,
            key: (number % 3 != 0).then(|| format!("key-{}", number % 7).into_bytes()),
            value: match number % 5 {
                3 => None,
                4 => Some(Vec::new()),
                _ => Some(format!("value {number} ").repeat(1 + number % 40).into_bytes()),
            },
            headers: match number % 4 {
                0 => Vec::new(),
                1 => vec![("trace".to_owned(), Some(number.to_string().into_bytes()))],
                _ => vec![
                    ("twice".to_owned(), Some(b"1".to_vec())),
                    ("twice".to_owned(), None),
                    ("empty".to_owned(), Some(Vec::new())),
                ],
            },
            timestamp_ms: 1_700_000_000_000 + number as i64,
            ..Record::default()
        })
        .collect()
}

/// What was read is what was sent, partition by partition, at offsets without a hole.
fn assert_same(what: &str, sent: &[Record], read: &[Record], partitions: i32) {
    for partition in 0..partitions {
        let sent: Vec<_> = sent.iter().filter(|record| record.partition == partition).collect();
        let read: Vec<_> = read.iter().filter(|record| record.partition == partition).collect();
        assert_eq!(read.len(), sent.len(), "{what}: records in partition {partition}");
        for (offset, (sent, read)) in sent.iter().zip(&read).enumerate() {
            assert_eq!(read.offset, offset as i64, "{what}: partition {partition}");
            assert!(read.same_content(sent), "{what}: {read:?} instead of {sent:?}");
            assert_eq!(read.timestamp_ms, sent.timestamp_ms, "{what}: timestamp at {offset}");
        }
    }
}

fn assert_all_acked(what: &str, delivered: &[Delivered], count: usize) {
    assert_eq!(delivered.len(), count, "{what}");
    let failed = delivered.iter().find(|delivered| delivered.outcome.is_err());
    assert_eq!(failed, None, "{what}");
}

#[test]
fn every_codec_with_and_without_idempotence_comes_back_as_it_went() {
    let broker = Broker::start();
    let records = mixed(500);
    for codec in CODECS {
        for idempotence in ["true", "false"] {
            let what = format!("{codec}-{idempotence}");
            create_topic(broker.address(), &what, 2, &[]);
            let properties =
                [("compression.type", codec), ("enable.idempotence", idempotence), ("linger.ms", "20")];
            let delivered = produce(broker.address(), &what, &properties, &records);
            assert_all_acked(&what, &delivered, records.len());
            assert_same(&what, &records, &consume(broker.address(), &what, 2), 2);

            // It was really compressed: librdkafka leaves a codec out, without a word, when it misses an API.
            let mut client = RawClient::connect(broker.address());
            let (_, bytes) = client.fetch(&what, 0, 0);
            let codecs: Vec<_> = batches(bytes)
                .map(|batch| batch.expect("a whole batch").0.attributes.compression().expect("a known codec"))
                .collect();
            let wanted = Compression::parse(codec).expect("the codecs have the same names");
            assert!(codecs.contains(&wanted), "{what}: {codecs:?}");
        }
    }
}

#[test]
fn acks_0_1_and_all_are_served_under_both_durabilities() {
    for durability in ["fsync", "os"] {
        let broker = Broker::builder().flag("--durability", durability).start();
        let records = mixed(200);
        for acks in ["0", "1", "all"] {
            let topic = format!("acks-{acks}");
            create_topic(broker.address(), &topic, 2, &[]);
            let delivered = produce(
                broker.address(),
                &topic,
                &[("acks", acks), ("enable.idempotence", "false")],
                &records,
            );
            assert_all_acked(&topic, &delivered, records.len());
            // With acks=0 "delivered" means written to the socket: the broker may still be reading it.
            let high = |partition: &str| {
                let labels = [("topic", topic.as_str()), ("partition", partition)];
                broker.metric("gapless_broker_partition_high_watermark", &labels)
            };
            gapless_tests::wait::wait_until("all of it readable", || high("0") + high("1") == 200.0);
            assert_same(&topic, &records, &consume(broker.address(), &topic, 2), 2);
        }
    }
}

#[test]
fn records_of_a_megabyte_are_served() {
    let broker = Broker::start();
    let records: Vec<_> = (0..20_u8)
        .map(|number| Record {
            value: Some(
                (0..1_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ number).collect(),
            ),
            timestamp_ms: 1_700_000_000_000,
            ..Record::default()
        })
        .collect();
    for (topic, properties) in [
        (
            "large",
            [("message.max.bytes", "1048588"), ("enable.idempotence", "true"), ("compression.type", "none")],
        ),
        (
            "large-lz4",
            [("message.max.bytes", "1048588"), ("enable.idempotence", "true"), ("compression.type", "lz4")],
        ),
    ] {
        let delivered = produce(broker.address(), topic, &properties, &records);
        assert_all_acked(topic, &delivered, records.len());
        assert_same(topic, &records, &consume(broker.address(), topic, 1), 1);
        // A consumer whose limits are far below one batch still gets on.
        let small = [
            ("fetch.message.max.bytes", "1000"),
            ("fetch.max.bytes", "1048588"),
            ("message.max.bytes", "1048588"),
        ];
        assert_same(topic, &records, &consume_with(broker.address(), topic, 1, &small), 1);
    }
}

#[test]
fn a_record_over_the_limit_is_refused_and_its_neighbours_are_kept() {
    let broker = Broker::builder().flag("--max-message-bytes", "100000").start();
    let sizes = [10, 200_000, 20];
    let records: Vec<_> =
        sizes.iter().map(|size| Record { value: Some(vec![b'x'; *size]), ..Record::default() }).collect();
    let properties = [("enable.idempotence", "false"), ("batch.num.messages", "1")];
    let delivered = produce(broker.address(), "limited", &properties, &records);
    let outcomes: Vec<_> = delivered.iter().map(|delivered| delivered.outcome).collect();
    assert_eq!(outcomes, [Ok(0), Err(RDKafkaErrorCode::MessageSizeTooLarge), Ok(1)]);
}

#[test]
fn keys_choose_the_partition_and_keep_their_order() {
    let broker = Broker::builder().flag("--partitions", 4).start();
    let records: Vec<_> = (0..1000_u32)
        .map(|number| Record {
            partition: -1,
            key: Some(format!("key-{}", number % 37).into_bytes()),
            value: Some(number.to_string().into_bytes()),
            ..Record::default()
        })
        .collect();
    let delivered = produce(broker.address(), "keyed", &[("enable.idempotence", "true")], &records);
    assert_all_acked("keyed", &delivered, records.len());
    let read = consume(broker.address(), "keyed", 4);
    assert_eq!(read.len(), records.len());
    for key in records.iter().take(37).map(|record| &record.key) {
        let of_key: Vec<_> = read.iter().filter(|record| record.key == *key).collect();
        assert!(of_key.windows(2).all(|pair| pair[0].partition == pair[1].partition));
        let numbers: Vec<u32> = of_key
            .iter()
            .map(|record| {
                String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse().unwrap()
            })
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{key:?}: {numbers:?}");
    }
    assert!((0..4).all(|partition| read.iter().any(|record| record.partition == partition)));
}

#[test]
fn offsets_are_found_by_position_and_by_time() {
    let broker = Broker::start();
    let records: Vec<_> = (0..50_i64)
        .map(|number| Record {
            value: Some(b"timed".to_vec()),
            timestamp_ms: 1_700_000_000_000 + 1000 * number,
            ..Record::default()
        })
        .collect();
    // A batch a record, so that times are told apart.
    for record in &records {
        produce(broker.address(), "timed", &[], std::slice::from_ref(record));
    }
    let mut settings = config(broker.address());
    let consumer: BaseConsumer = settings.set("group.id", "not-used").create().unwrap();
    assert_eq!(consumer.fetch_watermarks("timed", 0, LIMIT).unwrap(), (0, 50));
    for (time, offset) in [
        (0, Offset::Offset(0)),
        (1_700_000_000_000, Offset::Offset(0)),
        (1_700_000_000_001, Offset::Offset(1)),
        (1_700_000_020_000, Offset::Offset(20)),
        (1_700_000_049_001, Offset::End),
    ] {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset("timed", 0, Offset::Offset(time)).unwrap();
        let found = consumer.offsets_for_times(wanted, LIMIT).unwrap();
        assert_eq!(found.elements()[0].offset(), offset, "at {time}");
    }
}

#[test]
fn reading_past_the_end_says_so_and_reading_at_the_end_waits() {
    let broker = Broker::start();
    produce(broker.address(), "short", &[], &[Record { value: Some(b"only".to_vec()), ..Record::default() }]);
    let mut settings = config(broker.address());
    let consumer: BaseConsumer = settings
        .set("group.id", "not-used")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    for (offset, wanted) in [(1, "end"), (99, "out of range")] {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset("short", 0, Offset::Offset(offset)).unwrap();
        consumer.assign(&assignment).unwrap();
        let said = match consumer.poll(LIMIT) {
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(0))) => "end",
            Some(Err(rdkafka::error::KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                "out of range"
            }
            other => panic!("at {offset}: {other:?}"),
        };
        assert_eq!(said, wanted);
    }
}

#[test]
fn topics_are_created_described_and_deleted() {
    let broker = Broker::start();
    create_topic(broker.address(), "made", 3, &[("max.message.bytes", "12345")]);
    let client: AdminClient<DefaultClientContext> = config(broker.address()).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    let metadata = client.inner().fetch_metadata(Some("made"), LIMIT).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let resource = ResourceSpecifier::Topic("made");
    let described = runtime.block_on(client.describe_configs([&resource], &options)).unwrap();
    let limit = described[0].as_ref().unwrap().get("max.message.bytes").and_then(|entry| entry.value.clone());
    assert_eq!(limit.as_deref(), Some("12345"));

    let deleted = runtime.block_on(client.delete_topics(&["made", "absent"], &options)).unwrap();
    assert_eq!(deleted[0], Ok("made".to_owned()));
    assert_eq!(deleted[1], Err(("absent".to_owned(), RDKafkaErrorCode::UnknownTopicOrPartition)));
    let metadata = client.inner().fetch_metadata(None, LIMIT).unwrap();
    assert!(metadata.topics().iter().all(|topic| topic.name() != "made"));
}

#[test]
fn a_topic_that_grows_keeps_its_records_and_takes_more_in_all_of_its_partitions() {
    let mut broker = Broker::start();
    let record = |partition: i32, life: &str| Record {
        partition,
        value: Some(format!("{life} {partition}").into_bytes()),
        ..Record::default()
    };
    create_topic(broker.address(), "growing", 1, &[]);
    produce(broker.address(), "growing", &[], &[record(0, "first")]);
    let client: AdminClient<DefaultClientContext> = config(broker.address()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    for (count, expected) in
        [(3, Ok("growing".to_owned())), (2, Err(("growing".to_owned(), RDKafkaErrorCode::InvalidPartitions)))]
    {
        let wanted = NewPartitions::new("growing", count);
        let grown = runtime.block_on(client.create_partitions([&wanted], &options)).unwrap();
        assert_eq!(grown, [expected]);
    }
    for life in ["second", "third"] {
        let records: Vec<_> = (0..3).map(|partition| record(partition, life)).collect();
        assert_all_acked(life, &produce(broker.address(), "growing", &[], &records), 3);
        broker.restart();
    }
    let read = consume(broker.address(), "growing", 3);
    let of = |partition: i32| -> Vec<_> {
        let of_it = read.iter().filter(|record| record.partition == partition);
        of_it.map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap()).collect()
    };
    assert_eq!(of(0), ["first 0", "second 0", "third 0"]);
    assert_eq!(of(2), ["second 2", "third 2"]);
}

#[test]
fn records_deleted_on_request_stay_deleted() {
    let mut broker = Broker::start();
    let record = |number: usize| Record { value: Some(number.to_string().into_bytes()), ..Record::default() };
    create_topic(broker.address(), "shrinking", 1, &[]);
    produce(broker.address(), "shrinking", &[("linger.ms", "0")], &(0..10).map(record).collect::<Vec<_>>());
    let client: AdminClient<DefaultClientContext> = config(broker.address()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    let mut before = TopicPartitionList::new();
    before.add_partition_offset("shrinking", 0, Offset::Offset(4)).unwrap();
    let deleted = runtime.block_on(client.delete_records(&before, &options)).unwrap();
    let partition = deleted.find_partition("shrinking", 0).unwrap();
    assert_eq!((partition.error(), partition.offset()), (Ok(()), Offset::Offset(4)));
    for _ in 0..2 {
        let asking: BaseConsumer = config(broker.address()).create().unwrap();
        assert_eq!(asking.fetch_watermarks("shrinking", 0, LIMIT).unwrap(), (4, 10));
        let read = consume(broker.address(), "shrinking", 1);
        assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), (4..10).collect::<Vec<_>>());
        broker.restart();
    }
}

#[test]
fn a_topic_deleted_and_created_again_starts_empty() {
    let mut broker = Broker::start();
    let record = Record { value: Some(b"first life".to_vec()), ..Record::default() };
    produce(broker.address(), "phoenix", &[("enable.idempotence", "true")], &[record]);
    let client: AdminClient<DefaultClientContext> = config(broker.address()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    runtime.block_on(client.delete_topics(&["phoenix"], &options)).unwrap()[0].as_ref().unwrap();
    create_topic(broker.address(), "phoenix", 1, &[]);
    let record = Record { value: Some(b"second life".to_vec()), ..Record::default() };
    produce(broker.address(), "phoenix", &[("enable.idempotence", "true")], &[record]);
    for _ in 0..2 {
        let read = consume(broker.address(), "phoenix", 1);
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].offset, read[0].value.as_deref()), (0, Some(&b"second life"[..])));
        broker.restart();
    }
}
