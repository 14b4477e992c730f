//! The sparse offset index of one segment: hints for where to start looking. In memory while the segment is active,
//! in a file once it is sealed. What it says is checked against the log itself by whoever follows it.
//!
//! File `<base>.index`: magic `GLIX`, format version u32, the summary of what is indexed ([`Summary::encode`]), number of
//! entries u32, CRC-32 of all of that and of the entries u32; then the entries, each an offset relative to the segment's (u32)
//! and a position in the segment (u32). Big-endian, as everything in the log. Of a sealed segment it describes the whole, of
//! an active one what was there when it was written.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::types::Offset;

use super::index_file::Format;
use super::open_files::SealedFile;
use super::summary::Summary;
use crate::storage::{File, read_exact_at};

/// Version 1 had no summary. The fields are the summary and the number of entries.
const FORMAT: Format =
    Format { magic: *b"GLIX", version: 2, fields_size: Summary::ENCODED_SIZE + 4, entry_size: 8 };

/// A batch that begins at `position` in the segment, its first record `relative` offsets after the segment's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub relative: u32,
    pub position: u32,
}

/// Entries gathered while a segment grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OffsetIndex {
    entries: Vec<Entry>,
}

impl OffsetIndex {
    /// A batch was appended. It gets an entry if `interval` bytes have passed since the last one, or it is past that.
    pub(super) fn appended(&mut self, relative: u64, position: u64, interval: u64) {
        let last = self.entries.last().map_or(0, |entry| u64::from(entry.position));
        let (Ok(relative), Ok(at)) = (u32::try_from(relative), u32::try_from(position)) else { return };
        // The first batch needs none: a search without an entry begins there.
        if position >= last + interval {
            self.entries.push(Entry { relative, position: at });
        }
    }

    /// The last entry at or before `relative`.
    fn floor(&self, relative: u64) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| u64::from(entry.relative) <= relative);
        after.checked_sub(1).and_then(|last| self.entries.get(last)).copied()
    }

    /// The content of an index file.
    pub(super) fn encode(&self, summary: &Summary) -> Bytes {
        let mut fields = BytesMut::with_capacity(FORMAT.fields_size);
        summary.encode(&mut fields);
        fields.put_u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let mut entries = BytesMut::with_capacity(self.entries.len() * FORMAT.entry_size);
        for entry in &self.entries {
            entries.put_u32(entry.relative);
            entries.put_u32(entry.position);
        }
        FORMAT.encode(&fields, &entries)
    }

    /// What [`OffsetIndex::encode`] made; `None` if it is anything else.
    pub(super) fn decode(bytes: &Bytes) -> Option<(Summary, Self)> {
        let (mut fields, mut entries) = FORMAT.decode(bytes)?;
        let summary = Summary::decode(fields.split_to(Summary::ENCODED_SIZE))?;
        let count = fields.get_u32() as usize;
        if entries.len() != count * FORMAT.entry_size {
            return None;
        }
        let mut index = Self { entries: Vec::with_capacity(count) };
        while entries.has_remaining() {
            index.entries.push(Entry { relative: entries.get_u32(), position: entries.get_u32() });
        }
        Some((summary, index))
    }
}

/// Where a segment's index is.
pub(super) enum SegmentIndex {
    /// Of the active segment, or of a sealed one whose index could not be written.
    Memory(OffsetIndex),
    /// Of a sealed segment: the file, which this process has written or checked.
    File { file: Arc<SealedFile>, entries: u64 },
}

impl SegmentIndex {
    /// An index that lies in `file`, as [`OffsetIndex::encode`] wrote it.
    pub(super) fn in_file(file: SealedFile, index: &OffsetIndex) -> Self {
        Self::File { file: Arc::new(file), entries: index.entries.len() as u64 }
    }

    /// A position at or before that of `offset`, as far as memory knows one.
    pub(super) fn floor_in_memory(&self, base: Offset, offset: Offset) -> u64 {
        match self {
            Self::Memory(index) => {
                index.floor(relative(base, offset)).map_or(0, |entry| entry.position.into())
            }
            Self::File { .. } => 0,
        }
    }

    /// What is needed to look something up, without holding on to the segment.
    pub(super) fn lookup(&self, base: Offset, offset: Offset) -> Lookup {
        let relative = relative(base, offset);
        match self {
            Self::Memory(index) => Lookup::Found(index.floor(relative)),
            Self::File { file, entries } => {
                Lookup::Search { file: file.clone(), entries: *entries, relative }
            }
        }
    }
}

