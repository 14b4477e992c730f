//! DeleteRecords (key 21), versions 0 to 2.
//!
//! - 1: as 0.
//! - 2: flexible.

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Deletes records from the start of partitions.
    request DeleteRecordsRequest (DeleteRecords, answered by DeleteRecordsResponse) {
        /// By topic.
        topics: Vec<DeleteRecordsTopic> [0..],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 [0..],
    }
}

message! {
    /// The partitions of a topic.
    part DeleteRecordsTopic {
        /// Its name.
        name: Text [0..],
        /// By partition.
        partitions: Vec<DeleteRecordsPartition> [0..],
    }
}

message! {
    /// From where on a partition's records stay.
    part DeleteRecordsPartition {
        /// Its number.
        partition_index: i32 [0..],
        /// The first offset that stays; −1 is the high watermark.
        offset: i64 [0..],
    }
}

message! {
    /// Where the partitions start now.
    response DeleteRecordsResponse (DeleteRecords) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0..],
        /// By topic.
        topics: Vec<DeleteRecordsTopicResult> [0..],
    }
}

message! {
    /// The answers for a topic.
    part DeleteRecordsTopicResult {
        /// Its name.
        name: Text [0..],
        /// By partition.
        partitions: Vec<DeleteRecordsPartitionResult> [0..],
    }
}

message! {
    /// The answer for a partition.
    part DeleteRecordsPartitionResult {
        /// Its number.
        partition_index: i32 [0..],
        /// Its first offset now; −1 with an error.
        low_watermark: i64 [0..],
        /// 0, or why nothing was deleted.
        error_code: ErrorCode [0..],
    }
}
