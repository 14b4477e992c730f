//! The records of all partitions of a topic, each partition read on as far as someone asks.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gapless_common::backoff::Backoff;
use gapless_common::error_code::ErrorCode;
use gapless_common::records::{DECOMPRESSED_MAX, Records, TimestampType, batches, check_crc, iterate};
use gapless_common::seam::Seams;
use gapless_common::types::TopicId;
use tokio::time::{Instant, sleep};

use super::ledger::{Stamp, Stored};
use crate::cli::digest::RecordHasher;
use crate::cli::exit::{Stop, with_causes};
use crate::client::{Client, ClientError, Fetcher, When};

/// Trouble that may pass by itself ends the run after so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is fetched and not yet read, of all partitions together; a single larger batch comes all the same.
const FETCHED_MAX: i32 = 64 * 1024 * 1024;
/// The same of one partition: less makes too many requests, more gains nothing.
const PARTITION_FETCHED: std::ops::RangeInclusive<i32> = 64 * 1024..=4 * 1024 * 1024;

/// All partitions.
pub struct TopicReader {
    seams: Seams,
    client: Client,
    name: String,
    id: TopicId,
    cursors: BTreeMap<i32, Cursor>,
    /// By broker.
    fetchers: BTreeMap<i32, Fetcher>,
    partition_fetched: i32,
    hasher: RecordHasher,
    /// Records read in this reading.
    pub records_read: u64,
}

/// Where reading stands in one partition.
struct Cursor {
    leader: i32,
    /// The first record that is there.
    begin: i64,
    /// Behind the last one that is looked at.
    end: i64,
    /// Where the next fetch begins.
    next: i64,
    /// Batches fetched and not yet opened.
    fetched: Bytes,
    open: Option<OpenedBatch>,
    /// The record at hand.
    current: Option<Stored>,
    /// The end was asked for once more, since more was expected.
    asked_again: bool,
}

struct OpenedBatch {
    records: Records,
    /// Records before this one have been read.
    from: i64,
    appended: bool,
    producer_id: i64,
}

impl TopicReader {
    /// Finds all partitions and where they begin and end.
    pub async fn open(seams: &Seams, mut client: Client, name: &str) -> Result<Self, Stop> {
        let topic = client.topic(name).await.map_err(|error| Stop::failed(&error))?;
        let mut cursors = BTreeMap::new();
        for partition in &topic.partitions {
            let (number, leader) = (partition.partition_index, partition.leader_id);
            let (begin, end) =
                bounds(&mut client, name, number, leader).await.map_err(|error| Stop::failed(&error))?;
            cursors.insert(number, Cursor::new(leader, begin, end));
        }
        let share = FETCHED_MAX / i32::try_from(cursors.len().max(1)).unwrap_or(i32::MAX);
        Ok(Self {
            seams: seams.clone(),
            client,
            name: name.to_owned(),
            id: topic.topic_id,
            cursors,
            fetchers: BTreeMap::new(),
            partition_fetched: share.clamp(*PARTITION_FETCHED.start(), *PARTITION_FETCHED.end()),
            hasher: RecordHasher::default(),
            records_read: 0,
        })
    }

    pub fn partitions(&self) -> Vec<i32> {
        self.cursors.keys().copied().collect()
    }

    /// Offsets from the beginning to the end of all partitions.
    pub fn size(&self) -> u64 {
        self.cursors.values().map(|cursor| u64::try_from(cursor.end - cursor.begin).unwrap_or(0)).sum()
    }

    /// Begins anew, up to the same ends.
    pub fn rewind(&mut self) {
        for cursor in self.cursors.values_mut() {
            *cursor = Cursor { asked_again: true, ..Cursor::new(cursor.leader, cursor.begin, cursor.end) };
        }
        self.records_read = 0;
    }

    /// Goes on behind the record at hand.
    pub fn advance(&mut self, partition: i32) {
        if let Some(cursor) = self.cursors.get_mut(&partition)
            && cursor.current.take().is_some()
        {
            self.records_read += 1;
        }
    }

