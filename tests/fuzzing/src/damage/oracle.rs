//! What may be made of a damaged partition.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use gapless_broker::log::{PartitionLog, State};
use gapless_common::types::LeaderEpoch;

use super::history::{Moment, frames, header_of, records};
use crate::recovery::{
    files::Kind,
    place::{Files, Found},
};

/// What was changed, as far as it matters for what may be expected.
#[derive(Debug)]
pub(super) struct Damage {
    /// Files that are gone, new, or of other bytes.
    changed: Vec<(Kind, i64, Change)>,
    /// The first offset of the log, from its start on, that is not where it was, byte for byte.
    first_bad: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Gone,
    /// Its checksums say so.
    Broken,
    /// Under checksums that fit, of all of it or of some.
    Lies,
}

/// Whether a file holds batches.
pub(super) fn is_segment(path: &Path) -> bool {
    matches!(Kind::of(path), Some((Kind::Log, _)))
}

impl Damage {
    /// `forged` are files whose checksums were set right, or that are of another time.
    pub(super) fn of(moment: &Moment, files: &Files, forged: &BTreeSet<PathBuf>) -> Self {
        let mut changed = Vec::new();
        let all: BTreeSet<_> = moment.files.keys().chain(files.keys()).collect();
        for path in all {
            let Some((kind, base)) = Kind::of(path) else { continue };
            let change = match (moment.files.get(path), files.get(path)) {
                (before, after) if before == after => continue,
                (_, None) => Change::Gone,
                (Some(before), Some(content)) if kind == Kind::Log && same_but_for_heads(before, content) => {
                    Change::Broken
                }
                _ if forged.contains(path) => Change::Lies,
                (..) => Change::Broken,
            };
            changed.push((kind, base, change));
        }
        Self { changed, first_bad: first_bad(moment, files) }
    }

    fn any(&self, matches: impl Fn(Kind, Change) -> bool) -> bool {
        self.changed.iter().any(|(kind, _, change)| matches(*kind, *change))
    }

    /// A file is believed that says what was not so.
    fn misleads(&self) -> bool {
        self.any(|kind, change| {
            change == Change::Lies && matches!(kind, Kind::State | Kind::Marks | Kind::Producers)
        })
    }

    /// Nothing that cannot be rebuilt.
    pub(super) fn is_harmless(&self) -> bool {
        !self.any(|kind, _| matches!(kind, Kind::Log | Kind::State)) && !self.misleads()
    }

    pub(super) fn judge(&self, moment: &Moment, found: &Found) {
        let why = || format!("{self:?}, {:?} to {:?}, {:?}", found.start, found.end, found.quarantined);
        // A whole batch of other content and a right checksum cannot be told from one that was written.
        if !self.any(|kind, change| kind == Kind::Log && change == Change::Lies) {
            for (base, batch) in &found.batches {
                // What was deleted is there again if the start of the log is forgotten.
                if *base < moment.start {
                    continue;
                }
                let written =
                    moment.batches.get(base).unwrap_or_else(|| panic!("nothing at {base}: {}", why()));
                // Where nobody else knows the leader epoch, what stands there is believed.
                let is_known = *base < moment.epochs_known && self.changed.len() == 1;
                let compared = |batch: &[u8]| {
                    let mut batch = batch.to_vec();
                    if !is_known {
                        batch[12..16].fill(0);
                    }
                    batch
                };
                assert_eq!(compared(written), compared(batch), "not what was written at {base}: {}", why());
            }
        }
        if self.misleads() {
            return;
        }
        let bad = self.first_bad.unwrap_or(i64::MAX);
        // Without its state file neither start nor holes of the log are known.
        let is_told = !self.any(|kind, _| kind == Kind::State);
        if is_told || (self.first_bad.is_none() && !moment.has_holes) {
            let is_below = |(base, batch): &(&i64, &Bytes)| **base + records(batch) <= bad;
            for (base, _) in moment.batches.iter().filter(is_below) {
                let holds_start = *base < moment.start;
                assert!(holds_start || found.batches.contains_key(base), "{base} is not served: {}", why());
            }
        }
        if self.any(|kind, change| kind == Kind::Log && change == Change::Lies) {
            return;
        }
        // How far it was flushed is known by either of two, and both may be gone.
        let marks_gone = self.any(|kind, _| matches!(kind, Kind::Marks | Kind::Producers));
        let served = |base: &i64| found.batches.contains_key(base);
        let is_flushed = |base: &i64| (moment.start..moment.flushed).contains(base);
        if is_told && !marks_gone && found.quarantined.is_none() {
            let lost = moment.batches.keys().find(|base| is_flushed(base) && !served(base));
            assert_eq!(lost, None, "what was flushed is lost: {}", why());
        }
        if self.first_bad.is_none() && self.is_harmless() {
            assert_eq!(found.quarantined, None, "{}", why());
            assert_eq!((found.start.0, found.end.0), (moment.start, moment.end()), "{}", why());
        }
    }

