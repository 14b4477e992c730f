//! What is believed of a log after a crash: a pure function from evidence to verdict.
//!
//! The whole art is to tell a tail that was never acknowledged from corruption of what was. In the last segment, after
//! a power loss, anything bad is a torn tail: unflushed pages persist in any order, so good batches behind a bad one
//! prove nothing (etcd 6378, TigerBeetle 2345). After a crash of the process alone the page cache has survived, so only
//! a batch that was cut off in the middle of its write is a torn tail, and anything else is corruption. Segments before
//! the last one were flushed before the next was created: nothing in them can be torn. And nothing below a flush mark can
//! be: what is bad there is corruption, what is missing there is lost, whatever the boot.

use gapless_common::types::{LeaderEpoch, Offset};

use crate::log::losses::Losses;

/// What happened to the machine since the log was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The same boot: at the most the process was killed.
    Same,
    /// Another one: the power may have failed.
    Other,
}

/// What was found, segments in the order of their names.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What happened to the machine.
    pub boot: Boot,
    /// Where the log starts, as its state file says; `None` without a state file that can be believed.
    pub log_start: Option<Offset>,
    /// The holes that the log may have.
    pub losses: Losses,
    /// How far the log is known to have been flushed; `None` when nothing is known.
    pub mark: Option<Mark>,
    /// What each segment holds.
    pub segments: Vec<SegmentEvidence>,
}

/// A place between two batches up to which the log was flushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The segment, by its name.
    pub segment: Offset,
    /// The place in the segment.
    pub position: u64,
    /// The offset that follows.
    pub end: Offset,
    /// The good batch in the log that ends there, or reaches beyond, is not the one that was flushed.
    pub differs: Option<Differs>,
}

/// A good batch where another one was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    /// Its first offset.
    pub at: Offset,
    /// Where it begins in the segment.
    pub position: u64,
}

/// What was found in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEvidence {
    /// By its name.
    pub base_offset: Offset,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes of good batches, from the start.
    pub good_bytes: u64,
    /// The offset behind the last of these.
    pub next_offset: Offset,
    /// Leader epochs of the first and the last of these.
    pub epochs: Option<(LeaderEpoch, LeaderEpoch)>,
    /// What stands behind them, unless the file ends there.
    pub bad: Option<Bad>,
}

impl SegmentEvidence {
    /// The first offset that it holds, and the one behind the last.
    pub(super) fn held(&self) -> (Offset, Offset) {
        (self.base_offset, self.next_offset)
    }
}

/// Something that is not the batch that belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Of which kind.
    pub kind: BadKind,
    /// What is wrong, for people.
    pub why: String,
}

/// What a bad place in a segment looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKind {
    /// The beginning of the batch that belongs there; the file ends before it does.
    Short,
    /// The same, but it is its length that is wrong: what it would have swallowed is there, whole and good.
    ShortButWhole,
    /// It is all there, and wrong; or it is no batch.
    Whole,
    /// It is whole and good, but of another leader epoch than was in force: what lies outside its checksum has changed, or a
    /// batch of a history that was given up is back.
    OtherEpoch,
    /// The disk does not give it back.
    Unreadable,
}

/// What is to be done with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The first offset.
    pub log_start: Offset,
    /// The offset behind the last batch that is believed.
    pub end: Offset,
    /// Bytes of the last segment that are believed.
    pub last_segment_bytes: u64,
    /// What is cut off behind them.
    pub torn: Option<Torn>,
    /// Corruption. Then nothing is cut off.
    pub quarantine: Option<Quarantine>,
}

/// A tail that nobody was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: String,
}

/// A loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The first offset that is lost.
    pub at: Offset,
    /// The segment it belongs into and the position there, if it has one.
    pub place: Option<(Offset, u64)>,
    /// What was found.
    pub why: String,
}

/// Judges.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let first_base = evidence.segments.first().map(|segment| segment.base_offset);
    let log_start = evidence.log_start.or(first_base).unwrap_or(Offset(0));
    let quarantine = first_loss(evidence, log_start);
    let last = evidence.segments.last();
    let end = evidence.segments.iter().map(|segment| segment.next_offset).max().unwrap_or(log_start);
    Verdict {
        log_start,
        end: quarantine.as_ref().map_or(end, |loss| end.max(loss.at).max(log_start)),
        last_segment_bytes: last.map_or(0, |segment| segment.good_bytes),
        torn: last.filter(|_| quarantine.is_none()).and_then(|segment| {
            let bad = segment.bad.as_ref()?;
            Some(Torn { bytes: segment.size - segment.good_bytes, why: bad.why.clone() })
        }),
        quarantine,
    }
}

