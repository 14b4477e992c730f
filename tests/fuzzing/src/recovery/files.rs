//! The files of a partition, as far as it takes to tell lies in them: their names, and the checksums that would give a lie away.

use std::path::{Path, PathBuf};

use crate::record_batches::with_right_checksums;

/// Where the partition lies in the data directory.
pub const DIRECTORY: &str = "topics/events/0";

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Batches.
    Log,
    /// Positions by offset.
    Index,
    /// Offsets by time.
    TimeIndex,
    /// A checkpoint.
    Producers,
    /// Start, epochs, losses, quarantine.
    State,
    /// How far the log was flushed.
    Marks,
    /// Where it ended at a clean stop.
    Clean,
}

/// Bytes of the summary that the files of both indexes begin with, behind magic and version.
const SUMMARY_SIZE: usize = 52;
const PREFIX_SIZE: usize = 8;
const CRC_SIZE: usize = 4;
/// Of a file of flush marks.
pub(crate) const MARKS_HEADER: usize = PREFIX_SIZE + CRC_SIZE;
/// One flush mark.
pub(crate) const MARK_SIZE: usize = 16 + 4 + SUMMARY_SIZE + CRC_SIZE;
/// Where in a flush mark the offset behind it stands.
pub(crate) const MARK_NEXT_OFFSET: usize = 16 + 4 + 16;

impl Kind {
    /// Each once.
    pub const ALL: [Self; 7] =
        [Self::Log, Self::Index, Self::TimeIndex, Self::Producers, Self::State, Self::Marks, Self::Clean];

    /// The file of this kind that belongs to an offset, if there is one for each.
    pub fn path(self, base: i64) -> PathBuf {
        let ending = match self {
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "timeindex",
            Self::Producers => "producers",
            Self::State => return Path::new(DIRECTORY).join("state.json"),
            Self::Marks => return "flush-marks".into(),
            Self::Clean => return "clean".into(),
        };
        Path::new(DIRECTORY).join(format!("{base:020}.{ending}"))
    }

    /// What a file is by its name, and the offset in that.
    pub fn of(path: &Path) -> Option<(Self, i64)> {
        let base = path.file_stem()?.to_str()?.parse().unwrap_or(0);
        Self::ALL.into_iter().find(|kind| kind.path(base) == path).map(|kind| (kind, base))
    }

    /// The content with right checksums, whatever it says.
    pub fn sealed(self, mut content: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Log => return with_right_checksums(content),
            Self::Index => seal_index(&mut content, SUMMARY_SIZE + 4),
            Self::TimeIndex => seal_index(&mut content, SUMMARY_SIZE + 12),
            Self::Producers => {
                let checked = content.len().saturating_sub(CRC_SIZE);
                seal(&mut content, 0..checked);
            }
            Self::Marks => {
                seal(&mut content, 0..PREFIX_SIZE);
                for start in (MARKS_HEADER..content.len()).step_by(MARK_SIZE) {
                    seal(&mut content, start..start + MARK_SIZE - CRC_SIZE);
                }
            }
            Self::State | Self::Clean => return seal_text(&content),
        }
        content
    }
}

/// Sets the checksum right that stands behind what it is of.
fn seal(content: &mut [u8], checked: std::ops::Range<usize>) {
    let Some(crc) = content.get(checked.clone()).map(crc32fast::hash) else { return };
    if let Some(field) = content.get_mut(checked.end..checked.end + CRC_SIZE) {
        field.copy_from_slice(&crc.to_be_bytes());
    }
}

fn seal_index(content: &mut [u8], fields_size: usize) {
    let crc_at = PREFIX_SIZE + fields_size;
    let Some((checked, rest)) = content.split_at_mut_checked(crc_at) else { return };
    let Some((field, entries)) = rest.split_first_chunk_mut::<CRC_SIZE>() else { return };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(checked);
    hasher.update(entries);
    *field = hasher.finalize().to_be_bytes();
}

/// The checksum of a small file is its last line, in hexadecimal digits.
fn seal_text(content: &[u8]) -> Vec<u8> {
    const LINE: usize = 9;
    let end = content.windows(2).rposition(|bytes| bytes == b"}\n").map(|at| at + 2);
    let body = content.get(..end.unwrap_or(content.len().saturating_sub(LINE))).unwrap_or_default();
    [body, format!("{:08x}\n", crc32fast::hash(body)).as_bytes()].concat()
}
