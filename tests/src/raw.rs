//! A bare socket that speaks Kafka: requests one by one, right and wrong, and what comes back.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use bytes::Bytes;
use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Part, RecordData, Request, Text, decode_response, encode_request_frame,
        messages::{
            CreateTopicsRequest, DeleteRecordsRequest, FetchRequest, InitProducerIdRequest,
            ListOffsetsRequest, MetadataRequest, ProduceRequest,
            create_topics::CreatableTopic,
            delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
            fetch::{FetchPartition, FetchTopic},
            list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
            metadata::MetadataRequestTopic,
            produce::{PartitionData, PartitionResponse, TopicData},
        },
    },
    records::{batches, iterate},
};

use crate::wait::{LIMIT, wait_for};

/// A connection.
pub struct RawClient {
    stream: TcpStream,
    correlation_id: i32,
}

/// A record as fetched: offset and value.
pub type Fetched = (i64, Vec<u8>);

/// Far more than any test's batch expands to.
const DECOMPRESSED_MAX: usize = 256 << 20;

impl RawClient {
    /// Connects to `HOST:PORT`.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a socket takes its options");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket takes its options");
        Self { stream, correlation_id: 0 }
    }

    /// Writes bytes as they are. The broker may have closed already: an error is returned, not raised.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request and does not wait; gives its correlation id.
    ///
    /// # Panics
    /// If it cannot be encoded or sent.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.correlation_id += 1;
        let bytes = frame(self.correlation_id, request, version);
        self.write(&bytes).expect("the broker takes the request");
        self.correlation_id
    }

    /// The next response, which must answer this request.
    ///
    /// # Panics
    /// If none comes, or another.
    pub fn receive<R: Request>(&mut self, correlation_id: i32, version: i16) -> R::Response {
        let frame = self.read_frame().expect("a response");
        let (answered, response) = decode_response::<R>(frame, version)
            .unwrap_or_else(|error| panic!("the response cannot be read: {error}"));
        assert_eq!(answered, correlation_id, "responses come in the order of their requests");
        response
    }

    /// Sends a request and waits for its response.
    ///
    /// # Panics
    /// If none comes.
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let id = self.send(request, version);
        self.receive::<R>(id, version)
    }

    /// The next frame without its length.
    ///
    /// # Errors
    /// If the connection ends, or nothing comes within the overall limit.
    pub fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Waits until the broker closes; gives what it sent before that.
    ///
    /// # Panics
    /// If it keeps the connection open.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            // Closed with our bytes unread: as good as an end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the broker kept the connection open: {error}"),
        }
    }

    /// Waits until the broker closes, which must happen without a byte from it.
    ///
    /// # Panics
    /// If it answers or keeps the connection open.
    pub fn assert_closed(&mut self, why: &str) {
        let said = self.read_to_end();
        assert!(said.is_empty(), "{why}: closed, but only after {said:?}");
    }

    /// Creates the topic by asking for it, as clients do, and waits until it has a leader.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn create_topic(&mut self, topic: &str) {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![wanted]), ..MetadataRequest::default() };
        wait_for(&format!("a leader of {topic}"), || {
            let response = self.call(&request, 9);
            (response.topics.first()?.error_code == ErrorCode::NONE).then_some(())
        });
    }

    /// Asks for a topic with so many partitions; the answer's code.
    ///
    /// # Panics
    /// If there is no answer for the topic.
    pub fn try_create_topic(&mut self, topic: &str, partitions: i32) -> ErrorCode {
        let wanted = CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![wanted],
            timeout_ms: 60_000,
            ..CreateTopicsRequest::default()
        };
        self.call(&request, 5).topics.first().expect("an answer for the topic").error_code
    }

    /// A new producer id, with its epoch.
    ///
    /// # Panics
    /// If the broker gives none.
    pub fn init_producer_id(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        wait_for("a producer id", || {
            let response = self.call(&request, 4);
            (response.error_code == ErrorCode::NONE)
                .then_some((response.producer_id, response.producer_epoch))
        })
    }

    /// Sends one batch with acks=all and gives the partition's answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Vec<u8>) -> PartitionResponse {
        let mut response = self.call(&produce_request(topic, partition, batch), 9);
        let mut topic = response.responses.pop().expect("an answer for the topic");
        topic.partition_responses.pop().expect("an answer for the partition")
    }

    /// Deletes the records of a partition below an offset (−1: all). The first one that is left.
    ///
    /// # Errors
    /// The partition's error.
    ///
    /// # Panics
    /// If there is no answer for the partition.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64, ErrorCode> {
        let wanted = DeleteRecordsPartition { partition_index: partition, offset };
        let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![wanted] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 };
        let mut response = self.call(&request, 2);
        let mut topic = response.topics.pop().expect("an answer for the topic");
        let partition = topic.partitions.pop().expect("an answer for the partition");
        if partition.error_code == ErrorCode::NONE {
            Ok(partition.low_watermark)
        } else {
            Err(partition.error_code)
        }
    }

    /// Reads a partition from its start to its high watermark: offset and value of each record.
    ///
    /// # Panics
    /// If the broker answers with an error or sends what is no batch.
    pub fn fetch_all(&mut self, topic: &str, partition: i32) -> Vec<Fetched> {
        let mut read: Vec<Fetched> = Vec::new();
        let mut next = 0;
        loop {
            let (high_watermark, records) = self.fetch(topic, partition, next);
            for batch in batches(records) {
                let (_, batch) = batch.expect("a whole batch");
                for record in iterate(batch, DECOMPRESSED_MAX).expect("a batch that can be read") {
                    let record = record.expect("a record that can be read");
                    if record.offset.0 >= next {
                        read.push((record.offset.0, record.value.unwrap_or_default().to_vec()));
                        next = record.offset.0 + 1;
                    }
                }
            }
            if next >= high_watermark {
                return read;
            }
        }
    }

    /// One fetch from an offset on: high watermark and record bytes.
    ///
    /// # Panics
    /// If the broker answers with an error.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> (i64, Bytes) {
        self.try_fetch(topic, partition, offset)
            .unwrap_or_else(|code| panic!("fetch of {topic}-{partition} at {offset}: {code:?}"))
    }

    /// As [`RawClient::fetch`].
    ///
    /// # Errors
    /// The partition's error.
    ///
    /// # Panics
    /// If there is no answer for the partition.
    pub fn try_fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(i64, Bytes), ErrorCode> {
        let wanted = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: topic.into(), partitions: vec![wanted], ..FetchTopic::default() };
        let request =
            FetchRequest { max_wait_ms: 0, min_bytes: 0, topics: vec![topic], ..FetchRequest::default() };
        let mut response = self.call(&request, 11);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let mut topic = response.responses.pop().expect("an answer for the topic");
        let partition = topic.partitions.pop().expect("an answer for the partition");
        if partition.error_code != ErrorCode::NONE {
            return Err(partition.error_code);
        }
        let records = match partition.records {
            Some(RecordData::Memory(bytes)) => bytes,
            _ => Bytes::new(),
        };
        Ok((partition.high_watermark, records))
    }

    /// The offset that ListOffsets gives for a timestamp (−1: the end, −2: the start).
    ///
    /// # Panics
    /// If the broker answers with an error.
    pub fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let wanted =
            ListOffsetsPartition { partition_index: partition, timestamp, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![wanted] };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let response = self.call(&request, 5);
        let partition = &response.topics.first().expect("an answer for the topic").partitions[0];
        assert_eq!(partition.error_code, ErrorCode::NONE, "offset at {timestamp}");
        partition.offset
    }

    /// The offset that the next record will get.
    ///
    /// # Panics
    /// If the broker does not say.
    pub fn end_offset(&mut self, topic: &str, partition: i32) -> i64 {
        self.offset_at(topic, partition, -1)
    }
}

/// A Produce request of one batch with acks=all.
pub fn produce_request(topic: &str, partition: i32, batch: Vec<u8>) -> ProduceRequest {
    let records = Some(RecordData::Memory(batch.into()));
    let partition = PartitionData { index: partition, records };
    let topic = TopicData { name: topic.into(), partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// A whole request frame, with its length.
///
/// # Panics
/// If the request cannot be encoded in this version.
pub fn frame<R: Request>(correlation_id: i32, request: &R, version: i16) -> Vec<u8> {
    let client_id = Text::from_static("raw");
    let parts = encode_request_frame(correlation_id, Some(&client_id), request, version)
        .unwrap_or_else(|error| panic!("{} cannot be encoded: {error}", R::NAME));
    parts
        .iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::External { .. } => panic!("a request's records are in memory"),
        })
        .collect()
}
