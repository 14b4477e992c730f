//! From a line to the fields of a record.

mod json;
mod lines;

use std::borrow::Cow;

pub use json::JsonParser;
pub use lines::LineParser;

use crate::cli::args::{InputFormat, PublishArgs};
use crate::cli::exit::Stop;

/// What a line says. Bytes that stand in the line as they are are views of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed<'a> {
    pub key: Option<Cow<'a, [u8]>>,
    pub value: Option<Cow<'a, [u8]>>,
    pub partition: Option<i32>,
    pub timestamp_ms: Option<i64>,
    /// Beside those that every record has.
    pub headers: Vec<ParsedHeader<'a>>,
}

/// A header's name and value.
pub type ParsedHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `--key-delimiter` does not stand in the line.
    #[error("the key delimiter '{0}' is not in this line")]
    NoDelimiter(String),
    /// Not UTF-8, and so not JSON.
    #[error("not UTF-8 at byte {0}, so not JSON")]
    NotUtf8(usize),
    /// Not JSON, or no object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// A field that was named is not there.
    #[error("no field '{0}'")]
    MissingField(String),
    /// A field that is there cannot be used.
    #[error("field '{field}' {problem}")]
    BadField { field: String, problem: &'static str },
}

/// How lines become records.
#[derive(Debug)]
pub enum Parser {
    Lines(LineParser),
    Json(JsonParser),
}

impl Parser {
    /// Refuses flags that belong to another format.
    pub fn new(args: &PublishArgs) -> Result<Self, Stop> {
        let (json, lines) = (
            [
                ("--key-field", args.key_field.is_some()),
                ("--value-field", args.value_field.is_some()),
                ("--headers-field", args.headers_field.is_some()),
                ("--partition-field", args.partition_field.is_some()),
                ("--timestamp-field", args.timestamp_field.is_some()),
            ],
            [("--key-delimiter", args.key_delimiter.is_some())],
        );
        let (strangers, here, there) = match args.format {
            InputFormat::Lines => (&json[..], "lines", "json"),
            InputFormat::Json => (&lines[..], "json", "lines"),
        };
        if let Some((flag, _)) = strangers.iter().find(|(_, given)| *given) {
            return Err(Stop::Usage(format!("{flag} belongs to --format {there}, but the format is {here}")));
        }
        let null = args.null_value.as_ref().map(|word| word.as_bytes().to_vec());
        Ok(match args.format {
            InputFormat::Lines => Self::Lines(LineParser {
                delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
                null,
            }),
            InputFormat::Json => Self::Json(JsonParser {
                key: args.key_field.clone(),
                value: args.value_field.clone(),
                headers: args.headers_field.clone(),
                partition: args.partition_field.clone(),
                timestamp: args.timestamp_field.clone(),
                null,
            }),
        })
    }

    /// The record in a line without its end.
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Parsed<'a>, Malformed> {
        match self {
            Self::Lines(parser) => parser.parse(line),
            Self::Json(parser) => parser.parse(line),
        }
    }
}
