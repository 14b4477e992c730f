//! What callers were told: which records were admitted, in which order, what became of each, and where a caller resumed.
//! And what consumers saw. It outlives every host.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gapless_producer::Acks;
use tokio::time::Instant;

use crate::record::Name;

/// A partition by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a caller knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet; nothing ever, if the producer crashed.
    Nothing,
    /// Acknowledged, with the offset that was reported, if one was.
    Acked(Option<i64>),
    /// Not in the log.
    NotWritten,
    /// In the log once, or not at all.
    Unknown,
}

/// One entry in the life of a producer in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A record was admitted.
    Record {
        /// Which.
        name: Name,
        /// When.
        admitted: Instant,
        /// What its caller knows.
        told: Told,
    },
    /// The caller went on behind what had failed.
    Resumed,
    /// The caller tried to find out what had become of what failed.
    Settling,
    /// It found out that everything in doubt is in the log, and went on.
    Settled,
}

/// Who was promised what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// Where.
    pub place: Place,
    /// Which life of which producer.
    pub producer: u32,
}

/// Everything that was said.
#[derive(Debug, Default, Clone)]
pub struct Books {
    /// By partition and producer, in the order of admission.
    pub streams: BTreeMap<Stream, Vec<Entry>>,
    /// Lives of producers that go on by themselves behind what failed.
    pub skipping: Vec<u32>,
    /// Lives of producers without idempotence, and when they are answered: what they are promised is less.
    pub weak: BTreeMap<u32, Acks>,
    /// Below this, at the most, somebody has asked to delete records.
    pub asked_below: BTreeMap<Place, i64>,
    /// The highest offset that a log was said to start at.
    pub starts: BTreeMap<Place, i64>,
    /// What consumers saw, by offset.
    pub seen: BTreeMap<Place, BTreeMap<i64, Name>>,
    /// What was wrong already while it was seen.
    pub faults: Vec<String>,
    /// Acknowledged records.
    pub acked: u64,
    /// Records with any fate.
    pub told: u64,
}

/// The books; clones are the same ones.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

/// Where an admitted record stands in the books.
#[derive(Debug, Clone)]
pub struct Line {
    stream: Stream,
    index: usize,
}

