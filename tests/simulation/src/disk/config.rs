//! What a disk is like, what is wrong with it, and what it has seen.

use std::path::PathBuf;

/// What a disk is like when nothing is wrong with it. Times are of the simulation, in whole milliseconds.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// A flush, or a sync of a directory, takes 0 to so many milliseconds.
    pub flush_ms_max: u64,
    /// A flush of a segment takes 0 to so many milliseconds longer: it has more to write than that of a small file.
    pub segment_flush_ms_max: u64,
    /// All files can be made durable with one call.
    pub whole_sync: bool,
    /// Of a thousand other operations so many take time.
    pub delayed_per_mille: u32,
    /// And then 1 to so many milliseconds.
    pub operation_ms_max: u64,
    /// Size of the device.
    pub size_bytes: u64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            flush_ms_max: 3,
            segment_flush_ms_max: 0,
            whole_sync: false,
            delayed_per_mille: 20,
            operation_ms_max: 3,
            size_bytes: 1 << 40,
        }
    }
}

impl DiskConfig {
    /// Every operation is done at once.
    #[must_use]
    pub fn immediate() -> Self {
        Self { flush_ms_max: 0, delayed_per_mille: 0, ..Self::default() }
    }
}

/// What is wrong with a disk. Nothing by default. Shares are of a thousand operations of that kind.
#[derive(Debug, Clone, Default)]
pub struct DiskFaults {
    /// Bytes by which files may still grow. A write that needs more is short, the next one fails for want of space, and
    /// so does whatever creates a name when nothing is left. Cutting and removing files gives room again.
    pub room: Option<u64>,
    /// The next so many flushes fail: what they were to write is clean from then on, but at most in part on the disk.
    pub flushes_that_fail: u32,
    /// Flushes that fail likewise.
    pub flush_errors_per_mille: u32,
    /// Syncs of directories that fail.
    pub sync_dir_errors_per_mille: u32,
    /// Writes that fail with an I/O error, after some of the bytes or none.
    pub write_errors_per_mille: u32,
    /// Writes that write less than they were asked to, and say so.
    pub short_writes_per_mille: u32,
    /// Reads that fail.
    pub read_errors_per_mille: u32,
    /// Reads that return one flipped bit; the disk itself is sound.
    pub flipped_reads_per_mille: u32,
    /// Truncations that fail.
    pub truncate_errors_per_mille: u32,
    /// Creating, renaming and removing that fails with an I/O error.
    pub name_errors_per_mille: u32,
    /// Flushes of which one sector goes to a wrong place, unnoticed.
    pub misdirected_per_mille: u32,
    /// Flushes succeed and write nothing.
    pub flushes_lie: bool,
    /// Syncs of directories succeed and write nothing.
    pub dir_syncs_lie: bool,
    /// Every operation takes 0 to so many milliseconds longer.
    pub slow_ms: u64,
    /// Only files whose path has this in it are meant (by all but `room` and `slow_ms`). A file keeps the path under which
    /// it was opened.
    pub only: Option<String>,
}

/// What a disk has seen, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations that change something: writes, flushes, cuts, names. [`super::SimDisk::halt_at`] counts by them.
    pub changes: u64,
    /// Reads, and the bytes that they returned.
    pub reads: u64,
    /// See `reads`.
    pub bytes_read: u64,
    /// Writes, and the bytes that they wrote.
    pub writes: u64,
    /// See `writes`.
    pub bytes_written: u64,
    /// Flushes of files that were asked for.
    pub flushes: u64,
    /// Syncs of all files at once.
    pub whole_syncs: u64,
    /// Syncs of directories that were asked for.
    pub dir_syncs: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Power losses.
    pub power_losses: u64,
    /// Sectors that a power loss took.
    pub sectors_lost: u64,
    /// Sectors that a power loss left half written.
    pub sectors_torn: u64,
    /// Changes of names that a power loss took.
    pub names_lost: u64,
    /// Flushes that failed, each of a file.
    pub flush_errors: u64,
    /// Syncs of directories that failed.
    pub sync_dir_errors: u64,
    /// Writes, cuts and changes of names that failed with an I/O error.
    pub write_errors: u64,
    /// Operations that found no space, or less than they needed.
    pub no_space: u64,
    /// Writes that were short for no reason.
    pub short_writes: u64,
    /// Reads that failed or returned a flipped bit.
    pub read_errors: u64,
    /// Bits that were flipped at rest.
    pub rotten: u64,
    /// Sectors that went to a wrong place.
    pub misdirected: u64,
}

/// Something on the disk that is no longer what was written, and of which nobody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, under one of its names; `None` when it has none.
    pub path: Option<PathBuf>,
    /// First byte.
    pub position: u64,
    /// Number of bytes.
    pub len: u64,
}
