//! A disk that keeps what was written and what was synced apart, and loses the difference.
//!
//! - A write is in the page cache. [`kill`](SimDisk::kill) (of the process) keeps that; of a
//!   [`power_loss`](SimDisk::power_loss) every unsynced sector, size and name survives or not, by the seed, and a sector
//!   may tear.
//! - A flush makes durable what was written before it was called, and takes time; if the power fails meanwhile, any of
//!   it may have got there. After a flush that failed its sectors are clean but not on the disk, and later flushes
//!   succeed without writing them ([`evict`](SimDisk::evict) shows what is really there).
//! - A name is durable after a sync of its directory. A file whose name was lost is gone, however often it was flushed.
//! - Bits rot at rest, writes go astray, reads fail, space ends: [`DiskFaults`].
//!
//! Everything follows from the [`Random`] it was made with and the operations it is given. [`SimDisk::halt_at`] stops it
//! at any one operation, and [`SimDisk::fork`] copies it, so that one history can be lost in many ways.

mod config;
mod content;
mod files;
mod names;
mod sectors;
mod state;
mod survival;
#[cfg(test)]
mod tests;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gapless_broker::storage::Files;
use gapless_common::seam::Random;
use tokio::sync::Notify;

pub use config::{Damage, DiskConfig, DiskCounts, DiskFaults};
use files::Handle;
use state::State;

/// A simulated disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    halted: Notify,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Random, config: DiskConfig) -> Self {
        Self::of(State::new(random, config))
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(state), halted: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a failed assertion leaves behind is still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy as it is now, with flushes under way, faults and counts, that goes its own way by another generator. Nobody
    /// is attached to it.
    #[must_use]
    pub fn fork(&self, random: Random) -> Self {
        let mut state = self.state().clone();
        state.random = random;
        Self::of(state)
    }

    /// The files as a process sees them that starts now. The one before, if it still runs, is cut off: its operations
    /// fail and change nothing.
    #[must_use]
    pub fn attach(&self) -> Arc<dyn Files> {
        let incarnation = self.state().attach();
        Arc::new(Handle { disk: self.clone(), incarnation })
    }

    /// The process is killed. What it wrote is in the page cache; what it was doing happened or did not.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// The power fails: only what was synced is sure to be there, and the machine boots anew.
    pub fn power_loss(&self) {
        self.state().power_loss();
    }

    /// Tells one boot of the machine from all others.
    #[must_use]
    pub fn boot_id(&self) -> String {
        format!("simulated-boot-{}", self.state().boot)
    }

    /// The page cache lets go of all clean pages: what failed flushes did not write shows.
    pub fn evict(&self) {
        self.state().tree.evict();
    }

    /// What is wrong with the disk from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// Changes what is wrong with the disk.
    pub fn change_faults(&self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut self.state().faults);
    }

    /// What the disk has seen.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// A number that follows from every operation there was, their order and their arguments.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// What is no longer as it was written through rot and stray writes, for those who judge what may be missing.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.state().damage.clone()
    }

    /// Stops the disk at the change of this number ([`DiskCounts::changes`]; the first is 0): that operation happens, or
    /// not, or in part; it and all that follow never come back. A kill, a power loss or an attach ends it.
    pub fn halt_at(&self, change: u64) {
        self.state().halt_at = Some(change);
    }

    /// Waits until the disk has halted.
    pub async fn halted(&self) {
        loop {
            let mut halted = std::pin::pin!(self.0.halted.notified());
            halted.as_mut().enable();
            if self.state().halted {
                return;
            }
            halted.await;
        }
    }

    /// All files, in the order of their paths.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().tree.files().into_iter().map(|(path, _)| path).collect()
    }

    /// What the page cache shows of a file; `None` when there is no such file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.tree.open(path).ok()?;
        state.tree.file(inode).ok().map(|file| file.cached().to_vec())
    }

    /// Makes a file what it is not, on the platter too. `false` when there is no directory for it.
    pub fn set_content(&self, path: &Path, bytes: &[u8]) -> bool {
        self.state().tree.put(path, bytes.to_vec()).is_ok()
    }

    /// Removes a file, durably. `false` when there is none.
    pub fn lose(&self, path: &Path) -> bool {
        let mut state = self.state();
        let parent = path.parent().unwrap_or(Path::new(""));
        let removed = state.tree.remove(path).is_ok();
        if let Ok((inode, before)) = state.tree.begin_sync(parent) {
            state.tree.end_sync(inode, before, None);
        }
        removed
    }

    /// Flips one bit of a file on the platter; the page cache forgets what it has read from there. `false` when there is
    /// no such byte.
    pub fn rot(&self, path: &Path, position: u64, bit: u8) -> bool {
        let mut state = self.state();
        let Ok(inode) = state.tree.open(path) else { return false };
        let Ok(file) = state.tree.file_mut(inode) else { return false };
        if position >= file.durable_size() {
            return false;
        }
        file.rot(position, bit);
        state.counts.rotten += 1;
        state.damage.push(Damage { path: Some(path.to_owned()), position, len: 1 });
        true
    }

    /// Flips one bit somewhere in the files that `may_rot`; where. `None` when there is nothing on the platter.
    pub fn rot_somewhere(&self, may_rot: impl Fn(&Path) -> bool) -> Option<Damage> {
        let (path, position, bit) = {
            let state = self.state();
            let size = |inode| state.tree.file(inode).map_or(0, |file| file.durable_size());
            let mut files = state.tree.files();
            files.retain(|(path, inode)| may_rot(path) && size(*inode) > 0);
            let total: u64 = files.iter().map(|(_, inode)| size(*inode)).sum();
            let mut position = state.random.below(total);
            let bit = u8::try_from(state.random.below(8)).unwrap_or(0);
            let hit = files.into_iter().find_map(|(path, inode)| {
                let size = size(inode);
                if position < size {
                    return Some((path, position));
                }
                position -= size;
                None
            });
            let (path, position) = hit?;
            (path, position, bit)
        };
        self.rot(&path, position, bit).then_some(Damage { path: Some(path), position, len: 1 })
    }
}
