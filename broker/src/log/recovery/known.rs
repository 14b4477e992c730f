//! What is known of a log before it is read: the newest checkpoint that fits it, and how far it was flushed.

use std::{io, path::Path, sync::Arc};

use gapless_common::{
    seeded_bug::{SeededBug, is_on},
    types::{LeaderEpoch, Offset},
};

use crate::log::checkpoint::{self, Checkpoint};
use crate::log::segment::{Segment, segment_path};
use crate::log::sequencer::Sequencer;
use crate::log::state_file::StateFile;
use crate::log::summary::{Ends, Summary};
use crate::log::{LogConfig, Site};
use crate::storage::{DirEntry, File, Files, is_lost};

/// What is known, and what of it turned out to be of no use.
#[derive(Default)]
pub(super) struct Known {
    pub checkpoint: Option<Checkpoint>,
    /// The highest place up to which the log is known to have been flushed.
    pub flushed: Option<Summary>,
    /// Checkpoints that stay, oldest first.
    pub kept: Vec<Offset>,
    /// Checkpoints that are damaged, or of a log that is no more: they must not be found again by a log that has grown
    /// past them.
    pub useless: Vec<Offset>,
    /// The seeded bug: the producers of a history that was cut off.
    pub abandoned: Option<Sequencer>,
}

/// What else is known, by which a checkpoint is judged.
pub(super) struct Beside<'a> {
    /// In force from now on.
    pub leader_epoch: LeaderEpoch,
    pub state: Option<&'a StateFile>,
    /// The first offset that the log may hold.
    pub first: Offset,
    /// The flush mark.
    pub mark: Option<Summary>,
}

impl Known {
    /// Looks through what lies in the partition's directory.
    ///
    /// # Errors
    /// A checkpoint, or the segment it speaks of, would not be read for a reason that may pass.
    pub(super) async fn find(
        files: &dyn Files,
        site: &Site,
        entries: &[DirEntry],
        config: &LogConfig,
        beside: &Beside<'_>,
    ) -> io::Result<Self> {
        let mut known = Self { flushed: beside.mark, ..Self::default() };
        let beside = &Beside { first: beside.first.max(first_that_counts(entries, beside.state)), ..*beside };
        let mut offsets: Vec<Offset> = (entries.iter().filter(|entry| !entry.is_dir))
            .filter_map(|entry| checkpoint::parse_name(&entry.name))
            .collect();
        offsets.sort();
        while let Some(offset) = offsets.pop() {
            let found = match checkpoint::read(files, site, offset, config.producers_max).await {
                Err(error) if is_lost(&error) => {
                    tracing::warn!(
                        "partition {site}: the checkpoint at offset {offset} cannot be read: {error}"
                    );
                    None
                }
                // It may be well, and what is of no use is removed.
                read => read?,
            };
            let Some(found) = found else {
                known.useless.push(offset);
                continue;
            };
            let fits = fits(files, site, &found, beside).await?;
            if is_on(SeededBug::TrustAbandonedSnapshot) && !fits {
                known.abandoned.get_or_insert(found.sequencer);
                continue;
            }
            // It was written after the flush; so even one that does not fit says that there was something.
            known.flushed = known.flushed.into_iter().chain([found.at]).max_by_key(Summary::height);
            if fits {
                known.checkpoint = Some(found);
                known.kept = offsets.pop().into_iter().chain([offset]).collect();
                known.useless.append(&mut offsets);
                break;
            }
            known.useless.push(offset);
        }
        Ok(known)
    }
}

/// Where the first segment begins that is not wholly below the start of the log: of those before it nobody need know.
fn first_that_counts(entries: &[DirEntry], state: Option<&StateFile>) -> Offset {
    let log_start = state.map_or(Offset(0), StateFile::log_start);
    let bases = entries.iter().filter_map(|entry| Segment::parse_name(&entry.name));
    bases.filter(|base| *base <= log_start).max().unwrap_or(Offset(0))
}

/// Whether the log holds, where the checkpoint stands, the batch that stood before it, and nobody knows better of its epochs.
async fn fits(files: &dyn Files, site: &Site, found: &Checkpoint, beside: &Beside<'_>) -> io::Result<bool> {
    let of_its_time = found.at.batches.is_none_or(|ends| ends.last_epoch <= beside.leader_epoch);
    match open(files, &site.directory, found.at.base_offset).await {
        Ok(log) => Ok(of_its_time && has_its_epochs(found, beside) && found.at.agrees_with(&*log).await),
        Err(error) if is_lost(&error) || error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Its list of epochs is there for every record of the log, ends with the last batch's, and says what the state file says of
/// those that are over.
fn has_its_epochs(found: &Checkpoint, beside: &Beside<'_>) -> bool {
    let Checkpoint { at, epochs, .. } = found;
    let ends_so = |ends: Ends| epochs.at(at.next_offset.plus(-1)) == ends.last_epoch;
    if !at.batches.is_none_or(ends_so) {
        return false;
    }
    let starts = epochs.entries().iter().map(|(_, start)| *start);
    let places =
        starts.chain(beside.state.into_iter().flat_map(StateFile::epoch_starts)).chain([beside.first]);
    places.filter(|place| (beside.first..at.next_offset).contains(place)).all(|place| {
        let known = epochs.at(place);
        let past = beside.state.and_then(|state| state.past_epoch_at(place));
        known >= LeaderEpoch(0) && past.is_none_or(|past| past == known)
    })
}

async fn open(files: &dyn Files, directory: &Path, base_offset: Offset) -> io::Result<Arc<dyn File>> {
    files.open(&segment_path(directory, base_offset)).await
}
