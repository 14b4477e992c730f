//! The loop: lines go out as fast as the producer takes them, and what ended is counted on the way.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gapless_common::seam::WallClock;
use gapless_common::types::PartitionId;
use gapless_common::units::DisplayDuration;
use gapless_producer::{
    Delivery, HeaderRef, PartitionName, Producer, RecordView, Rejection, Resume, Settled, Topic, Unreachable,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use super::input::{Block, Input, Item};
use super::pacer::Pacer;
use super::parse::{Parsed, Parser};
use super::places::{Cursor, Place, SourceNames};
use super::position::Book;
use super::progress::{PROGRESS_INTERVAL, Progress};
use super::report::Report;
use super::routes::{NoRoute, Routes};
use super::too_long;
use super::tracker::{FailedRecord, Tracker};
use crate::cli::args::PublishArgs;
use crate::cli::digest::{Fingerprint, RecordHasher};
use crate::cli::exit::complain;
use crate::cli::files::replace_file;
use crate::cli::human;
use crate::cli::signals::Signals;

/// After so many records the clock is read and ended batches are counted: often enough that latencies are right to some
/// ten microseconds, seldom enough to cost nothing.
const RECORDS_PER_LOOK: u64 = 256;
/// Lines that are skipped are told one by one up to here.
const REJECTIONS_TOLD: u64 = 10;
/// How often a position that moves is written: after a crash of this program so much is sent again.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);
/// A broker that was never reached for so long ends the run.
const UNREACHED_MAX: Duration = Duration::from_secs(10);

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// All input is read.
    Input,
    /// A signal.
    Interrupted,
    /// A record failed: the tracker knows which.
    Delivery,
    /// Something else went wrong; told in a sentence.
    Failed(String),
    /// The same, and waiting for what is under way makes no sense.
    Hopeless(String),
}

/// Lines that are no records, or were refused before they were sent.
#[derive(Debug, Default)]
pub struct Rejections {
    pub count: u64,
    first: Option<String>,
}

/// One run.
pub struct Publisher<'a> {
    pub producer: &'a Producer,
    pub routes: Routes<'a>,
    pub wall_clock: &'a dyn WallClock,
    pub parser: Arc<Parser>,
    pub args: &'a PublishArgs,
    /// The longest record.
    pub record_max: usize,
    /// When the next record may go.
    pub pacer: Option<Pacer>,
    pub names: SourceNames,
    pub inputs: mpsc::Receiver<Input>,
    /// Buffers go back to the reading thread.
    pub used: mpsc::Sender<Vec<u8>>,
    pub signals: Signals,
    pub progress: Progress,
    pub report: Option<Report<BufWriter<Box<dyn Write + Send>>>>,
    pub hasher: RecordHasher,
    pub tracker: Tracker,
    pub rejected: Rejections,
    pub bytes_read: u64,
    /// Records sent whose value is null.
    pub nulls: u64,
    /// How far everything is acknowledged, and where that is written.
    pub position: Option<(Book, PathBuf)>,
    /// When the position was written last.
    pub position_written: Instant,
}

/// Where the loop stands, and what time it is.
struct Standing {
    at: Cursor,
    /// Records since the last look.
    since_look: u64,
    now: Instant,
    now_ms: i64,
    /// Memory for what does not stand in the input as it is.
    scratch: Vec<u8>,
}

