//! Flush marks: how far each partition is known to be on disk. They tell a torn tail from corruption: nothing below a mark
//! was ever torn.
//!
//! A mark becomes known when a flush has succeeded, and is written afterwards, outside the acknowledgement path: to lose one
//! costs nothing but knowledge. This file is format and policy, without clock or file; [`file`] reads and writes, and the
//! flushing task ([`super::Flusher`]) calls.
//!
//! File `flush-marks`: magic `GLFM`, format version u32, CRC-32 of these; then entries of a fixed size, each a topic id, a
//! partition u32, what the partition's last segment was up to the mark ([`Summary::encode`]) and the CRC-32 of all that.
//! Big-endian. An entry that fails its check is passed over; of several for one partition the highest counts.

pub mod file;

use std::{collections::BTreeMap, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::types::{PartitionId, TopicId};
use tokio::time::Instant;

use super::summary::Summary;

const MAGIC: [u8; 4] = *b"GLFM";
const FORMAT_VERSION: u32 = 1;
const HEADER_SIZE: usize = 12;
const ENTRY_SIZE: usize = 16 + 4 + Summary::ENCODED_SIZE + 4;

/// Time between two writes: some twenty flushes a second at most are the marks' own.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// Time until a write that failed is tried again.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A file of fewer entries (39 KiB) is not worth writing anew.
const REWRITE_MIN: u64 = 512;
/// The file is written anew when it has so many entries for each one that counts.
const REWRITE_RATIO: u64 = 4;

/// Which partition a mark is of. A topic that was deleted and created again has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MarkKey {
    pub topic: TopicId,
    pub partition: PartitionId,
}

/// The marks of a data directory, by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushMarks(BTreeMap<MarkKey, Summary>);

impl FlushMarks {
    pub(super) fn of(&self, key: MarkKey) -> Option<Summary> {
        self.0.get(&key).copied()
    }

    /// Takes in a mark, unless a higher one is known.
    fn raise(&mut self, key: MarkKey, mark: Summary) -> bool {
        let known = self.0.get(&key).map(Summary::height);
        let rises = known.is_none_or(|known| mark.height() > known);
        if rises {
            self.0.insert(key, mark);
        }
        rises
    }

    /// All marks, as the content of a file.
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_SIZE + self.0.len() * ENTRY_SIZE);
        bytes.put_slice(&MAGIC);
        bytes.put_u32(FORMAT_VERSION);
        let crc = crc32fast::hash(&bytes);
        bytes.put_u32(crc);
        for (key, mark) in &self.0 {
            encode_entry(*key, mark, &mut bytes);
        }
        bytes.freeze()
    }

    /// What a file says, and how many of its entries are not those that were written. `None`: it is no file of marks.
    fn decode(bytes: &Bytes) -> Option<(Self, u64)> {
        let (mut header, mut entries) = (bytes.get(..HEADER_SIZE)?, bytes.get(HEADER_SIZE..)?);
        let crc = crc32fast::hash(header.get(..HEADER_SIZE - 4)?);
        let magic = header.get(..4) == Some(&MAGIC);
        header.advance(4);
        if !magic || header.get_u32() != FORMAT_VERSION || header.get_u32() != crc {
            return None;
        }
        let (mut marks, mut bad) = (Self::default(), 0);
        while entries.has_remaining() {
            let entry = entries.get(..ENTRY_SIZE).and_then(decode_entry);
            match entry {
                Some((key, mark)) => {
                    marks.raise(key, mark);
                }
                // The last one may have been cut off by a crash.
                None => bad += 1,
            }
            entries.advance(ENTRY_SIZE.min(entries.len()));
        }
        Some((marks, bad))
    }
}

fn encode_entry(key: MarkKey, mark: &Summary, out: &mut BytesMut) {
    let start = out.len();
    out.put_slice(&key.topic.0);
    out.put_i32(key.partition.0);
    mark.encode(out);
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.put_u32(crc);
}

fn decode_entry(bytes: &[u8]) -> Option<(MarkKey, Summary)> {
    let (checked, mut crc) = bytes.split_at_checked(ENTRY_SIZE - 4)?;
    if crc.get_u32() != crc32fast::hash(checked) {
        return None;
    }
    let (topic, mut rest) = checked.split_first_chunk::<16>()?;
    let key = MarkKey { topic: TopicId(*topic), partition: PartitionId(rest.get_i32()) };
    Some((key, Summary::decode(Bytes::copy_from_slice(rest))?))
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// Behind what the file holds.
    Append { position: u64, entries: Bytes },
    /// A new file in place of the one that is there, if there is one.
    Rewrite { file: Bytes },
}

/// Which marks are to be written, and when.
pub(super) struct MarkBook {
    latest: FlushMarks,
    pending: BTreeMap<MarkKey, Summary>,
    /// Entries in the file, those of the write under way included. `None`: there is none that could be appended to.
    entries: Option<u64>,
    /// No write begins earlier.
    not_before: Option<Instant>,
}

impl MarkBook {
    /// With the marks that were read at the start. Their file is not appended to: its last entry may be cut off.
    pub(super) fn new(latest: FlushMarks) -> Self {
        Self { latest, pending: BTreeMap::new(), entries: None, not_before: None }
    }

    /// So much of a partition has been flushed. True if nothing else waited to be written.
    pub(super) fn flushed(&mut self, key: MarkKey, mark: Summary) -> bool {
        let first = self.pending.is_empty();
        let rises = self.latest.raise(key, mark);
        if rises {
            self.pending.insert(key, mark);
        }
        first && rises
    }

    /// The partition is no more. Its entries go when the file is written anew.
    pub(super) fn forget(&mut self, key: MarkKey) {
        self.latest.0.remove(&key);
        self.pending.remove(&key);
    }

    /// Forgets all partitions but those that exist.
    pub(super) fn retain(&mut self, exists: impl Fn(MarkKey) -> bool) {
        self.latest.0.retain(|key, _| exists(*key));
        self.pending.retain(|key, _| exists(*key));
    }

    /// When the next write is due; `None`: nothing waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.pending.is_empty()).then(|| self.not_before.unwrap_or(now).max(now))
    }

    /// What is to be written now. One write at a time: the next one is taken after [`MarkBook::written`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Write> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return None;
        }
        self.not_before = Some(now + WRITE_INTERVAL);
        let live = self.latest.0.len() as u64;
        let appended = self.entries.map(|entries| (entries, entries + pending.len() as u64));
        if let Some((before, after)) = appended
            && after <= REWRITE_MIN.max(live * REWRITE_RATIO)
        {
            let mut entries = BytesMut::with_capacity(pending.len() * ENTRY_SIZE);
            for (key, mark) in &pending {
                encode_entry(*key, mark, &mut entries);
            }
            self.entries = Some(after);
            let position = HEADER_SIZE as u64 + before * ENTRY_SIZE as u64;
            return Some(Write::Append { position, entries: entries.freeze() });
        }
        self.entries = Some(live);
        Some(Write::Rewrite { file: self.latest.encode() })
    }

    /// The write is done, or has failed: then a new file is written, since nothing is known of the old one.
    pub(super) fn written(&mut self, done: bool, now: Instant) {
        if !done {
            self.entries = None;
            self.not_before = Some(now + RETRY_INTERVAL);
            // Whichever: a new file holds all of them.
            if let Some((key, mark)) = self.latest.0.first_key_value() {
                self.pending.entry(*key).or_insert(*mark);
            }
        }
    }
}

#[cfg(test)]
mod tests;
