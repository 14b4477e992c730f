//! `publish`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gapless_common::units::parse_duration;

use super::producer::ProducerFlags;
use super::values::{parse_pair, parse_rate};
use super::{ConnectionFlags, OutputFlags};
use crate::cli::publish::{Framing, HeaderField};

/// How input is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// A record is what stands before the newline, byte for byte.
    Lines,
    /// A JSON object a line.
    Json,
    /// A JSON object a line, as read --output json and publish --dry-run print it.
    Records,
    /// Rows with a header that names their columns.
    Csv,
    /// Bytes: a file is a record, or is cut as --framing says.
    Raw,
}

impl InputFormat {
    /// As the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Json => "json",
            Self::Records => "records",
            Self::Csv => "csv",
            Self::Raw => "raw",
        }
    }
}

/// Whether packed input is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decompress {
    /// gzip and zstd are known by their first bytes.
    Auto,
    /// Bytes are taken as they are.
    Never,
}

/// What a line of the report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportBy {
    /// One record.
    Record,
    /// The records of one batch.
    Batch,
}

/// `publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
  gapless-producer publish -t events my.log                              a record a line, byte for byte
  gapless-producer publish -t events --format json --key-field id a.jsonl  keys from a field
  tail -F my.log | gapless-producer publish -t events                    what comes on standard input
  gapless-producer publish -t events --format csv --dry-run a.csv.gz       look first, send nothing

