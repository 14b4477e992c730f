//! DeleteTopics (key 20), versions 1 to 6.
//!
//! - 1: the response has the throttle time.
//! - 3: error 73 (TOPIC_DELETION_DISABLED).
//! - 4: flexible.
//! - 5: the response has a message; error 89 (THROTTLING_QUOTA_EXCEEDED, KIP-599).
//! - 6: topics by name or id.

use crate::error_code::ErrorCode;
use crate::protocol::Text;
use crate::types::TopicId;

message! {
    /// Deletes topics.
    request DeleteTopicsRequest (DeleteTopics, answered by DeleteTopicsResponse) {
        /// The topics, from version 6 on.
        topics: Vec<DeleteTopicState> [6..],
        /// Their names, up to version 5.
        topic_names: Vec<Text> [0..=5, ignorable],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 [0..],
    }
}

message! {
    /// A topic to delete.
    part DeleteTopicState {
        /// Its name; null if it is given by id.
        name: Option<Text> [6.., nullable 6..],
        /// Its id, or [`TopicId::ZERO`] if it is given by name.
        topic_id: TopicId [6..],
    }
}

message! {
    /// What became of the topics.
    response DeleteTopicsResponse (DeleteTopics) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [1.., ignorable],
        /// By topic.
        responses: Vec<DeletableTopicResult> [0..],
    }
}

message! {
    /// The answer for a topic.
    part DeletableTopicResult {
        /// Its name; null if it was given by an id that does not exist.
        name: Option<Text> [0.., nullable 6..] = Some(Text::default()),
        /// Its id.
        topic_id: TopicId [6.., ignorable],
        /// 0, or why it was not deleted.
        error_code: ErrorCode [0..],
        /// The same in words.
        error_message: Option<Text> [5.., nullable 5.., ignorable],
    }
}
