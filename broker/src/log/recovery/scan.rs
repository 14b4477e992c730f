//! Gathering evidence: reads a segment from end to end, checks every batch, and replays the good ones.

use std::{io, sync::Arc};

use bytes::Bytes;
use gapless_common::{
    records::{self, BatchHeader, Checksum, HEADER_SIZE, LENGTH_PREFIX_SIZE, MAGIC},
    types::{LeaderEpoch, Offset},
};

use super::progress::Progress;
use super::verdict::{Bad, BadKind, Boot, Differs, Mark, SegmentEvidence, is_torn};
use crate::log::append::append_time_of;
use crate::log::checkpoint::Checkpoint;
use crate::log::contents::Contents;
use crate::log::epochs::LeaderEpochs;
use crate::log::losses::Losses;
use crate::log::sequencer::{BatchFacts, Sequencer};
use crate::log::state_file::StateFile;
use crate::log::summary::Summary;
use crate::log::walk::Expected;
use crate::storage::{File, read_ahead, read_exact_at};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// So often is one place read at the most until two readings in a row show the same.
const READINGS_MAX: usize = 5;

/// What the good batches add up to, from the first segment, or from a checkpoint, to the first bad place of the log.
pub(super) struct Replay {
    pub sequencer: Sequencer,
    pub epochs: LeaderEpochs,
    pub batches: u64,
    /// Where the log starts. What is wrong with segments wholly below it does not count.
    log_start: Offset,
    /// Where the checkpoint stands: what lies before it is in sequencer and epochs already.
    from: Offset,
    progress: Arc<Progress>,
    /// What may stand next in the segment, as far as offsets and leader epochs tell.
    expected: Expected,
    /// Of the last batch that counted.
    epoch: LeaderEpoch,
    /// Nothing bad was met yet, so that batches still count.
    sound: bool,
    losses: Losses,
    /// What else tells of the epochs that are over.
    state: Option<StateFile>,
    /// How far the log is known to have been flushed.
    mark: Option<Summary>,
    differs: Option<Differs>,
}

/// A segment that was read.
pub(super) struct Scanned {
    pub evidence: SegmentEvidence,
    /// The good part.
    pub contents: Contents,
}

impl Replay {
    /// For a log that starts at `log_start` and whose first segment begins at `start`, whose epoch in force is `epoch_max`, that
    /// may have the holes of its state file, and that is known to have been flushed up to `mark`.
    pub(super) fn new(
        log_start: Offset,
        start: Offset,
        epoch_max: LeaderEpoch,
        known: Result<Checkpoint, Sequencer>,
        state: Option<StateFile>,
        mark: Option<Summary>,
        progress: Arc<Progress>,
    ) -> Self {
        let (from, sequencer, epochs) = match known {
            Ok(Checkpoint { at, epochs, sequencer, .. }) => (at.next_offset, sequencer, epochs),
            Err(sequencer) => (start, sequencer, LeaderEpochs::default()),
        };
        Self {
            sequencer,
            epochs,
            batches: 0,
            log_start,
            from,
            progress,
            expected: Expected { offset: start, epoch: LeaderEpoch(0), epoch_max },
            epoch: LeaderEpoch(0),
            sound: true,
            losses: state.as_ref().map(|state| state.losses().clone()).unwrap_or_default(),
            state,
            mark,
            differs: None,
        }
    }

