//! Offsets by timestamp. Clients send timestamps in any order, so what is looked for is exact and not where a sorted log
//! would have it: the first record that is as late, the record that is latest. Time indexes only say where to begin.

use std::{io, sync::Arc};

use gapless_common::{
    records::{self, DECOMPRESSED_MAX, TimestampType},
    types::Offset,
};

use super::StorageError;
use super::partition::PartitionLog;
use super::read::View;
use super::segment::Segment;
use super::walk::{BadBatch, Found};
use crate::storage::read_exact_at;

/// A record and its timestamp.
type Stamped = (Offset, i64);

impl PartitionLog {
    /// The first record whose timestamp is `timestamp_ms` or later, and its timestamp.
    ///
    /// # Errors
    /// When a batch on the way cannot be read.
    pub async fn offset_for_timestamp(
        self: &Arc<Self>,
        timestamp_ms: i64,
    ) -> Result<Option<Stamped>, StorageError> {
        let view = self.view();
        for segment in in_the_log(&view).filter(|segment| segment.max_timestamp() >= timestamp_ms) {
            let record = self.first_since(segment, &view, timestamp_ms).await?;
            if record.is_some() {
                return Ok(record);
            }
        }
        // There may be one in what cannot be read.
        self.check_unquarantined().map(|()| None)
    }

    /// The record with the largest timestamp, the first of several, and its timestamp.
    ///
    /// # Errors
    /// When a batch on the way cannot be read.
    pub async fn offset_of_max_timestamp(self: &Arc<Self>) -> Result<Option<Stamped>, StorageError> {
        // The latest may lie in what cannot be read.
        self.check_unquarantined()?;
        let view = self.view();
        let mut best: Option<Stamped> = None;
        for segment in in_the_log(&view) {
            let is_later = |timestamp: i64| best.is_none_or(|(_, latest)| timestamp > latest);
            if is_later(segment.max_timestamp())
                && let Some(latest) = self.latest(segment, &view).await?
                && is_later(latest.1)
            {
                best = Some(latest);
            }
        }
        Ok(best)
    }

    /// The first record of a segment, of those that can be seen, whose timestamp is `timestamp_ms` or later.
    async fn first_since(
        self: &Arc<Self>,
        segment: &Segment,
        view: &View,
        timestamp_ms: i64,
    ) -> Result<Option<Stamped>, StorageError> {
        let (files, directory) = (&*self.environment.files, &self.site.directory);
        let start = segment.start_for(timestamp_ms, files, directory, self.leader_epoch).await;
        let mut at = view.log_start.max(start.map_err(|bad| self.bad_batch(segment, &bad))?);
        while let Some(found) = self.next_batch(segment, at, view.limit, timestamp_ms).await? {
            let record = self.first_record(segment, &found, view.log_start, timestamp_ms).await?;
            if record.is_some() {
                return Ok(record);
            }
            // The timestamps that mattered lie below the log's start.
            at = found.header.next_offset();
        }
        Ok(None)
    }

    /// The record of a segment, of those that can be seen, with the largest timestamp.
    async fn latest(
        self: &Arc<Self>,
        segment: &Segment,
        view: &View,
    ) -> Result<Option<Stamped>, StorageError> {
        let latest = self.first_since(segment, view, segment.max_timestamp()).await?;
        if latest.is_some() {
            return Ok(latest);
        }
        // It lies below the log's start, or not below the watermark yet. The next to it is not in the index.
        let mut at = view.log_start.max(segment.base_offset);
        let mut max = None;
        if at == segment.base_offset
            && let Some((before, from)) = segment.max_timestamp_before(view.limit)
        {
            (max, at) = (Some(before), from);
        }
        loop {
            let above = max.map_or(i64::MIN, |max: i64| max.saturating_add(1));
            let Some(found) = self.next_batch(segment, at, view.limit, above).await? else { break };
            at = found.header.next_offset();
            max = max.max(self.max_timestamp_in(segment, &found, view.log_start).await?);
        }
        match max {
            Some(max) => self.first_since(segment, view, max).await,
            None => Ok(None),
        }
    }

