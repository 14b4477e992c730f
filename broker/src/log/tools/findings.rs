//! What an examination has to say.

use std::path::PathBuf;

use gapless_common::types::Offset;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The next start sees to it; nothing is lost.
    Note,
    /// Something is not what was written.
    Wrong,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The file, relative to the data directory.
    pub file: PathBuf,
    /// Where in the file, where there is such a place.
    pub position: Option<u64>,
    /// The first offset that is concerned.
    pub offset: Option<Offset>,
    /// What it is.
    pub why: String,
}

impl Finding {
    /// Of a file as a whole.
    pub fn of_file(severity: Severity, file: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self { severity, file: file.into(), position: None, offset: None, why: why.into() }
    }
}
