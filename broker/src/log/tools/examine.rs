//! Reads every batch of one partition and every file beside it, and changes nothing.

use std::{io, path::PathBuf, sync::Arc};

use gapless_common::{
    records::BatchHeader,
    seam::BoxFuture,
    types::{LeaderEpoch, Offset},
};

use super::Subject;
use super::findings::{Finding, Severity};
use super::hints::Checkpoints;
use super::resync::next_good;
use crate::log::INDEX_INTERVAL_BYTES_DEFAULT;
use crate::log::batch_reader::BatchReader;
use crate::log::checkpoint;
use crate::log::contents::{Contents, index_name, read_index, read_times, time_index_name};
use crate::log::flush_marks::FlushMarks;
use crate::log::losses::Losses;
use crate::log::recovery::is_torn_tail;
use crate::log::segment::{Segment, segment_path};
use crate::log::state_file::StateFile;
use crate::log::summary::Summary;
use crate::log::walk::{BadBatch, Expected, Found};
use crate::storage::{File, Files};

/// A place where the log does not hold what belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPlace {
    /// The segment it is in; `None`: between two, or behind the last.
    pub segment: Option<Offset>,
    /// The bytes that are bad, in the segment.
    pub bytes: std::ops::Range<u64>,
    /// The first offset that is lost.
    pub from: Offset,
    /// Where the log goes on; `None`: nowhere.
    pub to: Option<Offset>,
    /// What was found.
    pub why: String,
    /// At the end of the last segment, and not known to have been flushed: a torn tail, which the next start cuts off.
    pub is_tail: bool,
}

/// A segment, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// By its name.
    pub base_offset: Offset,
    /// Bytes of the file.
    pub size: u64,
    /// The offset behind the last good batch.
    pub next_offset: Offset,
}

/// A good batch.
pub struct GoodBatch<'a> {
    /// The offset by which its segment is named.
    pub segment: Offset,
    /// The segment.
    pub file: &'a dyn File,
    /// Where the batch begins in it.
    pub position: u64,
    /// What its header says.
    pub header: &'a BatchHeader,
}

/// Hears of every good batch.
pub trait BatchSink: Send {
    /// One more; an error ends the examination.
    fn batch<'a>(&'a mut self, batch: GoodBatch<'a>) -> BoxFuture<'a, io::Result<()>>;
}

impl BatchSink for () {
    fn batch<'a>(&'a mut self, _: GoodBatch<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// What one partition looks like.
#[derive(Debug, Default)]
pub struct Examined {
    /// Where the log starts.
    pub log_start: Offset,
    /// In the order of their offsets.
    pub segments: Vec<Seen>,
    /// In the order of the log.
    pub bad: Vec<BadPlace>,
    /// All that is to be said, the bad places included.
    pub findings: Vec<Finding>,
    /// Why the partition is quarantined, by its state file.
    pub quarantined: Option<(Offset, Arc<str>)>,
    /// Good batches.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    pub(super) state: Option<StateFile>,
    pub(super) losses: Losses,
    /// Checkpoints that say of what can be read what the log does not.
    pub(super) unfit_checkpoints: Vec<Offset>,
}

impl Examined {
    fn say(&mut self, severity: Severity, file: PathBuf, why: impl Into<String>) {
        self.findings.push(Finding::of_file(severity, file, why));
    }

