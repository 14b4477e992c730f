//! `--format csv`: fields by the names of their columns.

use std::borrow::Cow;

use super::fields::{self, FieldNames};
use super::{Malformed, Parsed};
use crate::cli::publish::input::Row;

/// Finds fields in rows.
#[derive(Debug, Clone)]
pub struct RowParser {
    names: FieldNames,
    null: Option<Vec<u8>>,
    columns: Columns,
}

/// Where the fields are, once a header is known.
#[derive(Debug, Clone, Default)]
struct Columns {
    count: usize,
    key: Option<usize>,
    value: Option<usize>,
    headers: Vec<usize>,
    partition: Option<usize>,
    timestamp: Option<usize>,
    topic: Option<usize>,
    /// Each column's name as JSON writes it before a value; empty if the value is one field.
    json: Vec<String>,
}

impl RowParser {
    pub fn new(names: FieldNames, null: Option<Vec<u8>>) -> Self {
        Self { names, null, columns: Columns::default() }
    }

    /// The names of the columns of the rows that follow; why they cannot be used.
    pub fn header(&mut self, names: &[Vec<u8>]) -> Result<(), Malformed> {
        let find = |wanted: &str| -> Result<usize, Malformed> {
            let mut found = (0..).zip(names).filter(|(_, name)| name.as_slice() == wanted.as_bytes());
            match (found.next(), found.next()) {
                (Some((at, _)), None) => Ok(at),
                (None, _) => Err(Malformed::NoColumn { wanted: wanted.to_owned(), columns: listed(names) }),
                (Some(_), Some(_)) => Err(Malformed::TwoColumns(wanted.to_owned())),
            }
        };
        let maybe = |wanted: &Option<String>| wanted.as_deref().map(find).transpose();
        let wanted = &self.names;
        let mut columns = Columns {
            count: names.len(),
            key: maybe(&wanted.key)?,
            value: maybe(&wanted.value)?,
            headers: wanted.header.iter().map(|header| find(&header.field)).collect::<Result<_, _>>()?,
            partition: maybe(&wanted.partition)?,
            timestamp: maybe(&wanted.timestamp)?,
            topic: maybe(&wanted.topic)?,
            json: Vec::new(),
        };
        if columns.value.is_none() {
            for (at, name) in names.iter().enumerate() {
                let text = std::str::from_utf8(name).map_err(|_| Malformed::BadField {
                    field: String::from_utf8_lossy(name).into_owned(),
                    problem: "has a name that is not UTF-8, so a row cannot be JSON; --value-field takes one field",
                })?;
                if names.get(..at).unwrap_or_default().contains(name) {
                    return Err(Malformed::TwoColumns(text.to_owned()));
                }
                columns.json.push(serde_json::Value::from(text).to_string());
            }
        }
        self.columns = columns;
        Ok(())
    }

    /// The record in a row. `scratch` takes the row as JSON, if that is its value.
    pub fn parse<'a>(&'a self, row: Row<'a>, scratch: &'a mut Vec<u8>) -> Result<Parsed<'a>, Malformed> {
        let columns = &self.columns;
        if row.len() != columns.count {
            return Err(Malformed::FieldCount { found: row.len(), expected: columns.count });
        }
        let field = |at: usize| row.field(at).unwrap_or_default();
        // There is no null in a row: who has nothing to say leaves the field empty.
        let given = |at: Option<usize>| at.map(field).filter(|text| !text.is_empty());
        let named = |name: &'a Option<String>| name.as_deref().unwrap_or_default();
        let names = &self.names;
        let partition = given(columns.partition).map(|bytes| {
            let name = named(&names.partition);
            fields::text(name, bytes).and_then(|text| fields::partition(name, &text))
        });
        let timestamp_ms = given(columns.timestamp).map(|bytes| {
            let name = named(&names.timestamp);
            fields::text(name, bytes).and_then(|text| fields::timestamp(name, &text))
        });
        let topic = given(columns.topic).map(|bytes| fields::text(named(&names.topic), bytes));
        let header = |(header, at): (&'a fields::HeaderField, &usize)| {
            (Cow::Borrowed(header.name.as_str()), Some(Cow::Borrowed(field(*at))))
        };
        let value = match columns.value {
            Some(at) => Some(field(at)).filter(|value| self.null.as_deref() != Some(value)),
            None => {
                self.write_json(row, scratch)?;
                Some(scratch.as_slice())
            }
        };
        Ok(Parsed {
            key: columns.key.map(|at| Cow::Borrowed(field(at))),
            value: value.map(Cow::Borrowed),
            partition: partition.transpose()?,
            timestamp_ms: timestamp_ms.transpose()?,
            topic: topic.transpose()?,
            headers: names.header.iter().zip(&columns.headers).map(header).collect(),
        })
    }

    /// An object of strings, in the order of the columns.
    fn write_json(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.clear();
        for (name, field) in self.columns.json.iter().zip(row.fields()) {
            out.push(if out.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            let text = fields::text(name.trim_matches('"'), field)?;
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut *out, &*text);
        }
        out.push(b'}');
        Ok(())
    }
}

