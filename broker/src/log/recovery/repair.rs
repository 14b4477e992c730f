//! Carrying out a verdict: what is served becomes durable, and a torn tail is saved aside and cut off. A crash after any
//! step leaves a log that the next recovery judges as this one did.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gapless_common::seeded_bug::{SeededBug, is_on};
use gapless_common::types::Offset;

use super::verdict::Verdict;
use crate::log::Site;
use crate::log::segment::segment_path;
use crate::storage::{File, Files, is_full, read_exact_at, spare::Spare, write_all_at};

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Copies of torn tails of one place that are kept; each is from another history of the log.
const COPIES_MAX: u32 = 1000;

/// What was written again, and what was cut off.
#[derive(Default)]
pub(super) struct Repaired {
    pub rewritten_bytes: u64,
    pub truncated_bytes: u64,
    pub saved_as: Option<PathBuf>,
}

/// What could not be done, so that the partition opens offline.
pub(super) struct Failure {
    pub why: String,
    /// Everything up to the verdict's end is durable all the same.
    pub served_is_durable: bool,
}

/// Makes the last segment what the verdict says, durably. Its first `flushed` bytes are known to be on disk.
pub(super) async fn make_durable(
    files: &dyn Files,
    site: &Site,
    file: &dyn File,
    base_offset: Offset,
    flushed: u64,
    verdict: &Verdict,
    spare: &Spare,
) -> Result<Repaired, Failure> {
    let path = segment_path(&site.directory, base_offset);
    let before = |step: &str, error: io::Error| Failure {
        why: format!("{step} {} failed: {error}", path.display()),
        served_is_durable: false,
    };
    let after = |step: &str, error: io::Error| Failure { served_is_durable: true, ..before(step, error) };
    let mut repaired = Repaired::default();
    if !is_on(SeededBug::ServeBeforeDurable) {
        // A flush that failed in the process before may have left pages that are clean, and not on disk. After another boot
        // there can be none; but that is the boot of the last recovery that was whole, and one that was not may have run.
        if flushed < verdict.last_segment_bytes {
            let rewritten = rewrite(file, flushed, verdict.last_segment_bytes).await;
            rewritten.map_err(|error| before("writing again what is served of", error))?;
            repaired.rewritten_bytes = verdict.last_segment_bytes - flushed;
        }
        file.flush().await.map_err(|error| before("flushing", error))?;
        files.sync_dir(&site.directory).await.map_err(|error| before("syncing the directory of", error))?;
    }
    let Some(torn) = &verdict.torn else { return Ok(repaired) };

    let save = || save_aside(files, site, file, base_offset, verdict.last_segment_bytes, torn.bytes);
    let mut saved = save().await;
    if saved.as_ref().is_err_and(is_full) {
        // A partition that is offline is none whose retention would give room.
        spare.give_up().await;
        saved = save().await;
    }
    let saved_as = saved.map_err(|error| after("saving the torn tail of", error))?;
    // Flushed before the first append, or old batches could reappear behind new ones. (Left where it is, the tail would
    // be written over from its beginning, and what is left of it stand behind new batches after the next crash.)
    if !is_on(SeededBug::TruncateWithoutFlush) {
        file.truncate(verdict.last_segment_bytes)
            .await
            .map_err(|error| after("cutting off the torn tail of", error))?;
        file.flush().await.map_err(|error| after("flushing", error))?;
    }
    tracing::warn!(
        "partition {site}: cut {} bytes off {} behind position {} and offset {}: {}; they are saved as {}",
        torn.bytes,
        path.display(),
        verdict.last_segment_bytes,
        verdict.end,
        torn.why,
        saved_as.display()
    );
    Ok(Repaired { truncated_bytes: torn.bytes, saved_as: Some(saved_as), ..repaired })
}

/// Writes what lies between the two positions again, as it is.
async fn rewrite(file: &dyn File, mut position: u64, end: u64) -> io::Result<()> {
    while position < end {
        let piece = read_exact_at(file, position, piece_len(end - position)).await?;
        let count = piece.len() as u64;
        write_all_at(file, position, &[piece]).await.map_err(|error| error.source)?;
        position += count;
    }
    Ok(())
}

/// Copies what stands behind `position` to `torn/<topic>/<partition>-<segment>-<position>.log`, durably. A crash between this
/// and the cut leads here again: a copy that is there already, or half of one, is not made twice.
pub(in crate::log) async fn save_aside(
    files: &dyn Files,
    site: &Site,
    file: &dyn File,
    base_offset: Offset,
    position: u64,
    bytes: u64,
) -> io::Result<PathBuf> {
    let root = Path::new("torn");
    let directory = root.join(&site.topic);
    for new in [root, &directory] {
        match files.create_dir(new).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => files.sync_dir(new.parent().unwrap_or(Path::new(""))).await?,
        }
    }
    for copy in 0..COPIES_MAX {
        let suffix = if copy == 0 { String::new() } else { format!("-{copy}") };
        let name = format!("{}-{:020}-{position}{suffix}.log", site.partition, base_offset.0);
        let path = directory.join(name);
        let saved: Arc<dyn File> = match files.create(&path).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let saved = files.open(&path).await?;
                if !begins_as(&*saved, file, position, bytes).await? {
                    continue;
                }
                saved
            }
            other => other?,
        };
        // One that is there already may have been written, and not flushed or not with success, before a crash.
        if let Err(error) = copy_to(&*saved, file, position, bytes).await {
            // Half a copy is of no use, and takes room that may be what is missing.
            if let Err(stays) = files.remove(&path).await {
                tracing::warn!("half a copy of a torn tail stays as {}: {stays}", path.display());
            }
            return Err(error);
        }
        // Its name, too: the page cache alone may know of it.
        files.sync_dir(&directory).await?;
        return Ok(path);
    }
    Err(io::Error::other(format!("{} holds {COPIES_MAX} tails of this place; clear it", directory.display())))
}

/// Whether a copy, or what a crash has left of one, is of the `len` bytes at `position`.
async fn begins_as(saved: &dyn File, file: &dyn File, position: u64, len: u64) -> io::Result<bool> {
    let size = saved.size().await?;
    if size > len {
        return Ok(false);
    }
    let mut compared = 0;
    while compared < size {
        let count = piece_len(size - compared);
        if read_exact_at(saved, compared, count).await?
            != read_exact_at(file, position + compared, count).await?
        {
            return Ok(false);
        }
        compared += count as u64;
    }
    Ok(true)
}

async fn copy_to(saved: &dyn File, file: &dyn File, position: u64, len: u64) -> io::Result<()> {
    let mut copied = 0;
    while copied < len {
        let piece = read_exact_at(file, position + copied, piece_len(len - copied)).await?;
        let count = piece.len() as u64;
        write_all_at(saved, copied, &[piece]).await.map_err(|error| error.source)?;
        copied += count;
    }
    saved.flush().await
}

fn piece_len(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK)
}