    fn bad_place(&mut self, file: PathBuf, place: BadPlace) {
        let severity = if place.is_tail { Severity::Note } else { Severity::Wrong };
        let goes_on = match place.to {
            Some(to) => format!("; the log goes on at offset {to}"),
            None if place.is_tail && self.quarantined.is_some() => {
                "; nobody was promised it: a repair saves it under torn/ and cuts it off".to_owned()
            }
            None if place.is_tail => {
                "; the next start of the broker saves it under torn/ and cuts it off".to_owned()
            }
            None => "; nothing good follows".to_owned(),
        };
        let position = place.segment.map(|_| place.bytes.start);
        let why = format!("{}{goes_on}", place.why);
        self.findings.push(Finding { severity, file, position, offset: Some(place.from), why });
        self.bad.push(place);
    }
}

/// Reads all of it.
///
/// # Errors
/// When the directory cannot be listed, or a segment not even opened.
pub async fn examine(
    files: &dyn Files,
    subject: &Subject,
    marks: &FlushMarks,
    sink: &mut dyn BatchSink,
) -> io::Result<Examined> {
    let directory = &subject.site.directory;
    let mut examined = Examined::default();
    match StateFile::read(files, directory).await {
        Ok(Some(state)) => {
            examined.quarantined = state.quarantined();
            examined.losses = state.losses().clone();
            examined.log_start = state.log_start();
            examined.state = Some(state);
        }
        Ok(None) => examined.say(Severity::Note, StateFile::path(directory), "missing; rebuilt from the log"),
        Err(error) => examined.say(Severity::Wrong, StateFile::path(directory), error.to_string()),
    }
    if let Some((at, why)) = examined.quarantined.clone() {
        let why = format!("the partition is quarantined from offset {at}: {why}");
        let (severity, file) = (Severity::Wrong, StateFile::path(directory));
        examined.findings.push(Finding { severity, file, position: None, offset: Some(at), why });
    }
    let mut bases = Vec::new();
    let mut checkpoints = Checkpoints::default();
    for entry in files.list(directory).await? {
        if let Some(at) = checkpoint::parse_name(&entry.name) {
            examined.findings.extend(checkpoints.read(files, subject, at).await);
            continue;
        }
        match Segment::parse_name(&entry.name) {
            Some(base) if !entry.is_dir => bases.push(base),
            _ if is_ours(&entry.name) => {}
            _ => {
                examined.say(Severity::Note, directory.join(&entry.name), "not a file of the log; left alone")
            }
        }
    }
    // As recovery has it: a checkpoint is as good as a flush mark.
    let mark = marks.of(subject.site.mark_key()).into_iter().chain(checkpoints.highest());
    let mark = mark.max_by_key(Summary::height);
    let first = bases.first().copied();
    if examined.state.is_none() {
        examined.log_start = first.unwrap_or(Offset(0));
    }
    let mut expected =
        Expected { offset: examined.log_start, epoch: LeaderEpoch(0), epoch_max: subject.epoch_max };
    for (at, base) in bases.iter().copied().enumerate() {
        let next_base = bases.get(at + 1).copied();
        if let Some(next) = next_base.filter(|next| *next <= examined.log_start) {
            let start = examined.log_start;
            let why = format!("wholly below the start of the log, {start}; the broker removes it");
            examined.say(Severity::Note, segment_path(directory, base), why);
            expected.offset = next;
            continue;
        }
        join(&mut examined, subject, &mut expected, base, at == 0);
        let mut place = Place {
            mark: mark.as_ref(),
            expected: &mut expected,
            checkpoints: &mut checkpoints,
            base,
            next_base,
        };
        segment(files, subject, &mut examined, &mut place, sink).await?;
    }
    for at in checkpoints.unfit(first) {
        let why = "says what the log does not: it is of another history, or some of this one is lost";
        examined.say(Severity::Wrong, checkpoint::path(directory, at), why);
        examined.unfit_checkpoints.push(at);
    }
    let end = expected.offset;
    let behind_losses = examined.losses.entries().iter().map(|loss| loss.to).max().unwrap_or(Offset(0));
    let believed =
        mark.as_ref().map_or(Offset(0), |mark| mark.next_offset).max(examined.log_start).max(behind_losses);
    let missing = if first.is_none() { Some("there is no segment".to_owned()) } else { None }.or_else(|| {
        (end < believed).then(|| format!("the log ends at offset {end}, and went to {believed}"))
    });
    if let Some(why) = missing
        && examined.bad.last().is_none_or(|bad| bad.to.is_some() || bad.is_tail)
    {
        let place = BadPlace { segment: None, bytes: 0..0, from: end, to: None, why, is_tail: false };
        examined.bad_place(directory.clone(), place);
    }
    Ok(examined)
}

/// Whether a name is one that the log gives its files.
fn is_ours(name: &str) -> bool {
    let known = [".index", ".timeindex"];
    name == "state.json" || name.ends_with(".tmp") || known.iter().any(|suffix| name.ends_with(suffix))
}

/// A segment begins where the one before it ends, or behind an accepted loss.
fn join(examined: &mut Examined, subject: &Subject, expected: &mut Expected, base: Offset, is_first: bool) {
    let next = expected.offset;
    let bridged = if is_first {
        base <= next || examined.losses.bridge_from_start(next, base)
    } else {
        base == next || examined.losses.bridge(next, base)
    };
    // What is bad at the end of the segment before has said so.
    let told = examined.bad.last().is_some_and(|bad| bad.to == Some(base));
    if !bridged && !told {
        let file = segment_path(&subject.site.directory, base);
        let why = if base > next {
            format!("a segment is missing: this one begins at {base} where {next} follows")
        } else {
            format!("begins at {base}, inside of the segment before it, which goes to {next}")
        };
        let (from, to) = (next.min(base), Some(base));
        examined.bad_place(file, BadPlace { segment: None, bytes: 0..0, from, to, why, is_tail: false });
    }
    expected.offset = base;
}

/// Where a segment stands.
struct Place<'a> {
    /// How far its partition is known to be on disk.
    mark: Option<&'a Summary>,
    expected: &'a mut Expected,
    checkpoints: &'a mut Checkpoints,
    base: Offset,
    next_base: Option<Offset>,
}

