//! Records that are lost, and whose loss the operator has accepted (`gapless-broker log repair`): the only holes that a
//! log may have. A hole lies between two segments, never inside of one: the repair begins a new segment behind it.

use gapless_common::types::Offset;
use serde::{Deserialize, Serialize};

/// Offsets from `from` up to, and without, `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The first offset that is lost.
    pub from: Offset,
    /// The offset behind the last one that is lost: a segment begins there.
    pub to: Offset,
}

/// As it stands in `state.json`.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Stored {
    from: i64,
    to: i64,
}

/// The accepted losses of one partition, in the order of their offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Stored>", into = "Vec<Stored>")]
pub struct Losses(Vec<Loss>);

impl From<Vec<Stored>> for Losses {
    fn from(stored: Vec<Stored>) -> Self {
        // As they stand there: whether that is possible is asked for elsewhere.
        let mut losses: Vec<Loss> =
            stored.iter().map(|loss| Loss { from: Offset(loss.from), to: Offset(loss.to) }).collect();
        losses.sort();
        Self(losses)
    }
}

impl From<Losses> for Vec<Stored> {
    fn from(losses: Losses) -> Self {
        losses.0.iter().map(|loss| Stored { from: loss.from.0, to: loss.to.0 }).collect()
    }
}

impl Losses {
    /// One more. One of nothing is none; two that touch stay two, since a segment stands between them, empty. What it overlaps
    /// it takes the place of: the segment that stood there, beside an older loss or in the middle of it, is lost as well.
    pub fn accept(&mut self, loss: Loss) {
        if loss.from < loss.to {
            self.0.retain(|known| known.to <= loss.from || loss.to <= known.from);
            let at = self.0.partition_point(|known| *known < loss);
            self.0.insert(at, loss);
        }
    }

    /// Those that concern what is left when everything from `end` on is cut off.
    pub fn cut(&mut self, end: Offset) {
        self.0.retain(|loss| loss.to <= end);
    }

    /// Only holes: what the log holds is not lost, whatever was written down. `held` are the segments' first offsets and those
    /// behind their last.
    pub(super) fn without(&self, held: &[(Offset, Offset)]) -> Self {
        let is_hole = |loss: &&Loss| !held.iter().any(|(base, next)| *base < loss.to && loss.from < *next);
        Self(self.0.iter().filter(is_hole).copied().collect())
    }

