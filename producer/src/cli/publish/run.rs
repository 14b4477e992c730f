//! The loop: lines go out as fast as the producer takes them, and what ended is counted on the way.

use std::future::poll_fn;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use gapless_common::seam::WallClock;
use gapless_common::types::PartitionId;
use gapless_producer::{Delivery, HeaderRef, Producer, RecordView, Rejection, Topic, Unreachable};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

use super::input::{Block, Input};
use super::parse::{Parsed, Parser};
use super::places::{Place, SourceNames};
use super::progress::{PROGRESS_INTERVAL, Progress};
use super::report::Report;
use super::tracker::{FailedRecord, Tracker};
use crate::cli::args::PublishArgs;
use crate::cli::digest::{Fingerprint, RecordHasher};
use crate::cli::exit::complain;
use crate::cli::human;
use crate::cli::signals::Signals;

/// After so many records the clock is read and ended batches are counted: often enough that latencies are right to some
/// ten microseconds, seldom enough to cost nothing.
const RECORDS_PER_LOOK: u64 = 256;
/// Lines that are skipped are told one by one up to here.
const REJECTIONS_TOLD: u64 = 10;
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
    pub topic: Topic,
    pub wall_clock: &'a dyn WallClock,
    pub parser: Parser,
    pub args: &'a PublishArgs,
    /// The longest line.
    pub line_max: usize,
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
}

/// Where the loop stands, and what time it is.
struct Cursor {
    place: Place,
    now: Instant,
    now_ms: i64,
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
        let mut cursor = Cursor {
            place: Place { source: 0, line: 0 },
            now: Instant::now(),
            now_ms: self.wall_clock.now_ms(),
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
                Some(Input::Block(block)) => {
                    self.publish_block(&block, &mut cursor, &headers).await?;
                    self.bytes_read += block.bytes().len() as u64;
                    // A reading thread that has ended needs no buffers.
                    let _ = self.used.try_send(block.into_buffer());
                }
                Some(Input::LineTooLong { source, size, at_least }) => {
                    cursor.advance(source);
                    let least = if at_least { "at least " } else { "" };
                    self.reject(cursor.place, &self.too_long(&format!("{least}{size}")))?;
                }
                Some(Input::Failed { source, error }) => {
                    cursor.advance(source);
                    let place = self.names.show(cursor.place);
                    return Err(End::Failed(format!("{place}: the input cannot be read on: {error}")));
                }
            }
        }
    }

    async fn publish_block(
        &mut self,
        block: &Block,
        cursor: &mut Cursor,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), End> {
        cursor.look(self.wall_clock);
        for line in block.lines(self.args.crlf) {
            cursor.advance(block.source);
            if cursor.place.line.is_multiple_of(RECORDS_PER_LOOK) {
                cursor.look(self.wall_clock);
                self.look()?;
                if self.signals.count() > 0 {
                    return Err(End::Interrupted);
                }
            }
            self.publish_line(line, cursor, headers).await?;
        }
        Ok(())
    }

    async fn publish_line(
        &mut self,
        line: &[u8],
        cursor: &mut Cursor,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), End> {
        if line.len() > self.line_max {
            return self.reject(cursor.place, &self.too_long(&line.len().to_string()));
        }
        let parsed = match self.parser.parse(line) {
            Ok(parsed) => parsed,
            Err(malformed) => return self.reject(cursor.place, &malformed.to_string()),
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
            timestamp_ms: Some(parsed.timestamp_ms.unwrap_or(cursor.now_ms)),
            key: parsed.key.as_deref(),
            value: parsed.value.as_deref(),
            headers,
        };
        let admitted = match self.topic.try_send(view) {
            Err(Rejection::Full { .. } | Rejection::NotYetKnown { .. }) => {
                let admitted = self.send_patiently(view).await?;
                cursor.look(self.wall_clock);
                admitted
            }
            other => other,
        };
        match admitted {
            Ok(delivery) => {
                let fingerprint = self.report.is_some().then(|| fingerprint(&mut self.hasher, &view));
                self.tracker.add(delivery, cursor.place, size_of_record(&view), fingerprint, cursor.now);
                Ok(())
            }
            Err(rejection) => self.refused(cursor.place, rejection),
        }
    }

    /// Waits until the producer takes the record, and counts meanwhile.
    async fn send_patiently(&mut self, view: RecordView<'_>) -> Result<Result<Delivery, Rejection>, End> {
        let topic = self.topic.clone();
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

    fn too_long(&self, size: &str) -> String {
        format!(
            "a line of {size} bytes exceeds the limit of {}; raise --batch-size, and the broker's max.message.bytes with it",
            self.line_max
        )
    }

    /// A line that will not be sent: the end, or counted if so asked.
    fn reject(&mut self, place: Place, why: &str) -> Result<(), End> {
        self.rejected.count += 1;
        let sentence = format!("{}: {why}", self.names.show(place));
        if let Some(report) = &mut self.report {
            report
                .rejected(&self.args.topic, place, why)
                .map_err(|error| End::Failed(report_failed(self.args, &error)))?;
        }
        if !self.args.skip_failed {
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
        Ok(())
    }

    /// Counts what has ended; a failed record is the end unless it may be skipped.
    fn look(&mut self) -> Result<(), End> {
        self.sweep().map_err(|error| End::Failed(report_failed(self.args, &error)))?;
        if self.tracker.first_failed.is_some() && !self.args.skip_failed {
            return Err(End::Delivery);
        }
        Ok(())
    }

    fn sweep(&mut self) -> io::Result<()> {
        let report = &mut self.report;
        self.tracker.sweep(&mut |ended| match report {
            Some(report) => report.ended(ended),
            None => Ok(()),
        })
    }

    fn tick(&mut self) -> Result<(), End> {
        self.progress.update(self.bytes_read, &self.tracker.counts);
        self.look()?;
        match self.producer.unreachable() {
            Some(unreachable) if unreachable.after >= UNREACHED_MAX => {
                let after = Duration::from_secs(unreachable.after.as_secs());
                Err(End::Hopeless(Unreachable { after, ..unreachable }.to_string()))
            }
            _ => Ok(()),
        }
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
        // Everything that is left gets its fate now.
        let _ = producer.close(Duration::ZERO).await;
        self.look_once_more(&mut end);
        if let Some(report) = &mut self.report
            && let Err(error) = report.finish()
        {
            self.give_up_report(&mut end, &error);
        }
        end
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
        let counts = &self.tracker.counts;
        let failed = counts.failed();
        if let Some(FailedRecord { place, error }) = &self.tracker.first_failed {
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
            End::Delivery => Some("a partition is halted".to_owned()),
            End::Input | End::Interrupted => {
                self.rejected.first.as_ref().map(|first| match self.rejected.count {
                    1 => first.clone(),
                    count => format!("{first} (the first of {} skipped)", human::plural(count, "line")),
                })
            }
        }
    }
}

impl Cursor {
    /// To the next line of this source.
    const fn advance(&mut self, source: usize) {
        // A command line names fewer sources than a u32 counts.
        let source = source as u32;
        if self.place.source != source {
            self.place = Place { source, line: 0 };
        }
        self.place.line += 1;
    }

    fn look(&mut self, wall_clock: &dyn WallClock) {
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
