//! Produce (0), versions 3–13: appends one batch to each of some partitions.
//!
//! - 5: the response has the log start offset.
//! - 7: zstd is allowed.
//! - 8: the response has a message for each partition.
//! - 13: topics by id, so that what was meant for a topic never lands in another that has its name now.
//!
//! acks=0 is not answered: an error closes the connection. acks=1 is answered when the batch is in the page cache,
//! acks=all when the high watermark has passed it, which under `--durability fsync` means the disk; a duplicate is
//! answered no earlier than its original.

use std::{sync::Arc, time::Duration};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        self, Text,
        messages::{
            ProduceRequest, ProduceResponse,
            produce::{PartitionData, PartitionResponse, TopicResponse},
        },
    },
    records::{self, BatchHeader, BatchLimits, Compression},
    seeded_bug::{self, SeededBug},
    types::{Offset, TopicId},
};
use tokio::time::{Instant, timeout_at};

use super::{ApiError, Incoming};
use crate::{
    api::reply::{Reply, in_memory},
    log::{AppendPolicy, Appended, PartitionLog, Refusal},
    topics::{Topic, TopicConfig, names},
};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::CORRUPT_MESSAGE,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::RECORD_LIST_TOO_LARGE,
    ErrorCode::INVALID_REQUIRED_ACKS,
    ErrorCode::INVALID_TIMESTAMP,
    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode::INVALID_PRODUCER_EPOCH,
    ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
    ErrorCode::INVALID_RECORD,
    ErrorCode::UNKNOWN_TOPIC_ID,
];

/// The first version that allows zstd (KIP-110).
const ZSTD_VERSION: i16 = 7;
/// Topics are given by id from this version on (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    None,
    Leader,
    All,
}

/// A partition whose answer waits for the high watermark, and where that answer stands.
struct Waiting {
    log: Arc<PartitionLog>,
    until: Offset,
    topic: usize,
    partition: usize,
}

pub(super) async fn handle(mut request: Incoming, body: ProduceRequest) -> Result<Reply, ApiError> {
    request.admit(body.topic_data.len())?;
    request.admit(body.topic_data.iter().map(|topic| topic.partition_data.len()).sum())?;
    let acks = match body.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let transactional = body.transactional_id.is_some();
    let mut responses = Vec::with_capacity(body.topic_data.len());
    let mut waiting = Vec::new();
    for topic in body.topic_data {
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        let found = find(&request, &topic.name, topic.topic_id);
        for data in topic.partition_data {
            let index = data.index;
            let result = if acks.is_none() {
                Err(Refusal::new(
                    ErrorCode::INVALID_REQUIRED_ACKS,
                    format!("acks={} is none of -1 (all), 1 and 0", body.acks),
                ))
            } else if transactional {
                Err(Refusal::new(
                    ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    "transactions are not served; send without a transactional id",
                ))
            } else {
                match &found {
                    Ok(topic) => append(&request, topic, data).await,
                    Err((code, why)) => Err(Refusal::new(*code, why.clone())),
                }
            };
            let response = match result {
                Ok((log, appended)) => {
                    let early = if appended.duplicate {
                        SeededBug::AnswerDuplicateBeforeFlush
                    } else {
                        SeededBug::AcknowledgeBeforeFlush
                    };
                    if acks == Some(Acks::All)
                        && log.high_watermark() < appended.durable_when
                        && !seeded_bug::is_on(early)
                    {
                        waiting.push(Waiting {
                            log,
                            until: appended.durable_when,
                            topic: responses.len(),
                            partition: partition_responses.len(),
                        });
                    }
                    success(index, &appended)
                }
                Err(refusal) => refused(&request, index, refusal),
            };
            partition_responses.push(response);
        }
        responses.push(TopicResponse { name: topic.name, topic_id: topic.topic_id, partition_responses });
    }
    if acks == Some(Acks::None) {
        return Ok(unanswered(responses));
    }
    let mut response = ProduceResponse { responses, ..Default::default() };
    if waiting.is_empty() {
        return request.answer(&response);
    }
    // The records are in the page cache, and a name is all that would keep the frame in memory.
    for topic in &mut response.responses {
        topic.name = topic.name.detached();
    }
    request.charge.give_back();
    let deadline = request.received + Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0));
    Ok(Reply::Later(Box::pin(async move {
        wait_until_durable(&request, &mut response, waiting, deadline).await;
        match protocol::encode_response_frame(request.api, request.version, request.correlation_id, &response)
        {
            Ok(parts) => in_memory(parts),
            // The same response without the wait would have been encoded; there is nothing in it that could fail.
            Err(error) => {
                tracing::error!("a produce response cannot be encoded: {error}");
                Vec::new()
            }
        }
    })))
}

