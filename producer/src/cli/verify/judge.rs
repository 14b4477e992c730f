//! Holds what was claimed of one partition against what stands there: a pure state machine. Claims come in the order of the
//! report, records in the order of the log.
//!
//! Where both agree, each claim meets its record at its offset. Where they do not, what went wrong shows only in what
//! follows: a record taken out moves all later ones down, one put in moves them up. So claims that met no record of theirs
//! ([`Judge::lost`]) and records in their places ([`Judge::astray`]) wait until [`WINDOW`] later ones agree again, and `shift`
//! follows how far the log is moved.

use std::collections::VecDeque;

use super::ledger::{Finding, Kind, Ledger, Stamp, Stored};
use super::report::{Claim, Fate, Origin, RecordClaim, RunClaim};
use crate::cli::digest::{Fingerprint, RunHasher};

/// So far a record may have moved, and still be known for the one that was claimed elsewhere. Also so many claims and
/// records that do not agree are kept.
const WINDOW: usize = 512;
/// Claims without an offset that wait for their record: some 64 MB.
const FLOATING_MAX: usize = 1 << 20;

/// What became of the claim and the record at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The record was used: the next one, please.
    pub consumed: bool,
    /// The claim is settled: the next one, please.
    pub settled: bool,
}

const CONSUMED: Step = Step { consumed: true, settled: false };
const SETTLED: Step = Step { consumed: false, settled: true };
const BOTH: Step = Step { consumed: true, settled: true };
/// The same once more.
const AGAIN: Step = Step { consumed: false, settled: false };

/// Of one partition.
#[derive(Debug)]
pub struct Judge {
    partition: i32,
    /// How far what was claimed stands behind (before, if negative) the offset of its claim.
    shift: i64,
    /// The last offset that was claimed.
    claimed_up_to: Option<i64>,
    /// Where the last record stands that met its claim in order.
    met_up_to: Option<i64>,
    /// Claims without a record.
    lost: VecDeque<Lost>,
    /// Records in the place of another.
    astray: VecDeque<Stored>,
    /// Claims that do not say where.
    floating: VecDeque<RecordClaim>,
    /// The last records that met their claims.
    recent: VecDeque<Stored>,
    /// So many have agreed since the last that did not.
    agreed: usize,
    /// The claim at hand, if it is of records in a row.
    run: Option<Run>,
    seen_any: bool,
}

#[derive(Debug)]
struct Lost {
    claim: RecordClaim,
    /// Where it was looked for.
    position: Option<i64>,
    /// A later one met its record.
    overtaken: bool,
    why: String,
}

