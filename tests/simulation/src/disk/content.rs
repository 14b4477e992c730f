//! The content of one file, twice: as the page cache shows it, and as it is on the platter.
//!
//! A sector is *clean* (the platter has what the cache shows), *dirty* (the next flush writes it), *flying* (a flush that
//! is under way has a copy of it), or *lost*: a flush of it failed, so that it is taken for clean, readable as long as
//! the cache keeps it, and written by nobody. The size is a thing of its own that is dirty and flies likewise.

use std::ops::Range;

use bytes::Bytes;
use gapless_common::seam::Random;

use super::sectors::{SECTOR, Sectors, sectors_of};
use super::survival::{Survival, coin, up_to};

/// Of the sectors that are being written when the power fails, one in so many tears.
const TORN_ONE_IN: u64 = 16;

#[derive(Clone, Default)]
pub(super) struct FileContent {
    cached: Vec<u8>,
    /// What lies behind its end is zero.
    platter: Vec<u8>,
    durable_size: u64,
    dirty: Sectors,
    lost: Sectors,
    size_is_dirty: bool,
    /// The file was cut to this since the last flush began; what stood behind is to become zeroes.
    cut_to: Option<u64>,
    flying: Vec<Flight>,
    /// Flushes that failed before whoever called them has looked.
    failed: Vec<u64>,
    /// A sync of all files has failed on account of this one, and nobody who flushes it was told.
    untold: bool,
}

/// What a flush took with it when it was called.
#[derive(Clone)]
struct Flight {
    id: u64,
    /// It will fail.
    doomed: bool,
    runs: Vec<Run>,
    size: u64,
    size_is_dirty: bool,
    cut_to: Option<u64>,
}

#[derive(Clone)]
struct Run {
    position: u64,
    bytes: Vec<u8>,
}

/// What a power loss did to a file.
#[derive(Default, Clone, Copy)]
pub(super) struct Toll {
    pub lost: u64,
    pub torn: u64,
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

impl FileContent {
    /// A file that has been on the disk for long.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { durable_size: bytes.len() as u64, platter: bytes.clone(), cached: bytes, ..Self::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.cached.len() as u64
    }

    /// What the page cache shows.
    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable_size(&self) -> u64 {
        self.durable_size
    }

    pub(super) fn read(&self, position: u64, len: usize) -> Bytes {
        let begin = index(position).min(self.cached.len());
        let end = begin.saturating_add(len).min(self.cached.len());
        Bytes::copy_from_slice(&self.cached[begin..end])
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (begin, end) = (index(position), index(position) + bytes.len());
        if self.cached.len() < begin {
            self.cached.resize(begin, 0);
        }
        let overlap = (self.cached.len() - begin).min(bytes.len());
        self.cached[begin..begin + overlap].copy_from_slice(&bytes[..overlap]);
        if overlap < bytes.len() {
            self.cached.extend_from_slice(&bytes[overlap..]);
        }
        // Also when it only covers what a failed flush has lost: who allocates the block moves the size (ext4, XFS).
        self.size_is_dirty |= end as u64 > self.durable_size;
        let sectors = sectors_of(position..end as u64);
        self.lost.remove(sectors.clone());
        self.dirty.insert(sectors);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        if len == self.size() {
            return;
        }
        if len < self.size() {
            let gone = len.div_ceil(SECTOR)..u64::MAX;
            self.dirty.remove(gone.clone());
            self.lost.remove(gone);
            self.cut_to = Some(self.cut_to.map_or(len, |earlier| earlier.min(len)));
        }
        self.cached.resize(index(len), 0);
        self.size_is_dirty = true;
    }

