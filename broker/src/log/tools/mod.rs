//! What can be done to logs while no broker runs: looked through (`examine`), and repaired at the operator's word
//! (`repair`). Through the files seam, like all else, so that disks that fail and crashes half way can be tried.

mod examine;
mod hints;
mod repair;
mod resync;

use std::path::{Path, PathBuf};

use gapless_common::types::{LeaderEpoch, Offset};

pub use self::examine::{BadPlace, BatchSink, Examined, Finding, GoodBatch, Seen, Severity, examine};
pub use self::hints::beside_the_topics;
pub use self::repair::{Plan, RepairError, Saved, Way, carry_out, plan};
use super::Site;
use super::flush_marks::FlushMarks;
use crate::storage::Files;

/// One partition, as the files around it describe it.
pub struct Subject {
    /// Which, and where.
    pub site: Site,
    /// The epoch in force at the last start: nothing in the log is newer.
    pub epoch_max: LeaderEpoch,
    /// The last stop was a clean one.
    pub clean: bool,
}

/// The flush marks of a data directory.
///
/// # Errors
/// None: what cannot be read counts as not there, and is logged.
pub async fn marks(files: &dyn Files) -> FlushMarks {
    FlushMarks::read(files).await
}

/// A file of a partition.
fn named(directory: &Path, base: Offset) -> PathBuf {
    super::segment::segment_path(directory, base)
}
