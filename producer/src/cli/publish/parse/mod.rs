//! From a piece of input to the fields of a record.

mod fields;
mod json;
mod lines;
mod rows;

use std::borrow::Cow;

pub use fields::{FieldNames, HeaderField};
pub use json::JsonParser;
pub use lines::LineParser;
pub use rows::RowParser;

use super::input::{Cut, Framing, Item, RowSyntax};
use crate::cli::args::{InputFormat, PublishArgs};
use crate::cli::exit::Stop;

/// What a piece of input says. Bytes that stand in it as they are are views of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed<'a> {
    pub key: Option<Cow<'a, [u8]>>,
    pub value: Option<Cow<'a, [u8]>>,
    pub partition: Option<i32>,
    pub timestamp_ms: Option<i64>,
    pub topic: Option<Cow<'a, str>>,
    /// Beside those that every record has.
    pub headers: Vec<ParsedHeader<'a>>,
}

/// A header's name and value.
pub type ParsedHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// Why a piece of input is no record.
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
    /// The same, where something else is.
    #[error("no field '{wanted}'; there are: {there}")]
    OtherFields { wanted: String, there: String },
    /// A field that is there cannot be used.
    #[error("field '{field}' {problem}")]
    BadField { field: String, problem: &'static str },
    /// A column that was named is not in the header.
    #[error("no column '{wanted}'; there are: {columns}")]
    NoColumn { wanted: String, columns: String },
    /// Which of them is meant?
    #[error("two columns are called '{0}'")]
    TwoColumns(String),
    /// A row that is shorter or longer than the header.
    #[error("a row of {}, but the header names {expected}", crate::cli::human::plural(*found as u64, "field"))]
    FieldCount { found: usize, expected: usize },
}

/// How pieces of input become records.
#[derive(Debug, Clone)]
pub enum Parser {
    Lines(LineParser),
    Json(JsonParser),
    Rows(RowParser),
    /// The piece is the value.
    Raw,
}

impl Parser {
    /// Refuses flags that belong to another format.
    pub fn new(args: &PublishArgs) -> Result<Self, Stop> {
        refuse_strangers(args)?;
        let null = args.null_value.as_ref().map(|word| word.as_bytes().to_vec());
        let named = FieldNames {
            key: args.key_field.clone(),
            value: args.value_field.clone(),
            headers: args.headers_field.clone(),
            header: args.header_field.clone(),
            partition: args.partition_field.clone(),
            timestamp: args.timestamp_field.clone(),
            topic: args.topic_field.clone(),
        };
        Ok(match args.format {
            InputFormat::Lines => Self::Lines(LineParser {
                delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
                null,
            }),
            InputFormat::Json => Self::Json(JsonParser { names: named, null, may_miss: false }),
            InputFormat::Records => {
                let names = FieldNames { topic: named.topic, ..FieldNames::as_read_prints() };
                Self::Json(JsonParser { names, null: None, may_miss: true })
            }
            InputFormat::Csv if null.is_some() && named.value.is_none() => {
                return Err(Stop::Usage(
                    "--null-value needs --value-field: a row as JSON is never null".to_owned(),
                ));
            }
            InputFormat::Csv => Self::Rows(RowParser::new(named, null)),
            InputFormat::Raw => Self::Raw,
        })
    }

    /// The names of the columns of the rows that follow.
    pub fn header(&mut self, names: &[Vec<u8>]) -> Result<(), Malformed> {
        match self {
            Self::Rows(parser) => parser.header(names),
            Self::Lines(_) | Self::Json(_) | Self::Raw => Ok(()),
        }
    }

    /// The value of a record that has nothing else, where that can be told at a glance.
    pub fn value_alone<'a>(&self, item: Item<'a>) -> Option<&'a [u8]> {
        match (self, item) {
            (Self::Lines(LineParser { delimiter: None, null: None }) | Self::Raw, Item::Bytes(bytes)) => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The record in a piece. `scratch` is memory for what does not stand there as it is.
    pub fn parse<'a>(&'a self, item: Item<'a>, scratch: &'a mut Vec<u8>) -> Result<Parsed<'a>, Malformed> {
        match (self, item) {
            (Self::Lines(parser), Item::Bytes(line)) => parser.parse(line),
            (Self::Json(parser), Item::Bytes(line)) => parser.parse(line),
            (Self::Rows(parser), Item::Row(row)) => parser.parse(row, scratch),
            (Self::Raw, Item::Bytes(bytes)) => {
                Ok(Parsed { value: Some(Cow::Borrowed(bytes)), ..Parsed::default() })
            }
            // Input is cut as the format says.
            (Self::Rows(_), Item::Bytes(_)) | (_, Item::Row(_)) => {
                Err(Malformed::NotJson("cut as another format".to_owned()))
            }
        }
    }
}

/// How this format cuts input.
pub fn cut(args: &PublishArgs) -> Cut {
    match args.format {
        InputFormat::Lines | InputFormat::Json | InputFormat::Records => Cut::Lines,
        InputFormat::Csv => Cut::Rows(RowSyntax {
            delimiter: args.field_delimiter.map_or(b',', |byte| byte.0),
            quote: args.quote.map_or(Some(b'"'), |quote| quote.0),
            header: !args.no_header,
        }),
        InputFormat::Raw => Cut::Frames(args.framing.unwrap_or(Framing::Whole)),
    }
}

fn refuse_strangers(args: &PublishArgs) -> Result<(), Stop> {
    use InputFormat::{Csv, Json, Lines, Raw, Records};
    let flags: [(&str, bool, &[InputFormat]); 14] = [
        ("--key-delimiter", args.key_delimiter.is_some(), &[Lines]),
        ("--crlf", args.crlf, &[Lines, Json, Records]),
        ("--null-value", args.null_value.is_some(), &[Lines, Json, Csv]),
        ("--key-field", args.key_field.is_some(), &[Json, Csv]),
        ("--value-field", args.value_field.is_some(), &[Json, Csv]),
        ("--headers-field", args.headers_field.is_some(), &[Json]),
        ("--header-field", !args.header_field.is_empty(), &[Json, Csv]),
        ("--partition-field", args.partition_field.is_some(), &[Json, Csv]),
        ("--timestamp-field", args.timestamp_field.is_some(), &[Json, Csv]),
        ("--topic-field", args.topic_field.is_some(), &[Json, Csv, Records]),
        ("--field-delimiter", args.field_delimiter.is_some(), &[Csv]),
        ("--quote", args.quote.is_some(), &[Csv]),
        ("--no-header", args.no_header, &[Csv]),
        ("--framing", args.framing.is_some(), &[Raw]),
    ];
    let stranger = flags.iter().find(|(_, given, formats)| *given && !formats.contains(&args.format));
    let Some((flag, _, formats)) = stranger else { return Ok(()) };
    let there = formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(" or ");
    let here = args.format.name();
    Err(Stop::Usage(format!("{flag} belongs to --format {there}, but the format is {here}")))
}
