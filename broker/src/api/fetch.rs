//! Fetch (1), versions 4–17: reads record batches as they lie in the log.
//!
//! - 7: sessions (KIP-227). None is kept here: the answer's session id is 0, which tells the client to ask in full each
//!   time; a request of another session is answered with FETCH_SESSION_ID_NOT_FOUND.
//! - 9: the client's leader epoch is checked; 12: so is the epoch of what it fetched last.
//! - 13: topics by id.
//!
//! A request waits until `min_bytes` are there, `max_wait_ms` have passed, something is wrong, or waiting is in vain. What is sent is a
//! range of a segment, spliced in when the response is written. The first partition with data ignores both byte
//! limits, so that a batch larger than they are never stalls a consumer.

use std::{sync::Arc, time::Duration};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        self, RecordData, Text,
        messages::{
            FetchRequest, FetchResponse,
            fetch::{EpochEndOffset, FetchPartition, FetchableTopicResponse, PartitionData},
        },
    },
    types::{LeaderEpoch, Offset, TopicId},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{ApiError, Incoming, check_leader_epoch};
use crate::{
    api::reply::{BodyPart, Reply, splice},
    log::{PartitionLog, ReadError, State, StorageError},
    storage::FileRange,
};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::OFFSET_OUT_OF_RANGE,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::UNKNOWN_LEADER_EPOCH,
    ErrorCode::UNKNOWN_TOPIC_ID,
];

/// The most that one response carries, whatever the client allows: Kafka's `fetch.max.bytes` of a broker (55 MiB).
const RESPONSE_BYTES_MAX: usize = 55 << 20;
/// The longest wait, whatever the client allows: below every client's request timeout it makes no difference, and a
/// connection is not held for days.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Topics are given by id from this version on.
const TOPIC_ID_VERSION: i16 = 13;

/// What one request reads from, looked up once.
struct Plan {
    topics: Vec<TopicPlan>,
    min_bytes: usize,
    max_bytes: usize,
    /// How a client that asks in this version is told that there is no such topic.
    missing: ErrorCode,
    read_committed: bool,
}

struct TopicPlan {
    name: Text,
    id: TopicId,
    partitions: Vec<PartitionPlan>,
}

struct PartitionPlan {
    asked: FetchPartition,
    log: Result<Arc<PartitionLog>, ErrorCode>,
}

/// One look at all the partitions.
struct Look {
    topics: Vec<FetchableTopicResponse>,
    ranges: Vec<FileRange>,
    bytes: usize,
    /// Something that the client must hear of at once, or to which waiting adds nothing.
    urgent: bool,
}

