//! OffsetForLeaderEpoch (23), versions 2–4: where a leader epoch ended. Consumers ask after a reconnect, to learn
//! whether what they read was cut off behind their back (KIP-320).

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult},
    },
    types::LeaderEpoch,
};

use super::reply::Reply;
use super::{ApiError, Incoming, check_leader_epoch};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::UNKNOWN_LEADER_EPOCH,
    // Of a quarantined partition, where that is not known.
    ErrorCode::KAFKA_STORAGE_ERROR,
];

pub(super) fn handle(request: &Incoming, body: OffsetForLeaderEpochRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    request.admit(body.topics.iter().map(|topic| topic.partitions.len()).sum())?;
    let topics = body
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderTopicResult {
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    end_of_epoch(request, &topic.topic, partition).unwrap_or_else(|code| EpochEndOffset {
                        error_code: request.count(code),
                        partition: partition.partition,
                        ..Default::default()
                    })
                })
                .collect(),
            topic: topic.topic,
        })
        .collect();
    request.answer(&OffsetForLeaderEpochResponse { topics, ..Default::default() })
}

fn end_of_epoch(
    request: &Incoming,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let log = request
        .broker
        .catalogue
        .partition(topic, asked.partition)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_leader_epoch(&log, asked.current_leader_epoch)?;
    let known = log.end_offset_for_epoch(LeaderEpoch(asked.leader_epoch));
    let (epoch, end) = known.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
    Ok(EpochEndOffset {
        error_code: ErrorCode::NONE,
        partition: asked.partition,
        leader_epoch: epoch.0,
        end_offset: end.0,
    })
}
