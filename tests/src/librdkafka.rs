//! librdkafka as producer and consumer, without groups.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

use crate::wait::LIMIT;

/// A record as sent or as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Partition.
    pub partition: i32,
    /// Offset; 0 before it is known.
    pub offset: i64,
    /// Key, null or bytes.
    pub key: Option<Vec<u8>>,
    /// Value, null or bytes.
    pub value: Option<Vec<u8>>,
    /// Headers in order, each null or bytes.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Creation time, milliseconds; 0 lets the sender choose.
    pub timestamp_ms: i64,
}

impl Record {
    /// Same content, whatever became of offset and timestamp.
    pub fn same_content(&self, other: &Self) -> bool {
        (&self.key, &self.value, &self.headers) == (&other.key, &other.value, &other.headers)
    }
}

/// A client's configuration for the broker at `address`.
pub fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        // Brokers die on purpose here: come back soon.
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "200")
        .set("broker.address.family", "v4")
        .set_log_level(RDKafkaLogLevel::Critical);
    config
}

/// What librdkafka said of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The number the caller gave it.
    pub number: u64,
    /// Partition.
    pub partition: i32,
    /// Offset if acknowledged, else the error.
    pub outcome: Result<i64, RDKafkaErrorCode>,
}

/// Gathers what becomes of records.
#[derive(Default)]
pub struct Deliveries {
    acked: AtomicU64,
    all: Mutex<Vec<Delivered>>,
}

impl Deliveries {
    /// Records acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Everything so far, in the order in which it was said.
    pub fn all(&self) -> Vec<Delivered> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The context behind [`Sender`].
#[derive(Clone, Default)]
pub struct Gather(Arc<Deliveries>);

impl ClientContext for Gather {
    // Lost connections are part of the tests: not worth a line each.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Gather {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let (message, outcome) = match result {
            Ok(message) => (message, Ok(message.offset())),
            Err((error, message)) => {
                (message, Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)))
            }
        };
        let delivered = Delivered { number: *number, partition: message.partition(), outcome };
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner).push(delivered);
        if outcome.is_ok() {
            self.0.acked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// librdkafka's producer.
pub struct Sender {
    producer: ThreadedProducer<Gather>,
    deliveries: Arc<Deliveries>,
}

impl Sender {
    /// A producer for the broker at `address` with further properties.
    ///
    /// # Panics
    /// If librdkafka refuses a property.
    pub fn new(address: &str, properties: &[(&str, &str)]) -> Self {
        let mut config = config(address);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let gather = Gather::default();
        let deliveries = Arc::clone(&gather.0);
        let producer = config.create_with_context(gather).expect("librdkafka takes the configuration");
        Self { producer, deliveries }
    }

    /// Hands over one record, waiting for room in librdkafka's queue. A negative partition lets its partitioner choose.
    ///
    /// # Panics
    /// If librdkafka refuses the record.
    pub fn send(&self, topic: &str, number: u64, record: &Record) {
        let mut outgoing = BaseRecord::with_opaque_to(topic, Box::new(number));
        outgoing.key = record.key.as_deref();
        outgoing.payload = record.value.as_deref();
        if record.partition >= 0 {
            outgoing.partition = Some(record.partition);
        }
        if record.timestamp_ms != 0 {
            outgoing.timestamp = Some(record.timestamp_ms);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_deref() });
            }
            outgoing.headers = Some(headers);
        }
        let mut unsent: BaseRecord<'_, [u8], [u8], Box<u64>> = outgoing;
        loop {
            match self.producer.send(unsent) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    unsent = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => panic!("librdkafka refuses record {number}: {error}"),
            }
        }
    }

    /// What became of the records so far; lives on after the sender.
    pub fn deliveries(&self) -> Arc<Deliveries> {
        Arc::clone(&self.deliveries)
    }

    /// Waits until every record has its outcome; gives them in the order of acknowledgement.
    ///
    /// # Panics
    /// If that takes longer than the overall limit.
    pub fn finish(self) -> Vec<Delivered> {
        self.producer.flush(LIMIT * 5).expect("every record gets an outcome");
        self.deliveries.all()
    }
}

/// Sends `records` and gives what became of each, in the order of `records`.
///
/// # Panics
/// If librdkafka refuses a property or a record.
pub fn produce(
    address: &str,
    topic: &str,
    properties: &[(&str, &str)],
    records: &[Record],
) -> Vec<Delivered> {
    let sender = Sender::new(address, properties);
    for (number, record) in (0..).zip(records) {
        sender.send(topic, number, record);
    }
    let mut delivered = sender.finish();
    delivered.sort_by_key(|delivered| delivered.number);
    delivered
}

/// Reads `partitions` of `topic` from their beginnings to their ends; records of one partition stay in order.
///
/// # Panics
/// If the broker answers with an error, or checksums are wrong.
pub fn consume(address: &str, topic: &str, partitions: i32) -> Vec<Record> {
    consume_with(address, topic, partitions, &[])
}

/// As [`consume`], with further properties.
///
/// # Panics
/// If the broker answers with an error, or checksums are wrong.
pub fn consume_with(address: &str, topic: &str, partitions: i32, properties: &[(&str, &str)]) -> Vec<Record> {
    let mut config = config(address);
    config
        .set("group.id", "not-used")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    let consumer: BaseConsumer = config.create().expect("librdkafka takes the configuration");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset can be assigned");
    }
    consumer.assign(&assignment).expect("partitions can be assigned");
    let mut read = Vec::new();
    let mut ended = vec![false; usize::try_from(partitions).expect("not negative")];
    while ended.contains(&false) {
        match consumer.poll(LIMIT) {
            Some(Ok(message)) => read.push(record_of(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended[usize::try_from(partition).expect("not negative")] = true;
            }
            // The broker may have been restarted a moment ago.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            ))) => {}
            Some(Err(error)) => panic!("cannot read {topic}: {error}"),
            None => panic!("{topic} was not read to its end within {} s: {ended:?}", LIMIT.as_secs()),
        }
    }
    read
}

fn record_of(message: &impl Message) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
    }
}

/// Creates a topic through librdkafka's administration client.
///
/// # Panics
/// If the broker refuses.
pub fn create_topic(address: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let client: AdminClient<DefaultClientContext> =
        config(address).create().expect("librdkafka takes the configuration");
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let results = runtime.block_on(client.create_topics([&new], &options)).expect("the broker answers");
    for result in results {
        if let Err((name, code)) = result {
            panic!("topic {name} cannot be created: {code}");
        }
    }
}
