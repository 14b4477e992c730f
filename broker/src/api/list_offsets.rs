//! ListOffsets (2), versions 1–10: the offset that stands for a time. Special times: −1 the end of what consumers see,
//! −2 the start, −3 the record with the largest timestamp (7+), −4 the start of what is on this disk (8+), −5 the end
//! of what was tiered (9+; nothing is).

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
    types::Offset,
};

use super::reply::Reply;
use super::{ApiError, Incoming, check_leader_epoch};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::UNKNOWN_LEADER_EPOCH,
    ErrorCode::UNSUPPORTED_VERSION,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// The version from which on a special timestamp means something; below, or for one never heard of, `None`.
fn is_served(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        _ => false,
    }
}

pub(super) async fn handle(request: &Incoming, body: ListOffsetsRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    request.admit(body.topics.iter().map(|topic| topic.partitions.len()).sum())?;
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let found = find(request, &topic.name, partition).await;
            partitions.push(found.unwrap_or_else(|code| ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: request.count(code),
                ..Default::default()
            }));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    request.answer(&ListOffsetsResponse { topics, ..Default::default() })
}

async fn find(
    request: &Incoming,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let log = request
        .broker
        .catalogue
        .partition(topic, asked.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_leader_epoch(&log, asked.current_leader_epoch)?;
    if !is_served(asked.timestamp, request.version) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let storage = |error| {
        request.broker.say_of_stranger(|| {
            let ListOffsetsPartition { partition_index, timestamp, .. } = asked;
            format!("{topic}-{partition_index}: looking up timestamp {timestamp} failed: {error}")
        });
        ErrorCode::KAFKA_STORAGE_ERROR
    };
    let (log_start, high_watermark) = log.bounds().map_err(storage)?;
    let found = match asked.timestamp {
        LATEST => Some((high_watermark, -1)),
        EARLIEST | EARLIEST_LOCAL => Some((log_start, -1)),
        LATEST_TIERED => None,
        MAX_TIMESTAMP => log.offset_of_max_timestamp().await.map_err(storage)?,
        timestamp => log.offset_for_timestamp(timestamp).await.map_err(storage)?,
    };
    let Some((offset, timestamp)) = found else {
        return Ok(ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            ..Default::default()
        });
    };
    let Offset(offset_number) = offset;
    Ok(ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: ErrorCode::NONE,
        timestamp,
        offset: offset_number,
        // Not a field below version 4; there it would be refused as a value that cannot be said.
        leader_epoch: if request.version >= 4 { log.leader_epoch_at(offset).0 } else { -1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_are_served_from_their_version_on() {
        for (timestamp, first) in [
            (0, 1),
            (i64::MAX, 1),
            (LATEST, 1),
            (EARLIEST, 1),
            (MAX_TIMESTAMP, 7),
            (EARLIEST_LOCAL, 8),
            (LATEST_TIERED, 9),
        ] {
            assert!(is_served(timestamp, first), "{timestamp}");
            assert_eq!(is_served(timestamp, first - 1), timestamp >= EARLIEST, "{timestamp} below {first}");
        }
        assert!(!is_served(-6, 10));
        assert!(!is_served(i64::MIN, 10));
    }
}