pub(super) async fn handle(mut request: Incoming, body: FetchRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    request.admit(body.topics.iter().map(|topic| topic.partitions.len()).sum())?;
    // 0 opens a session and −1 is without one: both are answered in full. Any other epoch goes on with a session.
    if body.session_id != 0 && body.session_epoch > 0 {
        return request.answer(&FetchResponse {
            error_code: request.count(ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
            ..Default::default()
        });
    }
    let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = request.received + wait;
    let plan = plan(&request, body);
    let first = plan.look().await;
    if first.is_enough(&plan) || Instant::now() >= deadline || !request.charge.may_wait() {
        return Ok(Reply::Ready(respond(&request, first)?));
    }
    Ok(Reply::Later(Box::pin(async move {
        let look = wait_for_data(&request, &plan, deadline).await;
        respond(&request, look).unwrap_or_else(|error| {
            // The first look would have failed alike; there is nothing in the second that could.
            tracing::error!("{error}");
            Vec::new()
        })
    })))
}

fn plan(request: &Incoming, body: FetchRequest) -> Plan {
    let catalogue = &request.broker.catalogue;
    let by_id = request.version >= TOPIC_ID_VERSION;
    let missing = if by_id { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let topics = body
        .topics
        .into_iter()
        .map(|asked| {
            let topic = if by_id { catalogue.by_id(asked.topic_id) } else { catalogue.by_name(&asked.topic) };
            let partitions = asked
                .partitions
                .into_iter()
                .map(|asked| PartitionPlan {
                    log: match &topic {
                        None => Err(missing),
                        Some(topic) => topic
                            .partition(asked.partition)
                            .cloned()
                            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    },
                    asked,
                })
                .collect();
            TopicPlan { name: asked.topic, id: asked.topic_id, partitions }
        })
        .collect();
    let max_bytes = usize::try_from(body.max_bytes).unwrap_or(0).min(RESPONSE_BYTES_MAX);
    Plan {
        topics,
        min_bytes: usize::try_from(body.min_bytes).unwrap_or(0).min(max_bytes),
        max_bytes,
        missing,
        read_committed: body.isolation_level == 1,
    }
}

impl Plan {
    fn logs(&self) -> impl Iterator<Item = &Arc<PartitionLog>> {
        self.topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .filter_map(|partition| partition.log.as_ref().ok())
    }

    /// Whether a look could show what is waited for. Each batch that arrives is a reason to ask, and a look walks through
    /// all that has come so far.
    fn may_be_enough(&self) -> bool {
        let at_most = |partition: &PartitionPlan| match &partition.log {
            Ok(log) => log.bytes_at_most(Offset(partition.asked.fetch_offset)),
            Err(_) => u64::MAX,
        };
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(at_most).fold(0, u64::saturating_add) >= self.min_bytes as u64
    }

    async fn look(&self) -> Look {
        let mut look = Look {
            topics: Vec::with_capacity(self.topics.len()),
            ranges: Vec::new(),
            bytes: 0,
            // As Kafka: who asks for nothing does not wait for it.
            urgent: self.topics.is_empty(),
        };
        for topic in &self.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                partitions.push(self.look_at(partition, &mut look).await);
            }
            look.topics.push(FetchableTopicResponse {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions,
            });
        }
        look
    }

    async fn look_at(&self, partition: &PartitionPlan, look: &mut Look) -> PartitionData {
        let failed = |error_code, look: &mut Look| {
            look.urgent = true;
            PartitionData {
                partition_index: partition.asked.partition,
                error_code,
                high_watermark: -1,
                aborted_transactions: None,
                ..Default::default()
            }
        };
        let log = match &partition.log {
            Ok(log) => log,
            Err(code) => return failed(*code, look),
        };
        if let Err(code) = check_leader_epoch(log, partition.asked.current_leader_epoch) {
            return failed(code, look);
        }
        if let State::Quarantined { at, .. } = log.state()
            && Offset(partition.asked.fetch_offset) > at.max(log.log_start_offset())
        {
            // What lies there is not served, and not gone: no client is to cut it off.
            return failed(ErrorCode::KAFKA_STORAGE_ERROR, look);
        }
        let mut data = PartitionData {
            partition_index: partition.asked.partition,
            error_code: ErrorCode::NONE,
            log_start_offset: log.log_start_offset().0,
            aborted_transactions: self.read_committed.then(Vec::new),
            ..Default::default()
        };
        match diverging(log, &partition.asked) {
            Ok(None) => {}
            Ok(Some(diverging_epoch)) => {
                look.urgent = true;
                data.diverging_epoch = diverging_epoch;
                return with_high_watermark(data, log);
            }
            Err(code) => return failed(code, look),
        }
        let partition_max = usize::try_from(partition.asked.partition_max_bytes).unwrap_or(0);
        let room = partition_max.min(self.max_bytes.saturating_sub(look.bytes));
        let nothing_yet = look.bytes == 0;
        match log.read(Offset(partition.asked.fetch_offset), room, nothing_yet).await {
            Ok(None) => {}
            Ok(Some(range)) => {
                look.urgent |= log.is_sealed_at(Offset(partition.asked.fetch_offset));
                look.bytes += range.len as usize;
                data.records = Some(RecordData::External {
                    index: u32::try_from(look.ranges.len()).unwrap_or(u32::MAX),
                    len: range.len,
                });
                look.ranges.push(range);
            }
            Err(error) => {
                tracing::debug!("fetch at {} refused: {error}", partition.asked.fetch_offset);
                let code = match error {
                    ReadError::Storage(StorageError::Retired) => self.missing,
                    error => error.error_code(),
                };
                return failed(code, look);
            }
        }
        with_high_watermark(data, log)
    }
}

/// Asked for after the records were read, so that it is never below them.
fn with_high_watermark(data: PartitionData, log: &PartitionLog) -> PartitionData {
    let Offset(high_watermark) = log.high_watermark();
    // The last stable offset is the same as long as there are no transactions.
    PartitionData { high_watermark, last_stable_offset: high_watermark, ..data }
}

/// A client whose last batch is of an epoch that ended, here, before where it reads on: it read what was cut off. Of an
/// epoch that nothing is known of, it cannot even be told where that parted.
fn diverging(log: &PartitionLog, asked: &FetchPartition) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if asked.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let Ok((epoch, end)) = log.end_offset_for_epoch(LeaderEpoch(asked.last_fetched_epoch)) else {
        // Quarantined: what lies below what is corrupt has not parted from anything, and is served.
        return Ok(None);
    };
    if epoch.0 < 0 || end.0 < 0 {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let parted = epoch.0 < asked.last_fetched_epoch || end.0 < asked.fetch_offset;
    Ok(parted.then_some(EpochEndOffset { epoch: epoch.0, end_offset: end.0 }))
}

impl Look {
    fn is_enough(&self, plan: &Plan) -> bool {
        self.urgent || self.bytes >= plan.min_bytes
    }
}

async fn wait_for_data(request: &Incoming, plan: &Plan, deadline: Instant) -> Look {
    let moved = Arc::new(Notify::new());
    let mut stage = request.broker.stage();
    loop {
        // Registered before the look, so that what moves in between is not missed.
        for log in plan.logs() {
            log.watch(&moved);
        }
        if plan.may_be_enough() {
            let look = plan.look().await;
            if look.is_enough(plan) {
                return look;
            }
        }
        let over = tokio::select! {
            biased;
            () = stage.stopping() => true,
            moved = timeout_at(deadline, moved.notified()) => moved.is_err(),
        };
        if over {
            return plan.look().await;
        }
    }
}

fn respond(request: &Incoming, look: Look) -> Result<Vec<BodyPart>, ApiError> {
    for partition in look.topics.iter().flat_map(|topic| &topic.partitions) {
        request.count(partition.error_code);
    }
    request.broker.metrics.fetched_bytes.increment(look.bytes as u64);
    let body = FetchResponse { responses: look.topics, ..Default::default() };
    let parts = protocol::encode_response_frame(request.api, request.version, request.correlation_id, &body)?;
    Ok(splice(parts, &look.ranges))
}
