//! What is in a log, asked of its broker by librdkafka: the count that every client's own is compared with.

use std::time::Duration;

use gapless_tests::wait::wait_within;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::failure::{During, Failure, Outcome};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sum of the end offsets of a topic's partitions.
pub fn end(address: &str, topic: &str, partitions: i32) -> Outcome<u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set_log_level(RDKafkaLogLevel::Critical);
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        // The API takes times: -1, in place of one, is the end.
        asked.add_partition_offset(topic, partition, Offset::End).during("librdkafka")?;
    }
    // A node of Kafka that has just made a thousand partitions leads them all only after a while.
    let mut last = None;
    let found = wait_within(PATIENCE, || {
        // Another one each time: it keeps what it heard first.
        let asking = config
            .create()
            .and_then(|consumer: BaseConsumer| consumer.offsets_for_times(asked.clone(), PATIENCE));
        asking.map_err(|why| last = Some(why)).ok()
    });
    let found = found.ok_or_else(|| {
        let why = last.map_or_else(String::new, |why| why.to_string());
        Failure(format!("end offsets of {topic}: {why}"))
    })?;
    found.elements().iter().try_fold(0, |sum, element| match element.offset() {
        Offset::Offset(offset) => Ok(sum + offset as u64),
        other => Err(Failure(format!("the end of {topic}-{} is {other:?}", element.partition()))),
    })
}
