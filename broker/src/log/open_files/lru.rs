//! Which open file is closed next: the one that was used longest ago, of those that nobody uses now. Plain code, without
//! file or clock.

use std::collections::BTreeMap;

/// Finds a file again; each use gives it another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Open files in the order of their last use.
pub(super) struct Lru<T> {
    by_use: BTreeMap<Ticket, T>,
    uses: u64,
}

impl<T> Lru<T> {
    pub(super) const fn new() -> Self {
        Self { by_use: BTreeMap::new(), uses: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_use.len()
    }

    /// One more, used now.
    pub(super) fn insert(&mut self, file: T) -> Ticket {
        let ticket = Ticket(self.uses);
        self.uses += 1;
        self.by_use.insert(ticket, file);
        ticket
    }

    /// Uses one, if it was not taken out in the meantime.
    pub(super) fn use_again(&mut self, ticket: Ticket) -> Option<(Ticket, &T)> {
        let file = self.by_use.remove(&ticket)?;
        let ticket = self.insert(file);
        self.by_use.get(&ticket).map(|file| (ticket, file))
    }

    /// Takes one out that is no more needed.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.by_use.remove(&ticket)
    }

    /// Takes out the one whose turn it is to be closed. Those in use are passed over: to take them out would close nothing,
    /// and their users are few (answers under way). `None`: all are in use.
    pub(super) fn evict(&mut self, is_in_use: impl Fn(&T) -> bool) -> Option<T> {
        let ticket = self.by_use.iter().find(|(_, file)| !is_in_use(file)).map(|(ticket, _)| *ticket)?;
        self.by_use.remove(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Open,
        Use(usize),
        Remove(usize),
        /// These are in use meanwhile.
        Evict(BTreeSet<usize>),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::Open),
            4 => (0_usize..40).prop_map(Op::Use),
            1 => (0_usize..40).prop_map(Op::Remove),
            2 => proptest::collection::btree_set(0_usize..40, 0..10).prop_map(Op::Evict),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_one_that_nobody_uses_and_that_was_used_longest_ago_is_closed(ops in vec(op(), 0..120)) {
            let mut lru = Lru::new();
            // The tickets of all files there ever were, and what is open in the order of its last use.
            let mut tickets: Vec<Ticket> = Vec::new();
            let mut open: Vec<usize> = Vec::new();
            for op in ops {
                match op {
                    Op::Open => {
                        open.push(tickets.len());
                        tickets.push(lru.insert(tickets.len()));
                    }
                    Op::Use(file) => {
                        let Some(ticket) = tickets.get_mut(file) else { continue };
                        let used = lru.use_again(*ticket);
                        prop_assert_eq!(used.map(|(_, file)| *file), open.contains(&file).then_some(file));
                        if let Some((again, _)) = used {
                            *ticket = again;
                            open.retain(|other| *other != file);
                            open.push(file);
                        }
                    }
                    Op::Remove(file) => {
                        let Some(ticket) = tickets.get(file) else { continue };
                        prop_assert_eq!(lru.remove(*ticket), open.contains(&file).then_some(file));
                        open.retain(|other| *other != file);
                    }
                    Op::Evict(in_use) => {
                        let expected = open.iter().copied().find(|file| !in_use.contains(file));
                        prop_assert_eq!(lru.evict(|file| in_use.contains(file)), expected);
                        open.retain(|file| Some(*file) != expected);
                    }
                }
                prop_assert_eq!(lru.len(), open.len());
            }
        }
    }
}