    /// The mark, and what was found there.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark.map(|mark| Mark {
            segment: mark.base_offset,
            position: mark.size,
            end: mark.next_offset,
            differs: self.differs.clone(),
        })
    }

    /// The leader epoch under which a record was appended, where that is known otherwise than by its batch: in that it lies
    /// outside the checksum.
    fn known_epoch(&self, offset: Offset) -> Option<LeaderEpoch> {
        let by_checkpoint = || Some(self.epochs.at(offset)).filter(|epoch| *epoch >= LeaderEpoch(0));
        let by_state = || self.state.as_ref().and_then(|state| state.past_epoch_at(offset));
        if offset < self.from { by_checkpoint().or_else(by_state) } else { by_state() }
    }

    /// Why a good batch is not of the epoch that was in force, if it is known not to be.
    fn wrong_epoch(&self, header: &BatchHeader) -> Option<String> {
        let (offset, stands) = (header.base_offset, header.leader_epoch);
        if let Some(known) = self.known_epoch(offset) {
            return (known != stands).then(|| format!("leader epoch {stands} where {known} was in force"));
        }
        let lowest = self.state.as_ref().and_then(|state| state.epoch_min_at(offset))?;
        (stands < lowest).then(|| format!("leader epoch {stands} where {lowest} had begun"))
    }

    /// Whether what is said of a segment's epochs may be so. If not, it has to be read.
    pub(super) fn allows(&self, summary: &Summary) -> bool {
        let Some(ends) = summary.batches else { return true };
        let is = |offset: Offset, epoch| self.known_epoch(offset).is_none_or(|known| known == epoch);
        ends.first_epoch >= self.epoch
            && is(summary.base_offset, ends.first_epoch)
            && is(summary.next_offset.plus(-1), ends.last_epoch)
    }

    /// A segment below the checkpoint of which it is known what it holds. Segments come in the order of their offsets.
    pub(super) fn pass(&mut self, summary: &Summary) -> SegmentEvidence {
        self.go_to(summary.base_offset);
        self.go_behind(summary);
        evidence(summary, summary.size, None)
    }

    /// Reads one segment, from behind the beginning of which it is known what it holds. Segments come in the order of their
    /// offsets.
    pub(super) async fn scan(
        &mut self,
        file: &Arc<dyn File>,
        beginning: Contents,
        boot: Boot,
        index_interval: u64,
    ) -> io::Result<Scanned> {
        let size = file.size().await?;
        let mut contents = beginning;
        self.go_to(contents.summary.base_offset);
        self.go_behind(&contents.summary);
        let progress = self.progress.clone();
        let mut reader = Reader { file, size, window: Bytes::new(), window_at: 0, progress };
        let bad = loop {
            if contents.summary.size == size {
                break None;
            }
            let wrong_epoch = |header: &BatchHeader| self.wrong_epoch(header);
            match reader.batch(contents.summary.size, &self.expected, boot, wrong_epoch).await {
                Ok(header) => self.take(&header, &mut contents, index_interval),
                Err(bad) => break Some(bad),
            }
        };
        self.sound &= bad.is_none();
        Ok(Scanned { evidence: evidence(&contents.summary, size, bad), contents })
    }

    /// The next segment begins.
    fn go_to(&mut self, base_offset: Offset) {
        let follows = self.expected.offset;
        let is_behind_leftovers = base_offset <= self.log_start;
        let bridged =
            base_offset != follows && (is_behind_leftovers || self.losses.bridge(follows, base_offset));
        self.sound = is_behind_leftovers || self.sound && (base_offset == follows || bridged);
        if (bridged || is_behind_leftovers) && base_offset > self.from {
            self.sequencer.skip_to(base_offset);
        }
        if is_behind_leftovers {
            // Theirs lie outside of what a checksum covers, and nobody compares them. All or none: an epoch that is missing
            // between two others looks as if what was read under it had been cut off.
            self.epoch = LeaderEpoch(0);
            if base_offset > self.from {
                self.epochs = LeaderEpochs::default();
            }
        }
        self.expected = Expected { offset: base_offset, epoch: LeaderEpoch(0), ..self.expected };
    }

    /// What of it is known lies behind.
    fn go_behind(&mut self, summary: &Summary) {
        self.expected.offset = summary.next_offset;
        if let Some(ends) = summary.batches {
            self.sound &= ends.first_epoch >= self.epoch;
            self.expected.epoch = ends.last_epoch;
            self.epoch = ends.last_epoch;
        }
    }

    fn take(&mut self, header: &BatchHeader, contents: &mut Contents, index_interval: u64) {
        let position = contents.summary.size;
        contents.add(header, index_interval);
        if let Some(mark) = self.mark
            && mark.base_offset == contents.summary.base_offset
            && position < mark.size
            && mark.size <= contents.summary.size
            && !contents.summary.ends_as(&mark)
        {
            self.differs = Some(Differs { at: header.base_offset, position });
        }
        self.expected.advance(header);
        self.batches += 1;
        self.sound &= header.leader_epoch >= self.epoch;
        if self.sound {
            self.epoch = header.leader_epoch;
        }
        if self.sound && header.base_offset >= self.from {
            self.epochs.assign(header.leader_epoch, header.base_offset);
            if let Some(facts) = BatchFacts::of(header) {
                // The time of recovery, 0 of the log's own clock, counts as the last append: never too early.
                self.sequencer.replay(&facts, header.base_offset, append_time_of(header), 0);
            }
        }
    }
}

