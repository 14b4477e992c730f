//! Reads a report line by line: what publish claims about the topic.

use std::borrow::Cow;
use std::io::{self, BufRead, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::cli::digest::{Digest, Fingerprint, RunDigest};
use crate::cli::exit::Stop;

/// The longest line: of a batch of a million records, each from another place of the input, with room to spare.
const LINE_MAX: u64 = 64 * 1024 * 1024;

/// Where a record came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub file: Arc<str>,
    pub line: u64,
}

/// What became of one record, or of some that stand in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    Record(RecordClaim),
    Run(RunClaim),
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordClaim {
    pub fate: Fate,
    pub fingerprint: Fingerprint,
    pub origin: Origin,
}

/// What was said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Written, at this offset unless that is not known.
    Acked(Option<i64>),
    /// Written or not.
    Unknown,
    NotWritten,
}

/// Records that were written one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClaim {
    pub offset: i64,
    pub count: u32,
    pub digest: RunDigest,
    pub origin: Origin,
}

/// One line of a report.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Claim {
        partition: i32,
        claim: Claim,
    },
    /// An input that was no record.
    Rejected,
    /// The last line has no end: who wrote it was ended in the middle of it.
    CutShort,
}

/// The lines of one report.
pub struct ReportReader<'a, R> {
    from: R,
    path: &'a Path,
    topic: &'a str,
    number: u64,
    line: Vec<u8>,
    /// Of the line before: most lines come from the same file.
    file: Arc<str>,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: Option<i32>,
    offset: Option<i64>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    records: Option<u32>,
    timestamp: Option<i64>,
    digest: Option<Digest>,
    timestamps: Option<Digest>,
    file: Option<Cow<'a, str>>,
    line: Option<u64>,
    #[serde(default)]
    lines: Vec<RawRun<'a>>,
}

#[derive(Deserialize)]
struct RawRun<'a> {
    #[serde(borrow)]
    file: Cow<'a, str>,
    first: u64,
}

#[expect(clippy::disallowed_types, reason = "a command line reads the files it is given")]
impl<'a> ReportReader<'a, io::BufReader<std::fs::File>> {
    /// Opens the file.
    pub fn open(path: &'a Path, topic: &'a str) -> Result<Self, Stop> {
        match std::fs::File::open(path) {
            Ok(file) => Ok(Self::new(io::BufReader::new(file), path, topic)),
            Err(error) => Err(Stop::Failed(format!("--report {} cannot be read: {error}", path.display()))),
        }
    }
}

impl<'a, R: BufRead> ReportReader<'a, R> {
    /// `path` is for messages.
    pub fn new(from: R, path: &'a Path, topic: &'a str) -> Self {
        Self { from, path, topic, number: 0, line: Vec::new(), file: "".into() }
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<Line>, Stop> {
        self.line.clear();
        let size = (&mut self.from)
            .take(LINE_MAX)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| self.wrong(&format!("cannot be read on: {error}")))?;
        if size == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            if size as u64 == LINE_MAX {
                return Err(
                    self.wrong(&format!("is longer than {LINE_MAX} bytes: it is no line of a report"))
                );
            }
            return Ok(Some(Line::CutShort));
        }
        let raw: RawLine<'_> = serde_json::from_slice(&self.line)
            .map_err(|error| self.wrong(&format!("is no line of a report: {error}")))?;
        if raw.topic != self.topic {
            return Err(self.wrong(&format!("is about topic {}, not {}", raw.topic, self.topic)));
        }
        if raw.status == "rejected" {
            return Ok(Some(Line::Rejected));
        }
        let (file, line) = match (&raw.file, raw.lines.first()) {
            (Some(file), _) => (&**file, raw.line.unwrap_or_default()),
            (None, Some(run)) => (&*run.file, run.first),
            (None, None) => ("", 0),
        };
        if *self.file != *file {
            self.file = file.into();
        }
        let origin = Origin { file: Arc::clone(&self.file), line };
        match claim(&raw, origin) {
            Ok((partition, claim)) => Ok(Some(Line::Claim { partition, claim })),
            Err(why) => Err(self.wrong(&why)),
        }
    }

    fn wrong(&self, why: &str) -> Stop {
        Stop::Failed(format!("--report {}: line {} {why}", self.path.display(), self.number))
    }
}