/// How far a run is read.
struct Run {
    hasher: RunHasher,
    taken: i64,
    missing: u64,
    /// The broker's timestamps say nothing.
    appended: bool,
    /// A record that had been seen before: there, and here.
    repeated: Option<(i64, i64)>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("taken", &self.taken)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl Judge {
    pub const fn new(partition: i32) -> Self {
        Self {
            partition,
            shift: 0,
            claimed_up_to: None,
            met_up_to: None,
            lost: VecDeque::new(),
            astray: VecDeque::new(),
            floating: VecDeque::new(),
            recent: VecDeque::new(),
            agreed: 0,
            run: None,
            seen_any: false,
        }
    }

    /// Holds this claim against the next record; `None`: the log has ended.
    pub fn hold(&mut self, claim: &Claim, record: Option<&Stored>, ledger: &mut Ledger) -> Step {
        let step = match claim {
            Claim::Record(claim) => self.hold_record(claim, record, ledger),
            Claim::Run(claim) => self.hold_run(claim, record, ledger),
        };
        self.seen_any |= step.consumed;
        step
    }

    /// A record when no claim is left.
    pub fn rest(&mut self, record: &Stored, ledger: &mut Ledger) {
        self.seen_any = true;
        self.stray(record, ledger);
    }

    /// So many claims wait for their records that these must come first, see [`Judge::rest`].
    pub fn is_full(&self) -> bool {
        self.floating.len() >= FLOATING_MAX
    }

    /// The log has ended: what waits is decided.
    pub fn finish(&mut self, ledger: &mut Ledger) {
        self.strand_floating(ledger);
        self.decide_all(ledger);
    }

    fn hold_record(&mut self, claim: &RecordClaim, record: Option<&Stored>, ledger: &mut Ledger) -> Step {
        let offset = match claim.fate {
            Fate::NotWritten => {
                ledger.not_written(self.partition, &claim.fingerprint, &claim.origin);
                return SETTLED;
            }
            Fate::Unknown => {
                self.floating.push_back(claim.clone());
                return SETTLED;
            }
            Fate::Acked(None) => {
                ledger.counts.acknowledged += 1;
                self.floating.push_back(claim.clone());
                return SETTLED;
            }
            Fate::Acked(Some(offset)) => offset,
        };
        if let Some(before) = self.claimed_up_to.filter(|before| offset <= *before) {
            ledger.counts.acknowledged += 1;
            self.claimed_again(offset, before, &claim.origin, ledger);
            return SETTLED;
        }
        if let Some(at) = self.astray.iter().position(|stored| stored.is(&claim.fingerprint))
            && let Some(stored) = self.astray.remove(at)
        {
            self.found_early(offset, &stored, claim, ledger);
            return SETTLED;
        }
        let position = offset.saturating_add(self.shift);
        match record {
            Some(stored) if stored.offset < position => {
                self.stray(stored, ledger);
                CONSUMED
            }
            Some(stored) if stored.offset == position => {
                if stored.is(&claim.fingerprint) {
                    self.strand_floating(ledger);
                    self.found(offset, stored, ledger);
                    return BOTH;
                }
                if self.float(stored, ledger) || self.moved(stored, true, ledger) {
                    return CONSUMED;
                }
                self.lose(claim, Some(position), String::new(), ledger);
                self.claimed_up_to = Some(offset);
                self.astray.push_back(*stored);
                if self.astray.len() > WINDOW {
                    self.decide_astray(ledger);
                }
                BOTH
            }
            other => {
                let why = self.why_nothing(other);
                self.lose(claim, Some(position), why, ledger);
                self.claimed_up_to = Some(offset);
                SETTLED
            }
        }
    }

    fn why_nothing(&self, next: Option<&Stored>) -> String {
        match next {
            None => "the log ends before it".to_owned(),
            Some(next) if !self.seen_any => format!("the log begins at offset {}", next.offset),
            Some(next) => format!("nothing stands there; the next record is at offset {}", next.offset),
        }
    }

    fn claimed_again(&self, offset: i64, before: i64, origin: &Origin, ledger: &mut Ledger) {
        ledger.add(Kind::Order, 1, || {
            let what = format!("was acknowledged behind offset {before}, which was acknowledged before it");
            Finding::new(self.partition, Some(offset), None, what).from(origin)
        });
    }

    /// A claim met its record, which stood before its place.
    fn found_early(&mut self, offset: i64, stored: &Stored, claim: &RecordClaim, ledger: &mut Ledger) {
        if self.met_up_to.is_none_or(|met| stored.offset > met) {
            self.shift = stored.offset - offset;
            self.found(offset, stored, ledger);
            return;
        }
        self.agreed = 0;
        // It takes no place here.
        self.shift -= 1;
        self.claimed_up_to = Some(offset);
        ledger.counts.acknowledged += 1;
        ledger.claimed(self.partition, stored);
        ledger.add(Kind::Order, 1, || {
            let what = format!("stands at offset {}, before what was acknowledged before it", stored.offset);
            Finding::new(self.partition, Some(offset), Some(stored.offset), what).from(&claim.origin)
        });
    }

    /// A claim met its record.
    fn found(&mut self, offset: i64, stored: &Stored, ledger: &mut Ledger) {
        ledger.counts.acknowledged += 1;
        ledger.counts.proven += 1;
        ledger.claimed(self.partition, stored);
        self.claimed_up_to = Some(offset);
        self.met_up_to = Some(stored.offset);
        self.remember(stored);
        if self.lost.is_empty() && self.astray.is_empty() {
            return;
        }
        for lost in &mut self.lost {
            lost.overtaken = true;
        }
        self.agreed += 1;
        if self.agreed >= WINDOW {
            self.decide_all(ledger);
        }
    }

    fn remember(&mut self, stored: &Stored) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(*stored);
    }

    fn seen_before(&self, stored: &Stored) -> Option<i64> {
        self.recent.iter().rev().find(|recent| recent.same_as(stored)).map(|recent| recent.offset)
    }

    fn just_before(&self, stored: &Stored) -> Option<i64> {
        self.recent.back().filter(|last| last.same_as(stored)).map(|last| last.offset)
    }

    /// A record where none was claimed.
    fn stray(&mut self, stored: &Stored, ledger: &mut Ledger) {
        if !self.float(stored, ledger) && !self.moved(stored, false, ledger) {
            ledger.unclaimed(self.partition, stored);
        }
    }

    /// A record that was claimed without its place.
    fn float(&mut self, stored: &Stored, ledger: &mut Ledger) -> bool {
        let at = self.floating.iter().take(WINDOW).position(|claim| stored.is(&claim.fingerprint));
        let Some(at) = at else { return false };
        // Those before it should have come first.
        for claim in self.floating.drain(..=at).collect::<Vec<_>>() {
            if stored.is(&claim.fingerprint) {
                match claim.fate {
                    Fate::Unknown => ledger.counts.unknown_written += 1,
                    _ => ledger.counts.proven += 1,
                }
            } else {
                self.strand(claim, ledger);
            }
        }
        ledger.claimed(self.partition, stored);
        self.remember(stored);
        true
    }

