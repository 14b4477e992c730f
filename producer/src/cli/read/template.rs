//! `--template`: kcat's letters.

use std::io::{self, Write};
use std::str::FromStr;

use super::print::Printed;

/// A template that was read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                '%' => match rest.next() {
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('T') => Piece::Timestamp,
                    Some('k') => Piece::Key,
                    Some('s') => Piece::Value,
                    Some('h') => Piece::Headers,
                    Some('%') => {
                        plain.push('%');
                        continue;
                    }
                    other => {
                        let other = other.map(String::from).unwrap_or_default();
                        return Err(format!(
                            "%{other} is not known; use %t %p %o %T %k %s %h, or %% for a percent sign"
                        ));
                    }
                },
                '\\' => {
                    plain.push(match rest.next() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('\\') => '\\',
                        other => {
                            let other = other.map(String::from).unwrap_or_default();
                            return Err(format!(
                                "\\{other} is not known; use \\n \\t \\r, or \\\\ for a backslash"
                            ));
                        }
                    });
                    continue;
                }
                c => {
                    plain.push(c);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

impl Template {
    /// The record in this shape. `null` stands for null keys and values.
    pub fn print(&self, record: &Printed<'_>, null: &[u8], out: &mut impl Write) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.record.offset)?,
                Piece::Timestamp => write!(out, "{}", record.record.timestamp_ms)?,
                Piece::Key => out.write_all(record.record.key.as_deref().unwrap_or(null))?,
                Piece::Value => out.write_all(record.record.value.as_deref().unwrap_or(null))?,
                Piece::Headers => {
                    for (at, header) in record.record.headers.iter().enumerate() {
                        out.write_all(if at == 0 { b"" } else { b"," })?;
                        out.write_all(&header.key)?;
                        out.write_all(b"=")?;
                        out.write_all(header.value.as_deref().unwrap_or(null))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::print::testing::record;
    use super::*;

    fn print(template: &str) -> String {
        let record = record();
        let mut out = Vec::new();
        let printed = Printed { topic: "events", partition: 3, record: &record };
        template.parse::<Template>().unwrap().print(&printed, b"NULL", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn templates_name_every_part_and_add_nothing() {
        assert_eq!(print("%t-%p@%o %T\\n"), "events-3@17 1700000000000\n");
        assert_eq!(print("%k=%s|%h"), "user=signed in|a=1,b=NULL");
        assert_eq!(print("100%%\\t\\\\"), "100%\t\\");
        assert_eq!(print(""), "");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["%x", "%", "\\q", "\\"] {
            assert!(text.parse::<Template>().unwrap_err().contains("is not known"), "{text}");
        }
    }
}
