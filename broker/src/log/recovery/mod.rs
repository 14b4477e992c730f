//! Creating a log, and opening one after whatever happened.
//!
//! Evidence is gathered (`scan`), judged by a pure function ([`verdict`]), and the verdict carried out (`repair`), each
//! step so that a crash in the middle of it leaves nothing worse than before. What is served is made durable first: after
//! `kill -9` the tail may live in the page cache alone, where a failed flush leaves pages that look clean (Kafka PR 8812).

mod known;
pub mod progress;
mod repair;
mod scan;
pub mod verdict;

use std::{io, path::PathBuf, sync::Arc};

use gapless_common::seeded_bug::{SeededBug, is_on};
use gapless_common::types::{LeaderEpoch, Offset};

use self::known::{Beside, Known};
use self::progress::Progress;
use self::repair::Repaired;
pub(super) use self::repair::save_aside;
pub(super) use self::scan::is_torn_tail;
use self::scan::{Replay, Scanned};
use self::verdict::{Boot, Evidence, SegmentEvidence, Verdict, judge};
use super::append::Appender;
use super::checkpoint;
use super::contents::Contents;
use super::epochs::LeaderEpochs;
use super::losses::Losses;
use super::notes::Notes;
use super::open_files::SealedFiles;
use super::partition::{PartitionLog, Start};
use super::quarantine::Quarantine;
use super::segment::{Segment, segment_path};
use super::sequencer::Sequencer;
use super::state_file::StateFile;
use super::summary::Summary;
use super::verified::Verified;
use super::{CleanMark, FlushMarks, LogConfig, LogEnvironment, OpenError, Site, StorageError};
use crate::storage::{File, Files, create_over, is_lost, remove_temporaries, small_file::SmallFileError};

/// What recovery did with one partition. How the partition stands now its [`PartitionLog::state`] tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Bytes of these that were read and checked; of the others it was known what they hold.
    pub scanned_bytes: u64,
    /// The offset of the checkpoint from which on the log was read; `None`: from its start.
    pub checkpoint: Option<Offset>,
    /// Good batches among them.
    pub batches: u64,
    /// The log was as a clean stop has left it.
    pub clean: bool,
    /// Bytes behind the last flush mark that were written again, so that they are durable.
    pub rewritten_bytes: u64,
    /// Bytes of a torn tail that were cut off.
    pub truncated_bytes: u64,
    /// Where these are saved, relative to the data directory.
    pub saved_as: Option<PathBuf>,
}

/// What is known of the logs before they are opened.
#[derive(Debug, Clone)]
pub struct Prior {
    boot: Boot,
    marks: FlushMarks,
    clean: CleanMark,
    progress: Arc<Progress>,
}

impl Prior {
    /// What happened to the machine, how far each was flushed, and where each ended if the last stop was a clean one.
    pub fn new(boot: Boot, marks: FlushMarks, clean: CleanMark) -> Self {
        Self { boot, marks, clean, progress: Arc::default() }
    }