fn claim(raw: &RawLine<'_>, origin: Origin) -> Result<(i32, Claim), String> {
    let lacks = |what: &str| format!("has no {what}; was it written by an older gapless-producer?");
    let partition = raw.partition.ok_or_else(|| lacks("partition"))?;
    let digest = raw.digest.ok_or_else(|| lacks("digest"))?;
    if let Some(count) = raw.records {
        let offset = raw.offset.ok_or_else(|| lacks("offset"))?;
        let timestamps = raw.timestamps.ok_or_else(|| lacks("digest of timestamps"))?;
        if raw.status != "acked" || count == 0 || offset < 0 || offset.checked_add(count.into()).is_none() {
            return Err(format!("claims {count} records at offset {offset} as {}", raw.status));
        }
        let digest = RunDigest { digest, timestamps };
        return Ok((partition, Claim::Run(RunClaim { offset, count, digest, origin })));
    }
    let fate = match &*raw.status {
        "acked" => Fate::Acked(raw.offset),
        "unknown" => Fate::Unknown,
        "not_written" => Fate::NotWritten,
        other => return Err(format!("has the status {other:?}, which this version does not know")),
    };
    let timestamp_ms = raw.timestamp.ok_or_else(|| lacks("timestamp"))?;
    let fingerprint = Fingerprint { digest, timestamp_ms };
    Ok((partition, Claim::Record(RecordClaim { fate, fingerprint, origin })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "5bae9bd56de4310b74e1d5a7d0d6366a";

    fn read(text: &str) -> Vec<Result<Line, String>> {
        let mut reader = ReportReader::new(text.as_bytes(), Path::new("acks"), "t");
        let mut lines = Vec::new();
        loop {
            match reader.next_line() {
                Ok(None) => return lines,
                Ok(Some(line)) => lines.push(Ok(line)),
                Err(stop) => {
                    lines.push(Err(format!("{stop:?}")));
                    return lines;
                }
            }
        }
    }

    #[test]
    fn lines_say_what_became_of_records() {
        let text = format!(
            "{{\"topic\":\"t\",\"partition\":1,\"offset\":7,\"status\":\"acked\",\"timestamp\":5,\"digest\":\"{DIGEST}\",\"file\":\"a\",\"line\":3,\"new\":1}}\n\
             {{\"topic\":\"t\",\"partition\":1,\"offset\":null,\"status\":\"unknown\",\"timestamp\":5,\"digest\":\"{DIGEST}\",\"file\":\"a\",\"line\":4,\"error\":\"\\\"\"}}\n\
             {{\"topic\":\"t\",\"status\":\"rejected\",\"file\":\"a\",\"line\":5,\"error\":\"no\"}}\n\
             {{\"topic\":\"t\",\"partition\":0,\"offset\":9,\"status\":\"acked\",\"records\":2,\"digest\":\"{DIGEST}\",\"timestamps\":\"{DIGEST}\",\"lines\":[{{\"file\":\"b\",\"first\":6,\"last\":7}}]}}\n\
             {{\"topic\":\"t\",\"par"
        );
        let digest = Digest::parse(DIGEST).unwrap();
        let fingerprint = Fingerprint { digest, timestamp_ms: 5 };
        let origin = |file: &str, line| Origin { file: file.into(), line };
        let record = |fate, line| {
            let claim = Claim::Record(RecordClaim { fate, fingerprint, origin: origin("a", line) });
            Ok(Line::Claim { partition: 1, claim })
        };
        let run = RunClaim {
            offset: 9,
            count: 2,
            digest: RunDigest { digest, timestamps: digest },
            origin: origin("b", 6),
        };
        assert_eq!(
            read(&text),
            [
                record(Fate::Acked(Some(7)), 3),
                record(Fate::Unknown, 4),
                Ok(Line::Rejected),
                Ok(Line::Claim { partition: 0, claim: Claim::Run(run) }),
                Ok(Line::CutShort),
            ]
        );
    }

    #[test]
    fn what_is_no_report_is_refused_with_its_line() {
        for (text, words) in [
            ("{}\n", "line 1 is no line of a report"),
            ("hello\n", "line 1 is no line of a report"),
            ("{\"topic\":\"u\",\"status\":\"acked\"}\n", "line 1 is about topic u, not t"),
            ("{\"topic\":\"t\",\"status\":\"acked\",\"partition\":0,\"offset\":1}\n", "line 1 has no digest"),
            (
                "{\"topic\":\"t\",\"status\":\"rejected\"}\n{\"topic\":\"t\",\"status\":\"acked\",\"partition\":0,\"digest\":\"12\"}\n",
                "line 2 is no line of a report",
            ),
        ] {
            let lines = read(text);
            let error = lines.last().unwrap().as_ref().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
