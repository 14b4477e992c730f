//! Going on without what is lost, at the operator's word: a plan that can be shown first, and its steps in an order in
//! which a crash after any of them leaves the partition quarantined, nothing lost that was not saved under `torn/`, and the
//! same repair possible again.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gapless_common::{seam::BoxFuture, types::Offset};

use super::{BadPlace, Examined, Subject};
use crate::log::checkpoint;
use crate::log::clean_mark;
use crate::log::contents::{index_name, time_index_name};
use crate::log::epochs::LeaderEpochs;
use crate::log::flush_marks::{FlushMarks, file as mark_file};
use crate::log::losses::Loss;
use crate::log::recovery::save_aside;
use crate::log::segment::{Segment, segment_path};
use crate::log::state_file::StateFile;
use crate::storage::{
    File, Files, create_over, is_lost, read_exact_at, small_file::SmallFileError, write_all_at,
};

/// Bytes copied at once.
const CHUNK: u64 = 1 << 20;
/// What a disk gives back or does not, as a whole.
const SECTOR: usize = 512;

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The log ends at the first bad place.
    Truncate,
    /// Only what is bad goes; the log goes on behind it.
    SetAside,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes of a segment are copied to `torn/`.
    Save {
        /// The segment.
        base: Offset,
        /// Where in it.
        bytes: std::ops::Range<u64>,
    },
    /// What stands behind a bad place becomes a segment of its own.
    Split {
        /// The segment.
        base: Offset,
        /// What of it.
        bytes: std::ops::Range<u64>,
        /// The offset of the first batch in that.
        new_base: Offset,
    },
    /// A segment ends here.
    Cut {
        /// The segment.
        base: Offset,
        /// Its new size.
        size: u64,
    },
    /// A whole segment goes.
    Remove(Offset),
    /// An empty segment, where none would be left.
    Create(Offset),
    /// A hole that the log may have from now on.
    Accept(Loss),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |base: &Offset| Segment::file_name(*base);
        match self {
            Self::Save { base, bytes } => {
                let count = bytes.end - bytes.start;
                write!(f, "copy {count} bytes at position {} of {} to torn/", bytes.start, name(base))
            }
            Self::Split { base, bytes, new_base } => {
                let (from, new) = (name(base), name(new_base));
                write!(f, "write what is good from position {} of {from} on as {new}", bytes.start)
            }
            Self::Cut { base, size } => write!(f, "cut {} to {size} bytes", name(base)),
            Self::Remove(base) => write!(f, "remove {}", name(base)),
            Self::Create(base) => write!(f, "begin {} empty", name(base)),
            Self::Accept(Loss { from, to }) => {
                write!(f, "accept that offsets {from} to {} are lost", to.0 - 1)
            }
        }
    }
}

/// What a repair will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In this order. Without any only the quarantine is lifted.
    pub steps: Vec<Step>,
    /// The first offset that is concerned.
    pub first: Option<Offset>,
    /// Where the log ends afterwards, if that is not where it ended.
    pub end: Option<Offset>,
    why: String,
}

/// Why a repair is not possible, or did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Neither bad nor quarantined.
    #[error("the partition is sound and not quarantined: there is nothing to repair")]
    Sound,
    /// Two segments hold the same offsets; which of them is right is not for a tool to say.
    #[error("{0} overlaps the segment before it: move one of the two away by hand, and check again")]
    Overlap(PathBuf),
    /// A file would not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The state file would not be written.
    #[error(transparent)]
    State(#[from] SmallFileError),
}

/// What is to be done with what was found.
///
/// # Errors
/// There is nothing to do, or nothing that could be done.
pub fn plan(subject: &Subject, examined: &Examined, way: Way) -> Result<Plan, RepairError> {
    let is_quarantined = examined.quarantined.is_some();
    // The next start sees to a torn tail, unless it does not believe that it is one.
    let bad: Vec<&BadPlace> = examined.bad.iter().filter(|bad| !bad.is_tail || is_quarantined).collect();
    if let Some(overlap) = bad.iter().find(|bad| bad.segment.is_none() && bad.to == Some(bad.from)) {
        return Err(RepairError::Overlap(segment_path(&subject.site.directory, overlap.from)));
    }
    let Some(first) = bad.first() else {
        let why = match &examined.quarantined {
            Some((_, why)) => why.to_string(),
            None => return Err(RepairError::Sound),
        };
        return Ok(Plan { steps: Vec::new(), first: None, end: None, why });
    };
    let mut steps = Vec::new();
    let end = match way {
        // A log does not end below its start; nobody misses what was there.
        Way::Truncate if first.from < examined.log_start => {
            begin_anew(examined, first, &mut steps);
            Some(examined.log_start)
        }
        Way::Truncate => {
            truncate(examined, first, &mut steps);
            Some(first.from)
        }
        Way::SetAside => {
            set_aside(examined, &bad, &mut steps);
            bad.last().filter(|bad| bad.to.is_none()).map(|bad| bad.from)
        }
    };
    Ok(Plan { steps, first: Some(first.from), end, why: first.why.clone() })
}

