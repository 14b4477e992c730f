//! CreatePartitions (key 37), versions 0 to 3.
//!
//! - 1: as 0.
//! - 2: flexible.
//! - 3: a quota may refuse (KIP-599).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Gives topics more partitions.
    request CreatePartitionsRequest (CreatePartitions, answered by CreatePartitionsResponse) {
        /// By topic.
        topics: Vec<CreatePartitionsTopic> [0..],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 [0..],
        /// Only say whether it could be done.
        validate_only: bool [0..],
    }
}

message! {
    /// A topic.
    part CreatePartitionsTopic {
        /// Its name.
        name: Text [0..],
        /// How many partitions it is to have, those that it has included.
        count: i32 [0..],
        /// Where the replicas of the new ones go, in their order; null: wherever the broker likes.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0.., nullable 0..] = Some(Vec::new()),
    }
}

message! {
    /// Where the replicas of a new partition go.
    part CreatePartitionsAssignment {
        /// The brokers.
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    /// What became of it.
    response CreatePartitionsResponse (CreatePartitions) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0..],
        /// By topic.
        results: Vec<CreatePartitionsTopicResult> [0..],
    }
}

message! {
    /// The answer for a topic.
    part CreatePartitionsTopicResult {
        /// Its name.
        name: Text [0..],
        /// 0, or why it has as many partitions as before.
        error_code: ErrorCode [0..],
        /// The same in words.
        error_message: Option<Text> [0.., nullable 0..],
    }
}
