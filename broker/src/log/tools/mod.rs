//! What can be done to logs while no broker runs: looked through (`examine`), and repaired at the operator's word
//! (`repair`). Through the files seam, like all else, so that disks that fail and crashes half way can be tried.

mod examine;
mod findings;
mod hints;
mod repair;
mod resync;

use gapless_common::types::LeaderEpoch;

pub use self::examine::{BadPlace, BatchSink, Examined, GoodBatch, Seen, examine};
pub use self::findings::{Finding, Severity};
pub use self::hints::beside_the_topics;
pub use self::repair::{Plan, RepairError, Saved, Way, carry_out, plan};
use super::flush_marks::FlushMarks;
use super::{Boot, Site};
use crate::storage::Files;

/// One partition, as the files around it describe it.
pub struct Subject {
    /// Which, and where.
    pub site: Site,
    /// The epoch in force at the last start: nothing in the log is newer.
    pub epoch_max: LeaderEpoch,
    /// The last stop was a clean one.
    pub clean: bool,
    /// What will have happened to the machine, if the broker is started in this boot.
    pub boot: Boot,
}

/// The flush marks of a data directory. What cannot be read counts as not there, and is logged.
pub async fn marks(files: &dyn Files) -> FlushMarks {
    FlushMarks::read(files).await
}
