//! DescribeLogDirs (key 35), versions 1 to 4.
//!
//! - 1: as 0.
//! - 2: flexible.
//! - 3: an error for the whole request.
//! - 4: size and free room of the device (KIP-827).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks what lies in which log directory.
    request DescribeLogDirsRequest (DescribeLogDirs, answered by DescribeLogDirsResponse) {
        /// By topic; null: all there is.
        topics: Option<Vec<DescribableLogDirTopic>> [0.., nullable 0..] = Some(Vec::new()),
    }
}

message! {
    /// The partitions of a topic.
    part DescribableLogDirTopic {
        /// Its name.
        topic: Text [0..],
        /// Their numbers.
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// The log directories.
    response DescribeLogDirsResponse (DescribeLogDirs) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0..],
        /// 0, or why nothing can be told.
        error_code: ErrorCode [3.., ignorable],
        /// By directory.
        results: Vec<DescribeLogDirsResult> [0..],
    }
}

message! {
    /// A log directory.
    part DescribeLogDirsResult {
        /// 0, or why it is out of service.
        error_code: ErrorCode [0..],
        /// Its path.
        log_dir: Text [0..],
        /// By topic.
        topics: Vec<DescribeLogDirsTopic> [0..],
        /// Bytes of the device; −1: not known.
        total_bytes: i64 [4.., ignorable] = -1,
        /// Bytes of it that may still be used; −1: not known.
        usable_bytes: i64 [4.., ignorable] = -1,
    }
}

message! {
    /// What there is of a topic.
    part DescribeLogDirsTopic {
        /// Its name.
        name: Text [0..],
        /// By partition.
        partitions: Vec<DescribeLogDirsPartition> [0..],
    }
}

message! {
    /// A replica of a partition.
    part DescribeLogDirsPartition {
        /// The partition's number.
        partition_index: i32 [0..],
        /// Bytes of all segments.
        partition_size: i64 [0..],
        /// Records it lies behind.
        offset_lag: i64 [0..],
        /// Whether it will take the place of the present replica.
        is_future_key: bool [0..],
    }
}
