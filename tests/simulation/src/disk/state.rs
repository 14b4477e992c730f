//! The whole disk at one moment, and what its faults make of an operation.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gapless_common::seam::Random;

use super::config::{Damage, DiskConfig, DiskCounts, DiskFaults};
use super::names::InodeId;
use super::sectors::SECTOR;
use super::survival::{coin, happens, up_to};
use super::tree::{Errno, Tree};

/// What an operation is, for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Create,
    Rename,
    Remove,
    List,
    CreateDirectory,
    RemoveDirectory,
    SyncDirectory,
    Lock,
    Write,
    Read,
    Flush,
    WholeSync,
    Truncate,
    Kill,
    PowerLoss,
}

#[derive(Clone)]
pub(super) struct State {
    pub config: DiskConfig,
    pub faults: DiskFaults,
    pub random: Random,
    pub tree: Tree,
    /// Operations of any other are dead.
    pub incarnation: u64,
    pub boot: u64,
    pub counts: DiskCounts,
    pub trace: u64,
    pub damage: Vec<Damage>,
    pub halt_at: Option<u64>,
    pub halted: bool,
    /// Who holds it.
    pub locks: BTreeMap<PathBuf, u64>,
    next_number: u64,
}

/// FNV-1a's.
const TRACE_START: u64 = 0xcbf2_9ce4_8422_2325;
const TRACE_FACTOR: u64 = 0x0100_0000_01b3;