    /// A flush has something to do, or to wait for.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.dirty.is_empty() || self.size_is_dirty || self.cut_to.is_some() || !self.flying.is_empty()
    }

    /// Takes everything that is dirty along. What is written from now on is none of this flush's.
    pub(super) fn begin_flush(&mut self, id: u64, doomed: bool) {
        let dirty = std::mem::take(&mut self.dirty);
        let runs: Vec<Run> = dirty.ranges().map(|sectors| self.run(sectors)).collect();
        // Data behind the end that the disk knows of takes the size along.
        let grows = runs.last().is_some_and(|run| run.position + run.bytes.len() as u64 > self.durable_size);
        self.flying.push(Flight {
            id,
            doomed,
            runs,
            size: self.size(),
            size_is_dirty: std::mem::take(&mut self.size_is_dirty) || grows,
            cut_to: self.cut_to.take(),
        });
    }

    fn run(&self, sectors: Range<u64>) -> Run {
        let position = sectors.start * SECTOR;
        let end = index(sectors.end * SECTOR).min(self.cached.len());
        Run { position, bytes: self.cached[index(position).min(end)..end].to_vec() }
    }

    /// Ends that flush, and those before it, since it waits for what they write. `false`: it failed.
    pub(super) fn end_flush(&mut self, id: u64, random: &Random) -> bool {
        let later = self.flying.partition_point(|flight| flight.id <= id);
        let mut fails = false;
        for flight in self.flying.drain(..later).collect::<Vec<_>>() {
            fails |= flight.doomed;
            if fails {
                self.failed.push(flight.id);
                self.fail(flight, random);
            } else {
                self.land(&flight);
            }
        }
        let failed = self.failed.contains(&id) || self.untold;
        self.failed.retain(|other| *other != id);
        self.untold = false;
        !failed
    }

    /// As [`FileContent::end_flush`], of a sync of all files: whoever flushes this one hears of a failure all the same
    /// (Linux keeps errors for each file and for the file system apart).
    pub(super) fn end_whole_sync(&mut self, id: u64, random: &Random) -> bool {
        let untold = std::mem::take(&mut self.untold);
        let is_well = self.end_flush(id, random);
        self.untold = untold || !is_well;
        is_well
    }

    fn land(&mut self, flight: &Flight) {
        self.land_cut(flight.cut_to);
        for run in &flight.runs {
            self.land_bytes(run.position, &run.bytes);
        }
        if flight.size_is_dirty {
            self.durable_size = flight.size;
        }
    }

    fn land_cut(&mut self, cut_to: Option<u64>) {
        if let Some(len) = cut_to {
            self.platter.truncate(index(len));
        }
    }

    fn land_bytes(&mut self, position: u64, bytes: &[u8]) {
        let (begin, end) = (index(position), index(position) + bytes.len());
        if self.platter.len() < end {
            self.platter.resize(end, 0);
        }
        self.platter[begin..end].copy_from_slice(bytes);
    }

    /// Only the bytes before some place get there, or only those behind it.
    fn land_torn(&mut self, position: u64, bytes: &[u8], random: &Random) {
        let (first, second) = bytes.split_at(index(up_to(random, bytes.len() as u64)));
        if coin(random) {
            self.land_bytes(position, first);
        } else {
            self.land_bytes(position + first.len() as u64, second);
        }
    }

    /// Some of it may have got there. What has not is clean from now on. Only data is lost so: a file system that cannot
    /// write its own journal does not go on as if it could.
    fn fail(&mut self, flight: Flight, random: &Random) {
        let survival = self.land_size_in_part(&flight, random);
        for run in &flight.runs {
            for (sector, bytes) in sectors(run) {
                if survival.takes(random) {
                    self.land_bytes(sector * SECTOR, bytes);
                } else if !self.dirty.contains(sector) && sector * SECTOR < self.size() {
                    self.lost.insert(sector..sector + 1);
                }
            }
        }
    }

    /// The process is gone in the middle of its flushes. The page cache stays.
    pub(super) fn process_killed(&mut self, random: &Random) {
        for flight in std::mem::take(&mut self.flying) {
            if flight.doomed && coin(random) {
                self.fail(flight, random);
                continue;
            }
            let survival = self.land_size_in_part(&flight, random);
            for run in &flight.runs {
                for (sector, bytes) in sectors(run) {
                    if survival.takes(random) {
                        self.land_bytes(sector * SECTOR, bytes);
                    } else if sector * SECTOR < self.size() {
                        self.dirty.insert(sector..sector + 1);
                    }
                }
            }
        }
        (self.untold, self.failed) = (false, Vec::new());
    }

    /// The size of a flush that does not come to its end reaches the disk, or is dirty again. How much of the rest does.
    fn land_size_in_part(&mut self, flight: &Flight, random: &Random) -> Survival {
        let survival = Survival::of_a_power_loss(random);
        if survival == Survival::Nothing {
            self.size_is_dirty |= flight.size_is_dirty;
            self.cut_to = [self.cut_to, flight.cut_to].into_iter().flatten().min();
            return survival;
        }
        // A cut is on the platter before anything that was written behind it.
        self.land_cut(flight.cut_to);
        if flight.size_is_dirty && survival.takes(random) {
            self.durable_size = flight.size;
        } else {
            self.size_is_dirty |= flight.size_is_dirty;
        }
        survival
    }

    /// Nothing but the platter is left, with whatever got there of what was dirty or flying.
    pub(super) fn power_lost(&mut self, survival: Survival, random: &Random) -> Toll {
        let mut toll = Toll { lost: self.lost.count(), torn: 0 };
        let clean = self.dirty.is_empty() && self.lost.is_empty() && self.flying.is_empty();
        if clean && !self.size_is_dirty && self.durable_size == self.size() {
            return toll;
        }
        let mut sizes = vec![self.durable_size];
        self.begin_flush(u64::MAX, false);
        for flight in std::mem::take(&mut self.flying) {
            if survival.takes(random) {
                self.land_cut(flight.cut_to);
            }
            sizes.extend(flight.cut_to);
            sizes.extend(flight.size_is_dirty.then_some(flight.size));
            for run in &flight.runs {
                for (sector, bytes) in sectors(run) {
                    if !survival.takes(random) {
                        toll.lost += 1;
                    } else if survival != Survival::Everything && random.below(TORN_ONE_IN) == 0 {
                        toll.torn += 1;
                        self.land_torn(sector * SECTOR, bytes, random);
                    } else {
                        self.land_bytes(sector * SECTOR, bytes);
                    }
                }
            }
        }
        self.durable_size = surviving_size(&sizes, survival, random);
        self.forget_the_cache();
        toll
    }

    fn forget_the_cache(&mut self) {
        self.platter.resize(index(self.durable_size), 0);
        self.cached.clone_from(&self.platter);
        (self.dirty, self.lost) = (Sectors::default(), Sectors::default());
        (self.size_is_dirty, self.cut_to) = (false, None);
        (self.untold, self.failed) = (false, Vec::new());
    }

    /// The cache lets go of everything that it takes for clean.
    pub(super) fn evict(&mut self) {
        for sectors in std::mem::take(&mut self.lost).ranges() {
            for at in index(sectors.start * SECTOR)..index(sectors.end * SECTOR).min(self.cached.len()) {
                self.cached[at] = self.platter.get(at).copied().unwrap_or(0);
            }
        }
    }
}