async fn segment(
    files: &dyn Files,
    subject: &Subject,
    examined: &mut Examined,
    place: &mut Place<'_>,
    sink: &mut dyn BatchSink,
) -> io::Result<()> {
    let Place { mark, expected, checkpoints, base, next_base } = place;
    let (mark, base, next_base) = (*mark, *base, *next_base);
    let directory = &subject.site.directory;
    let path = segment_path(directory, base);
    let file = files.open(&path).await?;
    let size = file.size().await?;
    let mut stored = Stored::read(files, subject, examined, base).await;
    let mut contents = Contents::empty(base);
    stored.compare(&contents);
    checkpoints.compare(&contents.summary);
    let mut position = 0;
    loop {
        let mut reader = BatchReader::new(file.clone(), position, size, **expected);
        let bad = loop {
            match next(&mut reader, examined.state.as_ref()).await {
                Ok(Some(found)) => {
                    let (header, position) = (&found.header, found.position);
                    sink.batch(GoodBatch { segment: base, file: &*file, position, header }).await?;
                    examined.batches += 1;
                    examined.bytes += found.header.total_size() as u64;
                    contents.add(&found.header, INDEX_INTERVAL_BYTES_DEFAULT);
                    stored.compare(&contents);
                    checkpoints.compare(&contents.summary);
                }
                Ok(None) => break None,
                Err(bad) => break Some(bad),
            }
        };
        **expected = *reader.expected();
        let Some(bad) = bad else { break };
        let bound = next_base.unwrap_or(Offset(i64::MAX));
        let good = next_good(&file, bad.position, size, expected, bound).await;
        let flushed = mark.filter(|mark| mark.base_offset == base).map(|mark| mark.size);
        let is_tail = next_base.is_none()
            && !subject.clean
            && flushed.is_none_or(|flushed| bad.position >= flushed)
            && is_torn_tail(&file, size, bad.position, expected, subject.boot).await;
        let to = good.as_ref().map(|(_, header)| header.base_offset).filter(|_| !is_tail).or(next_base);
        let end = good.as_ref().map_or(size, |(position, _)| *position);
        let bytes = bad.position..if is_tail { size } else { end };
        let place = BadPlace { segment: Some(base), bytes, from: bad.offset, to, why: bad.why, is_tail };
        examined.bad_place(path.clone(), place);
        match good.filter(|_| !is_tail) {
            Some((good, header)) => {
                position = good;
                expected.offset = header.base_offset;
            }
            None => break,
        }
        stored.give_up();
        checkpoints.give_up(base);
    }
    if let Some(why) = stored.verdict(next_base.is_some()) {
        examined.say(why.0, directory.join(index_name(base)), why.1);
    }
    examined.segments.push(Seen { base_offset: base, size, next_offset: expected.offset });
    Ok(())
}

/// The next batch, its leader epoch compared with what the state file knows for certain: all epochs but the last one
/// that it tells of have their end there.
async fn next(reader: &mut BatchReader, state: Option<&StateFile>) -> Result<Option<Found>, BadBatch> {
    let Some(found) = reader.header().await? else { return Ok(None) };
    let (offset, stands) = (found.header.base_offset, found.header.leader_epoch);
    if let Some(known) = state.and_then(|state| state.past_epoch_at(offset)).filter(|known| *known != stands)
    {
        let why = format!("leader epoch {stands} where {known} was in force");
        return Err(BadBatch { offset, position: found.position, why, source: None });
    }
    reader.verify(&found).await?;
    Ok(Some(found))
}

/// The index files of a segment, compared with what is read.
enum Stored {
    None,
    /// Not reached yet.
    Some(Box<Contents>),
    Agrees,
    Differs,
    /// The segment is bad, so nothing can be said.
    Unknown,
}

impl Stored {
    async fn read(files: &dyn Files, subject: &Subject, examined: &mut Examined, base: Offset) -> Self {
        let directory = &subject.site.directory;
        let (index_name, times_name) = (index_name(base), time_index_name(base));
        let summary_and_index = match read_index(files, directory, base).await {
            Ok(Some((_, summary, index))) => (summary, index),
            Ok(None) if files.open(&directory.join(&index_name)).await.is_err() => return Self::None,
            Ok(None) => {
                let why = "fails its check; it is a hint, and written anew by the next start";
                examined.say(Severity::Wrong, directory.join(index_name), why);
                return Self::Unknown;
            }
            Err(error) => {
                examined.say(Severity::Wrong, directory.join(index_name), format!("unreadable: {error}"));
                return Self::Unknown;
            }
        };
        let (summary, index) = summary_and_index;
        match read_times(files, directory, &summary).await {
            Ok(Some(times)) => Self::Some(Box::new(Contents { summary, index, times })),
            other => {
                let why =
                    other.err().map_or("missing, or fails its check".to_owned(), |error| error.to_string());
                let why = format!("{why}; it is a hint, and written anew by the next start");
                examined.say(Severity::Wrong, directory.join(times_name), why);
                Self::Unknown
            }
        }
    }

    fn compare(&mut self, contents: &Contents) {
        if let Self::Some(stored) = self
            && stored.summary.size <= contents.summary.size
        {
            *self = if **stored == *contents { Self::Agrees } else { Self::Differs };
        }
    }

    fn give_up(&mut self) {
        *self = Self::Unknown;
    }

    fn verdict(&self, is_sealed: bool) -> Option<(Severity, &'static str)> {
        match self {
            Self::None if is_sealed => {
                Some((Severity::Note, "missing; it is a hint, and written by the next start"))
            }
            Self::None | Self::Agrees | Self::Unknown => None,
            Self::Some(_) | Self::Differs => Some((
                Severity::Wrong,
                "says what the log does not; it is a hint, and written anew by the next start",
            )),
        }
    }
}
