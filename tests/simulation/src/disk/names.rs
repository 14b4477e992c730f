//! The names in one directory, twice: as processes see them, and as they are on the disk. In between lies a journal of
//! operations that were not synced; each of them survives a power loss or not.

use std::collections::BTreeMap;

use gapless_common::seam::Random;

use super::survival::Survival;

/// Tells one file or directory from all others, whatever its names.
pub(super) type InodeId = u64;

#[derive(Clone, Default)]
pub(super) struct Directory {
    names: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    journal: Vec<(u64, NameChange)>,
    next_change: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    /// A file or directory was created, or came here from another directory.
    Set { name: String, inode: InodeId },
    /// It was removed, or went to another directory.
    Unset { name: String, inode: InodeId },
    /// It was renamed within this directory: that happens as a whole or not at all.
    Move { from: String, to: String, inode: InodeId },
}

fn apply(names: &mut BTreeMap<String, InodeId>, change: &NameChange) {
    let unset = |names: &mut BTreeMap<String, InodeId>, name: &String, inode| {
        // Another one may have the name by now, since not every change before this one survived.
        if names.get(name) == Some(&inode) {
            names.remove(name);
        }
    };
    match change {
        NameChange::Set { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Unset { name, inode } => unset(names, name, *inode),
        NameChange::Move { from, to, inode } => {
            unset(names, from, *inode);
            names.insert(to.clone(), *inode);
        }
    }
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<InodeId> {
        self.names.get(name).copied()
    }

    /// What processes see.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.names.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    /// Everything that has a name here, or may have one again.
    pub(super) fn inodes(&self) -> impl Iterator<Item = InodeId> + '_ {
        let journal = self.journal.iter().map(|(_, change)| match change {
            NameChange::Set { inode, .. }
            | NameChange::Unset { inode, .. }
            | NameChange::Move { inode, .. } => *inode,
        });
        self.names.values().chain(self.durable.values()).copied().chain(journal)
    }

    pub(super) fn set(&mut self, name: &str, inode: InodeId) {
        self.change(NameChange::Set { name: name.to_owned(), inode });
    }

    pub(super) fn unset(&mut self, name: &str) {
        if let Some(inode) = self.get(name) {
            self.change(NameChange::Unset { name: name.to_owned(), inode });
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(inode) = self.get(from).filter(|_| from != to) {
            self.change(NameChange::Move { from: from.to_owned(), to: to.to_owned(), inode });
        }
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.journal.push((self.next_change, change));
        self.next_change += 1;
    }

    /// What a sync that begins now makes durable: everything before this.
    pub(super) fn next_change(&self) -> u64 {
        self.next_change
    }

    /// That sync ends.
    pub(super) fn synced(&mut self, before: u64) {
        let count = self.journal.partition_point(|(at, _)| *at < before);
        for (_, change) in self.journal.drain(..count) {
            apply(&mut self.durable, &change);
        }
    }

    /// That sync fails. Some of it got there; the rest waits for the next one, since names are in the file system's own
    /// journal, and one that cannot write that does not go on as if it could.
    pub(super) fn sync_failed(&mut self, before: u64, random: &Random) {
        let survival = Survival::of_a_power_loss(random);
        let upto = before.min(self.journal.first().map_or(before, |(first, _)| {
            // In the order in which they were made: what is durable is a state that there was.
            let count = before.saturating_sub(*first);
            match survival {
                Survival::Nothing => *first,
                Survival::Everything => before,
                Survival::Some(_) => first + random.below(count + 1),
            }
        }));
        self.synced(upto);
    }

    /// How many changes did not survive.
    pub(super) fn power_lost(&mut self, survival: Survival, random: &Random) -> u64 {
        let mut lost = 0;
        for (_, change) in std::mem::take(&mut self.journal) {
            if survival.takes(random) {
                apply(&mut self.durable, &change);
            } else {
                lost += 1;
            }
        }
        self.names.clone_from(&self.durable);
        lost
    }

    /// The disk is checked after a power loss: this name goes.
    pub(super) fn drop_durably(&mut self, name: &str) {
        self.durable.remove(name);
        self.names.remove(name);
    }
}