/// The first offset that was there and is no more.
fn first_loss(evidence: &Evidence, log_start: Offset) -> Option<Quarantine> {
    let loss = |at, place, why| Some(Quarantine { at, place, why });
    let Some(first) = evidence.segments.first() else {
        return loss(log_start, None, "there is no segment".to_owned());
    };
    if first.base_offset > log_start && !evidence.losses.bridge_from_start(log_start, first.base_offset) {
        let why = format!("the first segment begins at {}, the log at {log_start}", first.base_offset);
        return loss(log_start, None, why);
    }
    // What lies below the start of the log may be gone.
    let mark = evidence.mark.as_ref().filter(|mark| mark.end > log_start);
    let mut next = first.base_offset;
    let mut epoch = LeaderEpoch(0);
    for (at, segment) in evidence.segments.iter().enumerate() {
        let is_last = at + 1 == evidence.segments.len();
        if let Some(behind) = evidence.segments.get(at + 1).filter(|behind| behind.base_offset <= log_start) {
            // Wholly below the start of the log: left by a deletion that was cut short. What is wrong with it nobody will
            // miss.
            next = behind.base_offset;
            continue;
        }
        if segment.base_offset != next && !evidence.losses.bridge(next, segment.base_offset) {
            let why = format!("the segment of {} stands where {next} follows", segment.base_offset);
            return loss(next.min(segment.base_offset), None, why);
        }
        // A new file holds nothing of an older history, so this is no torn tail even in the last segment.
        if let Some((first, last)) = segment.epochs {
            if first < epoch {
                let why = format!("leader epoch {first} stands where {epoch} was before");
                return loss(segment.base_offset, Some((segment.base_offset, 0)), why);
            }
            epoch = last;
        }
        next = segment.next_offset;
        // Behind what is here the operator may have accepted the loss of what was flushed.
        let accepted = evidence
            .segments
            .get(at + 1)
            .is_some_and(|behind| evidence.losses.bridge(next, behind.base_offset));
        let marked = mark.filter(|mark| mark.segment == segment.base_offset && !accepted);
        let flushed = marked.map_or(0, |mark| mark.position);
        if let Some(Differs { at, position }) = marked.and_then(|mark| mark.differs.clone()) {
            let why = format!("not the batch that was flushed there, up to {flushed}");
            return loss(at, Some((segment.base_offset, position)), why);
        }
        let place = Some((segment.base_offset, segment.good_bytes));
        if let Some(bad) = &segment.bad
            && !(is_last && segment.good_bytes >= flushed && is_torn(evidence.boot, bad.kind))
        {
            return loss(next, place, bad.why.clone());
        }
        if segment.good_bytes < flushed {
            let why = format!("it ends at {}, and was flushed up to {flushed}", segment.good_bytes);
            return loss(next, place, why);
        }
    }
    if let Some(mark) = mark
        && mark.end > next
    {
        let why = format!(
            "the log ends at {next}, and was flushed up to {} in the segment of {}",
            mark.end, mark.segment
        );
        return loss(next, None, why);
    }
    if let Some(lost) = evidence.losses.entries().iter().find(|lost| lost.to > next.max(log_start)) {
        let why = format!("the log ends at {next}, and a segment was to begin at {} behind a loss", lost.to);
        return loss(next, None, why);
    }
    if next < log_start {
        return loss(next, None, format!("the log ends at {next}, before its start {log_start}"));
    }
    None
}

/// Whether something bad at the end of a log is what an interrupted write leaves.
pub(super) fn is_torn(boot: Boot, kind: BadKind) -> bool {
    match (boot, kind) {
        // What is known of epochs is known of what was durable.
        (_, BadKind::Unreadable | BadKind::OtherEpoch) => false,
        (Boot::Other, _) => true,
        (Boot::Same, kind) => kind == BadKind::Short,
    }
}

#[cfg(test)]
mod tests;
