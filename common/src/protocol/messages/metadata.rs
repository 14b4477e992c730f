//! Metadata (key 3), versions 0 to 12: brokers, topics, and who leads which partition.
//!
//! - 0: an empty array of topics asks for all of them.
//! - 1: null asks for all, an empty array for none; the response has racks, the controller, and internal topics.
//! - 2: the response has the cluster id.
//! - 3: the response has the throttle time.
//! - 4: the request says whether a topic may be created; below, it always may.
//! - 5: the response has the replicas that are offline.
//! - 7: the response has leader epochs.
//! - 8: authorized operations.
//! - 9: flexible.
//! - 10: topic ids, which only version 12 looks topics up by (KIP-516).
//! - 11: the cluster's authorized operations move to DescribeCluster (KIP-700).
//! - 12: a topic may be asked for by id alone.

use crate::error_code::ErrorCode;
use crate::protocol::Text;
use crate::types::TopicId;

message! {
    /// Asks about topics.
    request MetadataRequest (Metadata, answered by MetadataResponse) {
        /// Null: all topics. In version 0 an empty array says that.
        topics: Option<Vec<MetadataRequestTopic>> [0.., nullable 1..] = Some(Vec::new()),
        /// Whether the broker may create the topics that do not exist.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to say what the client may do with the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to say what the client may do with each topic.
        include_topic_authorized_operations: bool [8..],
    }
}

message! {
    /// A topic asked for.
    part MetadataRequestTopic {
        /// Its id, or [`TopicId::ZERO`] if it is asked for by name.
        topic_id: TopicId [10.., ignorable],
        /// Its name; null if it is asked for by id.
        name: Option<Text> [0.., nullable 10..] = Some(Text::default()),
    }
}

message! {
    /// Brokers and topics.
    response MetadataResponse (Metadata) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [3.., ignorable],
        /// Every broker of the cluster.
        brokers: Vec<MetadataResponseBroker> [0..],
        /// The cluster.
        cluster_id: Option<Text> [2.., nullable 2.., ignorable],
        /// The broker that administration goes to; −1: none.
        controller_id: i32 [1.., ignorable] = -1,
        /// The topics asked for.
        topics: Vec<MetadataResponseTopic> [0..],
        /// What the client may do with the cluster, a bit each; the smallest number: not asked for.
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
    }
}

message! {
    /// A broker.
    part MetadataResponseBroker {
        /// Its id.
        node_id: i32 [0..],
        /// Name or address.
        host: Text [0..],
        /// Port.
        port: i32 [0..],
        /// Its rack, if it has one.
        rack: Option<Text> [1.., nullable 1.., ignorable],
    }
}

message! {
    /// A topic.
    part MetadataResponseTopic {
        /// 0, or why it cannot be told about.
        error_code: ErrorCode [0..],
        /// Its name; null if it was asked for by an id that does not exist.
        name: Option<Text> [0.., nullable 12..] = Some(Text::default()),
        /// Its id.
        topic_id: TopicId [10.., ignorable],
        /// Whether it is one of Kafka's own.
        is_internal: bool [1.., ignorable],
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition> [0..],
        /// What the client may do with it, a bit each; the smallest number: not asked for.
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }
}

message! {
    /// A partition.
    part MetadataResponsePartition {
        /// 0, or why it cannot be used.
        error_code: ErrorCode [0..],
        /// Its number.
        partition_index: i32 [0..],
        /// The broker that leads it; −1: none.
        leader_id: i32 [0..],
        /// Generation of its leadership; −1: not known.
        leader_epoch: i32 [7.., ignorable] = -1,
        /// Brokers that have it.
        replica_nodes: Vec<i32> [0..],
        /// Those in sync.
        isr_nodes: Vec<i32> [0..],
        /// Those offline.
        offline_replicas: Vec<i32> [5.., ignorable],
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::MetadataRequest;
    use crate::protocol::{Decoder, Message};

    #[test]
    fn a_request_for_all_topics_by_librdkafka_is_understood_with_its_three_bytes_too_many() {
        // The null array in four bytes instead of one, then "create: yes", "operations: no" and no tags; read from the left
        // that is the null array, two times no, no tags, and three bytes more.
        let mut input = Decoder::new(Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]));
        assert_eq!(MetadataRequest::decode(&mut input, 12).unwrap().topics, None);
        let mut longer = Decoder::new(Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0, 0]));
        assert!(MetadataRequest::decode(&mut longer, 12).is_err());
    }
}