impl Publisher<'_> {
    /// Reads, sends and counts until the input ends or something else does.
    pub async fn publish(&mut self) -> End {
        match self.publish_all().await {
            Ok(()) => End::Input,
            Err(end) => end,
        }
    }

    async fn publish_all(&mut self) -> Result<(), End> {
        let args = self.args;
        let headers: Vec<HeaderRef<'_>> = args
            .header
            .iter()
            .map(|(name, value)| HeaderRef { key: name, value: Some(value.as_bytes()) })
            .collect();
        let mut standing = Standing {
            at: Cursor::default(),
            since_look: 0,
            now: Instant::now(),
            now_ms: self.wall_clock.now_ms(),
            scratch: Vec::new(),
        };
        let mut tick = interval(PROGRESS_INTERVAL);
        loop {
            let input = tokio::select! {
                biased;
                () = self.signals.reach(1) => return Err(End::Interrupted),
                input = self.inputs.recv() => input,
                () = poll_fn(|cx| self.tracker.poll_any(cx)) => {
                    self.look()?;
                    continue;
                }
                _ = tick.tick() => {
                    self.tick()?;
                    continue;
                }
            };
            match input {
                None => return Ok(()),
                Some(Input::Began { source, id, head, offset, lines }) => {
                    standing.at.advance(source, Some(lines));
                    if let Some((book, _)) = &mut self.position {
                        book.begin(source, id, head, offset, lines);
                    }
                }
                Some(Input::Note(note)) => {
                    complain(format!("note: {}: {note}", self.names.name(standing.at.place.source)));
                }
                Some(Input::Header { source, line, names }) => {
                    standing.at.advance(source, Some(line));
                    let place = self.names.show(standing.at.place);
                    Arc::make_mut(&mut self.parser)
                        .header(&names)
                        .map_err(|malformed| End::Failed(format!("{place}: {malformed}")))?;
                }
                Some(Input::Block(block)) => {
                    self.publish_block(&block, &mut standing, &headers).await?;
                    self.bytes_read = block.read;
                    // A reading thread that has ended needs no buffers.
                    let _ = self.used.try_send(block.into_buffer());
                }
                Some(Input::TooLong { source, line, what, size, at_least }) => {
                    standing.at.advance(source, line);
                    if let Some((book, _)) = &mut self.position {
                        book.add(None);
                    }
                    self.reject(standing.at.place, &too_long(what, size, at_least, self.record_max))?;
                }
                Some(Input::NoRecord { source, line, why }) => {
                    standing.at.advance(source, line);
                    self.reject(standing.at.place, &why)?;
                }
                Some(Input::Failed { source, error }) => {
                    standing.at.advance(source, None);
                    let place = self.names.show(standing.at.place);
                    return Err(End::Failed(format!("{place}: the input cannot be read on: {error}")));
                }
            }
        }
    }

    async fn publish_block(
        &mut self,
        block: &Block,
        standing: &mut Standing,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), End> {
        standing.look(self.wall_clock);
        let parser = Arc::clone(&self.parser);
        if let (Some((book, _)), Some((begin, bytes))) = (&mut self.position, block.place()) {
            book.came(begin, bytes);
        }
        for piece in block.pieces(self.args.crlf) {
            standing.at.advance(block.source, piece.line);
            if let Some((book, _)) = &mut self.position {
                book.add(piece.end);
            }
            standing.since_look += 1;
            if standing.since_look == RECORDS_PER_LOOK {
                standing.look(self.wall_clock);
                self.look()?;
                if self.signals.count() > 0 {
                    return Err(End::Interrupted);
                }
            }
            if !self.publish_value(piece.item, &parser, standing, headers)? {
                self.publish_piece(piece.item, &parser, standing, headers).await?;
            }
        }
        Ok(())
    }

    /// Sends a piece that is a value and nothing else, as most lines are, if nothing has to be waited for; `false` leaves it to
    /// [`Publisher::publish_piece`], which costs a line of 100 bytes a third more CPU.
    fn publish_value(
        &mut self,
        item: Item<'_>,
        parser: &Parser,
        standing: &Standing,
        headers: &[HeaderRef<'_>],
    ) -> Result<bool, End> {
        let is_ordinary = self.pacer.is_none() && item.size() <= self.record_max;
        let Some(value) = parser.value_alone(item).filter(|_| is_ordinary) else { return Ok(false) };
        let Some((number, topic)) = self.routes.common() else { return Ok(false) };
        let view = RecordView {
            partition: self.args.partition.map(PartitionId),
            timestamp_ms: Some(standing.now_ms),
            key: None,
            value: Some(value),
            headers,
        };
        match topic.try_send(view) {
            Ok(delivery) => self.admitted(delivery, number, &view, standing),
            Err(Rejection::Full { .. } | Rejection::NotYetKnown { .. }) => return Ok(false),
            Err(rejection) => self.refused(standing.at.place, rejection)?,
        }
        Ok(true)
    }

    async fn publish_piece(
        &mut self,
        item: Item<'_>,
        parser: &Parser,
        standing: &mut Standing,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), End> {
        let place = standing.at.place;
        if item.size() > self.record_max {
            return self.reject(place, &too_long("line", item.size() as u64, false, self.record_max));
        }
        if self.pacer.is_some() {
            self.wait_for_turn().await?;
            standing.look(self.wall_clock);
        }
        let mut scratch = std::mem::take(&mut standing.scratch);
        let parsed = match parser.parse(item, &mut scratch) {
            Ok(parsed) => parsed,
            Err(malformed) => return self.reject(place, &malformed.to_string()),
        };
        let number = match self.route(parsed.topic.as_deref(), place).await? {
            Some(number) => number,
            None => return Ok(()),
        };
        let own_headers;
        let headers = if parsed.headers.is_empty() {
            headers
        } else {
            own_headers = all_headers(headers, &parsed);
            &own_headers
        };
        let view = RecordView {
            partition: parsed.partition.or(self.args.partition).map(PartitionId),
            timestamp_ms: Some(parsed.timestamp_ms.unwrap_or(standing.now_ms)),
            key: parsed.key.as_deref(),
            value: parsed.value.as_deref(),
            headers,
        };
        let Some(topic) = self.routes.topic(number) else { return Ok(()) };
        let admitted = match topic.try_send(view) {
            Err(Rejection::Full { .. } | Rejection::NotYetKnown { .. }) => {
                let topic = topic.clone();
                let admitted = self.send_patiently(&topic, view).await?;
                standing.look(self.wall_clock);
                admitted
            }
            other => other,
        };
        let done = match admitted {
            Ok(delivery) => {
                self.admitted(delivery, number, &view, standing);
                Ok(())
            }
            Err(rejection) => self.refused(place, rejection),
        };
        drop(parsed);
        standing.scratch = scratch;
        done
    }

    /// The producer took it.
    fn admitted(&mut self, delivery: Delivery, topic: usize, view: &RecordView<'_>, standing: &Standing) {
        self.nulls += u64::from(view.value.is_none());
        let fingerprint = self.report.is_some().then(|| fingerprint(&mut self.hasher, view));
        self.tracker.add(delivery, topic, standing.at.place, size_of_record(view), fingerprint, standing.now);
    }

    /// The record's topic; `None` if it has none that can be, and that was skipped.
    async fn route(&mut self, name: Option<&str>, place: Place) -> Result<Option<usize>, End> {
        match self.routes.find(name).await {
            Ok(number) => Ok(Some(number)),
            Err(NoRoute::Record(why)) => self.reject(place, &why).map(|()| None),
            Err(NoRoute::Run(why)) => Err(End::Hopeless(why)),
        }
    }

    /// Until `--rate` lets the next record go.
    async fn wait_for_turn(&mut self) -> Result<(), End> {
        let turn = |pacer: &mut Option<Pacer>| pacer.as_mut().and_then(|pacer| pacer.wait(Instant::now()));
        let Some(mut due) = turn(&mut self.pacer) else { return Ok(()) };
        let mut tick = interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.signals.reach(1) => return Err(End::Interrupted),
                () = sleep_until(due) => {}
                () = poll_fn(|cx| self.tracker.poll_any(cx)) => self.look()?,
                _ = tick.tick() => self.tick()?,
            }
            match turn(&mut self.pacer) {
                Some(later) => due = later,
                None => return Ok(()),
            }
        }
    }

    /// Waits until the producer takes the record, and counts meanwhile.
    async fn send_patiently(
        &mut self,
        topic: &Topic,
        view: RecordView<'_>,
    ) -> Result<Result<Delivery, Rejection>, End> {
        let mut sending = std::pin::pin!(topic.send(view));
        let mut tick = interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.signals.reach(1) => return Err(End::Interrupted),
                admitted = &mut sending => return Ok(admitted),
                () = poll_fn(|cx| self.tracker.poll_any(cx)) => self.look()?,
                _ = tick.tick() => self.tick()?,
            }
        }
    }

    /// The producer did not take it.
    fn refused(&mut self, place: Place, rejection: Rejection) -> Result<(), End> {
        match rejection {
            Rejection::TooLarge { size, limit } => {
                let why = format!(
                    "a record of {size} bytes exceeds the limit of {limit}; raise --batch-size, and the broker's \
                     max.message.bytes with it"
                );
                self.reject(place, &why)
            }
            Rejection::NoSuchPartition { .. } => self.reject(place, &rejection.to_string()),
            // The deliveries of what failed are on their way to the tracker, or there already.
            Rejection::Halted(_) => Err(End::Delivery),
            other => Err(End::Hopeless(format!("{}: {other}", self.names.show(place)))),
        }
    }

    /// A line that will not be sent: the end, or counted if so asked.
    fn reject(&mut self, place: Place, why: &str) -> Result<(), End> {
        self.rejected.count += 1;
        let sentence = format!("{}: {why}", self.names.show(place));
        if let Some(report) = &mut self.report {
            report
                .rejected(self.args.topic.as_deref(), place, why)
                .map_err(|error| End::Failed(report_failed(self.args, &error)))?;
        }
        if !self.args.skip_failed {
            let sentence = format!("{sentence}; nothing behind it was sent (--skip-failed goes on)");
            self.rejected.first = Some(sentence.clone());
            return Err(End::Failed(sentence));
        }
        if self.rejected.count <= REJECTIONS_TOLD {
            complain(format!("skipped: {sentence}"));
        }
        if self.rejected.count == REJECTIONS_TOLD {
            complain("skipped: further lines are only counted");
        }
        self.rejected.first.get_or_insert(sentence);
        if let Some((book, _)) = &mut self.position {
            book.done(place);
        }
        Ok(())
    }

    /// Counts what has ended; a failed record is the end unless it may be skipped.
    fn look(&mut self) -> Result<(), End> {
        self.sweep().map_err(|error| End::Failed(report_failed(self.args, &error)))?;
        if self.tracker.has_failed() && !self.args.skip_failed {
            return Err(End::Delivery);
        }
        Ok(())
    }

    fn sweep(&mut self) -> io::Result<()> {
        let (report, position) = (&mut self.report, &mut self.position);
        self.tracker.sweep(&mut |ended| {
            if let Some((book, _)) = position {
                book.ended(ended);
            }
            match report {
                Some(report) => report.ended(ended),
                None => Ok(()),
            }
        })
    }

    fn tick(&mut self) -> Result<(), End> {
        self.progress.update(self.bytes_read, &self.tracker.totals.counts);
        self.look()?;
        if self.position_written.elapsed() >= POSITION_INTERVAL {
            self.write_position().map_err(End::Failed)?;
        }
        match self.producer.unreachable() {
            Some(unreachable) if unreachable.after >= UNREACHED_MAX => {
                let after = Duration::from_secs(unreachable.after.as_secs());
                Err(End::Hopeless(Unreachable { after, ..unreachable }.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Writes down how far everything is acknowledged, if that is further than before.
    fn write_position(&mut self) -> Result<(), String> {
        self.position_written = Instant::now();
        let Some((book, path)) = &mut self.position else { return Ok(()) };
        let Some(position) = book.moved() else { return Ok(()) };
        // A position is numbers and a name: that can always be written as JSON.
        let text = serde_json::to_string(&position).unwrap_or_default();
        replace_file(path, &format!("{text}\n"), true)
            .map_err(|error| format!("--position-file {} cannot be written: {error}", path.display()))
    }

    /// Waits until everything admitted has its fate: until the producer gives up, or a second signal.
    pub async fn settle(&mut self, end: End, time_limit: Duration) -> End {
        self.inputs.close();
        let mut end = end;
        if matches!(end, End::Interrupted) && !self.tracker.is_empty() {
            complain("interrupted: finishing what was read; once more stops at once");
        }
        let signals_until_now = self.signals.count();
        let producer = self.producer;
        if !matches!(end, End::Hopeless(_)) {
            let mut flushing = std::pin::pin!(producer.flush(time_limit));
            let mut tick = interval(PROGRESS_INTERVAL);
            let mut signals = self.signals.clone();
            loop {
                tokio::select! {
                    biased;
                    () = signals.reach(signals_until_now + 1) => {
                        end = End::Interrupted;
                        break;
                    }
                    // What it could not do shows in each record's own fate.
                    _ = &mut flushing => break,
                    () = poll_fn(|cx| self.tracker.poll_any(cx)) => self.look_once_more(&mut end),
                    _ = tick.tick() => {
                        self.look_once_more(&mut end);
                        if let Err(hopeless @ End::Hopeless(_)) = self.tick() {
                            end = hopeless;
                            break;
                        }
                    }
                }
            }
        }
        // Taken in before more is found out: what is in doubt is known then.
        self.look_once_more(&mut end);
        let found = match self.args.settle {
            Some(limit) if self.signals.count() == signals_until_now && !matches!(end, End::Hopeless(_)) => {
                self.find_out(limit, signals_until_now).await
            }
            _ => Vec::new(),
        };
        // Everything that is left gets its fate now.
        let _ = producer.close(Duration::ZERO).await;
        self.look_once_more(&mut end);
        self.tell_found(&found, &mut end);
        if let Some(report) = &mut self.report
            && let Err(error) = report.finish()
        {
            self.give_up_report(&mut end, &error);
        }
        if let Err(told) = self.write_position() {
            match end {
                End::Input | End::Delivery => end = End::Failed(told),
                _ => complain(format!("error: {told}")),
            }
        }
        end
    }

    /// Asks the brokers, for at most `limit` or until a signal, what became of the records of which that is not known.
    async fn find_out(&mut self, limit: Duration, signals_until_now: u32) -> Vec<Settled> {
        let halts = self.producer.halts();
        if !self.tracker.holds_back() || halts.is_empty() {
            return Vec::new();
        }
        if !self.args.output.quiet {
            let time = DisplayDuration(limit);
            complain(format!(
                "finding out, for at most {time}, what became of records whose answers were lost"
            ));
        }
        let settling = halts.iter().map(|halt| {
            let PartitionName { topic, partition } = &*halt.partition;
            self.producer.resume(topic, partition.0, halt.generation, Resume::Settle(limit))
        });
        let mut settling = std::pin::pin!(join_all(settling));
        let mut tick = interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.signals.reach(signals_until_now + 1) => return Vec::new(),
                // What could not be settled stays as it was told.
                results = &mut settling => return results.into_iter().flatten().collect(),
                _ = tick.tick() => self.progress.update(self.bytes_read, &self.tracker.totals.counts),
            }
        }
    }

    /// Tells what was held back, with what was found out.
    fn tell_found(&mut self, found: &[Settled], end: &mut End) {
        let (report, position) = (&mut self.report, &mut self.position);
        let mut trouble = None;
        let Ok(()) = self.tracker.settle(found, &mut |ended| -> Result<(), Infallible> {
            if let Some((book, _)) = position {
                book.ended(ended);
            }
            if trouble.is_none()
                && let Some(report) = report
            {
                trouble = report.ended(ended).err();
            }
            Ok(())
        });
        if let Some(error) = trouble {
            self.give_up_report(end, &error);
        }
    }

    /// Counts on after the end of reading, whatever happens to the report.
    fn look_once_more(&mut self, end: &mut End) {
        while let Err(error) = self.sweep() {
            self.give_up_report(end, &error);
        }
    }

    /// Without a report that can be trusted the run has failed, if only for that.
    fn give_up_report(&mut self, end: &mut End, error: &io::Error) {
        self.report = None;
        let told = report_failed(self.args, error);
        if matches!(end, End::Input | End::Delivery) {
            *end = End::Failed(told);
        } else if !matches!(end, End::Failed(known) if *known == told) {
            complain(format!("error: {told}"));
        }
    }

    /// Why not every record was acknowledged, in one sentence; `None` if all were.
    pub fn failure(&self, end: &End) -> Option<String> {
        let counts = &self.tracker.totals.counts;
        let failed = counts.failed();
        if let Some(FailedRecord { place, error }) = &self.tracker.totals.first_failed {
            let others = match failed {
                1 => String::new(),
                _ => format!(" (the first of {} not acknowledged)", human::plural(failed, "record")),
            };
            let first = format!("{}: {error}{others}", self.names.show(*place));
            return Some(match end {
                End::Failed(why) => format!("{why}; and {first}"),
                // What was given up for that reason needs no other.
                End::Hopeless(why) => why.clone(),
                _ => first,
            });
        }
        match end {
            End::Failed(why) | End::Hopeless(why) => Some(why.clone()),
            End::Delivery => Some(
                "a partition was halted; what was sent is acknowledged, what follows was not sent".to_owned(),
            ),
            End::Input | End::Interrupted => {
                self.rejected.first.as_ref().map(|first| match self.rejected.count {
                    1 => first.clone(),
                    count => format!("{first} (the first of {} skipped)", human::plural(count, "line")),
                })
            }
        }
    }
}

impl Standing {
    fn look(&mut self, wall_clock: &dyn WallClock) {
        self.since_look = 0;
        self.now = Instant::now();
        self.now_ms = wall_clock.now_ms();
    }
}

fn report_failed(args: &PublishArgs, error: &io::Error) -> String {
    let path = args.report.as_deref().unwrap_or(Path::new(""));
    format!("--report {} cannot be written: {error}", path.display())
}

fn all_headers<'a>(common: &[HeaderRef<'a>], parsed: &'a Parsed<'_>) -> Vec<HeaderRef<'a>> {
    let own = parsed.headers.iter().map(|(name, value)| HeaderRef { key: name, value: value.as_deref() });
    common.iter().copied().chain(own).collect()
}

/// What a report says of a record, so that it can be found again.
fn fingerprint(hasher: &mut RecordHasher, view: &RecordView<'_>) -> Fingerprint {
    let headers = view.headers.iter().map(|header| (header.key.as_bytes(), header.value));
    Fingerprint {
        digest: hasher.digest(view.key, view.value, headers),
        // Settled before it was sent.
        timestamp_ms: view.timestamp_ms.unwrap_or_default(),
    }
}

fn size_of_record(view: &RecordView<'_>) -> u32 {
    let bytes = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
    let headers: usize = view.headers.iter().map(|header| header.key.len() + bytes(header.value)).sum();
    // An admitted record is smaller than a batch, and that smaller than this.
    u32::try_from(bytes(view.key) + bytes(view.value) + headers).unwrap_or(u32::MAX)
}
