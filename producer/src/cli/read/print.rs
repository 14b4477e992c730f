//! One record on standard output.

use std::io::{self, Write};

use gapless_common::records::Record;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::template::Template;
use crate::cli::args::{ReadArgs, ReadOutput};
use crate::cli::base64;

/// A record and where it was.
pub struct Printed<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub record: &'a Record,
}

/// How records are printed.
pub enum Printer {
    Lines { key_delimiter: Option<String>, null: Option<String> },
    Json,
    Template { template: Template, null: Option<String> },
}

impl Printer {
    pub fn new(args: &ReadArgs) -> Self {
        let null = args.null_value.clone();
        match (&args.template, args.output) {
            (Some(template), _) => Self::Template { template: template.clone(), null },
            (None, ReadOutput::Lines) => Self::Lines { key_delimiter: args.key_delimiter.clone(), null },
            (None, ReadOutput::Json) => Self::Json,
        }
    }

    /// True if this record has a null that cannot be told from an empty value in what is printed.
    pub fn hides_null(&self, record: &Record) -> bool {
        match self {
            Self::Lines { null: None, .. } | Self::Template { null: None, .. } => record.value.is_none(),
            _ => false,
        }
    }

    pub fn print(&self, printed: &Printed<'_>, out: &mut impl Write) -> io::Result<()> {
        let record = printed.record;
        match self {
            Self::Lines { key_delimiter, null } => {
                let null = null.as_deref().unwrap_or_default().as_bytes();
                if let Some(delimiter) = key_delimiter {
                    out.write_all(record.key.as_deref().unwrap_or(null))?;
                    out.write_all(delimiter.as_bytes())?;
                }
                out.write_all(record.value.as_deref().unwrap_or(null))?;
                out.write_all(b"\n")
            }
            Self::Json => {
                serde_json::to_writer(&mut *out, printed)?;
                out.write_all(b"\n")
            }
            Self::Template { template, null } => {
                template.print(printed, null.as_deref().unwrap_or_default().as_bytes(), out)
            }
        }
    }
}

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", self.topic)?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.record.offset.0)?;
        map.serialize_entry("timestamp", &self.record.timestamp_ms)?;
        serialize_bytes(&mut map, "key", "key_base64", self.record.key.as_deref())?;
        serialize_bytes(&mut map, "value", "value_base64", self.record.value.as_deref())?;
        map.serialize_entry("headers", &Headers(self.record))?;
        map.end()
    }
}

/// Text as it is, null as null, other bytes as base64 under a name that says so.
pub fn serialize_bytes<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    name_base64: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => map.serialize_entry(name, &()),
        Some((_, Ok(text))) => map.serialize_entry(name, text),
        Some((bytes, Err(_))) => map.serialize_entry(name_base64, &base64::encode(bytes)),
    }
}

struct Headers<'a>(&'a Record);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut headers = serializer.serialize_seq(Some(self.0.headers.len()))?;
        for header in &self.0.headers {
            headers.serialize_element(&Header { key: &header.key, value: header.value.as_deref() })?;
        }
        headers.end()
    }
}

struct Header<'a> {
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", &String::from_utf8_lossy(self.key))?;
        serialize_bytes(&mut map, "value", "value_base64", self.value)?;
        map.end()
    }
}

#[cfg(test)]
pub mod testing {
    use bytes::Bytes;
    use gapless_common::records::{Header, Record};
    use gapless_common::types::Offset;

    pub fn record() -> Record {
        Record {
            offset: Offset(17),
            timestamp_ms: 1_700_000_000_000,
            key: Some(Bytes::from_static(b"user")),
            value: Some(Bytes::from_static(b"signed in")),
            headers: vec![
                Header { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"1")) },
                Header { key: Bytes::from_static(b"b"), value: None },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::testing::record;
    use super::*;
    use crate::cli::publish::testing::parse_what_read_prints;

    fn print(printer: &Printer, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        printer.print(&Printed { topic: "events", partition: 3, record }, &mut out).unwrap();
        out
    }

    #[test]
    fn lines_are_the_values_bytes() {
        let plain = Printer::Lines { key_delimiter: None, null: None };
        assert_eq!(print(&plain, &record()), b"signed in\n");
        let keyed = Printer::Lines { key_delimiter: Some("::".to_owned()), null: Some("NULL".to_owned()) };
        assert_eq!(print(&keyed, &record()), b"user::signed in\n");
        let null = Record { key: None, value: None, ..record() };
        assert_eq!(print(&keyed, &null), b"NULL::NULL\n");
        assert!(plain.hides_null(&null) && !keyed.hides_null(&null) && !plain.hides_null(&record()));
        let binary = Record { value: Some(Bytes::from_static(&[0, 255, 13])), ..record() };
        assert_eq!(print(&plain, &binary), [0, 255, 13, 10]);
    }

    #[test]
    fn json_says_all() {
        assert_eq!(
            String::from_utf8(print(&Printer::Json, &record())).unwrap(),
            "{\"topic\":\"events\",\"partition\":3,\"offset\":17,\"timestamp\":1700000000000,\"key\":\"user\",\
             \"value\":\"signed in\",\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":null}]}\n"
        );
    }

    #[test]
    fn publish_takes_back_what_read_prints() {
        let records = [
            record(),
            Record { key: None, value: None, headers: vec![], ..record() },
            Record { key: Some(Bytes::new()), value: Some(Bytes::from_static(&[0xff, 0, 0x80])), ..record() },
            Record {
                value: Some(Bytes::from_static(b"\"quoted\\\" \n \xc3\xa9")),
                timestamp_ms: -5,
                ..record()
            },
        ];
        for record in records {
            let line = print(&Printer::Json, &record);
            let parsed = parse_what_read_prints(line.trim_ascii_end());
            assert_eq!(parsed.key.as_deref(), record.key.as_deref());
            assert_eq!(parsed.value.as_deref(), record.value.as_deref());
            assert_eq!((parsed.partition, parsed.timestamp_ms), (Some(3), Some(record.timestamp_ms)));
            let headers: Vec<_> =
                parsed.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            let expected: Vec<_> =
                record.headers.iter().map(|header| (&*header.key, header.value.as_deref())).collect();
            assert_eq!(headers, expected);
        }
    }
}
