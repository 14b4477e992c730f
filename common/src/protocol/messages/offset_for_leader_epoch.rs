//! OffsetForLeaderEpoch (key 23), versions 2 to 4.
//!
//! - 2: the client's leader epoch, which fences it (KIP-320); the response has the throttle time.
//! - 3: who asks.
//! - 4: flexible.

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks where epochs end.
    request OffsetForLeaderEpochRequest (OffsetForLeaderEpoch, answered by OffsetForLeaderEpochResponse) {
        /// The replica that asks; −1: a consumer; −2: one for debugging.
        replica_id: i32 [3.., ignorable] = -2,
        /// By topic.
        topics: Vec<OffsetForLeaderTopic> [0..],
    }
}

message! {
    /// A topic to look in.
    part OffsetForLeaderTopic {
        /// Its name.
        topic: Text [0..],
        /// By partition.
        partitions: Vec<OffsetForLeaderPartition> [0..],
    }
}

message! {
    /// A partition to look in.
    part OffsetForLeaderPartition {
        /// The partition.
        partition: i32 [0..],
        /// The leader's generation as the client knows it; −1: not known.
        current_leader_epoch: i32 [2.., ignorable] = -1,
        /// The epoch whose end is asked for.
        leader_epoch: i32 [0..],
    }
}

message! {
    /// The ends of the epochs.
    response OffsetForLeaderEpochResponse (OffsetForLeaderEpoch) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [2.., ignorable],
        /// By topic.
        topics: Vec<OffsetForLeaderTopicResult> [0..],
    }
}

message! {
    /// The answers for a topic.
    part OffsetForLeaderTopicResult {
        /// Its name.
        topic: Text [0..],
        /// By partition.
        partitions: Vec<EpochEndOffset> [0..],
    }
}

message! {
    /// The answer for a partition.
    part EpochEndOffset {
        /// 0, or why the end is not known.
        error_code: ErrorCode [0..],
        /// The partition.
        partition: i32 [0..],
        /// The largest epoch in the log that does not exceed the one asked for; −1: none.
        leader_epoch: i32 [1.., ignorable] = -1,
        /// The offset after its last record; −1: none.
        end_offset: i64 [0..] = -1,
    }
}