Exit code: 0 every record was acknowledged, 1 not every one, 2 wrong usage, 130 interrupted (after flushing what was read).")]
pub struct PublishArgs {
    /// Files to read; standard input without one, or for -
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Where to publish; with --topic-field, where records go whose field says nothing
    #[arg(
        long,
        short,
        env = "GAPLESS_TOPIC",
        value_name = "TOPIC",
        required_unless_present = "topic_field",
        help_heading = "Records"
    )]
    pub topic: Option<String>,

    /// json, csv, records: the field with the topic, of at most 1,000
    #[arg(long, env = "GAPLESS_TOPIC_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub topic_field: Option<String>,

    /// How input is cut into records
    #[arg(
        long,
        env = "GAPLESS_FORMAT",
        value_name = "FORMAT",
        default_value = "lines",
        help_heading = "Records"
    )]
    pub format: InputFormat,

    /// Send everything to this partition, whatever the key
    #[arg(long, env = "GAPLESS_PARTITION", value_name = "N", value_parser = clap::value_parser!(i32).range(0..),
          help_heading = "Records")]
    pub partition: Option<i32>,

    /// A header of every record. May be repeated
    #[arg(long, env = "GAPLESS_HEADER", value_name = "NAME=VALUE", value_parser = parse_pair, help_heading = "Records")]
    pub header: Vec<(String, String)>,

    /// A value that is exactly this word is sent as null, which deletes its key in a compacted topic
    #[arg(long, env = "GAPLESS_NULL_VALUE", value_name = "WORD", help_heading = "Records")]
    pub null_value: Option<String>,

    /// A carriage return before the newline is part of the line's end, not of the record
    #[arg(long, env = "GAPLESS_CRLF", help_heading = "Records")]
    pub crlf: bool,

    /// lines: what stands before this text is the key; \t, \r, \0, \\ and \xNN are understood
    #[arg(long, env = "GAPLESS_KEY_DELIMITER", value_name = "TEXT", value_parser = parse_delimiter, help_heading = "Records")]
    pub key_delimiter: Option<Delimiter>,

    /// json, csv: the field that is the key
    #[arg(long, env = "GAPLESS_KEY_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub key_field: Option<String>,

    /// json, csv: the field that is the value [default: the whole object, byte for byte; a row as a JSON object]
    #[arg(long, env = "GAPLESS_VALUE_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub value_field: Option<String>,

    /// json: the field with headers, as an object or as read prints them
    #[arg(long, env = "GAPLESS_HEADERS_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub headers_field: Option<String>,

    /// json, csv: a header of each record, with the value of this field. May be repeated
    #[arg(long, env = "GAPLESS_HEADER_FIELD", value_name = "[NAME=]FIELD", help_heading = "Records")]
    pub header_field: Vec<HeaderField>,

    /// json, csv: the field with the partition
    #[arg(
        long,
        env = "GAPLESS_PARTITION_FIELD",
        value_name = "FIELD",
        conflicts_with = "partition",
        help_heading = "Records"
    )]
    pub partition_field: Option<String>,

    /// json, csv: the field with the timestamp, in milliseconds since 1970 or as 2024-05-01T12:00:00Z
    #[arg(long, env = "GAPLESS_TIMESTAMP_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub timestamp_field: Option<String>,

    /// csv: what stands between fields; \t is understood [default: ,]
    #[arg(long, env = "GAPLESS_FIELD_DELIMITER", value_name = "CHAR", value_parser = parse_byte, help_heading = "Input")]
    pub field_delimiter: Option<Byte>,

    /// csv: what stands around fields, or none [default: "]
    #[arg(long, env = "GAPLESS_QUOTE", value_name = "CHAR", value_parser = parse_quote, help_heading = "Input")]
    pub quote: Option<Quote>,

    /// csv: the first row is a record; columns are called 1, 2, ...
    #[arg(long, env = "GAPLESS_NO_HEADER", help_heading = "Input")]
    pub no_header: bool,

    /// raw: whole (a file is a record), fixed:SIZE, or a length before each record: u16be, u16le, u32be, u32le, varint
    /// [default: whole]
    #[arg(long, env = "GAPLESS_FRAMING", value_name = "FRAMING", help_heading = "Input")]
    pub framing: Option<Framing>,

    /// Whether gzip and zstd are unpacked
    #[arg(
        long,
        env = "GAPLESS_DECOMPRESS",
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Input"
    )]
    pub decompress: Decompress,

    /// Wait for more at the end of the file, also after it was renamed and made anew or cut to nothing, and for the next writer of
    /// a FIFO; until a signal. For one file of lines, which is read as it is
    #[arg(long, env = "GAPLESS_FOLLOW", help_heading = "Input")]
    pub follow: bool,

    /// Begin where the last run with this file ended, and write to it how far everything is acknowledged, once a second and at
    /// the end. For one file of lines, which is read as it is
    #[arg(long, env = "GAPLESS_POSITION_FILE", value_name = "FILE", help_heading = "Input")]
    pub position_file: Option<PathBuf>,

    /// Print each record as JSON and send nothing; no broker is needed. --format records takes it back
    #[arg(
        long,
        env = "GAPLESS_DRY_RUN",
        conflicts_with_all = ["create_topic", "report", "output", "metrics_listen", "metrics_file", "follow", "position_file"],
        help_heading = "Output"
    )]
    pub dry_run: bool,

    /// Create topics that do not exist, first
    #[arg(long, env = "GAPLESS_CREATE_TOPIC", help_heading = "Topic")]
    pub create_topic: bool,

    /// How many partitions a created topic has [default: the broker's own]
    #[arg(long, env = "GAPLESS_TOPIC_PARTITIONS", value_name = "N", requires = "create_topic",
          value_parser = clap::value_parser!(i32).range(1..), help_heading = "Topic")]
    pub topic_partitions: Option<i32>,

    /// How many brokers keep each of its partitions [default: the broker's own]
    #[arg(long, env = "GAPLESS_TOPIC_REPLICATION_FACTOR", value_name = "N", requires = "create_topic",
          value_parser = clap::value_parser!(i16).range(1..), help_heading = "Topic")]
    pub topic_replication_factor: Option<i16>,

    /// A setting of a created topic, such as max.message.bytes=2000000. May be repeated
    #[arg(long, env = "GAPLESS_TOPIC_CONFIG", value_name = "KEY=VALUE", requires = "create_topic",
          value_parser = parse_pair, help_heading = "Topic")]
    pub topic_config: Vec<(String, String)>,

    /// At most so many records a second, evenly [default: as many as go]
    #[arg(long, env = "GAPLESS_RATE", value_name = "N", value_parser = parse_rate, help_heading = "Delivery")]
    pub rate: Option<f64>,

    /// Go on after a line that is no record and a record that is not acknowledged, and count them; the exit code is 1
    /// all the same
    #[arg(long, env = "GAPLESS_SKIP_FAILED", help_heading = "Delivery")]
    pub skip_failed: bool,

    /// When it is not known at the end what became of some records, because an answer was lost, find out for so long: they
    /// are sent again exactly as they went out before, and the broker says what it has [default: not at all]
    #[arg(
        long,
        env = "GAPLESS_SETTLE",
        value_name = "DURATION",
        value_parser = parse_duration,
        conflicts_with = "skip_failed",
        help_heading = "Delivery"
    )]
    pub settle: Option<Duration>,

    #[command(flatten)]
    pub producer: ProducerFlags,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    #[command(flatten)]
    pub output: OutputFlags,

    /// Write to this file, as JSON lines, what became of every record, with a digest of its bytes
    #[arg(long, env = "GAPLESS_REPORT", value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Whether a line of the report is about one record or one batch
    #[arg(
        long,
        env = "GAPLESS_REPORT_BY",
        value_name = "UNIT",
        default_value = "record",
        help_heading = "Output"
    )]
    pub report_by: ReportBy,

    /// Serve Prometheus metrics at /metrics while running
    #[arg(long, env = "GAPLESS_METRICS_LISTEN", value_name = "HOST:PORT", help_heading = "Output")]
    pub metrics_listen: Option<String>,

    /// Write Prometheus metrics to this file, every 10s and at the end: for the textfile collector
    #[arg(long, env = "GAPLESS_METRICS_FILE", value_name = "FILE", help_heading = "Output")]
    pub metrics_file: Option<PathBuf>,
}