    /// The leader epochs are those of the batches.
    pub(super) fn judge_epochs(&self, log: &Arc<PartitionLog>, starts: &BTreeMap<i32, i64>) {
        for ((epoch, _), (_, next)) in starts.iter().zip(starts.iter().skip(1)) {
            let Ok((known, end)) = log.end_offset_for_epoch(LeaderEpoch(*epoch)) else {
                assert!(matches!(log.state(), State::Quarantined { .. }), "epoch {epoch}: {self:?}");
                continue;
            };
            assert_eq!((known.0, end.0), (*epoch, *next), "where epoch {epoch} ends: {self:?}");
        }
    }
}

/// Whether only what lies outside the checksums differs: base offsets and leader epochs.
fn same_but_for_heads(before: &[u8], after: &[u8]) -> bool {
    let masked = |content: &[u8]| {
        let mut content = content.to_vec();
        let mut at = 0;
        for len in frames(before).into_iter().map(<[u8]>::len) {
            for field in [at..at + 8, at + 12..at + 16] {
                if let Some(bytes) = content.get_mut(field) {
                    bytes.fill(0);
                }
            }
            at += len;
        }
        content
    };
    masked(before) == masked(after)
}

/// The first offset of a log that is not where it was.
fn first_bad(moment: &Moment, files: &Files) -> Option<i64> {
    let mut bad = Vec::new();
    let is_log = |path: &&PathBuf| is_segment(path);
    for path in moment.files.keys().filter(is_log) {
        let nothing = Vec::new();
        let (before, after) = (&moment.files[path], files.get(path).unwrap_or(&nothing));
        if before == after && files.contains_key(path) {
            continue;
        }
        let mut at = 0;
        let mut next = Kind::of(path).map_or(0, |(_, base)| base);
        for batch in frames(before) {
            if after.get(at..at + batch.len()) != Some(batch) {
                break;
            }
            at += batch.len();
            let header = header_of(batch);
            next = header.next_offset().0;
        }
        bad.push(next);
    }
    // One that was not there stands in the way from its first offset on.
    let new = files.keys().filter(|path| is_segment(path) && !moment.files.contains_key(*path));
    bad.extend(new.filter_map(|path| Kind::of(path)).map(|(_, base)| base));
    bad.into_iter().min()
}

/// A quarantine changes no segment; what is cut off otherwise was saved.
pub(super) fn judge_segments(before: &Files, now: &Files, is_quarantined: bool) {
    for (path, content) in before {
        let left = now.get(path).unwrap_or_else(|| panic!("{} is gone", path.display()));
        if content == left {
            continue;
        }
        assert!(!is_quarantined, "{} is changed by a quarantine", path.display());
        let cut = content.strip_prefix(left.as_slice());
        let cut = cut.unwrap_or_else(|| panic!("{} is not what it was", path.display()));
        let is_saved = now.iter().any(|(path, saved)| path.starts_with("torn") && saved == cut);
        assert!(is_saved, "{} bytes are cut off {} and not saved", cut.len(), path.display());
    }
}