impl FileContent {
    /// Flips a bit of what is on the platter, and of what the cache has read from there.
    pub(super) fn rot(&mut self, position: u64, bit: u8) {
        let is_clean = self.is_clean(position / SECTOR);
        let at = index(position);
        if self.platter.len() <= at {
            self.platter.resize(at + 1, 0);
        }
        self.platter[at] ^= 1 << (bit % 8);
        if is_clean && at < self.cached.len() {
            self.cached[at] = self.platter[at];
        }
    }

    /// One sector of the flush that has just begun will go elsewhere: which, and its bytes. What was there before stays,
    /// as if it were what was written.
    pub(super) fn misdirect(&mut self, random: &Random) -> Option<(u64, Vec<u8>)> {
        let flight = self.flying.last_mut()?;
        let runs = flight.runs.len() as u64;
        let run = flight.runs.get_mut(index(random.below(runs)))?;
        let sectors = (run.bytes.len() as u64).div_ceil(SECTOR);
        let from = index(random.below(sectors) * SECTOR);
        let to = (from + SECTOR as usize).min(run.bytes.len());
        let position = run.position + from as u64;
        let strayed = run.bytes[from..to].to_vec();
        for (at, byte) in run.bytes[from..to].iter_mut().enumerate() {
            *byte = self.platter.get(index(position) + at).copied().unwrap_or(0);
        }
        let sector = position / SECTOR;
        self.lost.insert(sector..sector + 1);
        Some((position, strayed))
    }

    /// A stray write hits this file. How many bytes of it were struck.
    pub(super) fn strike(&mut self, sector: u64, bytes: &[u8]) -> u64 {
        let begin = sector * SECTOR;
        let len = self.durable_size.saturating_sub(begin).min(bytes.len() as u64);
        let bytes = &bytes[..index(len)];
        let is_clean = self.is_clean(sector);
        self.land_bytes(begin, bytes);
        let end = (index(begin) + bytes.len()).min(self.cached.len());
        if is_clean && index(begin) < end {
            self.cached[index(begin)..end].copy_from_slice(&bytes[..end - index(begin)]);
        }
        len
    }

    fn is_clean(&self, sector: u64) -> bool {
        let flies = |flight: &Flight| {
            flight
                .runs
                .iter()
                .any(|run| sectors_of(run.position..run.position + run.bytes.len() as u64).contains(&sector))
        };
        !self.dirty.contains(sector) && !self.lost.contains(sector) && !self.flying.iter().any(flies)
    }
}

/// The sectors of a run, the last one perhaps shorter.
fn sectors(run: &Run) -> impl Iterator<Item = (u64, &[u8])> {
    (run.position / SECTOR..).zip(run.bytes.chunks(SECTOR as usize))
}

/// Sizes reach the disk by themselves, and not only those between two writes.
fn surviving_size(sizes: &[u64], survival: Survival, random: &Random) -> u64 {
    let first = sizes.first().copied().unwrap_or(0);
    let last = sizes.last().copied().unwrap_or(0);
    match survival {
        Survival::Nothing => first,
        Survival::Everything => last,
        Survival::Some(_) => match random.below(4) {
            0 => first,
            1 => last,
            2 => sizes[index(random.below(sizes.len() as u64))],
            _ => {
                let (low, high) = (first.min(last), first.max(last));
                low + up_to(random, high - low)
            }
        },
    }
}
