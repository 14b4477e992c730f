//! What is known of all partitions: counts, findings, and records that nobody claimed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::report::Origin;
use crate::cli::digest::{Digest, Fingerprint};

/// So many unclaimed records are remembered at once, to be looked for among the claimed ones: some 100 MB. Of more, further
/// readings take care.
const DOUBLES_AT_ONCE: usize = 1 << 20;

/// A record as it stands in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub digest: Digest,
    pub stamp: Stamp,
}

/// Whose clock a record's timestamp is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stamp {
    /// The sender's.
    Created(i64),
    /// The broker's (LogAppendTime): says nothing about the record, so that its producer's id has to.
    Appended { producer_id: i64 },
}

impl Stored {
    /// Whether this is the record that was sent.
    pub fn is(&self, sent: &Fingerprint) -> bool {
        self.digest == sent.digest
            && match self.stamp {
                Stamp::Created(timestamp_ms) => timestamp_ms == sent.timestamp_ms,
                Stamp::Appended { .. } => true,
            }
    }

    /// Whether both are the same record, but for its place.
    pub fn same_as(&self, other: &Self) -> bool {
        (self.digest, self.stamp) == (other.digest, other.stamp)
    }
}

/// In what way the topic is not what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Missing,
    Duplicate,
    Order,
    Different,
    Unexpected,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Order => "order",
            Self::Different => "different",
            Self::Unexpected => "unexpected",
        })
    }
}

/// One record, or some in a row, of which that is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub partition: i32,
    /// Where it was acknowledged, if that was told.
    pub offset: Option<i64>,
    /// Where it stands, if it does.
    pub found_at: Option<i64>,
    /// Where it came from, if the report knows.
    pub file: Option<String>,
    pub line: Option<u64>,
    /// A sentence.
    pub what: String,
}

impl Finding {
    pub fn new(partition: i32, offset: Option<i64>, found_at: Option<i64>, what: String) -> Self {
        Self { partition, offset, found_at, file: None, line: None, what }
    }

    pub fn from(mut self, origin: &Origin) -> Self {
        if origin.line > 0 {
            self.file = Some(origin.file.to_string());
            self.line = Some(origin.line);
        }
        self
    }
}

/// All findings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Records.
    pub count: u64,
    /// The lowest of the first partition in which there was one.
    pub first: Finding,
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// The report says that they were written.
    pub acknowledged: u64,
    /// Of those, the ones that are where they were acknowledged, or between their neighbours if that was not told.
    #[serde(rename = "proven_records")]
    pub proven: u64,
    /// Of the records whose fate the report does not know, those that are there.
    pub unknown_written: u64,
    /// And those that are not.
    pub unknown_absent: u64,
    /// The report says that they were not written.
    pub not_written: u64,
    /// Inputs that were no records.
    pub rejected: u64,
    /// Records of the topic that the report does not know.
    pub unclaimed: u64,
}

/// An unclaimed record that may be a claimed one for the second time.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: i32,
    offset: i64,
}

/// What tells records apart.
type Identity = (Digest, Stamp);

/// Everything found so far.
#[derive(Debug, Default)]
pub struct Ledger {
    pub counts: Counts,
    pub tallies: BTreeMap<Kind, Tally>,
    /// The first record that the report does not know: partition and offset.
    pub first_unclaimed: Option<(i32, i64)>,
    /// Unclaimed records of the reading before: is one of them claimed elsewhere?
    wanted: BTreeMap<Identity, Place>,
    /// Those of this reading, for the next one.
    gathered: BTreeMap<Identity, Place>,
    /// Unclaimed records that were, or will be, looked for in other readings.
    skip: u64,
    seen: u64,
}

impl Ledger {
    pub fn add(&mut self, kind: Kind, count: u64, finding: impl FnOnce() -> Finding) {
        match self.tallies.get_mut(&kind) {
            Some(tally) => tally.count += count,
            None => {
                self.tallies.insert(kind, Tally { count, first: finding() });
            }
        }
    }

    pub fn is_clean(&self) -> bool {
        self.tallies.is_empty()
    }