/// The topic, by what this version calls it; or how a client is told that there is none.
fn find(request: &Incoming, name: &str, id: TopicId) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let catalogue = &request.broker.catalogue;
    if request.version >= TOPIC_ID_VERSION {
        return catalogue
            .by_id(id)
            .ok_or_else(|| (ErrorCode::UNKNOWN_TOPIC_ID, format!("there is no topic with id {id}")));
    }
    catalogue.by_name(name).ok_or_else(|| {
        let why = format!("there is no topic {}", names::for_log(name));
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why)
    })
}

async fn append(
    request: &Incoming,
    topic: &Topic,
    data: PartitionData,
) -> Result<(Arc<PartitionLog>, Appended), Refusal> {
    let log = topic.partition(data.index).ok_or_else(|| {
        let why = format!("there is no partition {}-{}", topic.name, data.index);
        Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why)
    })?;
    let batch = data.records.as_ref().and_then(protocol::RecordData::memory).cloned().unwrap_or_default();
    let header = match records::validate_from_client(&batch, &BatchLimits::default()) {
        Ok(header) => header,
        Err(error) => {
            let refusal = Refusal::new(error.error_code(), error.to_string());
            // Told to the log as well: what was refused here must not be followed by what comes behind it.
            if let Ok(header) = BatchHeader::parse(&batch) {
                log.refuse(&header).await;
            }
            return Err(refusal);
        }
    };
    let now_ms = request.broker.seams.wall_clock.now_ms();
    let version = request.version;
    let policy = AppendPolicy {
        now_ms,
        log_append_time: topic.config.log_append_time,
        check: &|header: &BatchHeader| check(&topic.name, &topic.config, header, now_ms, version),
    };
    let appended = log.append(batch, &header, &policy).await?;
    let metrics = &request.broker.metrics;
    if appended.duplicate {
        metrics.batches_duplicate.increment(1);
    } else {
        metrics.appended_batches.increment(1);
        metrics.appended_records.increment(u64::try_from(header.record_count).unwrap_or(0));
        metrics.appended_bytes.increment(header.total_size() as u64);
    }
    Ok((Arc::clone(log), appended))
}

/// What a topic's configuration and the request's version demand of a batch that is new; a duplicate is not asked.
fn check(
    topic: &Text,
    config: &TopicConfig,
    header: &BatchHeader,
    now_ms: i64,
    version: i16,
) -> Result<(), Refusal> {
    let size = header.total_size();
    if size > config.max_message_bytes as usize {
        return Err(Refusal::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!(
                "batch of {size} bytes exceeds max.message.bytes {} of topic {topic}; raise it or lower --batch-size",
                config.max_message_bytes
            ),
        ));
    }
    if size > config.segment_bytes as usize {
        return Err(Refusal::new(
            ErrorCode::RECORD_LIST_TOO_LARGE,
            format!(
                "batch of {size} bytes exceeds segment.bytes {} of topic {topic}; raise it or lower --batch-size",
                config.segment_bytes
            ),
        ));
    }
    if version < ZSTD_VERSION && matches!(header.attributes.compression(), Ok(Compression::Zstd)) {
        return Err(Refusal::new(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            format!(
                "zstd needs Produce version {ZSTD_VERSION}, the request has {version}; use a newer client"
            ),
        ));
    }
    let ahead_ms = header.max_timestamp.saturating_sub(now_ms);
    if !config.log_append_time && ahead_ms > config.timestamp_after_max_ms {
        return Err(Refusal::new(
            ErrorCode::INVALID_TIMESTAMP,
            format!(
                "timestamp {} is {ahead_ms} ms ahead of the broker's clock, more than message.timestamp.after.max.ms {} of topic {topic}",
                header.max_timestamp, config.timestamp_after_max_ms
            ),
        ));
    }
    Ok(())
}