fn truncate(examined: &Examined, first: &BadPlace, steps: &mut Vec<Step>) {
    let goes = |base: Offset| match first.segment {
        Some(segment) => base > segment,
        None => first.to.is_some_and(|to| base >= to),
    };
    let removed: Vec<_> = examined.segments.iter().filter(|segment| goes(segment.base_offset)).collect();
    if let Some(base) = first.segment {
        let size = examined.segments.iter().find(|segment| segment.base_offset == base);
        let size = size.map_or(first.bytes.end, |segment| segment.size);
        steps.push(Step::Save { base, bytes: first.bytes.start..size });
    }
    for segment in removed.iter().filter(|segment| segment.size > 0) {
        steps.push(Step::Save { base: segment.base_offset, bytes: 0..segment.size });
    }
    // From the end, so that the log has no hole in between.
    steps.extend(removed.iter().rev().map(|segment| Step::Remove(segment.base_offset)));
    if let Some(base) = first.segment {
        steps.push(Step::Cut { base, size: first.bytes.start });
    }
    if removed.len() == examined.segments.len() {
        steps.push(Step::Create(first.from));
    }
}

/// Nothing of the log is left but where it starts.
fn begin_anew(examined: &Examined, first: &BadPlace, steps: &mut Vec<Step>) {
    for segment in examined.segments.iter().filter(|segment| segment.size > 0) {
        let from = if first.segment == Some(segment.base_offset) { first.bytes.start } else { 0 };
        steps.push(Step::Save { base: segment.base_offset, bytes: from..segment.size });
    }
    steps.extend(examined.segments.iter().rev().map(|segment| Step::Remove(segment.base_offset)));
    steps.push(Step::Create(examined.log_start));
}

fn set_aside(examined: &Examined, bad: &[&BadPlace], steps: &mut Vec<Step>) {
    // From the end, so that each segment is whole up to where the next step begins.
    for (at, place) in bad.iter().enumerate().rev() {
        if let Some(base) = place.segment {
            steps.push(Step::Save { base, bytes: place.bytes.clone() });
            let following = bad.get(at + 1).filter(|next| next.segment == Some(base));
            let size = examined.segments.iter().find(|segment| segment.base_offset == base);
            let end = following
                .map_or(size.map_or(place.bytes.end, |segment| segment.size), |next| next.bytes.start);
            if let Some(new_base) = place.to.filter(|_| place.bytes.end < end) {
                steps.push(Step::Split { base, bytes: place.bytes.end..end, new_base });
            }
            steps.push(Step::Cut { base, size: place.bytes.start });
        }
        if let Some(to) = place.to {
            steps.push(Step::Accept(Loss { from: place.from, to }));
        }
    }
    if examined.segments.is_empty() {
        steps.push(Step::Create(examined.log_start));
    }
}

/// A copy of what was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Relative to the data directory.
    pub path: PathBuf,
    /// The segment that it was taken from.
    pub base: Offset,
    /// What of that the disk did not give back, by its place in the segment: zeroes in the copy.
    pub unreadable: Vec<std::ops::Range<u64>>,
}

/// Does what the plan says. Gives what was saved.
///
/// # Errors
/// The first step that failed. The partition is quarantined then, and can be repaired again.
pub async fn carry_out(
    files: &dyn Files,
    subject: &Subject,
    examined: &Examined,
    plan: &Plan,
) -> Result<Vec<Saved>, RepairError> {
    let directory = &subject.site.directory;
    let at = |path: &Path, source| RepairError::Io { path: path.to_owned(), source };
    // Before anything changes: it says that all is as the last clean stop left it.
    match files.remove(Path::new(clean_mark::NAME)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at(Path::new(clean_mark::NAME), error));
        }
        _ => files.sync_dir(Path::new("")).await.map_err(|error| at(Path::new(""), error))?,
    }
    let known = StateFile::new(examined.log_start, &LeaderEpochs::default(), examined.losses.clone());
    let state = examined.state.clone().unwrap_or(known);
    if let Some(first) = plan.first.filter(|_| examined.quarantined.is_none()) {
        // What stands half way must not look like a torn tail.
        let found = (first, Arc::from(plan.why.as_str()));
        state.clone().with_quarantine(Some(&found)).write(files, directory).await?;
    }
    let mut losses = examined.losses.clone();
    if let Some(end) = plan.end {
        losses.cut(end);
    }
    let mut saved = Vec::new();
    for step in &plan.steps {
        let base = match step {
            Step::Accept(loss) => {
                losses.accept(*loss);
                continue;
            }
            Step::Save { base, .. } | Step::Split { base, .. } | Step::Cut { base, .. } => *base,
            Step::Remove(base) | Step::Create(base) => *base,
        };
        let taken = take(files, subject, step, base).await;
        saved.extend(taken.map_err(|error| at(&segment_path(directory, base), error))?);
    }
    forget_checkpoints(files, examined, plan, directory).await.map_err(|error| at(directory, error))?;
    // Before the marks go: each of the two makes the next start quarantine the partition again.
    files.sync_dir(directory).await.map_err(|error| at(directory, error))?;
    let forgotten = FlushMarks::forget(files, subject.site.mark_key()).await;
    forgotten.map_err(|error| at(Path::new(mark_file::NAME), error))?;
    state.repaired(losses, plan.end).write(files, directory).await?;
    Ok(saved)
}