    /// This record was claimed.
    pub fn claimed(&mut self, partition: i32, stored: &Stored) {
        // Usually there is nothing to look for.
        if !self.wanted.is_empty()
            && let Some(place) = self.wanted.remove(&(stored.digest, stored.stamp))
        {
            let (offset, found_at) = (stored.offset, place.offset);
            self.add(Kind::Duplicate, 1, || {
                let elsewhere = if place.partition == partition {
                    String::new()
                } else {
                    format!(" of partition {}", place.partition)
                };
                let what = format!("stands again at offset {found_at}{elsewhere}");
                Finding::new(partition, Some(offset), Some(found_at), what)
            });
        }
    }

    /// Nobody claimed this record.
    pub fn unclaimed(&mut self, partition: i32, stored: &Stored) {
        self.counts.unclaimed += 1;
        self.first_unclaimed.get_or_insert((partition, stored.offset));
        if self.seen >= self.skip && self.gathered.len() < DOUBLES_AT_ONCE {
            let place = Place { partition, offset: stored.offset };
            self.gathered.entry((stored.digest, stored.stamp)).or_insert(place);
            self.skip = self.seen + 1;
        }
        self.seen += 1;
    }

    /// This record was claimed as not written.
    pub fn not_written(&mut self, partition: i32, sent: &Fingerprint, origin: &Origin) {
        self.counts.not_written += 1;
        if let Some(place) = self.wanted.remove(&(sent.digest, Stamp::Created(sent.timestamp_ms))) {
            self.add(Kind::Unexpected, 1, || {
                let what = format!("was reported as not written, and stands at offset {}", place.offset);
                Finding::new(partition, None, Some(place.offset), what).from(origin)
            });
        }
    }

    /// The ledger of another reading, if one is needed: it looks for what this one left unclaimed, and its counts are of no
    /// interest.
    pub fn next_reading(&mut self) -> Option<Self> {
        if self.gathered.is_empty() {
            return None;
        }
        Some(Self { wanted: std::mem::take(&mut self.gathered), skip: self.skip, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::digest::RecordHasher;

    fn stored(number: i64, offset: i64) -> Stored {
        let digest = RecordHasher::default().digest(Some(&number.to_be_bytes()), None, [].into_iter());
        Stored { offset, digest, stamp: Stamp::Created(number) }
    }

    #[test]
    fn the_first_of_each_kind_is_kept_and_all_are_counted() {
        let mut ledger = Ledger::default();
        for offset in [7, 9] {
            ledger.add(Kind::Missing, 2, || Finding::new(0, Some(offset), None, String::new()));
        }
        let tally = &ledger.tallies[&Kind::Missing];
        assert_eq!((tally.count, tally.first.offset), (4, Some(7)));
    }

    #[test]
    fn an_unclaimed_record_that_is_claimed_elsewhere_is_a_duplicate_and_one_not_written_is_unexpected() {
        let mut first = Ledger::default();
        first.claimed(0, &stored(1, 10));
        first.unclaimed(1, &stored(1, 3));
        first.unclaimed(1, &stored(2, 4));
        first.unclaimed(1, &stored(5, 5));
        assert!(first.is_clean());
        assert_eq!((first.counts.unclaimed, first.first_unclaimed), (3, Some((1, 3))));
        let mut second = first.next_reading().unwrap();
        second.claimed(0, &stored(1, 10));
        let two = stored(2, 0);
        let origin = Origin { file: "f".into(), line: 2 };
        second.not_written(0, &Fingerprint { digest: two.digest, timestamp_ms: 2 }, &origin);
        let duplicate = &second.tallies[&Kind::Duplicate];
        assert_eq!((duplicate.first.offset, duplicate.first.found_at), (Some(10), Some(3)));
        assert_eq!(second.tallies[&Kind::Unexpected].first.line, Some(2));
        for number in [1, 2, 5] {
            second.unclaimed(1, &stored(number, 3));
        }
        assert!(second.next_reading().is_none(), "all of them have been looked for");
    }
}
