//! The sparse time index of one segment: hints for where the first record of a time is. In memory while the segment is
//! active, in a file once it is sealed.
//!
//! An entry stands where the largest timestamp so far rises: (that largest timestamp, the offset of the batch that exceeds
//! it). So no record before the offset has a later timestamp, whatever order clients send them in; timestamps and
//! offsets both rise. A rise within the index interval of the last entry gets none, so a search walks through no more than
//! that interval.
//!
//! File `<base>.timeindex`: magic `GLTI`, format version u32, the summary of what is indexed
//! ([`Summary::encode`]), the position of the last entry's batch u64, number of entries u32, CRC-32 of all of that and of the
//! entries u32; then the entries, each a timestamp (i64) and an offset relative to the segment's (u32). Big-endian. Nothing in the
//! log would show that an entry is wrong, so the file is read and checked as a whole each time it is asked, and believed
//! only with the summary of the segment as it is.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::seeded_bug::{SeededBug, is_on};

use super::index_file::Format;
use super::summary::Summary;

/// The fields are the summary, the position and the number of entries.
const FORMAT: Format =
    Format { magic: *b"GLTI", version: 1, fields_size: Summary::ENCODED_SIZE + 12, entry_size: 12 };

/// Entries gathered while a segment grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TimeIndex {
    /// Apart from the offsets: together they would take a third more.
    timestamps: Vec<i64>,
    relatives: Vec<u32>,
    /// Where the batch of the last entry begins.
    last_position: u64,
}

impl TimeIndex {
    /// A batch was appended behind what `before` tells of.
    pub(super) fn appended(&mut self, before: &Summary, max_timestamp: i64, relative: u64, interval: u64) {
        let rises = before.batches.is_some() && max_timestamp > before.max_timestamp;
        let Ok(relative) = u32::try_from(relative) else { return };
        if rises && before.size >= self.last_position + interval {
            self.timestamps.push(before.max_timestamp);
            self.relatives.push(relative);
            self.last_position = before.size;
        }
    }

    /// An offset, relative to the segment's, before which every record is older than `timestamp`.
    pub(super) fn start_for(&self, timestamp: i64) -> u32 {
        let older = self.timestamps.partition_point(|entry| *entry < timestamp);
        older.checked_sub(1).and_then(|last| self.relatives.get(last)).copied().unwrap_or(0)
    }

    /// The last entry up to an offset: the largest timestamp before it, and where it stands.
    pub(super) fn floor(&self, relative: u64) -> Option<(i64, u32)> {
        let last = self.relatives.partition_point(|entry| u64::from(*entry) <= relative).checked_sub(1)?;
        Some((*self.timestamps.get(last)?, *self.relatives.get(last)?))
    }

    /// The content of a time index file.
    pub(super) fn encode(&self, summary: &Summary) -> Bytes {
        let mut fields = BytesMut::with_capacity(FORMAT.fields_size);
        summary.encode(&mut fields);
        fields.put_u64(self.last_position);
        fields.put_u32(u32::try_from(self.timestamps.len()).unwrap_or(u32::MAX));
        let mut entries = BytesMut::with_capacity(self.timestamps.len() * FORMAT.entry_size);
        for (timestamp, relative) in self.timestamps.iter().zip(&self.relatives) {
            entries.put_i64(*timestamp);
            entries.put_u32(*relative);
        }
        FORMAT.encode(&fields, &entries)
    }

    /// What [`TimeIndex::encode`] made for a segment of this summary; `None` if it is anything else.
    pub(super) fn decode(bytes: &Bytes, summary: &Summary) -> Option<Self> {
        let (mut fields, mut entries) = FORMAT.decode(bytes)?;
        let indexed = Summary::decode(fields.split_to(Summary::ENCODED_SIZE))?;
        let (last_position, count) = (fields.get_u64(), fields.get_u32() as usize);
        if entries.len() != count * FORMAT.entry_size {
            return None;
        }
        if indexed != *summary && !is_on(SeededBug::TrustCorruptIndex) {
            return None;
        }
        let mut index = Self {
            timestamps: Vec::with_capacity(count),
            relatives: Vec::with_capacity(count),
            last_position,
        };
        while entries.has_remaining() {
            index.timestamps.push(entries.get_i64());
            index.relatives.push(entries.get_u32());
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use gapless_common::types::{LeaderEpoch, Offset};

    use super::*;
    use crate::log::summary::Ends;

    /// Batches of 10 records and 1,000 bytes with these largest timestamps.
    fn index(timestamps: &[i64], interval: u64) -> (TimeIndex, Summary) {
        let (mut index, mut summary) = (TimeIndex::default(), Summary::empty(Offset(100)));
        for (timestamp, batch) in timestamps.iter().zip(0..) {
            index.appended(&summary, *timestamp, batch * 10, interval);
            summary.size += 1000;
            summary.max_timestamp = summary.max_timestamp.max(*timestamp);
            summary.next_offset = summary.next_offset.plus(10);
            let epoch = LeaderEpoch(0);
            let last_position = summary.size - 1000;
            summary.batches =
                Some(Ends { first_epoch: epoch, last_epoch: epoch, last_position, last_crc: 0 });
        }
        (index, summary)
    }

    fn entries(index: &TimeIndex) -> Vec<(i64, u32)> {
        index.timestamps.iter().copied().zip(index.relatives.iter().copied()).collect()
    }

    #[test]
    fn an_entry_stands_where_the_largest_timestamp_rises() {
        let (all, _) = index(&[50, 40, 60, 60, 55, 90, i64::MAX, 10], 0);
        assert_eq!(entries(&all), [(50, 20), (60, 50), (90, 60)]);
        for (timestamp, start) in
            [(i64::MIN, 0), (50, 0), (51, 20), (60, 20), (61, 50), (90, 50), (91, 60), (i64::MAX, 60)]
        {
            assert_eq!(all.start_for(timestamp), start, "{timestamp}");
        }
        for (relative, floor) in [(0, None), (19, None), (20, Some((50, 20))), (59, Some((60, 50)))] {
            assert_eq!(all.floor(relative), floor, "{relative}");
        }
    }

    #[test]
    fn a_rise_close_behind_an_entry_gets_none() {
        let (sparse, _) = index(&[1, 2, 3, 4, 5, 6, 7, 8], 3000);
        assert_eq!(entries(&sparse), [(3, 30), (6, 60)]);
        let (none, _) = index(&[9, 8, 8, 9, 1], 0);
        assert_eq!(entries(&none), []);
    }

    #[test]
    fn a_file_is_believed_only_as_it_was_written_and_for_its_segment() {
        let (index, summary) = index(&[1, 2, 3, 4, 5, 6, 7, 8], 1000);
        let bytes = index.encode(&summary);
        assert_eq!(TimeIndex::decode(&bytes, &summary), Some(index));
        let longer = Summary { size: summary.size + 1, ..summary };
        assert_eq!(TimeIndex::decode(&bytes, &longer), None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert_eq!(TimeIndex::decode(&flipped.into(), &summary), None, "byte {at} bit {bit}");
            }
            assert_eq!(TimeIndex::decode(&bytes.slice(..at), &summary), None, "cut at {at}");
        }
    }
}