    /// Claims without a place whose place has passed.
    fn strand_floating(&mut self, ledger: &mut Ledger) {
        while let Some(claim) = self.floating.pop_front() {
            self.strand(claim, ledger);
        }
    }

    fn strand(&mut self, claim: RecordClaim, ledger: &mut Ledger) {
        if claim.fate == Fate::Unknown {
            ledger.counts.unknown_absent += 1;
            return;
        }
        let why = "its offset was not told; it is not between those acknowledged before and after it";
        self.push_lost(Lost { claim, position: None, overtaken: true, why: why.to_owned() }, ledger);
    }

    /// A record that was claimed a little earlier: for another place, or for the second time.
    fn moved(&mut self, stored: &Stored, in_place: bool, ledger: &mut Ledger) -> bool {
        if let Some(at) = self.lost.iter().position(|lost| stored.is(&lost.claim.fingerprint))
            && let Some(lost) = self.lost.remove(at)
        {
            self.agreed = 0;
            ledger.claimed(self.partition, stored);
            let offset = lost.claim.offset();
            match offset {
                // What was put in before it moved it; what follows it moved with it.
                Some(offset) if !lost.overtaken => {
                    ledger.counts.proven += 1;
                    self.shift = stored.offset - offset;
                    self.met_up_to = Some(stored.offset);
                }
                _ => {
                    self.shift += i64::from(in_place);
                    ledger.add(Kind::Order, 1, || {
                        let what = format!(
                            "stands at offset {}, behind what was acknowledged after it",
                            stored.offset
                        );
                        Finding::new(self.partition, offset, Some(stored.offset), what)
                            .from(&lost.claim.origin)
                    });
                }
            }
            self.remember(stored);
            return true;
        }
        let Some(before) = self.seen_before(stored) else { return false };
        self.agreed = 0;
        self.shift += i64::from(in_place);
        ledger.add(Kind::Duplicate, 1, || {
            let what = format!("stands again at offset {}", stored.offset);
            Finding::new(self.partition, Some(before), Some(stored.offset), what)
        });
        true
    }

    fn lose(&mut self, claim: &RecordClaim, position: Option<i64>, why: String, ledger: &mut Ledger) {
        ledger.counts.acknowledged += 1;
        self.push_lost(Lost { claim: claim.clone(), position, overtaken: false, why }, ledger);
    }

    fn push_lost(&mut self, lost: Lost, ledger: &mut Ledger) {
        self.agreed = 0;
        self.lost.push_back(lost);
        if self.lost.len() > WINDOW {
            self.decide_lost(ledger);
        }
    }

    fn decide_all(&mut self, ledger: &mut Ledger) {
        while !self.lost.is_empty() {
            self.decide_lost(ledger);
        }
        while !self.astray.is_empty() {
            self.decide_astray(ledger);
        }
        self.agreed = 0;
    }

    /// The oldest claim without a record gets none any more.
    fn decide_lost(&mut self, ledger: &mut Ledger) {
        let Some(Lost { claim, position, why, .. }) = self.lost.pop_front() else { return };
        let in_its_place = self.astray.iter().position(|stored| Some(stored.offset) == position);
        if let Some(stored) = in_its_place.and_then(|at| self.astray.remove(at)) {
            ledger.add(Kind::Different, 1, || {
                Finding::new(
                    self.partition,
                    claim.offset(),
                    Some(stored.offset),
                    difference(&claim.fingerprint, &stored),
                )
                .from(&claim.origin)
            });
            return;
        }
        ledger.add(Kind::Missing, 1, || {
            let why = if why.is_empty() { self.moved_by() } else { why };
            Finding::new(self.partition, claim.offset(), None, format!("is not in the log: {why}"))
                .from(&claim.origin)
        });
    }

    fn moved_by(&self) -> String {
        match self.shift {
            0 => "another record stands there".to_owned(),
            down if down < 0 => format!("what was acknowledged behind it stands {} lower", -down),
            up => format!("what was acknowledged behind it stands {up} higher"),
        }
    }

    /// The oldest record in the place of another belongs to nobody.
    fn decide_astray(&mut self, ledger: &mut Ledger) {
        let Some(stored) = self.astray.pop_front() else { return };
        ledger.add(Kind::Unexpected, 1, || {
            let what = "stands between what was acknowledged, and the report does not know it".to_owned();
            Finding::new(self.partition, None, Some(stored.offset), what)
        });
    }

