//! Which fields of a JSON object or a row are what.

use std::borrow::Cow;

use super::Malformed;
use crate::cli::read::parse_time;

/// Field names. What is `None` is not looked for.
#[derive(Debug, Default, Clone)]
pub struct FieldNames {
    pub key: Option<String>,
    /// `None`: the whole object or row.
    pub value: Option<String>,
    pub headers: Option<String>,
    /// Headers by name, each with the field that has its value.
    pub header: Vec<HeaderField>,
    pub partition: Option<String>,
    pub timestamp: Option<String>,
    pub topic: Option<String>,
}

/// `--header-field NAME=FIELD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    pub name: String,
    pub field: String,
}

impl std::str::FromStr for HeaderField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, field) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || field.is_empty() {
            return Err("expected [NAME=]FIELD".to_owned());
        }
        Ok(Self { name: name.to_owned(), field: field.to_owned() })
    }
}

impl FieldNames {
    /// As `read --output json` calls them.
    pub fn as_read_prints() -> Self {
        let field = |name: &str| Some(name.to_owned());
        Self {
            key: field("key"),
            value: field("value"),
            headers: field("headers"),
            header: Vec::new(),
            partition: field("partition"),
            timestamp: field("timestamp"),
            topic: None,
        }
    }
}

/// A whole number.
pub fn partition(field: &str, text: &str) -> Result<i32, Malformed> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| Malformed::BadField {
        field: field.to_owned(),
        problem: "is not a whole number in the range of partitions",
    })
}

/// Milliseconds, or a time as people write it.
pub fn timestamp(field: &str, text: &str) -> Result<i64, Malformed> {
    parse_time(text).ok_or_else(|| Malformed::BadField {
        field: field.to_owned(),
        problem: "is neither milliseconds since 1970 nor a time such as 2024-05-01T12:00:00Z",
    })
}

/// Text that a field must be.
pub fn text<'a>(field: &str, bytes: &'a [u8]) -> Result<Cow<'a, str>, Malformed> {
    std::str::from_utf8(bytes)
        .map(Cow::Borrowed)
        .map_err(|_| Malformed::BadField { field: field.to_owned(), problem: "is not UTF-8" })
}