impl State {
    pub(super) fn new(random: Random, config: DiskConfig) -> Self {
        Self {
            config,
            faults: DiskFaults::default(),
            random,
            tree: Tree::default(),
            incarnation: 0,
            boot: 0,
            counts: DiskCounts::default(),
            trace: TRACE_START,
            damage: Vec::new(),
            halt_at: None,
            halted: false,
            locks: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// A number that was not given out before.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn note(&mut self, kind: Kind, what: u64, how_much: u64) {
        for word in [kind as u64, what, how_much] {
            self.trace = (self.trace ^ word).wrapping_mul(TRACE_FACTOR).rotate_left(29);
        }
    }

    pub(super) fn note_path(&mut self, kind: Kind, path: &Path) {
        let hash = path
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(TRACE_START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(TRACE_FACTOR));
        self.note(kind, hash, 0);
    }

    /// Counts an operation that changes something. `true`: the disk halts at this one.
    pub(super) fn count_change(&mut self) -> bool {
        let halts = self.halt_at == Some(self.counts.changes);
        self.counts.changes += 1;
        self.halted |= halts;
        halts
    }

    /// Milliseconds that an operation takes.
    pub(super) fn delay(&self, kind: Kind) -> u64 {
        let usual = match kind {
            Kind::Flush | Kind::WholeSync | Kind::SyncDirectory => {
                up_to(&self.random, self.config.flush_ms_max)
            }
            _ if happens(&self.random, self.config.delayed_per_mille) => {
                1 + up_to(&self.random, self.config.operation_ms_max.saturating_sub(1))
            }
            _ => 0,
        };
        usual + up_to(&self.random, self.faults.slow_ms)
    }

    /// Milliseconds that a flush of this file takes.
    pub(super) fn flush_delay(&self, path: &Path) -> u64 {
        let is_segment = path.extension().is_some_and(|extension| extension == "log");
        let more = if is_segment { up_to(&self.random, self.config.segment_flush_ms_max) } else { 0 };
        self.delay(Kind::Flush) + more
    }

    fn concerns(&self, path: &Path) -> bool {
        let only = self.faults.only.as_deref();
        only.is_none_or(|part| path.to_string_lossy().contains(part))
    }

    /// Whether a fault of this share hits an operation on this file.
    fn hits(&self, per_mille: u32, path: &Path) -> bool {
        per_mille > 0 && self.concerns(path) && happens(&self.random, per_mille)
    }

    fn io_error(&mut self) -> io::Error {
        self.counts.write_errors += 1;
        Errno::Io.into()
    }

    /// Creating, renaming or removing may not come about.
    pub(super) fn check_name_change(&mut self, path: &Path) -> io::Result<()> {
        if self.hits(self.faults.name_errors_per_mille, path) {
            return Err(self.io_error());
        }
        Ok(())
    }

    /// A new name needs some room.
    pub(super) fn check_room_for_a_name(&mut self) -> io::Result<()> {
        if self.faults.room == Some(0) {
            self.counts.no_space += 1;
            return Err(Errno::NoSpace.into());
        }
        Ok(())
    }

    /// How many of `len` bytes a write gets to write.
    pub(super) fn write_limit(
        &mut self,
        inode: InodeId,
        path: &Path,
        position: u64,
        len: u64,
    ) -> io::Result<u64> {
        if self.hits(self.faults.write_errors_per_mille, path) {
            return Err(self.io_error());
        }
        let size = self.tree.file(inode)?.size();
        let mut limit = len;
        if let Some(room) = self.faults.room {
            limit = limit.min(size.saturating_add(room).saturating_sub(position));
            if limit < len {
                self.counts.no_space += 1;
            }
            if limit == 0 && len > 0 {
                return Err(Errno::NoSpace.into());
            }
        }
        if limit > 1 && self.hits(self.faults.short_writes_per_mille, path) {
            self.counts.short_writes += 1;
            limit = 1 + self.random.below(limit - 1);
        }
        Ok(limit)
    }

    pub(super) fn write(&mut self, inode: InodeId, position: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.tree.file_mut(inode)?;
        let before = file.size();
        file.write(position, bytes);
        let grown = file.size() - before;
        if let Some(room) = &mut self.faults.room {
            *room = room.saturating_sub(grown);
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, inode: InodeId, path: &Path, len: u64) -> io::Result<()> {
        if self.hits(self.faults.truncate_errors_per_mille, path) {
            return Err(self.io_error());
        }
        let file = self.tree.file_mut(inode)?;
        let before = file.size();
        file.truncate(len);
        self.freed(before.saturating_sub(len));
        Ok(())
    }

    pub(super) fn freed(&mut self, bytes: u64) {
        if let Some(room) = &mut self.faults.room {
            *room = room.saturating_add(bytes);
        }
    }

    /// The number of the flush that begins.
    pub(super) fn begin_flush(&mut self, inode: InodeId, path: &Path) -> io::Result<u64> {
        self.counts.flushes += 1;
        let id = self.number();
        let mut doomed = self.hits(self.faults.flush_errors_per_mille, path);
        if self.faults.flushes_that_fail > 0 && self.concerns(path) {
            self.faults.flushes_that_fail -= 1;
            doomed = true;
        }
        if self.faults.flushes_lie && self.concerns(path) {
            return Ok(id);
        }
        let strays = self.hits(self.faults.misdirected_per_mille, path);
        let file = self.tree.file_mut(inode)?;
        file.begin_flush(id, doomed);
        if strays && let Some((position, bytes)) = file.misdirect(&self.random) {
            self.misdirect(inode, position, &bytes);
        }
        Ok(id)
    }

    fn misdirect(&mut self, from: InodeId, position: u64, bytes: &[u8]) {
        let files = self.tree.files();
        let path = files.iter().find(|(_, inode)| *inode == from).map(|(path, _)| path.clone());
        self.damage.push(Damage { path, position, len: bytes.len() as u64 });
        let durable_size = |inode| self.tree.file(inode).map_or(0, |file| file.durable_size());
        let targets: Vec<_> = files.into_iter().filter(|(_, inode)| durable_size(*inode) > 0).collect();
        let pick = usize::try_from(self.random.below(targets.len() as u64)).unwrap_or(0);
        self.counts.misdirected += 1;
        let Some((path, inode)) = targets.into_iter().nth(pick) else { return };
        let sector = self.random.below(durable_size(inode).div_ceil(SECTOR));
        if let Ok(file) = self.tree.file_mut(inode) {
            let len = file.strike(sector, bytes);
            self.damage.push(Damage { path: Some(path), position: sector * SECTOR, len });
        }
    }

    pub(super) fn end_flush(&mut self, inode: InodeId, id: u64) -> io::Result<()> {
        if self.tree.file_mut(inode)?.end_flush(id, &self.random) {
            return Ok(());
        }
        self.counts.flush_errors += 1;
        // Without delayed allocation there is room by then; with it there may be none.
        Err(match self.random.below(4) {
            0 => Errno::NoSpace.into(),
            1 => Errno::QuotaExceeded.into(),
            _ => Errno::Io.into(),
        })
    }

    /// Flushes of all files begin that have something to be flushed.
    pub(super) fn begin_whole_sync(&mut self) -> io::Result<Vec<(InodeId, u64)>> {
        self.counts.whole_syncs += 1;
        let mut flights = Vec::new();
        for (path, inode) in self.tree.files() {
            if self.tree.file(inode)?.is_unsettled() {
                flights.push((inode, self.begin_flush(inode, &path)?));
            }
        }
        Ok(flights)
    }

    /// And end. The error is that of any of them.
    pub(super) fn end_whole_sync(&mut self, flights: &[(InodeId, u64)]) -> io::Result<()> {
        let mut all_well = true;
        for (inode, id) in flights {
            // One that was unlinked and closed meanwhile needs no flush.
            if let Ok(file) = self.tree.file_mut(*inode)
                && !file.end_whole_sync(*id, &self.random)
            {
                self.counts.flush_errors += 1;
                all_well = false;
            }
        }
        if all_well { Ok(()) } else { Err(Errno::Io.into()) }
    }

    pub(super) fn end_sync(&mut self, inode: InodeId, before: u64, path: &Path) -> io::Result<()> {
        if self.hits(self.faults.sync_dir_errors_per_mille, path) {
            self.tree.end_sync(inode, before, Some(&self.random));
            self.counts.sync_dir_errors += 1;
            return Err(Errno::Io.into());
        }
        if !(self.faults.dir_syncs_lie && self.concerns(path)) {
            self.tree.end_sync(inode, before, None);
        }
        Ok(())
    }

    /// Reads may fail, or return a bit that is not there.
    pub(super) fn spoil_read(&mut self, path: &Path, bytes: bytes::Bytes) -> io::Result<bytes::Bytes> {
        if self.hits(self.faults.read_errors_per_mille, path) {
            self.counts.read_errors += 1;
            return Err(Errno::Io.into());
        }
        if bytes.is_empty() || !self.hits(self.faults.flipped_reads_per_mille, path) {
            return Ok(bytes);
        }
        self.counts.read_errors += 1;
        let bit = self.random.below(bytes.len() as u64 * 8);
        let mut spoilt = bytes.to_vec();
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| spoilt.get_mut(at)) {
            *byte ^= 1 << (bit % 8);
        }
        Ok(spoilt.into())
    }

    fn detach(&mut self) {
        self.incarnation += 1;
        self.locks.clear();
        self.halt_at = None;
        self.halted = false;
    }

    pub(super) fn attach(&mut self) -> u64 {
        self.detach();
        self.incarnation
    }

    pub(super) fn kill(&mut self) {
        self.detach();
        self.counts.kills += 1;
        self.note(Kind::Kill, self.counts.kills, 0);
        self.tree.process_killed(&self.random);
    }

    pub(super) fn power_loss(&mut self) {
        self.detach();
        self.boot += 1;
        self.counts.power_losses += 1;
        let (toll, names) = self.tree.power_lost(&self.random);
        self.counts.sectors_lost += toll.lost;
        self.counts.sectors_torn += toll.torn;
        self.counts.names_lost += names;
        self.note(Kind::PowerLoss, toll.lost, names);
    }

    /// An operation is under way for some time: whether what it does happens at the beginning of that, or at the end.
    pub(super) fn happens_early(&self) -> bool {
        coin(&self.random)
    }
}