    /// Whether it is what accepting one loss after the other can lead to.
    pub(super) fn is_possible(&self) -> bool {
        self.0.iter().all(|loss| Offset(0) <= loss.from && loss.from < loss.to)
            && self.0.iter().zip(self.0.iter().skip(1)).all(|(loss, next)| loss.to <= next.from)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn entries(&self) -> &[Loss] {
        &self.0
    }

    /// Whether a segment that begins at `base` may follow where `next` would: exactly what lies between is lost.
    #[must_use]
    pub fn bridge(&self, next: Offset, base: Offset) -> bool {
        self.0.binary_search(&Loss { from: next, to: base }).is_ok()
    }

    /// Whether the first segment may begin at `base` although the log starts at `log_start`, which may have moved since
    /// the loss was accepted.
    #[must_use]
    pub fn bridge_from_start(&self, log_start: Offset, base: Offset) -> bool {
        self.0.iter().any(|loss| loss.from <= log_start && log_start < loss.to && loss.to == base)
    }

    /// The first offset from `offset` on that is not lost.
    #[must_use]
    pub fn skip(&self, offset: Offset) -> Offset {
        self.0.iter().fold(offset, |at, loss| if loss.from <= at && at < loss.to { loss.to } else { at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(ranges: &[(i64, i64)]) -> Losses {
        let mut losses = Losses::default();
        for (from, to) in ranges {
            losses.accept(Loss { from: Offset(*from), to: Offset(*to) });
        }
        losses
    }

    #[test]
    fn only_the_very_hole_that_was_accepted_is_bridged() {
        let losses = losses(&[(60, 70), (10, 20), (50, 60), (10, 20), (90, 90)]);
        assert_eq!(losses.entries().len(), 3, "in order, each once, none of nothing");
        for (next, base, bridged) in [
            (10, 20, true),
            (50, 60, true),
            (60, 70, true),
            (11, 20, false),
            (10, 19, false),
            (10, 21, false),
            (50, 70, false),
            (90, 90, false),
        ] {
            assert_eq!(losses.bridge(Offset(next), Offset(base)), bridged, "{next} to {base}");
        }
    }

    #[test]
    fn the_start_of_the_log_may_have_moved_into_a_hole() {
        let losses = losses(&[(10, 20)]);
        for (start, base, bridged) in
            [(10, 20, true), (15, 20, true), (9, 20, false), (20, 20, false), (15, 30, false)]
        {
            assert_eq!(losses.bridge_from_start(Offset(start), Offset(base)), bridged, "{start} to {base}");
        }
    }

    #[test]
    fn reading_goes_on_behind_a_hole_and_behind_those_that_touch_it() {
        let losses = losses(&[(10, 20), (50, 60), (60, 70)]);
        for (asked, read) in [(9, 9), (10, 20), (19, 20), (20, 20), (50, 70), (65, 70), (70, 70)] {
            assert_eq!(losses.skip(Offset(asked)), Offset(read), "offset {asked}");
        }
    }

    #[test]
    fn what_the_log_holds_is_no_hole() {
        let all = losses(&[(10, 20), (50, 60), (60, 70)]);
        assert_eq!(all.without(&[(Offset(0), Offset(10)), (Offset(20), Offset(50))]), all);
        assert_eq!(all.without(&[(Offset(20), Offset(51)), (Offset(69), Offset(99))]), losses(&[(10, 20)]));
        assert!(all.is_possible());
    }

    #[test]
    fn a_loss_takes_the_place_of_those_it_overlaps() {
        for (known, accepted, left) in [
            // The log started inside of the first one, and the segment behind it went too.
            (&[(0, 10)][..], (5, 30), &[(5, 30)][..]),
            (&[(10, 20)], (10, 30), &[(10, 30)]),
            (&[(10, 20), (30, 40)], (0, 50), &[(0, 50)]),
            (&[(10, 20), (30, 40)], (20, 30), &[(10, 20), (20, 30), (30, 40)]),
            (&[(10, 40)], (20, 30), &[(20, 30)]),
        ] {
            let mut all = losses(known);
            all.accept(Loss { from: Offset(accepted.0), to: Offset(accepted.1) });
            assert_eq!(all, losses(left), "{known:?}, then {accepted:?}");
            assert!(all.is_possible());
        }
    }

    #[test]
    fn what_no_repair_has_written_is_impossible() {
        for json in [
            r#"[{"from":10,"to":20},{"from":19,"to":30}]"#,
            r#"[{"from":-1,"to":20}]"#,
            r#"[{"from":20,"to":10}]"#,
        ] {
            assert!(!serde_json::from_str::<Losses>(json).unwrap().is_possible(), "{json}");
        }
    }

    #[test]
    fn what_is_cut_off_takes_its_losses_along() {
        let mut all = losses(&[(10, 20), (50, 60)]);
        all.cut(Offset(60));
        assert_eq!(all.entries().len(), 2);
        all.cut(Offset(59));
        assert_eq!(all, losses(&[(10, 20)]));
    }

    #[test]
    fn losses_are_stored_as_pairs_of_offsets() {
        let json = serde_json::to_string(&losses(&[(50, 60), (10, 20)])).unwrap();
        assert_eq!(json, r#"[{"from":10,"to":20},{"from":50,"to":60}]"#);
        assert_eq!(serde_json::from_str::<Losses>(&json).unwrap(), losses(&[(10, 20), (50, 60)]));
    }
}
