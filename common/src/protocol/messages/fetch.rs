//! Fetch (key 1), versions 4 to 17.
//!
//! - 4: record batches of magic 2, and what transactions need.
//! - 5: log start offsets.
//! - 6: error 56 (KAFKA_STORAGE_ERROR).
//! - 7: fetch sessions (KIP-227).
//! - 9: the client's leader epoch, which fences it (KIP-320).
//! - 10: batches may be compressed with zstd.
//! - 11: the client's rack, and a replica that it should rather ask (KIP-392).
//! - 12: flexible; the client's last epoch, and where the logs diverge.
//! - 13: topics by id instead of name (KIP-516).
//! - 15: the state of a replica that fetches moves to a tagged field (KIP-903).
//! - 16: where the leaders are reached (KIP-951).
//! - 17: the directory of a replica that fetches (KIP-853).

pub use super::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::error_code::ErrorCode;
use crate::protocol::{RecordData, Text};
use crate::types::TopicId;

message! {
    /// Asks for records from offsets on.
    request FetchRequest (Fetch, answered by FetchResponse) {
        /// The cluster that the client thinks it talks to.
        cluster_id: Option<Text> [12.., nullable 12.., tag 0, ignorable],
        /// The replica that asks; −1: a consumer.
        replica_id: i32 [0..=14] = -1,
        /// The same, from version 15 on.
        replica_state: ReplicaState [15.., tag 1],
        /// How long to wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32 [0..],
        /// Answer as soon as there are so many bytes.
        min_bytes: i32 [0..],
        /// Answer with so many bytes at most; the first batch may exceed it.
        max_bytes: i32 [3.., ignorable] = i32::MAX,
        /// 0: read all records; 1: only those of committed transactions.
        isolation_level: i8 [4.., ignorable],
        /// 0: no session.
        session_id: i32 [7.., ignorable],
        /// Place of the request in its session; −1: no session, 0: a new one.
        session_epoch: i32 [7.., ignorable] = -1,
        /// By topic.
        topics: Vec<FetchTopic> [0..],
        /// Partitions that leave the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The client's rack.
        rack_id: Text [11.., ignorable],
    }
}

message! {
    /// Who fetches.
    part ReplicaState {
        /// The replica that asks; −1: a consumer.
        replica_id: i32 [0..] = -1,
        /// Its generation; −1: not known.
        replica_epoch: i64 [0..] = -1,
    }
}

message! {
    /// A topic to fetch from.
    part FetchTopic {
        /// Its name.
        topic: Text [0..=12, ignorable],
        /// Its id.
        topic_id: TopicId [13.., ignorable],
        /// By partition.
        partitions: Vec<FetchPartition> [0..],
    }
}

message! {
    /// A partition to fetch from.
    part FetchPartition {
        /// The partition.
        partition: i32 [0..],
        /// The leader's generation as the client knows it; −1: not known.
        current_leader_epoch: i32 [9.., ignorable] = -1,
        /// The first offset wanted.
        fetch_offset: i64 [0..],
        /// The leader epoch of the client's last record; −1: none.
        last_fetched_epoch: i32 [12..] = -1,
        /// The start of the log of a replica that asks.
        log_start_offset: i64 [5.., ignorable] = -1,
        /// So many bytes at most from this partition; the first batch may exceed it.
        partition_max_bytes: i32 [0..],
        /// The directory of a replica that asks.
        replica_directory_id: TopicId [17.., tag 0, ignorable],
    }
}

message! {
    /// Partitions that leave the session.
    part ForgottenTopic {
        /// The topic's name.
        topic: Text [7..=12, ignorable],
        /// Its id.
        topic_id: TopicId [13.., ignorable],
        /// The partitions.
        partitions: Vec<i32> [7..],
    }
}

message! {
    /// Records.
    response FetchResponse (Fetch) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [1.., ignorable],
        /// 0, or why nothing was fetched.
        error_code: ErrorCode [7.., ignorable],
        /// 0: no session.
        session_id: i32 [7..],
        /// By topic.
        responses: Vec<FetchableTopicResponse> [0..],
        /// Where the leaders named in the partitions are reached.
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }
}

message! {
    /// The answers for a topic.
    part FetchableTopicResponse {
        /// Its name.
        topic: Text [0..=12, ignorable],
        /// Its id.
        topic_id: TopicId [13.., ignorable],
        /// By partition.
        partitions: Vec<PartitionData> [0..],
    }
}

message! {
    /// The answer for a partition.
    part PartitionData {
        /// The partition.
        partition_index: i32 [0..],
        /// 0, or why there are no records.
        error_code: ErrorCode [0..],
        /// The offset up to which records may be read.
        high_watermark: i64 [0..],
        /// The offset before which all transactions are decided; −1: not known.
        last_stable_offset: i64 [4.., ignorable] = -1,
        /// The first offset still in the log; −1: not known.
        log_start_offset: i64 [5.., ignorable] = -1,
        /// Where the client's log parts from the leader's.
        diverging_epoch: EpochEndOffset [12.., tag 0],
        /// The leader, if it is another broker.
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        /// The snapshot that a replica must begin with.
        snapshot_id: SnapshotId [12.., tag 2],
        /// The transactions among the records that were aborted; null: none.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4.., nullable 4.., ignorable] = Some(Vec::new()),
        /// The broker to rather ask; −1: this one.
        preferred_read_replica: i32 [11..] = -1,
        /// Record batches; the last one may be incomplete.
        records: Option<RecordData> [0.., nullable 0..] = Some(RecordData::default()),
    }
}

message! {
    /// The end of an epoch.
    part EpochEndOffset {
        /// The epoch; −1: none.
        epoch: i32 [0..] = -1,
        /// The offset after its last record; −1: none.
        end_offset: i64 [0..] = -1,
    }
}

message! {
    /// A snapshot.
    part SnapshotId {
        /// The offset after its last record; −1: none.
        end_offset: i64 [0..] = -1,
        /// Its epoch; −1: none.
        epoch: i32 [0..] = -1,
    }
}

message! {
    /// A transaction that was aborted.
    part AbortedTransaction {
        /// Its producer.
        producer_id: i64 [4..],
        /// Its first offset.
        first_offset: i64 [4..],
    }
}
