//! librdkafka's mock cluster: brokers of another make, in this process, that refuse, dawdle, move leaders, go away and come
//! back on demand.
//!
//! It takes what comes without looking at sequences (it does so for transactions only): what reaches it twice is in its log
//! twice, and a batch that overtakes a refused one stays before it. So refusals come in groups of [`PIPELINE`] or more, and
//! connections end where nothing is on its way, or before what is on its way was looked at.

use std::time::Duration;

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

/// Requests that our producer has on its way at most: so many refusals leave none of them behind.
pub const PIPELINE: usize = 5;

/// A cluster; gone when dropped.
pub struct Mock(MockCluster<'static, DefaultProducerContext>);

impl Mock {
    /// Brokers 1, 2, …
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(brokers: i32) -> Self {
        Self(MockCluster::new(brokers).expect("a mock cluster can be started"))
    }

    /// All brokers, separated by commas.
    pub fn addresses(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// # Panics
    /// If it cannot be created.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.0.create_topic(topic, partitions, 1).expect("a topic can be created");
    }

    /// The next Produce requests are refused with these of Kafka's codes, one each, and nothing of them is appended.
    pub fn refuse(&self, codes: &[i16]) {
        self.0.request_errors(RDKafkaApiKey::Produce, &answers(codes));
    }

    /// The same for the producer ids that are asked for.
    pub fn refuse_ids(&self, codes: &[i16]) {
        self.0.request_errors(RDKafkaApiKey::InitProducerId, &answers(codes));
    }

    /// The next Produce requests end their connections instead of being looked at.
    pub fn cut(&self, requests: usize) {
        let cut = [RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT];
        self.0.request_errors(RDKafkaApiKey::Produce, &cut.repeat(requests));
    }

    /// From now on Produce requests are looked at again.
    pub fn relent(&self) {
        self.0.clear_request_errors(RDKafkaApiKey::Produce);
    }

    /// # Panics
    /// If there is no such broker.
    pub fn lead(&self, topic: &str, partition: i32, broker: i32) {
        self.0.partition_leader(topic, partition, Some(broker)).expect("the broker is there");
    }

    /// Ends a broker's connections, and lets none in any more.
    ///
    /// # Panics
    /// If there is no such broker.
    pub fn down(&self, broker: i32) {
        self.0.broker_down(broker).expect("the broker is there");
    }

    /// # Panics
    /// If there is no such broker.
    pub fn up(&self, broker: i32) {
        self.0.broker_up(broker).expect("the broker is there");
    }

    /// All brokers answer so much later.
    ///
    /// # Panics
    /// If librdkafka refuses.
    pub fn dawdle(&self, by: Duration) {
        self.0.broker_round_trip_time(-1, by).expect("there are brokers");
    }
}

fn answers(codes: &[i16]) -> Vec<RDKafkaRespErr> {
    let answer =
        |code: &i16| RDKafkaRespErr::try_from(i32::from(*code)).expect("a code that librdkafka knows");
    codes.iter().map(answer).collect()
}
