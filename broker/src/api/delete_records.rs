//! DeleteRecords (21), versions 0–2: a partition starts later from now on. What lies below is unlinked afterwards, in whole
//! segments.

use std::sync::Arc;

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{
        DeleteRecordsRequest, DeleteRecordsResponse,
        delete_records::{DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    },
    types::Offset,
};

use super::reply::Reply;
use super::{ApiError, Incoming};
use crate::log::retention::RetentionLimits;

pub(super) const ERRORS: &[ErrorCode] =
    &[ErrorCode::OFFSET_OUT_OF_RANGE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::KAFKA_STORAGE_ERROR];

/// Everything that consumers see.
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle(request: &Incoming, body: DeleteRecordsRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    request.admit(body.topics.iter().map(|topic| topic.partitions.len()).sum())?;
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = delete(request, &topic.name, partition).await;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: deleted.map_or(-1, |start| start.0),
                error_code: request.count(deleted.err().unwrap_or(ErrorCode::NONE)),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    request.answer(&DeleteRecordsResponse { topics, ..Default::default() })
}

/// Where the partition starts now.
async fn delete(
    request: &Incoming,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    let DeleteRecordsPartition { partition_index, offset } = *asked;
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let found = request.broker.catalogue.by_name(topic).ok_or(unknown)?;
    let log = found.partition(partition_index).ok_or(unknown)?;
    let before = (offset != HIGH_WATERMARK).then_some(Offset(offset));
    let start = log.delete_records(before).await.map_err(|refusal| {
        request.broker.say_of_stranger(|| {
            format!("{topic}-{partition_index}: records below {offset} were not deleted: {refusal}")
        });
        refusal.code
    })?;
    // What is too old or too much is for the regular check, which knows whether the clock can be believed.
    let limits = RetentionLimits { ms: None, bytes: None, ..found.config.retention() };
    let (log, now_ms) = (Arc::clone(log), request.broker.seams.wall_clock.now_ms());
    request.broker.seams.spawner.spawn(async move {
        if let Err(error) = log.retain(&limits, now_ms).await {
            tracing::warn!("what lies below the start of a log was not unlinked yet: {error}");
        }
    });
    tracing::info!("{topic}-{partition_index}: records were deleted on request; the log starts at {start}");
    Ok(start)
}
