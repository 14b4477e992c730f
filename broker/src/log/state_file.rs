//! `state.json` of a partition: what the log itself cannot say (where it starts) and what it can (leader epochs).

use std::path::{Path, PathBuf};

use gapless_common::types::{LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

use super::epochs::LeaderEpochs;
use crate::storage::{
    Files,
    small_file::{self, SmallFileError},
};

const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateFile {
    log_start_offset: i64,
    leader_epochs: Vec<EpochStart>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct EpochStart {
    epoch: i32,
    start_offset: i64,
}

impl StateFile {
    pub(super) fn new(log_start: Offset, epochs: &LeaderEpochs) -> Self {
        let start =
            |(epoch, start): &(LeaderEpoch, Offset)| EpochStart { epoch: epoch.0, start_offset: start.0 };
        Self { log_start_offset: log_start.0, leader_epochs: epochs.entries().iter().map(start).collect() }
    }

    pub(super) fn log_start(&self) -> Offset {
        Offset(self.log_start_offset)
    }

    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("state.json")
    }

    pub(super) async fn read(files: &dyn Files, directory: &Path) -> Result<Option<Self>, SmallFileError> {
        small_file::read(files, &Self::path(directory), FORMAT_VERSION).await
    }

    pub(super) async fn write(&self, files: &dyn Files, directory: &Path) -> Result<(), SmallFileError> {
        small_file::replace(files, &Self::path(directory), FORMAT_VERSION, self).await
    }
}
