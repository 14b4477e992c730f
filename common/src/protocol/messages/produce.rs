//! Produce (key 0), versions 3 to 13.
//!
//! - 3: record batches of magic 2, and the transactional id.
//! - 4: error 56 (KAFKA_STORAGE_ERROR).
//! - 5: the response has the log start offset.
//! - 7: batches may be compressed with zstd.
//! - 8: the response names the records that spoilt a batch, and has a message (KIP-467).
//! - 9: flexible.
//! - 10: the response names the leader, for a client that asked the wrong broker (KIP-951).
//! - 11: error 120 (TRANSACTION_ABORTABLE).
//! - 12: partitions join their transaction by being produced to (KIP-890).
//! - 13: topics by id instead of name (KIP-516).

pub use super::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::error_code::ErrorCode;
use crate::protocol::{RecordData, Text};
use crate::types::TopicId;

message! {
    /// Appends batches to partitions.
    request ProduceRequest (Produce, answered by ProduceResponse) {
        /// Null: no transaction.
        transactional_id: Option<Text> [3.., nullable 3..],
        /// Who must have the batch before the answer: −1 all in-sync replicas, 1 the leader, 0 no one, and no answer.
        acks: i16 [0..],
        /// How long the broker may wait for that, in milliseconds.
        timeout_ms: i32 [0..],
        /// By topic.
        topic_data: Vec<TopicData> [0..],
    }
}

message! {
    /// The batches for a topic.
    part TopicData {
        /// The topic.
        name: Text [0..=12, ignorable],
        /// Its id.
        topic_id: TopicId [13.., ignorable],
        /// By partition.
        partition_data: Vec<PartitionData> [0..],
    }
}

message! {
    /// The batch for a partition.
    part PartitionData {
        /// The partition.
        index: i32 [0..],
        /// One record batch.
        records: Option<RecordData> [0.., nullable 0..] = Some(RecordData::default()),
    }
}

message! {
    /// What became of the batches.
    response ProduceResponse (Produce) {
        /// By topic.
        responses: Vec<TopicResponse> [0..],
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [1.., ignorable],
        /// Where the leaders named in the partitions are reached.
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }
}

message! {
    /// The answers for a topic.
    part TopicResponse {
        /// The topic.
        name: Text [0..=12, ignorable],
        /// Its id.
        topic_id: TopicId [13.., ignorable],
        /// By partition.
        partition_responses: Vec<PartitionResponse> [0..],
    }
}

message! {
    /// The answer for a partition.
    part PartitionResponse {
        /// The partition.
        index: i32 [0..],
        /// 0, or why nothing was appended.
        error_code: ErrorCode [0..],
        /// The offset of the batch's first record; −1 if there is none.
        base_offset: i64 [0..],
        /// The broker's time of the append if the topic's timestamps are those, else −1; milliseconds.
        log_append_time_ms: i64 [2.., ignorable] = -1,
        /// The first offset still in the log; −1: not known.
        log_start_offset: i64 [5.., ignorable] = -1,
        /// The records that spoilt the batch.
        record_errors: Vec<BatchIndexAndErrorMessage> [8.., ignorable],
        /// What is wrong with the batch as a whole.
        error_message: Option<Text> [8.., nullable 8.., ignorable],
        /// The leader, if it is another broker.
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }
}

message! {
    /// A record that spoilt its batch.
    part BatchIndexAndErrorMessage {
        /// Its position in the batch, from 0.
        batch_index: i32 [8..],
        /// What is wrong with it.
        batch_index_error_message: Option<Text> [8.., nullable 8..],
    }
}
