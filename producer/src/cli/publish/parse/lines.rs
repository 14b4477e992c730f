//! `--format lines`: the line is the value, byte for byte; or key, delimiter, value.

use std::borrow::Cow;

use memchr::memmem;

use super::{Malformed, Parsed};

/// Cuts lines at the delimiter.
#[derive(Debug, Clone)]
pub struct LineParser {
    pub delimiter: Option<Vec<u8>>,
    pub null: Option<Vec<u8>>,
}

impl LineParser {
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Parsed<'a>, Malformed> {
        let (key, value) = match &self.delimiter {
            None => (None, line),
            Some(delimiter) => {
                let at = memmem::find(line, delimiter)
                    .ok_or_else(|| Malformed::NoDelimiter(delimiter.escape_ascii().to_string()))?;
                let (key, rest) = line.split_at(at);
                (Some(key), rest.get(delimiter.len()..).unwrap_or_default())
            }
        };
        let is_null = self.null.as_deref() == Some(value);
        Ok(Parsed {
            key: key.map(Cow::Borrowed),
            value: (!is_null).then_some(Cow::Borrowed(value)),
            ..Parsed::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_first_delimiter_and_nothing_else_is_touched() {
        type Case<'a> = (Option<&'a str>, &'a str, Result<(Option<&'a str>, Option<&'a str>), &'a str>);
        let cases: [Case<'_>; 11] = [
            (None, "", Ok((None, Some("")))),
            (None, " a:b \r", Ok((None, Some(" a:b \r")))),
            (None, "NULL", Ok((None, None))),
            (None, "NULL ", Ok((None, Some("NULL ")))),
            (Some(":"), "k:v", Ok((Some("k"), Some("v")))),
            (Some(":"), "k:v:w", Ok((Some("k"), Some("v:w")))),
            (Some(":"), ":v", Ok((Some(""), Some("v")))),
            (Some(":"), "k:", Ok((Some("k"), Some("")))),
            (Some(":"), "k:NULL", Ok((Some("k"), None))),
            (Some("::"), "a:b::c", Ok((Some("a:b"), Some("c")))),
            (Some("\t"), "no tab", Err("the key delimiter '\\t' is not in this line")),
        ];
        for (delimiter, line, expected) in cases {
            let parser = LineParser {
                delimiter: delimiter.map(|text| text.as_bytes().to_vec()),
                null: Some(b"NULL".to_vec()),
            };
            match (parser.parse(line.as_bytes()), expected) {
                (Ok(parsed), Ok((key, value))) => {
                    assert_eq!(parsed.key.as_deref(), key.map(str::as_bytes), "{line}");
                    assert_eq!(parsed.value.as_deref(), value.map(str::as_bytes), "{line}");
                }
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
                (got, expected) => panic!("{line}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn any_bytes_are_a_line() {
        let parser = LineParser { delimiter: None, null: None };
        let line = [0, 255, 0xc3, b'\r', 0x80];
        assert_eq!(parser.parse(&line).unwrap().value.as_deref(), Some(&line[..]));
    }
}
