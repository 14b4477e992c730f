//! `--dry-run`: what would be sent, as `read --output json` prints it. `publish --format records` takes it back.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use tokio::sync::mpsc;

use super::input::{Block, Input};
use super::parse::{Parsed, Parser};
use super::places::{Cursor, SourceNames};
use super::routes::{NO_TOPIC, TOPICS_MAX, one_too_many, refusal};
use super::too_long;
use crate::cli::args::PublishArgs;
use crate::cli::exit::{Stop, complain};
use crate::cli::human;
use crate::cli::read::serialize_bytes;
use crate::cli::signals::Signals;

/// A record to be.
struct Record<'a> {
    args: &'a PublishArgs,
    topic: &'a str,
    parsed: &'a Parsed<'a>,
}

/// One header.
struct Header<'a> {
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { args, topic, parsed } = self;
        let common = args.header.iter().map(|(key, value)| Header { key, value: Some(value.as_bytes()) });
        let own = parsed.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", topic)?;
        // Null: as the producer chooses, and of the time of sending.
        map.serialize_entry("partition", &parsed.partition.or(args.partition))?;
        map.serialize_entry("timestamp", &parsed.timestamp_ms)?;
        serialize_bytes(&mut map, "key", "key_base64", parsed.key.as_deref())?;
        serialize_bytes(&mut map, "value", "value_base64", parsed.value.as_deref())?;
        map.serialize_entry("headers", &common.chain(own).collect::<Headers<'_>>())?;
        map.end()
    }
}

struct Headers<'a>(Vec<Header<'a>>);

impl<'a> FromIterator<Header<'a>> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = Header<'a>>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.0.len()))?;
        for header in &self.0 {
            all.serialize_element(header)?;
        }
        all.end()
    }
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.key)?;
        serialize_bytes(&mut map, "value", "value_base64", self.value)?;
        map.end()
    }
}

/// Prints instead of sending.
pub struct DryRun<'a> {
    pub args: &'a PublishArgs,
    pub parser: Parser,
    pub names: SourceNames,
    pub record_max: usize,
    pub cursor: Cursor,
    pub printed: u64,
    pub rejected: u64,
    /// That records go to.
    pub topics: BTreeSet<String>,
}

impl DryRun<'_> {
    /// To the end of the input, or to the first piece that is no record unless those may be skipped.
    pub async fn run(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        used: mpsc::Sender<Vec<u8>>,
        mut signals: Signals,
    ) -> Result<ExitCode, Stop> {
        let mut out = BufWriter::new(io::stdout());
        let result = loop {
            let input = tokio::select! {
                biased;
                () = signals.reach(1) => break Err(Stop::Interrupted),
                input = inputs.recv() => input,
            };
            let Some(input) = input else { break Ok(()) };
            let done = self.take(input, &used, &mut out);
            let done = done.and_then(|()| out.flush().map_err(|error| Stop::output(&error)));
            if done.is_err() {
                break done;
            }
        };
        let flushed = out.flush().map_err(|error| Stop::output(&error));
        if !self.args.output.quiet {
            complain(format!(
                "dry run: {}, {} rejected; nothing was sent",
                human::plural(self.printed, "record"),
                human::count(self.rejected)
            ));
        }
        result.and(flushed)?;
        Ok(if self.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn take(
        &mut self,
        input: Input,
        used: &mpsc::Sender<Vec<u8>>,
        out: &mut impl io::Write,
    ) -> Result<(), Stop> {
        match input {
            // Only of a file that is followed, which a dry run does not.
            Input::Began { .. } => Ok(()),
            Input::Note(note) => {
                complain(format!("note: {note}"));
                Ok(())
            }
            Input::Header { source, line, names } => {
                self.cursor.advance(source, Some(line));
                let place = self.names.show(self.cursor.place);
                self.parser.header(&names).map_err(|malformed| Stop::Failed(format!("{place}: {malformed}")))
            }
            Input::Block(block) => {
                let done = self.print_block(&block, out);
                // A reading thread that has ended needs no buffers.
                let _ = used.try_send(block.into_buffer());
                done
            }
            Input::TooLong { source, line, what, size, at_least } => {
                self.cursor.advance(source, line);
                self.reject(&too_long(what, size, at_least, self.record_max))
            }
            Input::NoRecord { source, line, why } => {
                self.cursor.advance(source, line);
                self.reject(&why)
            }
            Input::Failed { source, error } => {
                self.cursor.advance(source, None);
                let place = self.names.show(self.cursor.place);
                Err(Stop::Failed(format!("{place}: the input cannot be read on: {error}")))
            }
        }
    }

    fn print_block(&mut self, block: &Block, out: &mut impl io::Write) -> Result<(), Stop> {
        let mut scratch = Vec::new();
        for piece in block.pieces(self.args.crlf) {
            self.cursor.advance(block.source, piece.line);
            if piece.item.size() > self.record_max {
                let why = too_long("line", piece.item.size() as u64, false, self.record_max);
                self.reject(&why)?;
                continue;
            }
            let why = match self.parser.parse(piece.item, &mut scratch) {
                Err(malformed) => malformed.to_string(),
                Ok(parsed) => match route(self.args, &mut self.topics, parsed.topic.as_deref()) {
                    Err(why) => why,
                    Ok(topic) => {
                        let record = Record { args: self.args, topic, parsed: &parsed };
                        write_line(out, &record).map_err(|error| Stop::output(&error))?;
                        self.printed += 1;
                        continue;
                    }
                },
            };
            self.reject(&why)?;
        }
        Ok(())
    }

    fn reject(&mut self, why: &str) -> Result<(), Stop> {
        self.rejected += 1;
        let sentence = format!("{}: {why}", self.names.show(self.cursor.place));
        if self.args.skip_failed {
            complain(format!("skipped: {sentence}"));
            return Ok(());
        }
        Err(Stop::Failed(sentence))
    }
}

/// The record's topic, by the same rules as if it were sent.
fn route<'a>(
    args: &'a PublishArgs,
    topics: &mut BTreeSet<String>,
    named: Option<&'a str>,
) -> Result<&'a str, String> {
    let Some(topic) = named.filter(|topic| !topic.is_empty()).or(args.topic.as_deref()) else {
        return Err(NO_TOPIC.to_owned());
    };
    if !topics.contains(topic) {
        if let Some(why) = refusal(topic) {
            return Err(why);
        }
        if topics.len() == TOPICS_MAX {
            return Err(one_too_many(topic));
        }
        topics.insert(topic.to_owned());
    }
    Ok(topic)
}

fn write_line(out: &mut impl io::Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
