//! Which part of a segment this process vouches for: it wrote it, or has compared every batch with its checksum. Only
//! that is ever served; what else there is, is verified when somebody first asks for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of one segment that are remembered. Past it the smallest is forgotten, and verified again when asked for.
const PARTS_MAX: usize = 32;

/// Of one segment.
pub(super) struct Verified(Mutex<Parts>);

/// From a position up to, and without, another; each begins and ends where a batch does. In order, with gaps between.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts(Vec<(u64, u64)>);

impl Verified {
    /// Nothing: nobody has looked at what is there.
    pub(super) fn nothing() -> Self {
        Self(Mutex::default())
    }

    /// Everything from `position` on, what will be appended included.
    pub(super) fn from(position: u64) -> Self {
        Self(Mutex::new(Parts(vec![(position, u64::MAX)])))
    }

    /// Everything from `position` up to what is returned is verified; that is no more than `position` if what stands
    /// there is not.
    pub(super) fn reach(&self, position: u64) -> u64 {
        self.parts().reach(position)
    }

    /// What lies from `start` to `end` was compared with its checksums.
    pub(super) fn add(&self, start: u64, end: u64) {
        self.parts().add(start, end);
    }

    /// As of a segment that another process wrote.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *self.parts() = Parts::default();
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Nothing in here can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn reach(&self, position: u64) -> u64 {
        let after = self.0.partition_point(|(start, _)| *start <= position);
        let part = after.checked_sub(1).and_then(|last| self.0.get(last));
        part.map_or(position, |(_, end)| (*end).max(position))
    }

    fn add(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        self.0.retain(|&(known_start, known_end)| {
            let apart = known_end < start || end < known_start;
            if !apart {
                start = start.min(known_start);
                end = end.max(known_end);
            }
            apart
        });
        let at = self.0.partition_point(|(known, _)| *known < start);
        self.0.insert(at, (start, end));
        if self.0.len() > PARTS_MAX {
            let smallest = (0..self.0.len()).min_by_key(|at| self.0.get(*at).map(|(start, end)| end - start));
            self.0.remove(smallest.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_this_process_writes_is_verified_however_far_it_goes() {
        let verified = Verified::from(1000);
        assert_eq!(verified.reach(1000), u64::MAX);
        assert_eq!(verified.reach(999), 999);
        verified.add(0, 1000);
        assert_eq!(verified.reach(0), u64::MAX);
        assert_eq!(Verified::nothing().reach(0), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_largest_parts_stay() {
        let verified = Verified::nothing();
        verified.add(0, 500);
        for part in 1..1000 {
            verified.add(part * 1000, part * 1000 + 100 + part);
        }
        assert_eq!(verified.parts().0.len(), PARTS_MAX);
        assert_eq!((verified.reach(0), verified.reach(999_000)), (0, 999_000 + 1099));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn parts_are_the_union_of_what_was_added(added in prop::collection::vec((0_u64..40, 1_u64..8), 0..12)) {
            let mut parts = Parts::default();
            let mut known = [false; 50];
            for (start, len) in &added {
                parts.add(*start, start + len);
                known[*start as usize..(start + len) as usize].fill(true);
            }
            for position in 0..50_usize {
                let behind = known[position..].iter().position(|known| !known).unwrap_or(50 - position);
                prop_assert_eq!(parts.reach(position as u64), (position + behind) as u64, "at {}", position);
            }
        }
    }
}
