//! `--report FILE`: what became of every record, as JSON lines; `verify` reads them. A line is about
//!
//! - one record: `topic`, `partition`, `offset`, `status`, `timestamp`, `digest`, `file`, `line`, and `error` if it was not
//!   acknowledged. `status` is `acked`, `not_written` or `unknown`; `offset` is null for the last two, and for a record that is
//!   in the log while the answer that would have told its place was lost;
//! - one batch that was written as a whole (`--report-by batch`): `topic`, `partition`, `offset` of its first record, `status`
//!   `acked`, how many `records` stand there, `digest` of them and of their `timestamps`, and the `lines` of each file they
//!   come from;
//! - an input that was no record: `topic`, `status` `rejected`, `file`, `line`, `error`.
//!
//! Lines of one partition stand in the order of their records. Timestamps are milliseconds since 1970, as they were sent; what a
//! digest is taken of is told in [`crate::cli::digest`]. Fields may be added; those that are there keep their meaning.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use gapless_producer::{Acked, DeliveryError};
use serde::Serialize;

use super::places::{Place, SourceNames};
use super::tracker::{Ended, Results};
use crate::cli::args::ReportBy;
use crate::cli::digest::{Digest, Fingerprint, RunDigest};
use crate::cli::exit::Stop;

/// Writes as batches end.
pub struct Report<W: Write> {
    out: W,
    by: ReportBy,
    names: SourceNames,
}

/// A line about one record.
#[derive(Serialize)]
struct RecordLine<'a> {
    topic: &'a str,
    partition: i32,
    /// Null: written, but the broker did not say where; or not known to be written.
    offset: Option<i64>,
    status: &'static str,
    timestamp: Option<i64>,
    digest: Option<Digest>,
    file: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A line about a batch that was written as a whole.
#[derive(Serialize)]
struct BatchLine<'a> {
    topic: &'a str,
    partition: i32,
    /// Of the first record; the others follow.
    offset: Option<i64>,
    status: &'static str,
    records: u32,
    digest: Digest,
    timestamps: Digest,
    lines: Vec<LineRun<'a>>,
}

#[derive(Serialize)]
struct LineRun<'a> {
    file: &'a str,
    first: u64,
    last: u64,
}

impl Report<BufWriter<Box<dyn Write + Send>>> {
    /// Creates the file, before anything is sent.
    #[expect(clippy::disallowed_types, reason = "a command line writes the files it is asked to")]
    pub fn create(path: &Path, by: ReportBy, names: SourceNames) -> Result<Self, Stop> {
        let file = std::fs::File::create(path).map_err(|error| {
            Stop::Failed(format!("--report {} cannot be written: {error}", path.display()))
        })?;
        Ok(Self::new(BufWriter::new(Box::new(file)), by, names))
    }
}

impl<W: Write> Report<W> {
    pub const fn new(out: W, by: ReportBy, names: SourceNames) -> Self {
        Self { out, by, names }
    }

    /// A batch ended.
    pub fn ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        match (ended.results, self.by) {
            (Results::AllAcked(first), ReportBy::Batch) if first.offset.is_some() => self.batch(ended, first),
            // A batch without one fate or without a place is told record by record.
            _ => {
                for (at, place) in (0..).zip(ended.places.iter()) {
                    if let Some(result) = ended.result(at) {
                        let fingerprint = ended.fingerprints.get(at as usize);
                        self.record(place, fingerprint, &result)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn batch(&mut self, ended: &Ended<'_>, first: &Acked) -> io::Result<()> {
        let lines = ended.places.runs().iter().map(|run| LineRun {
            file: self.names.name(run.first.source),
            first: run.first.line,
            last: run.first.line + u64::from(run.count).saturating_sub(1),
        });
        let RunDigest { digest, timestamps } = RunDigest::of(ended.fingerprints);
        let line = BatchLine {
            topic: &first.partition.topic,
            partition: first.partition.partition.0,
            offset: first.offset.map(|offset| offset.0),
            status: "acked",
            records: ended.places.count(),
            digest,
            timestamps,
            lines: lines.collect(),
        };
        write_line(&mut self.out, &line)
    }

    fn record(
        &mut self,
        place: Place,
        fingerprint: Option<&Fingerprint>,
        result: &Result<Acked, DeliveryError>,
    ) -> io::Result<()> {
        let (partition, offset, status, error) = match result {
            Ok(acked) => (&*acked.partition, acked.offset.map(|offset| offset.0), "acked", None),
            Err(error) => (error.partition(), None, error.fate(), Some(error.cause().to_string())),
        };
        let line = RecordLine {
            topic: &partition.topic,
            partition: partition.partition.0,
            offset,
            status,
            timestamp: fingerprint.map(|fingerprint| fingerprint.timestamp_ms),
            digest: fingerprint.map(|fingerprint| fingerprint.digest),
            file: self.names.name(place.source),
            line: place.line,
            error,
        };
        write_line(&mut self.out, &line)
    }

    /// A line that did not get as far as a partition.
    pub fn rejected(&mut self, topic: Option<&str>, place: Place, why: &str) -> io::Result<()> {
        #[derive(Serialize)]
        struct Rejected<'a> {
            /// Null if each record names its own.
            topic: Option<&'a str>,
            status: &'static str,
            file: &'a str,
            line: u64,
            error: &'a str,
        }
        let line = Rejected {
            topic,
            status: "rejected",
            file: self.names.name(place.source),
            line: place.line,
            error: why,
        };
        write_line(&mut self.out, &line)
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
