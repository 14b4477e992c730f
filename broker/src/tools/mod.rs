//! `gapless-broker log check | dump | repair`: for a data directory on which no broker runs. What is found and done is
//! [`crate::log::tools`]; here it is asked for and printed.

pub mod args;
mod check;
mod dump;
mod repair;

use std::{
    io::{self, Write},
    path::Path,
};

use self::args::LogCommand;
use crate::{
    broker::LOCK,
    storage::{Files, LockGuard},
    topics::survey::Survey,
};

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A broker works on the directory.
    #[error("a broker runs on this data directory; stop it first")]
    Locked,
    /// There is no data directory of a broker there.
    #[error("this is no data directory of a broker: {0}")]
    NoDataDirectory(io::Error),
    /// There is no such partition in it.
    #[error("there is no partition {topic}-{partition}, or its topic.json cannot be read (see `log check`)")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A repair is not possible, or did not get to its end.
    #[error(transparent)]
    Repair(#[from] crate::log::tools::RepairError),
    /// Nobody said yes.
    #[error("nothing was changed; give --yes to go on")]
    NotConfirmed,
    /// The operating system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Asks whether to go on, where there is somebody to ask.
pub type Confirm<'a> = &'a mut (dyn FnMut() -> bool + Send);

/// Does what was asked for, in the boot of the machine that `boot_id` tells from others. True: nothing was found wrong.
///
/// # Errors
/// It could not be done.
pub async fn run(
    files: &dyn Files,
    boot_id: &str,
    command: &LogCommand,
    out: &mut (dyn Write + Send),
    confirm: Confirm<'_>,
) -> Result<bool, ToolError> {
    let _lock = lock(files).await?;
    let survey = Survey::take(files, boot_id).await.map_err(ToolError::NoDataDirectory)?;
    match command {
        LogCommand::Check(args) => check::run(files, survey, args, out).await,
        LogCommand::Dump(args) => dump::run(files, survey, args, out).await.map(|()| true),
        LogCommand::Repair(args) => repair::run(files, survey, args, out, confirm).await.map(|()| true),
    }
}

async fn lock(files: &dyn Files) -> Result<LockGuard, ToolError> {
    // Not before it is known to be one: locking makes a file.
    files.list(Path::new("topics")).await.map_err(ToolError::NoDataDirectory)?;
    files.lock(Path::new(LOCK)).await?.ok_or(ToolError::Locked)
}

#[cfg(test)]
mod tests;