fn success(index: i32, appended: &Appended) -> PartitionResponse {
    PartitionResponse {
        index,
        base_offset: appended.base_offset.0,
        log_append_time_ms: appended.append_time_ms.unwrap_or(-1),
        log_start_offset: appended.log_start_offset.0,
        ..Default::default()
    }
}

fn refused(request: &Incoming, index: i32, refusal: Refusal) -> PartitionResponse {
    request.broker.metrics.batch_refused(refusal.code);
    tracing::debug!("batch for partition {index} refused with {}: {}", refusal.code, refusal.why);
    PartitionResponse {
        index,
        error_code: request.count(refusal.code),
        base_offset: -1,
        error_message: Some(Text::from(refusal.why)),
        ..Default::default()
    }
}

/// acks=0: silence says that all went well, so an error can only be told by closing.
fn unanswered(responses: Vec<TopicResponse>) -> Reply {
    for topic in responses {
        if let Some(failed) =
            topic.partition_responses.into_iter().find(|partition| !partition.error_code.is_ok())
        {
            let called = if topic.topic_id == TopicId::ZERO {
                names::for_log(&topic.name).to_string()
            } else {
                topic.topic_id.to_string()
            };
            return Reply::Close(format!(
                "a batch sent with acks=0 to {called}-{} was refused with {}",
                failed.index, failed.error_code
            ));
        }
    }
    Reply::Nothing
}

async fn wait_until_durable(
    request: &Incoming,
    response: &mut ProduceResponse,
    waiting: Vec<Waiting>,
    deadline: Instant,
) {
    for Waiting { log, until, topic, partition } in waiting {
        let outcome = match timeout_at(deadline, log.wait_durable(until)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string()),
            Err(_) => Refusal::new(
                ErrorCode::REQUEST_TIMED_OUT,
                "the disk did not confirm the batch within the request's timeout; it is in the log and may become durable",
            ),
        };
        if let Some(answer) =
            response.responses.get_mut(topic).and_then(|topic| topic.partition_responses.get_mut(partition))
        {
            *answer = refused(request, answer.index, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TopicConfig {
        TopicConfig {
            segment_bytes: 2000,
            max_message_bytes: 1000,
            log_append_time: false,
            timestamp_after_max_ms: 100,
            ..TopicConfig::defaults(&crate::Config::default())
        }
    }

    fn header(size: usize, max_timestamp: i64) -> BatchHeader {
        let mut open = records::OpenBatch::new(0, 4096);
        let record = records::RecordRef { timestamp_ms: 0, key: None, value: Some(b"x"), headers: &[] };
        open.try_push(&record, 4096);
        let mut closed = open.close(Compression::None, None);
        closed.stamp_plain();
        let mut header = BatchHeader::parse(&closed.bytes()).unwrap();
        header.batch_length = i32::try_from(size - 12).unwrap();
        header.max_timestamp = max_timestamp;
        header
    }

    fn code(config: &TopicConfig, header: &BatchHeader) -> ErrorCode {
        check(&Text::from("events"), config, header, 5000, 9)
            .map_or_else(|refusal| refusal.code, |()| ErrorCode::NONE)
    }

    #[test]
    fn a_new_batch_is_held_to_its_topics_limits() {
        assert_eq!(code(&config(), &header(1000, 0)), ErrorCode::NONE);
        assert_eq!(code(&config(), &header(1001, 0)), ErrorCode::MESSAGE_TOO_LARGE);
        let small_segments = TopicConfig { segment_bytes: 500, ..config() };
        assert_eq!(code(&small_segments, &header(501, 0)), ErrorCode::RECORD_LIST_TOO_LARGE);
    }

    #[test]
    fn timestamps_may_lie_in_the_past_but_not_far_in_the_future() {
        assert_eq!(code(&config(), &header(100, 5100)), ErrorCode::NONE);
        assert_eq!(code(&config(), &header(100, 5101)), ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(code(&config(), &header(100, i64::MAX)), ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(code(&config(), &header(100, i64::MIN)), ErrorCode::NONE);
        let stamped_here = TopicConfig { log_append_time: true, ..config() };
        assert_eq!(code(&stamped_here, &header(100, i64::MAX)), ErrorCode::NONE);
    }
}