    /// Of all that are opened with it.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl PartitionLog {
    /// Creates the log of a new partition: its directory (inside an existing one), an empty segment, its state file.
    /// All of it is durable but for the directory's own name, which the caller syncs with those of the other partitions.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn create(
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
    ) -> Result<Arc<Self>, OpenError> {
        let failed = open_error(&site, "create");
        environment.files.create_dir(&site.directory).await.map_err(&failed)?;
        let (files, start) = (&*environment.files, Offset(0));
        let file = files.create(&segment_path(&site.directory, start)).await.map_err(&failed)?;
        // Syncs the directory, and so makes the segment's name durable too.
        let mut epochs = LeaderEpochs::default();
        epochs.assign(leader_epoch, start);
        let state = StateFile::new(start, &epochs, Losses::default());
        state.write(files, &site.directory).await.map_err(|error| failed(io::Error::other(error)))?;
        let active = Arc::new(Segment::new(file, Contents::empty(start), Verified::from(0)));
        let start =
            Start { segments: vec![active.clone()], ..Start::of_nothing(environment, &config, active) };
        Ok(Self::new(environment, site, config, leader_epoch, start))
    }

    /// Opens the log of a partition whose creation was finished, after a clean stop, a crash or a power loss.
    /// `leader_epoch` is the one in force from now on. Whatever is wrong inside or missing, or does not come back from the
    /// disk, the log opens, offline or quarantined if need be.
    ///
    /// # Errors
    /// When its directory or its files are there and may not be opened, or are of another version.
    pub async fn open(
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        prior: &Prior,
    ) -> Result<(Arc<Self>, RecoveryReport), OpenError> {
        match Self::open_readable(environment, site.clone(), config.clone(), leader_epoch, prior).await {
            Err(error) if is_lost(&error.source) => {
                let log = Self::unreadable(environment, site, config, leader_epoch, &error);
                Ok((log, RecoveryReport::default()))
            }
            opened => opened,
        }
    }

    /// The log of a partition of which the disk does not give back enough to know anything. Nothing of it is served, nothing
    /// is written: when the disk is well again, the next start finds it as it was.
    fn unreadable(
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        error: &OpenError,
    ) -> Arc<Self> {
        let (at, why) = (Offset(0), Arc::from(error.to_string()));
        tracing::error!("partition {site}: {}", StorageError::Quarantined { at, why: Arc::clone(&why) });
        // Nothing may be written over what cannot be read.
        let quarantined = Some(Quarantine { at, why, saved: true });
        let nothing = Start::of_nothing(environment, &config, Arc::new(Segment::lost(at)));
        let start = Start { quarantined, ..nothing };
        Self::new(environment, site, config, leader_epoch, start)
    }

    async fn open_readable(
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        prior: &Prior,
    ) -> Result<(Arc<Self>, RecoveryReport), OpenError> {
        let failed = open_error(&site, "open");
        let boot = prior.boot;
        let clean = prior.clean.of(site.mark_key()).copied();
        let files = &*environment.files;
        let entries = match files.list(&site.directory).await {
            // Lost, with all that was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(&failed)?,
        };
        remove_temporaries(files, &site.directory, &entries).await;
        let bases: Vec<Offset> = (entries.iter().filter(|entry| !entry.is_dir))
            .filter_map(|entry| Segment::parse_name(&entry.name))
            .collect();
        let state_file = read_state(files, &site).await?;
        let start = bases.first().copied().unwrap_or(Offset(0));
        let losses = state_file.as_ref().map(|state| state.losses().clone()).unwrap_or_default();
        let mark = prior.marks.of(site.mark_key());
        let beside = Beside { leader_epoch, state: state_file.as_ref(), first: losses.skip(start), mark };
        let mut known = Known::find(files, &site, &entries, &config, &beside).await.map_err(&failed)?;
        let at = known.checkpoint.as_ref().map(|checkpoint| checkpoint.at);
        let mut replay = Replay::new(
            state_file.as_ref().map_or(start, StateFile::log_start),
            start,
            leader_epoch,
            known.checkpoint.take().ok_or_else(|| Sequencer::new(start, config.producers_max)),
            state_file.clone(),
            known.flushed,
            prior.progress.clone(),
        );
        let sealed_files = SealedFiles::new(&environment.open_files);
        let mut found = Vec::with_capacity(bases.len());
        for (number, base) in bases.iter().enumerate() {
            let next_base = bases.get(number + 1).copied();
            if let Some(passed) =
                pass(files, &sealed_files, &site, *base, next_base, at, &mut replay).await.map_err(&failed)?
            {
                found.push(passed);
                continue;
            }
            let path = segment_path(&site.directory, *base);
            let mut file = files.open(&path).await.map_err(&failed)?;
            if clean.is_none()
                && next_base.is_none()
                && *base > start
                && file.size().await.map_err(&failed)? == 0
            {
                // The sync of the directory may have failed that was to make its name durable, and as with flushes no
                // later one would prove anything: so it gets a name that is new.
                file = create_over(files, &path).await.map_err(&failed)?;
            }
            let beginning = beginning(files, &site, *base, at, &*file).await;
            let from = beginning.summary.size;
            let interval = config.index_interval_bytes;
            let trusted = is_on(SeededBug::TrustStaleCleanMark)
                && clean.is_some_and(|clean| clean.ends_as(&beginning.summary));
            let Scanned { evidence, contents } = if trusted {
                Scanned { evidence: replay.pass(&beginning.summary), contents: beginning }
            } else {
                replay.scan(&file, beginning, boot, interval).await.map_err(&failed)?
            };
            let read = evidence.size - from;
            let segment = Segment::new(file, contents, Verified::from(from));
            if next_base.is_some() {
                segment.let_go(&sealed_files, &site.directory);
            }
            found.push(Found { evidence, segment, read: Some(read) });
        }
        let held: Vec<_> = found.iter().map(|found| found.evidence.held()).collect();
        let losses = losses.without(&held);
        let mut verdict = judge(&Evidence {
            boot,
            log_start: state_file.as_ref().map(StateFile::log_start),
            losses: losses.clone(),
            mark: replay.mark(),
            segments: found.iter().map(|found| found.evidence.clone()).collect(),
        });
        let followed = replay.sequencer.next_offset();
        if verdict.quarantine.is_none() && followed != verdict.end {
            let why = format!(
                "the log ends at {}, and what its producers did is known up to {followed}",
                verdict.end
            );
            verdict.quarantine =
                Some(verdict::Quarantine { at: followed.min(verdict.end), place: None, why });
            verdict.torn = None;
        }
        if state_file.as_ref().is_some_and(|state| state.quarantined().is_some()) {
            // Nothing goes before the operator has looked at it.
            verdict.torn = None;
        }
        let recovered = Recovered {
            replay,
            found,
            verdict,
            state_file,
            losses,
            known,
            checkpoint: at,
            clean,
            sealed_files,
        };
        let (log, report) = recovered.finish(environment, site, config, leader_epoch).await;
        log.note_recovered(report.scanned_bytes);
        Ok((log, report))
    }
}

