//! `state.json` of a partition: what the log itself cannot say (where it starts, that corruption was found in it, which
//! losses were accepted) and what it can (leader epochs).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gapless_common::types::{LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

use super::epochs::LeaderEpochs;
use super::losses::Losses;
use crate::storage::{
    Files,
    small_file::{self, SmallFileError},
    spare::Spare,
};

const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    log_start_offset: i64,
    leader_epochs: Vec<EpochStart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarantined: Option<Quarantined>,
    #[serde(default, skip_serializing_if = "Losses::is_empty")]
    losses: Losses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct EpochStart {
    epoch: i32,
    start_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Quarantined {
    offset: i64,
    why: String,
}

impl StateFile {
    /// Of epochs whose records are all deleted it says nothing: each start that appends adds one.
    pub(crate) fn new(log_start: Offset, epochs: &LeaderEpochs, losses: Losses) -> Self {
        let start =
            |(epoch, start): &(LeaderEpoch, Offset)| EpochStart { epoch: epoch.0, start_offset: start.0 };
        Self {
            log_start_offset: log_start.0,
            leader_epochs: epochs.from(log_start).iter().map(start).collect(),
            quarantined: None,
            losses,
        }
    }

    /// With corruption at an offset, or without.
    pub(crate) fn with_quarantine(self, quarantined: Option<&(Offset, Arc<str>)>) -> Self {
        let stored = |(at, why): &(Offset, Arc<str>)| Quarantined { offset: at.0, why: why.to_string() };
        Self { quarantined: quarantined.map(stored), ..self }
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset(self.log_start_offset)
    }

    /// The leader epoch of the record at `offset`, where that is certain: of an epoch that was over when this was written.
    pub(crate) fn past_epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.leader_epochs.partition_point(|entry| entry.start_offset <= offset.0);
        let epoch = self.leader_epochs.get(after.checked_sub(1)?).map(|entry| LeaderEpoch(entry.epoch));
        epoch.filter(|_| after < self.leader_epochs.len())
    }

    /// The lowest leader epoch that the record at `offset` may have.
    pub(crate) fn epoch_min_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.leader_epochs.partition_point(|entry| entry.start_offset <= offset.0);
        self.leader_epochs.get(after.checked_sub(1)?).map(|entry| LeaderEpoch(entry.epoch))
    }

    /// Where epochs began.
    pub(crate) fn epoch_starts(&self) -> impl Iterator<Item = Offset> {
        self.leader_epochs.iter().map(|entry| Offset(entry.start_offset))
    }

    /// Whether it says what `other` does, of a log that ends at `end`: an epoch that begins there has no records.
    pub(crate) fn is_as(&self, other: &Self, end: Offset) -> bool {
        let with_records = |state: &Self| {
            let mut state = state.clone();
            state.leader_epochs.retain(|entry| entry.start_offset != end.0);
            state
        };
        with_records(self) == with_records(other)
    }

    /// Whether it tells of an epoch that began behind `end`: of a history that was cut off.
    pub(crate) fn goes_beyond(&self, end: Offset) -> bool {
        self.leader_epochs.last().is_some_and(|last| last.start_offset > end.0)
    }

    /// As it is after a repair: without quarantine, and, where the log was cut off, without what is known of what came
    /// behind `end`.
    pub(crate) fn repaired(mut self, losses: Losses, end: Option<Offset>) -> Self {
        if let Some(end) = end {
            self.leader_epochs.retain(|entry| entry.start_offset < end.0);
        }
        Self { quarantined: None, losses, ..self }
    }

    /// Where corruption was found, and what.
    pub(crate) fn quarantined(&self) -> Option<(Offset, Arc<str>)> {
        self.quarantined.as_ref().map(|found| (Offset(found.offset), found.why.as_str().into()))
    }

    /// The holes that the log may have.
    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join("state.json")
    }

    pub(crate) async fn read(files: &dyn Files, directory: &Path) -> Result<Option<Self>, SmallFileError> {
        let path = Self::path(directory);
        let read: Option<Self> = small_file::read(files, &path, FORMAT_VERSION).await?;
        match read.as_ref().and_then(Self::impossible) {
            Some(why) => Err(SmallFileError::Corrupt { path, why: why.to_owned() }),
            None => Ok(read),
        }
    }

    /// What no log can be like, if that is what it says.
    fn impossible(&self) -> Option<&'static str> {
        let epochs = self.leader_epochs.iter().map(|entry| (entry.epoch, entry.start_offset));
        let rises = |(before, after): ((i32, i64), (i32, i64))| before.0 < after.0 && before.1 < after.1;
        if self.log_start_offset < 0 {
            return Some("the log starts at a negative offset");
        }
        if epochs.clone().any(|(epoch, start)| epoch < 0 || start < 0) {
            return Some("a negative leader epoch or offset");
        }
        if !epochs.clone().zip(epochs.skip(1)).all(rises) {
            return Some("leader epochs that do not rise");
        }
        if self.quarantined.as_ref().is_some_and(|found| found.offset < 0) {
            return Some("a quarantine from a negative offset on");
        }
        (!self.losses.is_possible()).then_some("losses that overlap")
    }

    pub(crate) async fn write(&self, files: &dyn Files, directory: &Path) -> Result<(), SmallFileError> {
        small_file::replace(files, &Self::path(directory), FORMAT_VERSION, self).await
    }

    /// Even on a full disk, if there is room kept for that.
    pub(crate) async fn write_on_full_disk(
        &self,
        spare: &Spare,
        directory: &Path,
    ) -> Result<(), SmallFileError> {
        small_file::replace_on_full_disk(spare, &Self::path(directory), FORMAT_VERSION, self).await
    }
}
