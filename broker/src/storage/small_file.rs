//! The one way to write a small file: to a temporary name, synced, renamed, and the directory synced, so that a crash
//! leaves the old file or the new one, whole.
//!
//! Such a file is JSON with a `format_version`; its last line is the CRC-32 of all bytes before that line, as eight
//! hexadecimal digits. A file that fails the check is never believed.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Files, replace_file, spare::Spare};

/// Largest small file that is read: a topic file with its configuration is a few KiB, a list of leader epochs the same.
const SIZE_MAX: u64 = 16 << 20;

/// Length of the last line: eight digits and the newline.
const CHECKSUM_LINE: usize = 9;

/// Why a small file cannot be believed. Says which file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SmallFileError {
    /// It cannot be read or written.
    #[error("cannot access {path}: {source}")]
    Io {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its bytes are not those that were written.
    #[error("{path} fails its check ({why}); restore it from a backup")]
    Corrupt {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// It is not there, but what cannot be used without it is.
    #[error("{path} is missing, but there is something in {beside}; restore it from a backup")]
    Missing {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// What needs it.
        beside: PathBuf,
    },
    /// It was written by another version of gapless.
    #[error(
        "{path} has format version {found}, this version of gapless reads {supported}; use the version that wrote it, or another --data-dir"
    )]
    Version {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The one that can be read.
        supported: u32,
    },
}

#[derive(Serialize)]
struct Written<'a, T> {
    format_version: u32,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// Replaces the file, or creates it. When this returns the new content is durable; after an error the old content or
/// the new one is there. One call at a time per file.
///
/// # Errors
/// When any step fails.
pub async fn replace<T: Serialize>(
    files: &dyn Files,
    path: &Path,
    format_version: u32,
    value: &T,
) -> Result<(), SmallFileError> {
    let failed = |source| SmallFileError::Io { path: path.to_owned(), source };
    let bytes = encode(format_version, value).map_err(|error| failed(error.into()))?;
    replace_file(files, path, bytes).await.map(drop).map_err(failed)
}

/// As [`replace`], and if the disk is full, with the room that is kept for that.
///
/// # Errors
/// When any step fails.
pub async fn replace_on_full_disk<T: Serialize>(
    spare: &Spare,
    path: &Path,
    format_version: u32,
    value: &T,
) -> Result<(), SmallFileError> {
    let failed = |source| SmallFileError::Io { path: path.to_owned(), source };
    let bytes = encode(format_version, value).map_err(|error| failed(error.into()))?;
    spare.replace_file(path, bytes).await.map(drop).map_err(failed)
}

fn encode<T: Serialize>(format_version: u32, value: &T) -> Result<Bytes, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(&Written { format_version, value })?;
    bytes.push(b'\n');
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(format!("{checksum:08x}\n").as_bytes());
    Ok(bytes.into())
}

/// Reads the file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, fails its check, or has another format version.
pub async fn read<T: DeserializeOwned>(
    files: &dyn Files,
    path: &Path,
    format_version: u32,
) -> Result<Option<T>, SmallFileError> {
    let failed = |source| SmallFileError::Io { path: path.to_owned(), source };
    let file = match files.open(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let size = file.size().await.map_err(failed)?;
    if size > SIZE_MAX {
        let why = format!("{size} bytes, more than any such file has ({SIZE_MAX})");
        return Err(SmallFileError::Corrupt { path: path.to_owned(), why });
    }
    let len = usize::try_from(size).unwrap_or(0);
    let bytes = file.read_at(0, len).await.map_err(failed)?;
    match decode(path, format_version, &bytes) {
        // A bit may have flipped on the way, and what is thrown away with this file nobody else knows.
        Err(SmallFileError::Corrupt { .. }) => {
            file.forget_cached(0, size);
            let again = file.read_at(0, len).await.map_err(failed)?;
            decode(path, format_version, &again).map(Some)
        }
        decoded => decoded.map(Some),
    }
}

fn decode<T: DeserializeOwned>(path: &Path, supported: u32, bytes: &[u8]) -> Result<T, SmallFileError> {
    let corrupt = |why: String| SmallFileError::Corrupt { path: path.to_owned(), why };
    let body_len = bytes.len().saturating_sub(CHECKSUM_LINE);
    let (body, checksum_line) = bytes.split_at(body_len);
    let computed = format!("{:08x}\n", crc32fast::hash(body));
    if checksum_line != computed.as_bytes() {
        let stored = String::from_utf8_lossy(checksum_line);
        return Err(corrupt(format!("checksum {}, stored {:?}", computed.trim_end(), stored.trim_end())));
    }
    let parsed = |error: serde_json::Error| corrupt(error.to_string());
    let Version { format_version: found } = serde_json::from_slice(body).map_err(parsed)?;
    if found != supported {
        return Err(SmallFileError::Version { path: path.to_owned(), found, supported });
    }
    serde_json::from_slice(body).map_err(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        numbers: Vec<i64>,
    }

    fn sample() -> Sample {
        Sample { name: "events".to_owned(), numbers: vec![0, -1, i64::MAX] }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let bytes = encode(3, &sample()).unwrap();
        assert_eq!(decode::<Sample>(Path::new("a.json"), 3, &bytes).unwrap(), sample());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(1, &sample()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                let error = decode::<Sample>(Path::new("a.json"), 1, &flipped).unwrap_err();
                assert!(matches!(error, SmallFileError::Corrupt { .. }), "byte {at} bit {bit}: {error}");
            }
            let error = decode::<Sample>(Path::new("a.json"), 1, &bytes[..at]).unwrap_err();
            assert!(matches!(error, SmallFileError::Corrupt { .. }), "cut at {at}: {error}");
        }
    }

    #[test]
    fn another_version_is_refused_in_one_sentence() {
        let bytes = encode(2, &sample()).unwrap();
        let error = decode::<Sample>(Path::new("meta.json"), 1, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "meta.json has format version 2, this version of gapless reads 1; use the version that wrote it, or another --data-dir"
        );
    }
}
