//! Fetching, and taking apart what was fetched: for consumers during a run, and for the last reading after it.

use bytes::Bytes;
use gapless_common::{
    channel::{Channel, ChannelError},
    error_code::ErrorCode,
    protocol::{
        ApiKey, RecordData, Text,
        messages::{
            FetchRequest, ListOffsetsRequest,
            fetch::{FetchPartition, FetchTopic, PartitionData},
            list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        },
    },
    records::{self, DECOMPRESSED_MAX},
};

use crate::record::{Name, name_of};
use std::time::Duration;

/// The last version that names topics.
const VERSION: i16 = 12;
const BYTES_MAX: i32 = 1 << 20;
/// Asks for the start of a log instead of an offset by time.
const EARLIEST: i64 = -2;
/// What one answer has of one partition: some batches.
const PARTITION_BYTES_MAX: i32 = 32 * 1024;

/// What came of one partition.
#[derive(Debug)]
pub struct Fetched {
    /// Which.
    pub partition: i32,
    /// Where the fetch began.
    pub from: i64,
    /// 0, or why nothing came.
    pub error: ErrorCode,
    /// The first offset there is; −1 if the broker does not say.
    pub start: i64,
    /// The high watermark.
    pub end: i64,
    /// Records from `from` on; `None` for one that nobody sent.
    pub records: Vec<(i64, Option<Name>)>,
    /// Leader epoch of the last batch, if any came.
    pub epoch: Option<i32>,
    /// The broker says that what was read before is not what it has.
    pub diverged: bool,
    /// What no broker may send.
    pub bad: Option<String>,
}

/// Where to read on.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
    /// The leader epoch of what was read last; −1 before the first.
    pub epoch: i32,
}

/// One round of reading of one topic. Where a partition does not reach the offset that was asked for, it is asked where it
/// starts, since the answer to a fetch does not say so.
///
/// # Errors
/// The channel died.
pub async fn fetch(
    channel: &Channel,
    topic: &str,
    positions: &[Position],
    wait: Duration,
    time_limit: Duration,
) -> Result<Vec<Fetched>, ChannelError> {
    let partitions = positions
        .iter()
        .map(|position| FetchPartition {
            partition: position.partition,
            fetch_offset: position.offset,
            last_fetched_epoch: position.epoch,
            partition_max_bytes: PARTITION_BYTES_MAX,
            ..FetchPartition::default()
        })
        .collect();
    let request = FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: BYTES_MAX,
        topics: vec![FetchTopic { topic: Text::from(topic), partitions, ..FetchTopic::default() }],
        ..FetchRequest::default()
    };
    let version = channel.version_of(ApiKey::Fetch).unwrap_or(VERSION).min(VERSION);
    let answer = channel.send(request, version, time_limit).await?.await?;
    let from = |partition| {
        positions
            .iter()
            .find(|position| position.partition == partition)
            .map_or(0, |position| position.offset)
    };
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let mut round: Vec<Fetched> =
        partitions.map(|partition| take_apart(from(partition.partition_index), partition)).collect();
    for fetched in &mut round {
        if fetched.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            fetched.start = start_of(channel, topic, fetched.partition).await?;
        }
    }
    Ok(round)
}

async fn start_of(channel: &Channel, topic: &str, partition: i32) -> Result<i64, ChannelError> {
    let asked = ListOffsetsPartition {
        partition_index: partition,
        timestamp: EARLIEST,
        ..ListOffsetsPartition::default()
    };
    let topics = vec![ListOffsetsTopic { name: Text::from(topic), partitions: vec![asked] }];
    let answer =
        channel.call(ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }).await?;
    let answered = answer.topics.first().and_then(|topic| topic.partitions.first());
    Ok(answered.filter(|answered| answered.error_code.is_ok()).map_or(-1, |answered| answered.offset))
}

fn take_apart(from: i64, data: PartitionData) -> Fetched {
    let mut fetched = Fetched {
        partition: data.partition_index,
        from,
        error: data.error_code,
        start: data.log_start_offset,
        end: data.high_watermark,
        records: Vec::new(),
        epoch: None,
        diverged: data.diverging_epoch.epoch >= 0,
        bad: None,
    };
    let bytes = data.records.as_ref().and_then(RecordData::memory).cloned().unwrap_or_default();
    if let Err(bad) = read(bytes, &mut fetched) {
        fetched.bad = Some(bad);
    }
    fetched
}

fn read(bytes: Bytes, fetched: &mut Fetched) -> Result<(), String> {
    let mut expected = None;
    for batch in records::batches(bytes) {
        let (header, bytes) = batch.map_err(|error| format!("half a batch was served: {error}"))?;
        let base = header.base_offset.0;
        if !records::check_crc(&bytes) {
            return Err(format!("the batch at offset {base} was served with a bad checksum"));
        }
        if expected.is_some_and(|expected| expected != base) {
            return Err(format!(
                "a batch at offset {base} was served behind one that ends before {expected:?}"
            ));
        }
        if header.next_offset().0 <= fetched.from {
            return Err(format!("the batch at offset {base} was served to a fetch at {}", fetched.from));
        }
        expected = Some(header.next_offset().0);
        fetched.epoch = Some(header.leader_epoch.0);
        for record in records::iterate(bytes, DECOMPRESSED_MAX).map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset.0 >= fetched.from {
                fetched.records.push((record.offset.0, record.value.as_deref().and_then(name_of)));
            }
        }
    }
    if let Some(above) = expected.filter(|expected| *expected > fetched.end) {
        return Err(format!("records up to {above} were served above the high watermark {}", fetched.end));
    }
    Ok(())
}