impl Start {
    /// A log without a record; `active` is empty, and is no segment of it yet.
    fn of_nothing(environment: &LogEnvironment, config: &LogConfig, active: Arc<Segment>) -> Self {
        let start = active.base_offset;
        Self {
            segments: Vec::new(),
            log_start: start,
            end: start,
            durable: start,
            epochs: LeaderEpochs::default(),
            offline: None,
            quarantined: None,
            losses: Losses::default(),
            appender: Appender {
                sequencer: Sequencer::new(start, config.producers_max),
                file: active.active_file(),
                active,
                position: 0,
                unsettled: false,
                cut: false,
            },
            notes: Notes::default(),
            sealed_files: SealedFiles::new(&environment.open_files),
        }
    }
}

/// A segment that goes into service.
struct Found {
    evidence: SegmentEvidence,
    segment: Segment,
    /// Bytes of it that were read; `None`: it is known by its index file.
    read: Option<u64>,
}

/// Takes a sealed segment below the checkpoint for what its index file says, if that fits.
async fn pass(
    files: &dyn Files,
    sealed: &SealedFiles,
    site: &Site,
    base: Offset,
    next_base: Option<Offset>,
    checkpoint: Option<Summary>,
    replay: &mut Replay,
) -> io::Result<Option<Found>> {
    let (Some(at), Some(next_base)) = (checkpoint, next_base) else { return Ok(None) };
    if base > at.base_offset {
        return Ok(None);
    }
    let Some((segment, summary)) = Segment::open_sealed(files, sealed, &site.directory, base).await? else {
        return Ok(None);
    };
    let is_below = base < at.base_offset || summary.ends_as(&at);
    if !is_below || summary.next_offset != next_base || !replay.allows(&summary) {
        return Ok(None);
    }
    Ok(Some(Found { evidence: replay.pass(&summary), segment, read: None }))
}

/// What is known of the beginning of a segment that is to be read: all up to the checkpoint, or nothing.
async fn beginning(
    files: &dyn Files,
    site: &Site,
    base: Offset,
    checkpoint: Option<Summary>,
    file: &dyn File,
) -> Contents {
    if let Some(at) = checkpoint.filter(|at| at.base_offset == base)
        && let Ok(Some(contents)) = Contents::of_beginning(files, &site.directory, base, file).await
        && contents.summary == at
    {
        return contents;
    }
    Contents::empty(base)
}

