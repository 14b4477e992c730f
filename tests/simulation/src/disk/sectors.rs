//! A set of sectors, kept as ranges: a log is written from its front to its back, so there are few of them.

use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes that a disk writes as one. Even one of these may tear.
pub(super) const SECTOR: u64 = 512;

/// The sectors that the bytes `from..to` touch.
pub(super) fn sectors_of(bytes: Range<u64>) -> Range<u64> {
    if bytes.is_empty() { 0..0 } else { bytes.start / SECTOR..bytes.end.div_ceil(SECTOR) }
}

/// A set of sector numbers: begin to end of each range, which neither overlap nor touch.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct Sectors(BTreeMap<u64, u64>);

impl Sectors {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(begin, end)| *begin..*end)
    }

    pub(super) fn count(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    pub(super) fn contains(&self, sector: u64) -> bool {
        self.0.range(..=sector).next_back().is_some_and(|(_, end)| *end > sector)
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Everything that overlaps or touches becomes part of it.
        while let Some((&begin, &stop)) = self.0.range(..=end).next_back().filter(|(_, stop)| **stop >= start)
        {
            self.0.remove(&begin);
            start = start.min(begin);
            end = end.max(stop);
        }
        self.0.insert(start, end);
    }

    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&begin, &stop)) =
            self.0.range(..range.end).next_back().filter(|(_, stop)| **stop > range.start)
        {
            self.0.remove(&begin);
            if stop > range.end {
                self.0.insert(range.end, stop);
            }
            if begin < range.start {
                self.0.insert(begin, range.start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_are_the_set_that_they_stand_for(
            steps in prop::collection::vec((any::<bool>(), 0..40_u64, 0..10_u64), 0..40)
        ) {
            let (mut ranges, mut model) = (Sectors::default(), BTreeSet::new());
            for (insert, start, len) in steps {
                if insert {
                    ranges.insert(start..start + len);
                    model.extend(start..start + len);
                } else {
                    ranges.remove(start..start + len);
                    model.retain(|sector| !(start..start + len).contains(sector));
                }
                let all: Vec<u64> = ranges.ranges().flatten().collect();
                prop_assert_eq!(&all, &model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert!((0..60).all(|sector| ranges.contains(sector) == model.contains(&sector)));
                let apart = ranges.ranges().zip(ranges.ranges().skip(1)).all(|(one, next)| one.end < next.start);
                prop_assert!(apart, "ranges that touch are one");
            }
        }
    }

    #[test]
    fn bytes_touch_every_sector_that_holds_one_of_them() {
        for (bytes, sectors) in
            [(0..0, 0..0), (0..1, 0..1), (511..513, 0..2), (512..1024, 1..2), (700..700, 0..0)]
        {
            assert_eq!(sectors_of(bytes.clone()), sectors, "{bytes:?}");
        }
    }
}