    /// The record at hand; `None` at the end, which is asked for once more if records are `expected` behind it.
    pub async fn peek(&mut self, partition: i32, expected: bool) -> Result<Option<Stored>, Stop> {
        let mut trouble = Trouble::default();
        loop {
            let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(None) };
            if let Some(current) = cursor.current {
                return Ok(Some(current));
            }
            let damaged = |why| Stop::Failed(format!("{}-{partition} cannot be read: {why}", self.name));
            if cursor.read(&mut self.hasher).map_err(damaged)? {
                continue;
            }
            let at_end = cursor.next >= cursor.end;
            if at_end && (cursor.asked_again || !expected) {
                return Ok(None);
            }
            let result = if at_end {
                self.ask_end(partition).await
            } else {
                self.fetch(partition, &mut trouble).await
            };
            match result {
                Ok(()) => {}
                Err(Problem::Passing(error)) => self.recover(error, &mut trouble).await?,
                Err(Problem::Final(stop)) => return Err(stop),
            }
        }
    }

    /// What was acknowledged may have become visible since.
    async fn ask_end(&mut self, partition: i32) -> Result<(), Problem> {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(()) };
        let (_, end) = bounds(&mut self.client, &self.name, partition, cursor.leader).await?;
        cursor.end = cursor.end.max(end);
        cursor.asked_again = true;
        Ok(())
    }

    async fn fetch(&mut self, partition: i32, trouble: &mut Trouble) -> Result<(), Problem> {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(()) };
        let fetcher = match self.fetchers.get(&cursor.leader) {
            Some(fetcher) => fetcher,
            None => {
                let fetcher = self.client.fetcher(cursor.leader, &self.name, self.id).await?;
                &*self.fetchers.entry(cursor.leader).or_insert(fetcher)
            }
        };
        let position = cursor.next;
        let fetched = fetcher.fetch_up_to(&[(partition, position)], self.partition_fetched).await?;
        let what = || format!("{}-{partition} at offset {position}", self.name);
        let Some(fetched) = fetched.into_iter().find(|one| one.partition == partition) else {
            return Err(ClientError::NoAnswer { address: "the broker".to_owned(), what: what() }.into());
        };
        if fetched.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            // Retention went by, or the log is shorter than it was.
            let (begin, end) = bounds(&mut self.client, &self.name, partition, cursor.leader).await?;
            cursor.next = position.max(begin);
            cursor.end = cursor.end.min(end);
            if cursor.next == position && position < cursor.end {
                return Err(ClientError::Refused { what: what(), code: fetched.error, message: None }.into());
            }
            return Ok(());
        }
        if !fetched.error.is_ok() {
            return Err(ClientError::Refused { what: what(), code: fetched.error, message: None }.into());
        }
        let whole = batches(fetched.batches.clone()).next();
        match whole {
            None if fetched.batches.is_empty() => {
                // Not visible yet, though the end was said to be behind it.
                Err(Problem::Passing(ClientError::NoAnswer {
                    address: "the broker".to_owned(),
                    what: what(),
                }))
            }
            None => {
                let size = fetched.batches.len();
                Err(Problem::Final(Stop::Failed(format!("{}: {size} bytes hold no whole batch", what()))))
            }
            Some(_) => {
                cursor.fetched = fetched.batches;
                *trouble = Trouble::default();
                Ok(())
            }
        }
    }

    /// Waits a little and learns anew who leads what.
    async fn recover(&mut self, error: ClientError, trouble: &mut Trouble) -> Result<(), Stop> {
        if trouble.since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            return Err(Stop::failed(&error));
        }
        if trouble.backoff.failures() == 0 {
            tracing::warn!("{}; trying again", with_causes(&error));
        }
        sleep(trouble.backoff.next_delay(self.seams.random.bits64())).await;
        self.fetchers.clear();
        let topic = match self.client.topic(&self.name).await {
            Ok(topic) => topic,
            Err(error) if error.is_passing() => return Ok(()),
            Err(error) => return Err(Stop::failed(&error)),
        };
        if topic.topic_id != self.id {
            let name = &self.name;
            return Err(Stop::Failed(format!(
                "topic {name} was deleted and created again while it was read"
            )));
        }
        for partition in &topic.partitions {
            if let Some(cursor) = self.cursors.get_mut(&partition.partition_index) {
                cursor.leader = partition.leader_id;
            }
        }
        Ok(())
    }
}

/// Begin and end of one partition.
async fn bounds(
    client: &mut Client,
    topic: &str,
    partition: i32,
    leader: i32,
) -> Result<(i64, i64), ClientError> {
    let end = client.offset(topic, partition, leader, When::Latest).await?.unwrap_or(0);
    let begin = client.offset(topic, partition, leader, When::Earliest).await?.unwrap_or(0);
    Ok((begin, end))
}

/// Since when nothing goes on.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    backoff: Backoff,
}

/// Why a fetch gave nothing.
enum Problem {
    Passing(ClientError),
    Final(Stop),
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        if error.is_passing() { Self::Passing(error) } else { Self::Final(Stop::failed(&error)) }
    }
}

impl Cursor {
    fn new(leader: i32, begin: i64, end: i64) -> Self {
        Self {
            leader,
            begin,
            end,
            next: begin,
            fetched: Bytes::new(),
            open: None,
            current: None,
            asked_again: false,
        }
    }

    /// One step towards the next record, if what was fetched holds more.
    fn read(&mut self, hasher: &mut RecordHasher) -> Result<bool, String> {
        if let Some(open) = &mut self.open {
            let Some(record) = open.records.next() else {
                self.open = None;
                return Ok(true);
            };
            let record = record.map_err(|error| format!("a batch before offset {}: {error}", self.next))?;
            let offset = record.offset.0;
            if offset >= open.from && offset < self.end {
                let headers = record.headers.iter().map(|header| (&*header.key, header.value.as_deref()));
                self.current = Some(Stored {
                    offset,
                    digest: hasher.digest(record.key.as_deref(), record.value.as_deref(), headers),
                    stamp: if open.appended {
                        Stamp::Appended { producer_id: open.producer_id }
                    } else {
                        Stamp::Created(record.timestamp_ms)
                    },
                });
            }
            return Ok(true);
        }
        let Some(batch) = batches(self.fetched.clone()).next() else {
            self.fetched = Bytes::new();
            return Ok(false);
        };
        let (header, bytes) = batch.map_err(|error| format!("at offset {}: {error}", self.next))?;
        self.fetched = self.fetched.slice(bytes.len()..);
        if !check_crc(&bytes) {
            return Err(format!("the batch at offset {} fails its checksum", header.base_offset));
        }
        let from = self.next;
        self.next = self.next.max(header.next_offset().0);
        if !header.attributes.is_control() {
            self.open = Some(OpenedBatch {
                records: iterate(bytes, DECOMPRESSED_MAX)
                    .map_err(|error| format!("the batch at offset {}: {error}", header.base_offset))?,
                from,
                appended: header.attributes.timestamp_type() == TimestampType::LogAppend,
                producer_id: header.producer_id.0,
            });
        }
        Ok(true)
    }
}