fn evidence(summary: &Summary, size: u64, bad: Option<Bad>) -> SegmentEvidence {
    SegmentEvidence {
        base_offset: summary.base_offset,
        size,
        good_bytes: summary.size,
        next_offset: summary.next_offset,
        epochs: summary.batches.map(|ends| (ends.first_epoch, ends.last_epoch)),
        bad,
    }
}

/// Reads batches one after the other, a large piece at a time.
struct Reader<'a> {
    file: &'a Arc<dyn File>,
    size: u64,
    window: Bytes,
    window_at: u64,
    progress: Arc<Progress>,
}

impl Reader<'_> {
    /// The header of the batch at `position`, if a good batch is there, of the right epoch. That it is bad is believed once two
    /// readings in a row show the same: a bit may have flipped on the way from the disk, and what is taken for a torn tail
    /// is cut off.
    async fn batch(
        &mut self,
        position: u64,
        expected: &Expected,
        boot: Boot,
        wrong_epoch: impl Fn(&BatchHeader) -> Option<String>,
    ) -> Result<BatchHeader, Bad> {
        let mut before = None;
        for _ in 0..READINGS_MAX {
            let read = self.read_batch(position, expected, boot).await;
            let judged = read.and_then(|header| match wrong_epoch(&header) {
                Some(why) => Err(Bad { kind: BadKind::OtherEpoch, why }),
                None => Ok(header),
            });
            match judged {
                Err(bad) if bad.kind != BadKind::Unreadable && before.as_ref() != Some(&bad) => {
                    self.forget(position);
                    before = Some(bad);
                }
                believed => return believed,
            }
        }
        let why = format!("what is there differs from one reading to the next, {READINGS_MAX} times");
        Err(Bad { kind: BadKind::Unreadable, why })
    }

    /// The next reading from `position` on asks the disk.
    fn forget(&mut self, position: u64) {
        self.window = Bytes::new();
        self.file.forget_cached(position, self.size - position);
    }

    /// What one reading shows. Two that differ show something else.
    async fn read_batch(
        &mut self,
        position: u64,
        expected: &Expected,
        boot: Boot,
    ) -> Result<BatchHeader, Bad> {
        let left = self.size - position;
        let whole = |why: String| Bad { kind: BadKind::Whole, why };
        let bytes = self.bytes(position, HEADER_SIZE).await?;
        if bytes.len() < HEADER_SIZE {
            let why = format!("{left} bytes where a batch's header has {HEADER_SIZE}");
            let kind = if begins_batch(&bytes, expected) { BadKind::Short } else { BadKind::Whole };
            return Err(Bad { kind, why });
        }
        let header = BatchHeader::parse(&bytes).map_err(|error| whole(error.to_string()))?;
        if let Some(why) = expected.refuse(&header) {
            return Err(whole(why));
        }
        let size = header.total_size();
        if size as u64 > left {
            let why = format!("a batch of {size} bytes, of which {left} are there");
            // Only where it decides something: after a power loss it would prove nothing.
            let wrong_length = boot == Boot::Same
                && (self.is_whole_to_the_end(position, &header).await?
                    || self.holds_batch_of(header.next_offset(), position).await?);
            let kind = if wrong_length { BadKind::ShortButWhole } else { BadKind::Short };
            return Err(Bad { kind, why });
        }
        let found = if size <= CHUNK {
            let bytes = self.bytes(position, size).await?;
            if records::check_crc(&bytes) {
                return Ok(header);
            }
            let mut checksum = Checksum::default();
            checksum.update(bytes.get(Checksum::STARTS_AT..).unwrap_or_default());
            checksum.finish()
        } else {
            self.checksum(position, position + size as u64).await.map_err(unreadable)?
        };
        if found != header.crc {
            let why =
                format!("a batch of {size} bytes has checksum {found:08x}, its header {:08x}", header.crc);
            return Err(whole(why));
        }
        Ok(header)
    }

    /// `len` bytes from `position`, fewer where the file ends.
    async fn bytes(&mut self, position: u64, len: usize) -> Result<Bytes, Bad> {
        let len = len.min(usize::try_from(self.size - position).unwrap_or(usize::MAX));
        let ready = |window: &Bytes, window_at: u64| {
            let skip = usize::try_from(position.checked_sub(window_at)?).ok()?;
            let end = skip.checked_add(len)?;
            (end <= window.len()).then(|| window.slice(skip..end))
        };
        if let Some(bytes) = ready(&self.window, self.window_at) {
            return Ok(bytes);
        }
        self.window = read_ahead(&**self.file, position, len, CHUNK).await.map_err(unreadable)?;
        self.window_at = position;
        self.progress.read(self.window.len() as u64);
        // Reads from the page cache never wait; others want a turn.
        tokio::task::yield_now().await;
        Ok(ready(&self.window, position).unwrap_or_else(|| self.window.clone()))
    }

    /// Whether all that is left of the file is one batch but for its length, which lies outside the checksum.
    async fn is_whole_to_the_end(&self, position: u64, header: &BatchHeader) -> Result<bool, Bad> {
        Ok(self.checksum(position, self.size).await.map_err(unreadable)? == header.crc)
    }

    /// What the header of a batch must say that lies between these positions. Read piece by piece: a length that rotted costs
    /// time and not memory.
    async fn checksum(&self, position: u64, end: u64) -> io::Result<u32> {
        let mut checksum = Checksum::default();
        let mut at = position + Checksum::STARTS_AT as u64;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            checksum.update(&read_exact_at(&**self.file, at, len).await?);
            at += len as u64;
            self.progress.read(len as u64);
            tokio::task::yield_now().await;
        }
        Ok(checksum.finish())
    }

    /// Whether a whole good batch with this base offset lies anywhere behind `position`.
    async fn holds_batch_of(&mut self, base_offset: Offset, position: u64) -> Result<bool, Bad> {
        let wanted = base_offset.0.to_be_bytes();
        let mut at = position + 1;
        while at + (HEADER_SIZE as u64) <= self.size {
            let piece = self.bytes(at, CHUNK).await?;
            let candidates = piece.windows(wanted.len()).enumerate().filter(|(_, bytes)| *bytes == wanted);
            for candidate in candidates.map(|(skip, _)| at + skip as u64) {
                if self.is_good_batch(candidate).await {
                    return Ok(true);
                }
            }
            // The next piece begins early enough to show what this one cut.
            at += (piece.len() + 1).saturating_sub(wanted.len()).max(1) as u64;
        }
        Ok(false)
    }

    async fn is_good_batch(&self, position: u64) -> bool {
        let left = self.size - position;
        let Ok(head) = read_exact_at(&**self.file, position, HEADER_SIZE).await else { return false };
        let Ok(header) = BatchHeader::parse(&head) else { return false };
        let size = header.total_size() as u64;
        size <= left && self.checksum(position, position + size).await.is_ok_and(|crc| crc == header.crc)
    }
}

