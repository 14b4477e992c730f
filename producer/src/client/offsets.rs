//! Where partitions begin and end.

use gapless_common::protocol::Text;
use gapless_common::protocol::messages::ListOffsetsRequest;
use gapless_common::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};

use super::{Client, ClientError, ask};

/// A place in a partition, by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The first record still there.
    Earliest,
    /// Behind the last record that may be read.
    Latest,
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

impl Client {
    /// The offset of that place; `None` if no record is so late.
    pub async fn offset(
        &mut self,
        topic: &str,
        partition: i32,
        leader: i32,
        when: When,
    ) -> Result<Option<i64>, ClientError> {
        let what = format!("{topic}-{partition}");
        if leader < 0 {
            return Err(ClientError::NoLeader(what));
        }
        let timestamp = match when {
            When::Earliest => -2,
            When::Latest => -1,
            // Times before 1970 would read as one of those.
            When::Time(ms) => ms.max(0),
        };
        let asked =
            ListOffsetsPartition { partition_index: partition, timestamp, ..ListOffsetsPartition::default() };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: Text::from(topic), partitions: vec![asked] }],
            timeout_ms: i32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(i32::MAX),
            ..ListOffsetsRequest::default()
        };
        let broker = self.broker(leader).await?;
        let answer = ask(&broker, request).await?;
        let found = answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .find(|one| one.partition_index == partition);
        let found = found.ok_or_else(|| ClientError::NoAnswer {
            address: broker.address().to_owned(),
            what: what.clone(),
        })?;
        if !found.error_code.is_ok() {
            return Err(ClientError::Refused { what, code: found.error_code, message: None });
        }
        Ok(Some(found.offset).filter(|offset| *offset >= 0))
    }
}