/// Names for a message: not more of them than a screen takes.
fn listed(names: &[Vec<u8>]) -> String {
    const TOLD_MAX: usize = 20;
    let mut told: Vec<_> =
        names.iter().take(TOLD_MAX).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if names.len() > TOLD_MAX {
        told.push(format!("and {} more", names.len() - TOLD_MAX));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME=FIELD` words, as flags give them.
    fn parser(words: &[&str]) -> RowParser {
        let mut names = FieldNames::default();
        for word in words {
            let (what, field) = word.split_once('=').unwrap();
            let place = match what {
                "key" => &mut names.key,
                "value" => &mut names.value,
                "partition" => &mut names.partition,
                "timestamp" => &mut names.timestamp,
                "topic" => &mut names.topic,
                _ => {
                    names.header.push(word.parse().unwrap());
                    continue;
                }
            };
            *place = Some(field.to_owned());
        }
        RowParser::new(names, Some(b"NULL".to_vec()))
    }

    fn header(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn with_row<T>(fields: &[&[u8]], with: impl FnOnce(Row<'_>) -> T) -> T {
        let bytes = fields.concat();
        let mut end = 0;
        let ends: Vec<u32> = fields
            .iter()
            .map(|field| {
                end += field.len() as u32;
                end
            })
            .collect();
        with(Row::of(&bytes, &ends))
    }

    #[test]
    fn fields_are_found_by_the_names_of_their_columns() {
        let mut parser =
            parser(&["key=id", "value=text", "partition=p", "timestamp=at", "topic=to", "h=id", "x=text"]);
        parser.header(&header(&["to", "text", "p", "at", "id", "more"])).unwrap();
        let mut scratch = Vec::new();
        with_row(&[b"events", b"hello", b"3", b"1970-01-01T00:00:01Z", b"", b"\xff"], |row| {
            let parsed = parser.parse(row, &mut scratch).unwrap();
            assert_eq!(parsed.key.as_deref(), Some(&b""[..]));
            assert_eq!(parsed.value.as_deref(), Some(&b"hello"[..]));
            assert_eq!((parsed.partition, parsed.timestamp_ms), (Some(3), Some(1000)));
            assert_eq!(parsed.topic.as_deref(), Some("events"));
            let headers: Vec<_> =
                parsed.headers.iter().map(|(name, value)| (&**name, value.as_deref().unwrap())).collect();
            assert_eq!(headers, [("h", &b""[..]), ("x", b"hello")]);
        });
        with_row(&[b"", b"NULL", b"", b"", b"k", b""], |row| {
            let parsed = parser.parse(row, &mut scratch).unwrap();
            assert_eq!((parsed.partition, parsed.timestamp_ms, parsed.topic), (None, None, None));
            assert_eq!(parsed.value, None);
        });
    }

    #[test]
    fn a_row_is_an_object_of_strings() {
        let mut parser = parser(&["key=b"]);
        parser.header(&header(&["a", "b \"x\"", "b"])).unwrap();
        let mut scratch = Vec::new();
        with_row(&[b"1", "é\n".as_bytes(), b"NULL"], |row| {
            let parsed = parser.parse(row, &mut scratch).unwrap();
            let value = String::from_utf8(parsed.value.unwrap().into_owned()).unwrap();
            assert_eq!(value, r#"{"a":"1","b \"x\"":"é\n","b":"NULL"}"#);
        });
    }

    #[test]
    fn rows_and_headers_that_do_not_fit_say_why() {
        let rows: [(&[&[u8]], &str); 4] = [
            (&[b"1"], "a row of 1 field, but the header names 3"),
            (&[b"1", b"x", b"2"], "field 'p' is not a whole number"),
            (&[b"1", b"-1", b"2"], "field 'p' is not a whole number"),
            (&[b"1", b"", b"\xff"], "field 'c' is not UTF-8"),
        ];
        let mut parser = parser(&["key=a", "partition=p"]);
        parser.header(&header(&["a", "p", "c"])).unwrap();
        for (fields, expected) in rows {
            let error = with_row(fields, |row| parser.parse(row, &mut Vec::new()).unwrap_err().to_string());
            assert!(error.contains(expected), "{error}");
        }
        for (names, expected) in [
            (&["x", "y"][..], "no column 'a'; there are: x, y"),
            (&["a", "p", "a"], "two columns are called 'a'"),
            (&["a", "p", "", ""], "two columns are called ''"),
        ] {
            let error = parser.header(&header(names)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
