//! CreateTopics (key 19), versions 2 to 7.
//!
//! - 2: the response has the throttle time.
//! - 4: −1 for the broker's default of partitions and replicas (KIP-464).
//! - 5: flexible; the response tells the topic's configuration (KIP-525).
//! - 6: error 89 (THROTTLING_QUOTA_EXCEEDED, KIP-599).
//! - 7: the response has the topic's id.

use crate::error_code::ErrorCode;
use crate::protocol::Text;
use crate::types::TopicId;

message! {
    /// Creates topics.
    request CreateTopicsRequest (CreateTopics, answered by CreateTopicsResponse) {
        /// The topics.
        topics: Vec<CreatableTopic> [0..],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 [0..] = 60_000,
        /// Only say whether they could be created.
        validate_only: bool [1..],
    }
}

message! {
    /// A topic to create.
    part CreatableTopic {
        /// Its name.
        name: Text [0..],
        /// How many partitions; −1: the broker's default, or as many as are assigned.
        num_partitions: i32 [0..],
        /// How many replicas; −1: the broker's default, or as many as are assigned.
        replication_factor: i16 [0..],
        /// Which brokers have which partition; empty: the broker chooses.
        assignments: Vec<CreatableReplicaAssignment> [0..],
        /// What differs from the broker's configuration.
        configs: Vec<CreatableTopicConfig> [0..],
    }
}

message! {
    /// Which brokers have a partition.
    part CreatableReplicaAssignment {
        /// The partition.
        partition_index: i32 [0..],
        /// The brokers.
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    /// A setting.
    part CreatableTopicConfig {
        /// Its name.
        name: Text [0..],
        /// Its value; null: the broker's.
        value: Option<Text> [0.., nullable 0..] = Some(Text::default()),
    }
}

message! {
    /// What became of the topics.
    response CreateTopicsResponse (CreateTopics) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [2.., ignorable],
        /// By topic.
        topics: Vec<CreatableTopicResult> [0..],
    }
}

message! {
    /// The answer for a topic.
    part CreatableTopicResult {
        /// Its name.
        name: Text [0..],
        /// Its id.
        topic_id: TopicId [7.., ignorable],
        /// 0, or why it was not created.
        error_code: ErrorCode [0..],
        /// The same in words.
        error_message: Option<Text> [1.., nullable 0.., ignorable] = Some(Text::default()),
        /// Why the configuration is not told.
        topic_config_error_code: ErrorCode [5.., tag 0, ignorable],
        /// How many partitions it has; −1: not told.
        num_partitions: i32 [5.., ignorable] = -1,
        /// How many replicas; −1: not told.
        replication_factor: i16 [5.., ignorable] = -1,
        /// Its configuration; null: not told.
        configs: Option<Vec<CreatableTopicConfigs>> [5.., nullable 5.., ignorable] = Some(Vec::new()),
    }
}

message! {
    /// A setting of the new topic.
    part CreatableTopicConfigs {
        /// Its name.
        name: Text [5..],
        /// Its value.
        value: Option<Text> [5.., nullable 5..] = Some(Text::default()),
        /// Whether it cannot be changed.
        read_only: bool [5..],
        /// Where the value comes from (Kafka's `DescribeConfigsResponse.ConfigSource`); −1: not known.
        config_source: i8 [5.., ignorable] = -1,
        /// Whether the value is a secret.
        is_sensitive: bool [5..],
    }
}