    fn hold_run(&mut self, claim: &RunClaim, record: Option<&Stored>, ledger: &mut Ledger) -> Step {
        let count = i64::from(claim.count);
        if self.run.is_none() {
            if let Some(before) = self.claimed_up_to.filter(|before| claim.offset <= *before) {
                ledger.counts.acknowledged += u64::from(claim.count);
                self.claimed_again(claim.offset, before, &claim.origin, ledger);
                return SETTLED;
            }
            self.run =
                Some(Run { hasher: RunHasher::new(), taken: 0, missing: 0, appended: false, repeated: None });
        }
        let begin = claim.offset.saturating_add(self.shift);
        let taken = self.run.as_ref().map_or(0, |run| run.taken);
        let position = begin.saturating_add(taken);
        match record {
            Some(stored) if stored.offset < position => {
                self.stray(stored, ledger);
                CONSUMED
            }
            Some(stored) if stored.offset == position => {
                // A batch that stands there twice shows at its first record, a record in the one behind it.
                let before = if taken == 0 { self.seen_before(stored) } else { self.just_before(stored) };
                self.remember(stored);
                ledger.claimed(self.partition, stored);
                let Some(run) = &mut self.run else { return AGAIN };
                run.push(stored, before);
                if run.taken < count {
                    return CONSUMED;
                }
                self.end_run(claim, ledger);
                BOTH
            }
            other => {
                let why = self.why_nothing(other);
                let up_to = other.map_or(count, |next| (next.offset - begin).min(count));
                let missing = u64::try_from(up_to - taken).unwrap_or(0);
                ledger.add(Kind::Missing, missing, || {
                    let what = format!("is not in the log: {why}");
                    Finding::new(self.partition, Some(claim.offset + taken), None, what).from(&claim.origin)
                });
                let Some(run) = &mut self.run else { return AGAIN };
                run.taken = up_to;
                run.missing += missing;
                if up_to < count {
                    return AGAIN;
                }
                self.end_run(claim, ledger);
                SETTLED
            }
        }
    }

    fn end_run(&mut self, claim: &RunClaim, ledger: &mut Ledger) {
        let Some(run) = self.run.take() else { return };
        let count = u64::from(claim.count);
        ledger.counts.acknowledged += count;
        self.claimed_up_to = Some(claim.offset + i64::from(claim.count) - 1);
        self.strand_floating(ledger);
        let digest = run.hasher.finish();
        let same_bytes = digest.digest == claim.digest.digest;
        if run.missing > 0 {
            // Told already; of the others nothing can be said.
            return;
        }
        if same_bytes && (run.appended || digest.timestamps == claim.digest.timestamps) {
            ledger.counts.proven += count;
            return;
        }
        if let Some((before, again)) = run.repeated.filter(|_| !same_bytes) {
            ledger.add(Kind::Duplicate, 1, || {
                let what = format!(
                    "stands again at offset {again}, among the {count} records acknowledged from offset {} on",
                    claim.offset
                );
                Finding::new(self.partition, Some(before), Some(again), what)
            });
            return;
        }
        ledger.add(Kind::Different, count, || {
            let differ = if same_bytes { "a timestamp differs" } else { "bytes differ" };
            let what = format!(
                "and the {} behind it, acknowledged as one batch: {differ}; a report by record tells which",
                count - 1
            );
            Finding::new(self.partition, Some(claim.offset), Some(claim.offset + self.shift), what)
                .from(&claim.origin)
        });
    }
}

impl RecordClaim {
    const fn offset(&self) -> Option<i64> {
        match self.fate {
            Fate::Acked(offset) => offset,
            Fate::Unknown | Fate::NotWritten => None,
        }
    }
}

impl Run {
    fn push(&mut self, stored: &Stored, seen_before: Option<i64>) {
        let timestamp_ms = match stored.stamp {
            Stamp::Created(timestamp_ms) => timestamp_ms,
            Stamp::Appended { .. } => {
                self.appended = true;
                0
            }
        };
        self.hasher.push(&Fingerprint { digest: stored.digest, timestamp_ms });
        self.taken += 1;
        if let Some(before) = seen_before {
            self.repeated.get_or_insert((before, stored.offset));
        }
    }
}

fn difference(sent: &Fingerprint, stored: &Stored) -> String {
    match stored.stamp {
        Stamp::Created(timestamp_ms) if stored.digest == sent.digest => {
            format!("has the timestamp {timestamp_ms}, and was sent with {}", sent.timestamp_ms)
        }
        _ => format!("is another record: its digest is {}, and {} was sent", stored.digest, sent.digest),
    }
}

#[cfg(test)]
mod tests;