fn relative(base: Offset, offset: Offset) -> u64 {
    u64::try_from(offset.0.saturating_sub(base.0)).unwrap_or(0)
}

/// A look-up under way.
pub(super) enum Lookup {
    Found(Option<Entry>),
    Search { file: Arc<SealedFile>, entries: u64, relative: u64 },
}

impl Lookup {
    /// The last entry at or before the offset. An index that cannot be read is one without entries: the search in the
    /// segment then begins at its start.
    pub(super) async fn finish(self) -> Option<Entry> {
        let (file, entries, relative) = match self {
            Self::Found(entry) => return entry,
            Self::Search { file, entries, relative } => (file, entries, relative),
        };
        let file = match file.open().await {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(
                    "{} cannot be opened, searching its segment from the start: {error}",
                    file.path().display()
                );
                return None;
            }
        };
        let (mut low, mut high) = (0, entries);
        let mut floor = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = entry_at(&*file, middle).await?;
            if u64::from(entry.relative) <= relative {
                floor = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        floor
    }
}

async fn entry_at(file: &dyn File, number: u64) -> Option<Entry> {
    let position = FORMAT.header_size() as u64 + number * FORMAT.entry_size as u64;
    let bytes = match read_exact_at(file, position, FORMAT.entry_size).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!("an offset index cannot be read, searching its segment from the start: {error}");
            return None;
        }
    };
    let (relative, position) = (bytes.first_chunk::<4>()?, bytes.last_chunk::<4>()?);
    Some(Entry { relative: u32::from_be_bytes(*relative), position: u32::from_be_bytes(*position) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gapless_common::{
        seam::{RealSpawn, Spawner},
        types::LeaderEpoch,
    };

    use super::*;
    use crate::log::open_files::{OpenFiles, SealedFiles};
    use crate::log::summary::Ends;
    use crate::storage::{Files as _, RealFiles, write_all_at};

    /// Batches of 10 records and 1,000 bytes.
    fn index(batches: u64) -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for batch in 0..batches {
            index.appended(batch * 10, batch * 1000, 4096);
        }
        index
    }

    #[test]
    fn an_entry_is_made_for_every_interval_of_bytes() {
        let positions: Vec<u32> = index(20).entries.iter().map(|entry| entry.position).collect();
        assert_eq!(positions, [5000, 10_000, 15_000]);
    }

    #[tokio::test]
    async fn memory_and_file_find_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let files = Arc::new(RealFiles::new(directory.path(), Spawner::new(RealSpawn)));
        let sealed = SealedFiles::new(&OpenFiles::new(files.clone(), 2));
        for batches in [0, 1, 6, 11, 50] {
            let index = index(batches);
            let path = Path::new("topic").with_extension(batches.to_string());
            let file = files.create(&path).await.unwrap();
            let bytes = index.encode(&Summary::empty(Offset(100)));
            write_all_at(&*file, 0, &[bytes]).await.unwrap();
            let in_file = SegmentIndex::in_file(sealed.seal(path, file), &index);
            let in_memory = SegmentIndex::Memory(index);
            for offset in 0..600 {
                let expected = in_memory.lookup(Offset(100), Offset(100 + offset)).finish().await;
                let found = in_file.lookup(Offset(100), Offset(100 + offset)).finish().await;
                assert_eq!(found, expected, "{batches} batches, offset {offset}");
                assert!(expected.is_none_or(|entry| i64::from(entry.relative) <= offset));
            }
        }
    }

    #[test]
    fn a_file_is_believed_only_as_it_was_written() {
        let epoch = LeaderEpoch(1);
        let ends = Ends { first_epoch: epoch, last_epoch: epoch, last_position: 19_000, last_crc: 7 };
        let empty = Summary::empty(Offset(100));
        let summary = Summary { size: 20_000, next_offset: Offset(300), batches: Some(ends), ..empty };
        let index = index(20);
        let bytes = index.encode(&summary);
        assert_eq!(OffsetIndex::decode(&bytes), Some((summary, index)));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert_eq!(OffsetIndex::decode(&flipped.into()), None, "byte {at} bit {bit}");
            }
            assert_eq!(OffsetIndex::decode(&bytes.slice(..at)), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_of_version_1_is_not_believed() {
        let mut old = BytesMut::new();
        old.put_slice(&FORMAT.magic);
        old.put_u32(1);
        old.put_u32(100);
        old.put_u32(crc32fast::hash(&[0; 800]));
        old.put_slice(&[0; 800]);
        assert_eq!(OffsetIndex::decode(&old.freeze()), None);
    }
}