async fn take(files: &dyn Files, subject: &Subject, step: &Step, base: Offset) -> io::Result<Option<Saved>> {
    let directory = &subject.site.directory;
    let path = segment_path(directory, base);
    match step {
        Step::Accept(_) => Ok(()),
        Step::Save { bytes, .. } => {
            let file = Salvage { file: files.open(&path).await?, unreadable: Mutex::default() };
            let count = bytes.end - bytes.start;
            let path = save_aside(files, &subject.site, &file, base, bytes.start, count).await?;
            return Ok(Some(Saved { path, base, unreadable: file.unreadable() }));
        }
        Step::Split { bytes, new_base, .. } => {
            let file = files.open(&path).await?;
            split(files, &*file, bytes, &segment_path(directory, *new_base)).await?;
            files.sync_dir(directory).await
        }
        Step::Cut { size, .. } => {
            forget_indexes(files, directory, base).await?;
            let file = files.open(&path).await?;
            file.truncate(*size).await?;
            file.flush().await
        }
        Step::Remove(_) => {
            forget_indexes(files, directory, base).await?;
            files.remove(&path).await?;
            // One after the other, so that a crash leaves no hole.
            files.sync_dir(directory).await
        }
        Step::Create(_) => {
            forget_indexes(files, directory, base).await?;
            create_over(files, &path).await?;
            files.sync_dir(directory).await
        }
    }
    .map(|()| None)
}

async fn split(
    files: &dyn Files,
    file: &dyn File,
    bytes: &std::ops::Range<u64>,
    path: &Path,
) -> io::Result<()> {
    let temporary = path.with_extension("log.tmp");
    let new = create_over(files, &temporary).await?;
    let mut copied = bytes.start;
    while copied < bytes.end {
        let len = usize::try_from((bytes.end - copied).min(CHUNK)).unwrap_or(SECTOR);
        let piece = read_exact_at(file, copied, len).await?;
        write_all_at(&*new, copied - bytes.start, &[piece]).await.map_err(|error| error.source)?;
        copied += len as u64;
    }
    new.flush().await?;
    files.rename(&temporary, path).await
}

/// Hints, which no longer fit.
async fn forget_indexes(files: &dyn Files, directory: &Path, base: Offset) -> io::Result<()> {
    for name in [index_name(base), time_index_name(base)] {
        match files.remove(&directory.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What was known of producers behind the first bad place is of a history that is no more; and so is what does not fit the log.
async fn forget_checkpoints(
    files: &dyn Files,
    examined: &Examined,
    plan: &Plan,
    directory: &Path,
) -> io::Result<()> {
    let last_kept = plan.first.map(|first| first.max(examined.log_start));
    for offset in files.list(directory).await?.iter().filter_map(|entry| checkpoint::parse_name(&entry.name))
    {
        let is_behind = last_kept.is_some_and(|last| offset > last);
        if is_behind || examined.unfit_checkpoints.contains(&offset) {
            checkpoint::remove(files, directory, offset).await?;
        }
    }
    Ok(())
}

/// Reads what can be read, and zeroes where the disk gives nothing back.
struct Salvage {
    file: Arc<dyn File>,
    /// Where that was, by its beginning, to its end.
    unreadable: Mutex<BTreeMap<u64, u64>>,
}

impl Salvage {
    /// Where the disk gave nothing back, pieces that touch as one.
    fn unreadable(&self) -> Vec<std::ops::Range<u64>> {
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        for (start, end) in &*self.pieces() {
            match ranges.last_mut() {
                Some(last) if *start <= last.end => last.end = last.end.max(*end),
                _ => ranges.push(*start..*end),
            }
        }
        ranges
    }

    fn pieces(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // Nothing in here can panic half way.
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File for Salvage {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        self.file.write_at(position, parts)
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            match self.file.read_at(position, len).await {
                Err(error) if is_lost(&error) => {}
                read => return read,
            }
            let mut bytes = Vec::with_capacity(len);
            while bytes.len() < len {
                let at = position + bytes.len() as u64;
                // From one border of sectors to the next, so that what can be read of a neighbour is.
                let step = (SECTOR - at as usize % SECTOR).min(len - bytes.len());
                match self.file.read_at(at, step).await {
                    Ok(piece) if piece.is_empty() => break,
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(error) if is_lost(&error) => {
                        self.pieces().insert(at, at + step as u64);
                        bytes.resize(bytes.len() + step, 0);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(Bytes::from(bytes))
        })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        self.file.flush()
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        self.file.truncate(len)
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.size()
    }
}
