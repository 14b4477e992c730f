//! What is known of a log before it is read: the newest checkpoint that fits it, and how far it was flushed.

use std::{io, path::Path, sync::Arc};

use gapless_common::{
    seeded_bug::{SeededBug, is_on},
    types::{LeaderEpoch, Offset},
};

use crate::log::checkpoint::{self, Checkpoint};
use crate::log::segment::segment_path;
use crate::log::sequencer::Sequencer;
use crate::log::summary::Summary;
use crate::log::{LogConfig, Site};
use crate::storage::{DirEntry, File, Files};

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

impl Known {
    /// Looks through what lies in the partition's directory.
    pub(super) async fn find(
        files: &dyn Files,
        site: &Site,
        entries: &[DirEntry],
        config: &LogConfig,
        leader_epoch: LeaderEpoch,
        mark: Option<Summary>,
    ) -> Self {
        let mut known = Self { flushed: mark, ..Self::default() };
        let mut offsets: Vec<Offset> = (entries.iter().filter(|entry| !entry.is_dir))
            .filter_map(|entry| checkpoint::parse_name(&entry.name))
            .collect();
        offsets.sort();
        while let Some(offset) = offsets.pop() {
            let read = checkpoint::read(files, site, offset, config.producers_max).await;
            let found = read.unwrap_or_else(|error| {
                tracing::warn!("partition {site}: the checkpoint at offset {offset} cannot be read: {error}");
                None
            });
            let Some(found) = found else {
                known.useless.push(offset);
                continue;
            };
            let fits = fits(files, site, &found, leader_epoch).await;
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
        known
    }
}

/// Whether the log holds, where the checkpoint stands, the batch that stood before it.
async fn fits(files: &dyn Files, site: &Site, found: &Checkpoint, leader_epoch: LeaderEpoch) -> bool {
    let of_its_time = found.at.batches.is_none_or(|ends| ends.last_epoch <= leader_epoch);
    match open(files, &site.directory, found.at.base_offset).await {
        Ok(log) => of_its_time && found.at.agrees_with(&*log).await,
        Err(_) => false,
    }
}

async fn open(files: &dyn Files, directory: &Path, base_offset: Offset) -> io::Result<Arc<dyn File>> {
    files.open(&segment_path(directory, base_offset)).await
}