/// What was seen and is wrong is told so often; the rest is more of the same.
const FAULTS_MAX: usize = 20;

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the books.
    #[must_use]
    pub fn copy(&self) -> Books {
        self.books().clone()
    }

    /// A life of a producer begins that goes on by itself behind what failed.
    pub fn skips(&self, producer: u32) {
        self.books().skipping.push(producer);
    }

    /// A life of a producer begins that has no idempotence.
    pub fn is_weak(&self, producer: u32, acks: Acks) {
        self.books().weak.insert(producer, acks);
    }

    /// Somebody asks to delete what lies below an offset.
    pub fn asked_below(&self, place: &Place, before: i64) {
        let mut books = self.books();
        let asked = books.asked_below.entry(place.clone()).or_default();
        *asked = (*asked).max(before);
    }

    /// Somebody was told that a log starts here, and need not reckon with less any more.
    pub fn starts_at(&self, place: &Place, start: i64) {
        let mut books = self.books();
        let told = books.starts.entry(place.clone()).or_default();
        *told = (*told).max(start);
    }

    /// The offset behind the last record that a consumer saw.
    #[must_use]
    pub fn seen_up_to(&self, place: &Place) -> i64 {
        let books = self.books();
        books.seen.get(place).and_then(|seen| seen.last_key_value()).map_or(0, |(offset, _)| offset + 1)
    }

    /// A record was admitted, behind all admitted before.
    pub fn admitted(&self, place: Place, name: Name) -> Line {
        let stream = Stream { place, producer: name.producer };
        let mut books = self.books();
        let entries = books.streams.entry(stream.clone()).or_default();
        entries.push(Entry::Record { name, admitted: Instant::now(), told: Told::Nothing });
        Line { index: entries.len() - 1, stream }
    }

    /// The caller learned its fate.
    pub fn told(&self, line: &Line, what: Told) {
        let mut books = self.books();
        books.told += 1;
        books.acked += u64::from(matches!(what, Told::Acked(_)));
        let entry = books.streams.get_mut(&line.stream).and_then(|entries| entries.get_mut(line.index));
        if let Some(Entry::Record { told, .. }) = entry {
            *told = what;
        }
    }

    /// The caller resumed the partition.
    pub fn resumed(&self, place: Place, producer: u32) {
        self.books().streams.entry(Stream { place, producer }).or_default().push(Entry::Resumed);
    }

    /// The records of a halted partition of which the caller knows that nobody knows. `None` while some have not been told
    /// anything.
    #[must_use]
    pub fn in_doubt(&self, place: &Place, producer: u32) -> Option<Vec<Line>> {
        let stream = Stream { place: place.clone(), producer };
        let books = self.books();
        let entries = books.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let went_on = |entry: &Entry| matches!(entry, Entry::Resumed | Entry::Settled);
        let since = entries.iter().rposition(went_on).map_or(0, |at| at + 1);
        let mut lines = Vec::new();
        for (index, entry) in entries.iter().enumerate().skip(since) {
            match entry {
                Entry::Record { told: Told::Nothing, .. } => return None,
                Entry::Record { told: Told::Unknown, .. } => {
                    lines.push(Line { stream: stream.clone(), index });
                }
                _ => {}
            }
        }
        Some(lines)
    }

    /// The caller settles a halted partition. The line is for [`Ledger::settled`]: nothing is admitted before the settle is over,
    /// and something may be before the caller hears of it.
    pub fn settling(&self, place: &Place, producer: u32) -> Line {
        let stream = Stream { place: place.clone(), producer };
        let mut books = self.books();
        let entries = books.streams.entry(stream.clone()).or_default();
        entries.push(Entry::Settling);
        Line { index: entries.len() - 1, stream }
    }

    /// The settle found out that everything in doubt is in the log.
    pub fn settled(&self, settling: &Line) {
        let mut books = self.books();
        let entry =
            books.streams.get_mut(&settling.stream).and_then(|entries| entries.get_mut(settling.index));
        if let Some(entry) = entry {
            *entry = Entry::Settled;
        }
    }

    /// What a settle found out of a record in doubt.
    pub fn found(&self, line: &Line, what: Told) {
        let mut books = self.books();
        books.acked += u64::from(matches!(what, Told::Acked(_)));
        let entry = books.streams.get_mut(&line.stream).and_then(|entries| entries.get_mut(line.index));
        if let Some(Entry::Record { told, .. }) = entry {
            *told = what;
        }
    }

    /// A consumer saw a record, which has to stay where it is.
    pub fn saw(&self, place: &Place, offset: i64, name: Name) {
        let before = self.saw_for_now(place, offset, name);
        if let Some(before) = before.filter(|before| *before != name) {
            self.fault(format!("{place}: a consumer saw {before} at offset {offset}, and later {name}"));
        }
    }

    /// A consumer saw a record, which may be gone later. Returned is what it saw there before.
    pub fn saw_for_now(&self, place: &Place, offset: i64, name: Name) -> Option<Name> {
        let mut books = self.books();
        if !books.seen.contains_key(place) {
            books.seen.insert(place.clone(), BTreeMap::new());
        }
        books.seen.get_mut(place).and_then(|seen| seen.insert(offset, name))
    }

    /// Something was seen that may never be.
    pub fn fault(&self, what: String) {
        tracing::error!("{what}");
        let mut books = self.books();
        if books.faults.len() < FAULTS_MAX && !books.faults.contains(&what) {
            books.faults.push(what);
        }
    }

    /// Acknowledged records so far, and those with any fate.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let books = self.books();
        (books.acked, books.told)
    }
}