/// A whole string of bytes between key and value; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiter(pub Vec<u8>);

/// What separates fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Byte(pub u8);

/// What stands around fields, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote(pub Option<u8>);

fn parse_byte(text: &str) -> Result<Byte, String> {
    match parse_delimiter(text)?.0.as_slice() {
        [b'\r'] => Err("a carriage return ends the row before it can separate".to_owned()),
        [byte] => Ok(Byte(*byte)),
        _ => Err("expected one byte".to_owned()),
    }
}

fn parse_quote(text: &str) -> Result<Quote, String> {
    match text {
        "none" => Ok(Quote(None)),
        _ => Ok(Quote(Some(parse_byte(text)?.0))),
    }
}

fn parse_delimiter(text: &str) -> Result<Delimiter, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = (digits.len() == 2).then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
                byte.ok_or("\\x takes two hexadecimal digits")?
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("\\{other} is not known; write \\\\ for a backslash"));
            }
        });
    }
    match bytes.as_slice() {
        [] => Err("an empty delimiter separates nothing".to_owned()),
        bytes if bytes.contains(&b'\n') => Err("a newline ends the record before it can separate".to_owned()),
        _ => Ok(Delimiter(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_and_around_fields() {
        assert_eq!(parse_byte(r"\t"), Ok(Byte(b'\t')));
        assert_eq!(parse_byte(";"), Ok(Byte(b';')));
        for text in ["", ";;", "é", r"\r", r"\x0a"] {
            assert!(parse_byte(text).is_err(), "{text}");
        }
        assert_eq!(parse_quote("none"), Ok(Quote(None)));
        assert_eq!(parse_quote("'"), Ok(Quote(Some(b'\''))));
    }

    #[test]
    fn delimiters_are_whole_strings_with_escapes() {
        for (text, expected) in [
            (":", Ok(&b":"[..])),
            ("::=", Ok(b"::=")),
            (r"\t", Ok(b"\t")),
            (r"a\\b", Ok(b"a\\b")),
            (r"\x1f\x00", Ok(&[0x1f, 0])),
            ("é", Ok("é".as_bytes())),
            ("", Err("separates nothing")),
            (r"\q", Err(r"\q is not known")),
            ("\\", Err("is not known")),
            (r"\x1", Err("two hexadecimal digits")),
            (r"\xzz", Err("two hexadecimal digits")),
            (r"\n", Err(r"\n is not known")),
            (r"\x0a", Err("ends the record")),
        ] {
            match (parse_delimiter(text), expected) {
                (Ok(Delimiter(bytes)), Ok(expected)) => assert_eq!(bytes, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
            }
        }
    }
}