/// A log that was read and judged.
struct Recovered {
    replay: Replay,
    found: Vec<Found>,
    verdict: Verdict,
    state_file: Option<StateFile>,
    losses: Losses,
    known: Known,
    checkpoint: Option<Summary>,
    /// Where the log ended at a clean stop.
    clean: Option<Summary>,
    sealed_files: SealedFiles,
}

impl Recovered {
    async fn finish(
        self,
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
    ) -> (Arc<PartitionLog>, RecoveryReport) {
        let Self { mut replay, found, verdict, state_file, losses, known: beforehand, checkpoint, .. } = self;
        let Self { clean, sealed_files, .. } = self;
        let files = &*environment.files;
        let mut report = RecoveryReport {
            log_bytes: found.iter().map(|found| found.evidence.size).sum(),
            scanned_bytes: found.iter().filter_map(|found| found.read).sum(),
            checkpoint: checkpoint.map(|at| at.next_offset),
            batches: replay.batches,
            ..RecoveryReport::default()
        };
        let (mut durable, mut offline) = (verdict.end, None);
        if let Some(last) = found.last() {
            let (base_offset, file) = (last.evidence.base_offset, last.segment.active_file());
            let mark = replay.mark().filter(|mark| mark.segment == base_offset && mark.differs.is_none());
            let flushed = mark.as_ref().map_or(0, |mark| mark.position);
            // It lies as the clean stop has left it, and that had flushed it.
            let untouched = verdict.quarantine.is_none()
                && last.evidence.bad.is_none()
                && clean.is_some_and(|clean| clean.ends_as(&last.segment.summary()));
            let repaired = if untouched {
                Ok(Repaired::default())
            } else {
                let spare = &environment.spare;
                repair::make_durable(files, &site, &*file, base_offset, flushed, &verdict, spare).await
            };
            report.clean = untouched;
            match repaired {
                Ok(Repaired { rewritten_bytes, truncated_bytes, saved_as }) => {
                    report.rewritten_bytes = rewritten_bytes;
                    report.truncated_bytes = truncated_bytes;
                    report.saved_as = saved_as;
                    if verdict.quarantine.is_none() {
                        environment.flusher.flushed(site.mark_key(), last.segment.summary());
                        if let Err(why) = forget_useless(files, &site, &beforehand).await {
                            tracing::error!("partition {site} opens offline: {why}");
                            offline = Some(why.into());
                        }
                    }
                }
                Err(failure) => {
                    tracing::error!("partition {site} opens offline: {}", failure.why);
                    durable = match (failure.served_is_durable, mark) {
                        (true, _) => verdict.end,
                        (false, Some(mark)) => mark.end.min(verdict.end),
                        // The segments before the last one were flushed before that was created.
                        (false, None) => base_offset,
                    };
                    offline = Some(failure.why.into());
                }
            }
        }
        let quarantined = verdict.quarantine.as_ref().map(|loss| {
            let place = loss.place.map_or_else(
                || site.directory.display().to_string(),
                |(base, position)| {
                    format!("{} at position {position}", segment_path(&site.directory, base).display())
                },
            );
            (loss.at, format!("{place}: {}", loss.why).into())
        });
        let known = state_file.as_ref().and_then(StateFile::quarantined);
        let quarantined: Option<(Offset, Arc<str>)> =
            known.into_iter().chain(quarantined).min_by_key(|(at, _)| *at);
        let rebuilt = StateFile::new(verdict.log_start, &replay.epochs, losses.clone());
        let state = match &quarantined {
            None => rebuilt,
            // What the log says is not all that it said once; what the file says is kept.
            Some(_) => state_file.clone().unwrap_or(rebuilt).with_quarantine(quarantined.as_ref()),
        };
        let mut saved = true;
        let is_known = |known: &StateFile| known.is_as(&state, verdict.end);
        if offline.is_none() && !state_file.as_ref().is_some_and(is_known) {
            // All in it but start, losses and quarantine comes from the log; and these have not changed, or the next
            // recovery finds them as this one did.
            if let Err(error) = state.write(files, &site.directory).await {
                tracing::warn!("partition {site}: {error}");
                saved = false;
                if state_file.as_ref().is_some_and(|state| state.goes_beyond(verdict.end)) {
                    // What is appended now would be taken for a batch of that history.
                    let why = format!("epochs of a history that was cut off cannot be forgotten: {error}");
                    tracing::error!("partition {site} opens offline: {why}");
                    offline = Some(why.into());
                }
            }
        }
        let quarantined = quarantined.map(|(at, why)| {
            tracing::error!("partition {site}: {}", StorageError::Quarantined { at, why: why.clone() });
            Quarantine { at, why, saved }
        });
        if let Some(mut abandoned) = beforehand.abandoned {
            abandoned.skip_to(verdict.end);
            replay.sequencer = abandoned;
        }
        let segments = Self::segments(files, &sealed_files, &site, found).await;
        let active = segments.last().cloned().unwrap_or_else(|| Arc::new(Segment::lost(verdict.log_start)));
        let appender = Appender {
            sequencer: replay.sequencer,
            file: active.active_file(),
            active,
            position: verdict.last_segment_bytes,
            unsettled: false,
            cut: false,
        };
        let start = Start {
            segments,
            log_start: verdict.log_start,
            end: verdict.end,
            durable,
            epochs: replay.epochs,
            offline,
            quarantined,
            losses,
            appender,
            notes: Notes::new(beforehand.kept, report.scanned_bytes),
            sealed_files,
        };
        (PartitionLog::new(environment, site, config, leader_epoch, start), report)
    }

