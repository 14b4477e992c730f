//! What must be in the log after a run, from what callers were told and consumers saw. Pure: books and logs in, faults out.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::ledger::{Books, Entry, Place, Told};
use crate::record::Name;

/// A partition as it was read at the end, by a consumer of a broker that had just been started.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The first offset.
    pub start: i64,
    /// The high watermark.
    pub end: i64,
    /// Offset and record, in the order in which they came; `None` for a record nobody sent.
    pub records: Vec<(i64, Option<Name>)>,
    /// From this offset on the broker refuses to read, and says so.
    pub refused_from: Option<i64>,
    /// What no broker may send.
    pub bad: Option<String>,
}

/// What this run allows of a partition besides the promise.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// Acknowledged records may be missing, and what was read gone: a power loss under `--durability os`.
    pub loss: bool,
    /// From this offset on records may have gone, without a word: rot above the last flush mark, and a power loss
    /// (durability.md 8).
    pub torn_from: Option<i64>,
    /// The disk was damaged: the broker may refuse to serve from the damage on, if it says so.
    pub damage: bool,
    /// Only what was admitted since counts: the topic was made anew at that time.
    pub made_anew: Option<Instant>,
    /// Records may have been deleted from the start by the topic's settings.
    pub retention: bool,
    /// What was written and not flushed may be gone.
    pub unflushed: bool,
    /// No producer had a reason to send anything again, unless it was refused as too large.
    pub calm: bool,
    /// Batches may have been refused as too large: their halves are sent behind what was in flight by then.
    pub splits: bool,
}

/// What is wrong; empty if nothing is.
#[must_use]
pub fn judge(books: &Books, images: &BTreeMap<Place, Image>, leave: &BTreeMap<Place, Leave>) -> Vec<String> {
    let mut faults = books.faults.clone();
    let none = Leave::default();
    for (place, image) in images {
        let leave = leave.get(place).unwrap_or(&none);
        Judge { books, place, image, leave, faults: &mut faults }.run();
    }
    for place in books.streams.keys().map(|stream| &stream.place).collect::<BTreeSet<_>>() {
        if !images.contains_key(place) {
            faults.push(format!("{place}: the partition is gone"));
        }
    }
    faults
}

struct Judge<'a> {
    books: &'a Books,
    place: &'a Place,
    image: &'a Image,
    leave: &'a Leave,
    faults: &'a mut Vec<String>,
}

/// Faults of one kind in one partition that are told one by one.
const TOLD_MAX: usize = 5;

