//! `publish`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ConnectionFlags;
use super::producer::ProducerFlags;

/// How input is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// A record is what stands before the newline, byte for byte.
    Lines,
    /// A JSON object a line.
    Json,
}

/// How the summary is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
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
#[command(
    after_help = "Exit code: 0 every record was acknowledged, 1 not every one, 2 wrong usage, 130 interrupted (after \
                        flushing what was read)."
)]
pub struct PublishArgs {
    /// Files to read; standard input without one, or for -
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Where to publish
    #[arg(long, short, env = "GAPLESS_TOPIC", value_name = "TOPIC", help_heading = "Records")]
    pub topic: String,

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
    #[arg(long, env = "GAPLESS_HEADER", value_name = "NAME=VALUE", value_parser = parse_header, help_heading = "Records")]
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

    /// json: the field that is the key
    #[arg(long, env = "GAPLESS_KEY_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub key_field: Option<String>,

    /// json: the field that is the value [default: the whole object, byte for byte]
    #[arg(long, env = "GAPLESS_VALUE_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub value_field: Option<String>,

    /// json: the field with headers, as an object or as read prints them
    #[arg(long, env = "GAPLESS_HEADERS_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub headers_field: Option<String>,

    /// json: the field with the partition
    #[arg(
        long,
        env = "GAPLESS_PARTITION_FIELD",
        value_name = "FIELD",
        conflicts_with = "partition",
        help_heading = "Records"
    )]
    pub partition_field: Option<String>,

    /// json: the field with the timestamp, in milliseconds since 1970
    #[arg(long, env = "GAPLESS_TIMESTAMP_FIELD", value_name = "FIELD", help_heading = "Records")]
    pub timestamp_field: Option<String>,

    /// Go on after a line that is no record and a record that is not acknowledged, and count them; the exit code is 1
    /// all the same
    #[arg(long, env = "GAPLESS_SKIP_FAILED", help_heading = "Delivery")]
    pub skip_failed: bool,

    #[command(flatten)]
    pub producer: ProducerFlags,

    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// How the summary is printed on standard output
    #[arg(
        long,
        env = "GAPLESS_OUTPUT",
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    pub output: SummaryFormat,

    /// Neither progress nor summary
    #[arg(long, short, env = "GAPLESS_QUIET", help_heading = "Output")]
    pub quiet: bool,

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

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
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
