//! Where each leader epoch began (Kafka's `LeaderEpochFileCache`): tells a client whether what it read was cut off.

use gapless_common::types::{LeaderEpoch, Offset};

/// The epochs of a partition and the first offset of each, both strictly rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeaderEpochs(Vec<(LeaderEpoch, Offset)>);

/// "Not known", on the wire.
const UNDEFINED: (LeaderEpoch, Offset) = (LeaderEpoch(-1), Offset(-1));

impl LeaderEpochs {
    /// `epoch` begins at `start`. What it supersedes, epochs as high or that hold nothing before it, is forgotten; an
    /// epoch that goes on changes nothing.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.0.last().is_some_and(|(last, _)| *last == epoch) {
            return;
        }
        while self.0.last().is_some_and(|(last, begin)| *last >= epoch || *begin >= start) {
            self.0.pop();
        }
        self.0.push((epoch, start));
    }

    pub(super) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// Those under which there may be records at or behind `offset`. The first may have begun before it.
    pub(super) fn from(&self, offset: Offset) -> &[(LeaderEpoch, Offset)] {
        let begun = self.0.partition_point(|(_, start)| *start <= offset);
        self.0.get(begun.saturating_sub(1)..).unwrap_or_default()
    }

    /// What lies before `offset` is deleted.
    pub(super) fn forget_before(&mut self, offset: Offset) {
        let gone = self.0.len() - self.from(offset).len();
        self.0.drain(..gone);
    }

    /// Those under which there are records before `offset`.
    pub(super) fn before(&self, offset: Offset) -> &[(LeaderEpoch, Offset)] {
        let after = self.0.partition_point(|(_, start)| *start < offset);
        self.0.get(..after).unwrap_or_default()
    }

    /// The epoch under which the record at `offset` was appended; −1 when that is not known.
    pub(super) fn at(&self, offset: Offset) -> LeaderEpoch {
        let after = self.0.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).and_then(|last| self.0.get(last)).map_or(UNDEFINED.0, |(epoch, _)| *epoch)
    }

    /// The largest epoch up to `asked` and the offset where it ended; (−1, −1) for one that is not known. As Kafka
    /// answers: an epoch before the first known one ends where that one starts.
    pub(super) fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        if asked < LeaderEpoch(0) {
            return UNDEFINED;
        }
        let after = self.0.partition_point(|(epoch, _)| *epoch <= asked);
        let floor = after.checked_sub(1).and_then(|last| self.0.get(last));
        match (floor, self.0.get(after)) {
            (Some((epoch, _)), None) if *epoch == asked => (asked, log_end),
            (_, None) => UNDEFINED,
            (Some((epoch, _)), Some((_, next_start))) => (*epoch, *next_start),
            (None, Some((_, next_start))) => (asked, *next_start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    #[test]
    fn ends_are_answered_as_kafka_does() {
        let known = epochs(&[(2, 0), (4, 100), (7, 150)]);
        for (asked, epoch, end) in [
            (7, 7, 200),
            (8, -1, -1),
            (6, 4, 150),
            (5, 4, 150),
            (4, 4, 150),
            (3, 2, 100),
            (2, 2, 100),
            (1, 1, 0),
            (0, 0, 0),
            (-1, -1, -1),
        ] {
            let answer = known.end_of(LeaderEpoch(asked), Offset(200));
            assert_eq!(answer, (LeaderEpoch(epoch), Offset(end)), "epoch {asked}");
        }
        assert_eq!(epochs(&[]).end_of(LeaderEpoch(0), Offset(0)), UNDEFINED);
    }

    #[test]
    fn an_epoch_without_records_is_forgotten_when_the_next_begins() {
        assert_eq!(epochs(&[(1, 0), (2, 50), (3, 50)]), epochs(&[(1, 0), (3, 50)]));
        assert_eq!(epochs(&[(1, 0), (2, 50), (2, 60)]), epochs(&[(1, 0), (2, 50)]));
    }

    #[test]
    fn epochs_go_with_their_records() {
        for (start, left) in [
            (0, &[(1, 10), (2, 50), (4, 100)][..]),
            (10, &[(1, 10), (2, 50), (4, 100)]),
            (49, &[(1, 10), (2, 50), (4, 100)]),
            (50, &[(2, 50), (4, 100)]),
            (51, &[(2, 50), (4, 100)]),
            (100, &[(4, 100)]),
            (1000, &[(4, 100)]),
        ] {
            let mut known = epochs(&[(1, 10), (2, 50), (4, 100)]);
            known.forget_before(Offset(start));
            assert_eq!(known, epochs(left), "start {start}");
            assert_eq!(known.from(Offset(start)), known.entries());
        }
        let mut none = epochs(&[]);
        none.forget_before(Offset(5));
        assert_eq!(none.entries(), &[]);
    }

    #[test]
    fn a_record_has_the_epoch_that_began_at_or_before_it() {
        let known = epochs(&[(2, 10), (4, 100)]);
        for (offset, epoch) in [(9, -1), (10, 2), (99, 2), (100, 4), (1000, 4)] {
            assert_eq!(known.at(Offset(offset)), LeaderEpoch(epoch), "offset {offset}");
        }
    }
}