fn unreadable(error: io::Error) -> Bad {
    Bad { kind: BadKind::Unreadable, why: format!("unreadable: {error}") }
}

/// Whether recovery would cut off, as a torn tail, what stands at `position` of the last segment, where `expected` belongs and
/// up to which all is good.
pub(in crate::log) async fn is_torn_tail(
    file: &Arc<dyn File>,
    size: u64,
    position: u64,
    expected: &Expected,
    boot: Boot,
) -> bool {
    let progress = Arc::default();
    let mut reader = Reader { file, size, window: Bytes::new(), window_at: position, progress };
    // A batch that is good by itself is of another epoch than it should be.
    reader.batch(position, expected, boot, |_| None).await.is_err_and(|bad| is_torn(boot, bad.kind))
}

/// Whether these few bytes, fewer than a header, begin the batch that is expected.
fn begins_batch(bytes: &[u8], expected: &Expected) -> bool {
    let offset = expected.offset.0.to_be_bytes();
    let offset_fits = bytes.iter().zip(offset).all(|(found, expected)| *found == expected);
    let number_at = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
    let length_fits = number_at(8).is_none_or(|length| length >= (HEADER_SIZE - LENGTH_PREFIX_SIZE) as i32);
    let epochs = expected.epoch..=expected.epoch_max;
    let epoch_fits = number_at(12).is_none_or(|epoch| epochs.contains(&LeaderEpoch(epoch)));
    let magic_fits = bytes.get(16).is_none_or(|magic| *magic as i8 == MAGIC);
    offset_fits && length_fits && epoch_fits && magic_fits
}