    /// The segments as they go into service. The indexes of those that were read, but for the last, are compared with what
    /// was rebuilt from the log, and written again where they differ.
    async fn segments(
        files: &dyn Files,
        sealed_files: &SealedFiles,
        site: &Site,
        found: Vec<Found>,
    ) -> Vec<Arc<Segment>> {
        let sealed = found.len().saturating_sub(1);
        let mut segments = Vec::with_capacity(found.len());
        for (at, Found { segment, read, .. }) in found.into_iter().enumerate() {
            if at < sealed && read.is_some() {
                segment.adopt_index(files, sealed_files, &site.directory).await;
            }
            segments.push(Arc::new(segment));
        }
        segments
    }
}

/// Checkpoints of a history that was cut off are gone, durably, before another one can grow past them.
async fn forget_useless(files: &dyn Files, site: &Site, known: &Known) -> Result<(), String> {
    if known.useless.is_empty() {
        return Ok(());
    }
    for offset in &known.useless {
        tracing::warn!(
            "partition {site}: the checkpoint at offset {offset} does not fit the log and is removed"
        );
        checkpoint::remove(files, &site.directory, *offset).await.map_err(|error| {
            format!("the checkpoint at offset {offset}, which does not fit, cannot be removed: {error}")
        })?;
    }
    files
        .sync_dir(&site.directory)
        .await
        .map_err(|error| format!("syncing {} failed: {error}", site.directory.display()))
}

/// The state file, if there is one that can be believed. One that is not what was written is rebuilt from the log. One that
/// is, and cannot be read, is not: it alone knows where the log starts, and what of it was given up.
async fn read_state(files: &dyn Files, site: &Site) -> Result<Option<StateFile>, OpenError> {
    let failed = |source| OpenError { step: "read", path: StateFile::path(&site.directory), source };
    match StateFile::read(files, &site.directory).await {
        Ok(state) => Ok(state),
        Err(error @ (SmallFileError::Corrupt { .. } | SmallFileError::Missing { .. })) => {
            tracing::warn!("partition {site}: {error}; it is rebuilt from the log");
            Ok(None)
        }
        Err(SmallFileError::Io { source, .. }) => Err(failed(source)),
        Err(error @ SmallFileError::Version { .. }) => Err(failed(io::Error::other(error))),
    }
}

fn open_error(site: &Site, step: &'static str) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = site.directory.clone();
    move |source| OpenError { step, path: path.clone(), source }
}

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod power_loss_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