    /// The first batch from `from` on, below `limit`, whose largest timestamp is `timestamp_ms` or later.
    async fn next_batch(
        self: &Arc<Self>,
        segment: &Segment,
        from: Offset,
        limit: Offset,
        timestamp_ms: i64,
    ) -> Result<Option<Found>, StorageError> {
        if from >= limit {
            return Ok(None);
        }
        let bad = |bad| self.bad_batch(segment, &bad);
        let Some((mut found, mut walk)) = segment.find(from, self.leader_epoch).await.map_err(bad)? else {
            return Ok(None);
        };
        loop {
            if found.header.next_offset() > limit {
                return Ok(None);
            }
            if found.header.max_timestamp >= timestamp_ms {
                return Ok(Some(found));
            }
            // Batches at the limit are not even looked at: they may be half written.
            if found.header.next_offset() == limit {
                return Ok(None);
            }
            match walk.next().await.map_err(bad)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
    }

    /// The first record of a batch, from `log_start` on, whose timestamp is `timestamp_ms` or later.
    async fn first_record(
        self: &Arc<Self>,
        segment: &Segment,
        found: &Found,
        log_start: Offset,
        timestamp_ms: i64,
    ) -> Result<Option<Stamped>, StorageError> {
        let header = &found.header;
        if header.attributes.timestamp_type() == TimestampType::LogAppend {
            // All its records have the batch's timestamp.
            return Ok(Some((header.base_offset.max(log_start), header.max_timestamp)));
        }
        for record in self.records(segment, found).await? {
            let record = record.map_err(|error| unreadable(found, error))?;
            if record.offset >= log_start && record.timestamp_ms >= timestamp_ms {
                return Ok(Some((record.offset, record.timestamp_ms)));
            }
        }
        Ok(None)
    }

    /// The largest timestamp of the records of a batch from `log_start` on.
    async fn max_timestamp_in(
        self: &Arc<Self>,
        segment: &Segment,
        found: &Found,
        log_start: Offset,
    ) -> Result<Option<i64>, StorageError> {
        let header = &found.header;
        if header.base_offset >= log_start || header.attributes.timestamp_type() == TimestampType::LogAppend {
            return Ok(Some(header.max_timestamp));
        }
        let mut max = None;
        for record in self.records(segment, found).await? {
            let record = record.map_err(|error| unreadable(found, error))?;
            if record.offset >= log_start {
                max = max.max(Some(record.timestamp_ms));
            }
        }
        Ok(max)
    }

    async fn records(
        self: &Arc<Self>,
        segment: &Segment,
        found: &Found,
    ) -> Result<records::Records, StorageError> {
        let header = &found.header;
        let (offset, position) = (header.base_offset, found.position);
        let bytes = async { read_exact_at(&*segment.file().await?, position, header.total_size()).await };
        let bytes = bytes
            .await
            .map_err(|error| self.bad_batch(segment, &BadBatch::unreadable(offset, position, error)))?;
        if !records::check_crc(&bytes) {
            let why = "the checksum does not match".to_owned();
            return Err(self.bad_batch(segment, &BadBatch { offset, position, why, source: None }));
        }
        records::iterate(bytes, DECOMPRESSED_MAX).map_err(|error| unreadable(found, error))
    }
}

/// The segments, but for those that a deletion has left behind: what is wrong with these nobody misses.
fn in_the_log(view: &View) -> impl Iterator<Item = &Arc<Segment>> {
    let is_left_behind = |segment: &Segment| {
        let summary = segment.summary();
        summary.next_offset <= view.log_start && summary.base_offset < view.log_start
    };
    view.segments.iter().filter(move |segment| !is_left_behind(segment))
}

/// The bytes are those that were written; so what cannot be read of them is no corruption.
fn unreadable(found: &Found, error: records::BatchError) -> StorageError {
    let step = format!("reading the records of the batch at offset {}", found.header.base_offset);
    StorageError::step(step, io::Error::other(error))
}

#[cfg(test)]
mod tests;