impl Judge<'_> {
    fn run(&mut self) {
        self.the_start_is_where_it_may_be();
        self.offsets_are_contiguous();
        let found = self.each_once();
        self.what_was_seen_is_there();
        let streams = self.books.streams.iter().filter(|(stream, _)| stream.place == *self.place);
        for (stream, entries) in streams {
            if let Some(acks) = self.books.weak.get(&stream.producer) {
                self.weak_stream(*acks, entries, &found);
                continue;
            }
            let skips = self.books.skipping.contains(&stream.producer);
            self.stream(entries, skips, &found);
        }
        self.refusals_have_a_cause();
    }

    fn fault(&mut self, what: impl std::fmt::Display) {
        self.faults.push(format!("{}: {what}", self.place));
    }

    /// What lies at this offset may be out of reach, or deleted.
    fn is_excused(&self, offset: i64) -> bool {
        offset < self.image.start || self.out_of_reach_from().is_some_and(|from| offset >= from)
    }

    /// The same of a record whose offset nobody knows. What stands behind a record that is there was not deleted.
    fn may_be_anywhere(&self, stands_first: bool) -> bool {
        (stands_first && self.image.start > 0) || self.out_of_reach_from().is_some()
    }

    fn out_of_reach_from(&self) -> Option<i64> {
        [self.image.refused_from, self.leave.torn_from].into_iter().flatten().min()
    }

    fn the_start_is_where_it_may_be(&mut self) {
        let start = self.image.start;
        let asked = self.books.asked_below.get(self.place).copied().unwrap_or(0);
        if start > asked && !self.leave.retention {
            self.fault(format!("the log starts at {start}, though nothing from {asked} on was ever deleted"));
        }
        let told = self.books.starts.get(self.place).copied().unwrap_or(0);
        if start < told && self.leave.made_anew.is_none() {
            self.fault(format!("the log starts at {start}, and started at {told} before"));
        }
    }

    fn offsets_are_contiguous(&mut self) {
        let mut expected = self.image.start;
        let mut odd = Vec::new();
        for (offset, name) in &self.image.records {
            if *offset != expected {
                odd.push(format!("offset {offset} follows {}", expected - 1));
            }
            if name.is_none() {
                odd.push(format!("offset {offset} holds a record that nobody sent"));
            }
            expected = offset + 1;
        }
        if expected != self.image.end && self.image.refused_from.is_none() {
            odd.push(format!("the records end at {expected}, the high watermark is {}", self.image.end));
        }
        odd.into_iter().take(TOLD_MAX).for_each(|what| self.fault(what));
    }

    fn each_once(&mut self) -> BTreeMap<Name, i64> {
        let mut found = BTreeMap::new();
        let mut again = Vec::new();
        for (offset, name) in &self.image.records {
            let Some(name) = name else { continue };
            if let Some(first) = found.insert(*name, *offset).filter(|_| !self.may_repeat(*name)) {
                again.push(format!("{name} is at offset {first} and again at {offset}"));
            }
        }
        again.into_iter().take(TOLD_MAX).for_each(|what| self.fault(what));
        found
    }

    fn what_was_seen_is_there(&mut self) {
        if self.leave.loss || self.leave.made_anew.is_some() {
            return;
        }
        let Some(seen) = self.books.seen.get(self.place) else { return };
        let there: BTreeMap<i64, Option<Name>> = self.image.records.iter().copied().collect();
        let gone: Vec<_> = seen
            .iter()
            .filter(|(offset, name)| there.get(offset) != Some(&Some(**name)) && !self.is_excused(**offset))
            .map(|(offset, name)| format!("a consumer saw {name} at offset {offset}, where it is not"))
            .collect();
        gone.into_iter().take(TOLD_MAX).for_each(|what| self.fault(what));
    }

    fn stream(&mut self, entries: &[Entry], skips: bool, found: &BTreeMap<Name, i64>) {
        let mut wrong = Vec::new();
        // Of this stream so far: the last offset in the log, and the last one that was reported.
        let (mut last, mut last_reported) = (None::<(Name, i64)>, None::<i64>);
        // The first record of this epoch that is not in the log, or was not acknowledged.
        let (mut absent, mut failed) = (None::<Name>, None::<Name>);
        for entry in entries {
            let (name, admitted, told) = match entry {
                Entry::Record { name, admitted, told } => (name, admitted, told),
                Entry::Settling => continue,
                Entry::Resumed | Entry::Settled => {
                    (absent, failed) = (None, None);
                    continue;
                }
            };
            if self.leave.made_anew.is_some_and(|since| *admitted < since) {
                continue;
            }
            let at = found.get(name).copied();
            if let (Some((before, before_at)), Some(at)) = (last, at)
                && at < before_at
            {
                wrong.push(format!("{name} at offset {at} stands before {before} at {before_at}"));
            }
            if let Some(at) = at {
                last = Some((*name, at));
            }
            match (told, at) {
                (Told::Acked(reported), Some(at)) => {
                    if reported.is_some_and(|reported| reported != at) && !self.leave.loss {
                        wrong.push(format!("{name} is at offset {at}, but {reported:?} was reported"));
                    }
                }
                (Told::Acked(reported), None) => {
                    let excused = reported.map_or_else(
                        || self.may_be_anywhere(last.is_none()),
                        |reported| self.is_excused(reported),
                    );
                    if !self.leave.loss && !excused {
                        wrong.push(format!("{name} was acknowledged at {reported:?} and is missing"));
                    }
                }
                (Told::NotWritten, Some(at)) => {
                    wrong.push(format!("{name} was reported as not written and is at offset {at}"));
                }
                (Told::NotWritten | Told::Unknown | Told::Nothing, _) => {}
            }
            if let Told::Acked(reported) = told {
                if let (Some(before), Some(reported)) = (last_reported, reported)
                    && *reported <= before
                    && !self.leave.loss
                    && self.leave.torn_from.is_none_or(|from| *reported < from)
                {
                    wrong.push(format!("{name} was reported at offset {reported}, behind one at {before}"));
                }
                last_reported = reported.or(last_reported);
                if let Some(failed) = failed.filter(|_| !skips) {
                    wrong.push(format!("{name} was acknowledged behind {failed}, which failed"));
                }
            } else if *told != Told::Nothing {
                failed = failed.or(Some(*name));
            }
            match (at, absent) {
                (Some(at), Some(absent)) if !skips && !self.leave.loss => {
                    wrong.push(format!("{name} is at offset {at}, but {absent} before it is missing: a gap"));
                }
                // What is out of reach is no gap.
                (None, _) if !self.may_be_anywhere(last.is_none()) => absent = absent.or(Some(*name)),
                _ => {}
            }
        }
        wrong.into_iter().take(TOLD_MAX).for_each(|what| self.fault(what));
    }

    fn refusals_have_a_cause(&mut self) {
        if let Some(bad) = &self.image.bad {
            self.fault(bad);
        }
        if let Some(from) = self.image.refused_from
            && !self.leave.damage
        {
            self.fault(format!("reading is refused from offset {from} on, though the disk is well"));
        }
    }
}

mod weak;

#[cfg(test)]
mod tests;
