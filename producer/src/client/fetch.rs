//! Records, from one broker for all of its partitions at once.

use std::time::Duration;

use bytes::Bytes;
use gapless_common::channel::Channel;
use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::messages::FetchRequest;
use gapless_common::protocol::messages::fetch::{FetchPartition, FetchTopic};
use gapless_common::protocol::{ApiKey, Text};
use gapless_common::types::TopicId;

use super::{Client, ClientError, version};

/// How long a broker may wait for records before it answers with none.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Bytes in one answer, and of one partition in it; a single larger batch comes all the same.
const BYTES_MAX: i32 = 16 * 1024 * 1024;
const PARTITION_BYTES_MAX: i32 = 4 * 1024 * 1024;

/// Asks one broker for records.
pub struct Fetcher {
    channel: Channel,
    version: i16,
    topic: Text,
    topic_id: TopicId,
    time_limit: Duration,
}

/// What came of one partition.
#[derive(Debug)]
pub struct Fetched {
    pub partition: i32,
    pub error: ErrorCode,
    /// Whole batches, and perhaps a part of one more.
    pub batches: Bytes,
}

impl Client {
    /// For the partitions that this broker leads.
    pub async fn fetcher(
        &mut self,
        leader: i32,
        topic: &str,
        topic_id: TopicId,
    ) -> Result<Fetcher, ClientError> {
        let channel = self.broker(leader).await?;
        let newest = version(&channel, ApiKey::Fetch)?;
        // From version 13 on topics go by their id, which a broker without ids (its metadata is too old) does not have.
        let version = if topic_id == TopicId::ZERO { newest.min(12) } else { newest };
        Ok(Fetcher {
            version,
            topic: Text::from(topic),
            topic_id,
            time_limit: WAIT_MAX + self.settings.request_timeout,
            channel,
        })
    }
}

impl Fetcher {
    /// Records from these offsets on: `(partition, offset)`.
    pub async fn fetch(&self, positions: &[(i32, i64)]) -> Result<Vec<Fetched>, ClientError> {
        self.fetch_up_to(positions, PARTITION_BYTES_MAX).await
    }

    /// The same with at most so many bytes of one partition; a single larger batch comes all the same.
    pub async fn fetch_up_to(
        &self,
        positions: &[(i32, i64)],
        partition_bytes_max: i32,
    ) -> Result<Vec<Fetched>, ClientError> {
        let partitions = positions
            .iter()
            .map(|(partition, offset)| FetchPartition {
                partition: *partition,
                fetch_offset: *offset,
                partition_max_bytes: partition_bytes_max,
                ..FetchPartition::default()
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: i32::try_from(WAIT_MAX.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: BYTES_MAX,
            topics: vec![FetchTopic { topic: self.topic.clone(), topic_id: self.topic_id, partitions }],
            ..FetchRequest::default()
        };
        let lost = |source| ClientError::Lost { address: self.channel.address().to_owned(), source };
        let pending = self.channel.send(request, self.version, self.time_limit).await.map_err(lost)?;
        let answer = pending.await.map_err(|death| lost(death.into()))?;
        if !answer.error_code.is_ok() {
            let what = format!("topic {}", self.topic);
            return Err(ClientError::Refused { what, code: answer.error_code, message: None });
        }
        Ok(answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .map(|partition| Fetched {
                partition: partition.partition_index,
                error: partition.error_code,
                batches: partition.records.and_then(|records| records.memory().cloned()).unwrap_or_default(),
            })
            .collect())
    }
}
