//! ListOffsets (key 2), versions 1 to 10.
//!
//! - 1: one offset a partition, with its timestamp.
//! - 2: the isolation level, and the throttle time.
//! - 4: leader epochs (KIP-320).
//! - 5: error 78 (OFFSET_NOT_AVAILABLE).
//! - 6: flexible.
//! - 7: timestamp −3, the record with the largest timestamp (KIP-734).
//! - 8: timestamp −4, the first offset on local disks (KIP-405).
//! - 9: timestamp −5, the last offset in tiered storage (KIP-1005).
//! - 10: a time limit for lookups in tiered storage (KIP-1075).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks for offsets by timestamp.
    request ListOffsetsRequest (ListOffsets, answered by ListOffsetsResponse) {
        /// The replica that asks; −1: a consumer.
        replica_id: i32 [0..],
        /// 0: all records count; 1: only those of committed transactions.
        isolation_level: i8 [2..],
        /// By topic.
        topics: Vec<ListOffsetsTopic> [0..],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 [10.., ignorable],
    }
}

message! {
    /// A topic to look in.
    part ListOffsetsTopic {
        /// Its name.
        name: Text [0..],
        /// By partition.
        partitions: Vec<ListOffsetsPartition> [0..],
    }
}

message! {
    /// A partition to look in.
    part ListOffsetsPartition {
        /// The partition.
        partition_index: i32 [0..],
        /// The leader's generation as the client knows it; −1: not known.
        current_leader_epoch: i32 [4.., ignorable] = -1,
        /// The first record at or after this time in milliseconds; −1: the end of the log, −2: its start.
        timestamp: i64 [0..],
    }
}

message! {
    /// Offsets.
    response ListOffsetsResponse (ListOffsets) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [2.., ignorable],
        /// By topic.
        topics: Vec<ListOffsetsTopicResponse> [0..],
    }
}

message! {
    /// The answers for a topic.
    part ListOffsetsTopicResponse {
        /// Its name.
        name: Text [0..],
        /// By partition.
        partitions: Vec<ListOffsetsPartitionResponse> [0..],
    }
}

message! {
    /// The answer for a partition.
    part ListOffsetsPartitionResponse {
        /// The partition.
        partition_index: i32 [0..],
        /// 0, or why there is no offset.
        error_code: ErrorCode [0..],
        /// The record's time in milliseconds; −1: none.
        timestamp: i64 [1..] = -1,
        /// The offset; −1: there is no such record.
        offset: i64 [1..] = -1,
        /// The leader's generation when the record was written; −1: not known.
        leader_epoch: i32 [4..] = -1,
    }
}
