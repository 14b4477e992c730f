//! `--format json`: one object a line. Only the fields that were named are looked at; the rest is passed over.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{self, FieldNames, HeaderField};
use super::{Malformed, Parsed, ParsedHeader};
use crate::cli::base64;

/// Behind a field's name: its bytes are not text and stand as base64, as `read --output json` writes them.
pub const BASE64_SUFFIX: &str = "_base64";

/// Finds fields in objects.
#[derive(Debug, Clone, Default)]
pub struct JsonParser {
    pub names: FieldNames,
    pub null: Option<Vec<u8>>,
    /// Of the named fields only the value must be there.
    pub may_miss: bool,
}

/// The fields of one object that are looked at.
#[derive(Default)]
struct Fields<'a> {
    key: Field<'a>,
    value: Field<'a>,
    headers: Option<&'a RawValue>,
    /// One for each of the headers that have a field of their own.
    header: Vec<Field<'a>>,
    partition: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    topic: Option<&'a RawValue>,
}

#[derive(Default, Clone, Copy)]
struct Field<'a> {
    plain: Option<&'a RawValue>,
    base64: Option<&'a RawValue>,
}

/// So many of an object's fields are named to who looked for another one.
const FIELDS_NAMED: usize = 10;

impl JsonParser {
    pub fn parse<'a>(&'a self, line: &'a [u8]) -> Result<Parsed<'a>, Malformed> {
        self.parse_named(line).map_err(|malformed| match malformed {
            Malformed::MissingField(wanted) => match names_in(line) {
                Some(there) => Malformed::OtherFields { wanted, there },
                None => Malformed::MissingField(wanted),
            },
            other => other,
        })
    }

    fn parse_named<'a>(&'a self, line: &'a [u8]) -> Result<Parsed<'a>, Malformed> {
        let text = std::str::from_utf8(line).map_err(|error| Malformed::NotUtf8(error.valid_up_to()))?;
        let found = self.fields(text).map_err(|error| Malformed::NotJson(without_line(&error)))?;
        let names = &self.names;
        let value = match &names.value {
            None => Some(Cow::Borrowed(line)),
            Some(name) => found.value.bytes(name)?,
        };
        let mut parsed = Parsed {
            key: match &names.key {
                None => None,
                Some(_) if self.may_miss && found.key.is_missing() => None,
                Some(name) => found.key.bytes(name)?,
            },
            value: value.filter(|value| self.null.as_deref() != Some(&**value)),
            partition: self.scalar(names.partition.as_deref(), found.partition, fields::partition)?,
            timestamp_ms: self.timestamp(found.timestamp)?,
            topic: self.topic(found.topic)?,
            headers: match &names.headers {
                None => Vec::new(),
                Some(_) if self.may_miss && found.headers.is_none() => Vec::new(),
                Some(name) => headers(name, found.headers)?,
            },
        };
        for (HeaderField { name, field }, found) in names.header.iter().zip(&found.header) {
            parsed.headers.push((Cow::Borrowed(name.as_str()), found.bytes(field)?));
        }
        Ok(parsed)
    }

    /// A number that is no text; nothing for null.
    fn scalar<T>(
        &self,
        name: Option<&str>,
        raw: Option<&RawValue>,
        parse: impl Fn(&str, &str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let Some(name) = name else { return Ok(None) };
        match raw.map(RawValue::get) {
            None if self.may_miss => Ok(None),
            None => Err(Malformed::MissingField(name.to_owned())),
            Some("null") => Ok(None),
            Some(text) => parse(name, text).map(Some),
        }
    }

    fn timestamp(&self, raw: Option<&RawValue>) -> Result<Option<i64>, Malformed> {
        self.scalar(self.names.timestamp.as_deref(), raw, |name, text| {
            match raw.map(|raw| string(name, raw)).transpose()?.flatten() {
                Some(time) => fields::timestamp(name, &time),
                None => text.parse().map_err(|_| Malformed::BadField {
                    field: name.to_owned(),
                    problem: "is not a whole number of milliseconds since 1970",
                }),
            }
        })
    }

    fn topic<'a>(&self, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Malformed> {
        let (Some(name), Some(raw)) = (self.names.topic.as_deref(), raw) else { return Ok(None) };
        match string(name, raw)? {
            None if raw.get() == "null" => Ok(None),
            None => Err(Malformed::BadField { field: name.to_owned(), problem: "is not text" }),
            topic => Ok(topic),
        }
    }

    fn fields<'a>(&self, text: &'a str) -> serde_json::Result<Fields<'a>> {
        let mut input = serde_json::Deserializer::from_str(text);
        let fields = input.deserialize_map(FieldsVisitor(self))?;
        input.end()?;
        Ok(fields)
    }

    /// Where the value of a field with this name belongs, if anywhere. One field may be several things.
    fn store<'a>(&self, name: &str, value: &'a RawValue, fields: &mut Fields<'a>) {
        let names = &self.names;
        let is = |wanted: &Option<String>| wanted.as_deref() == Some(name);
        if is(&names.key) {
            fields.key.plain = Some(value);
        }
        if is(&names.value) {
            fields.value.plain = Some(value);
        }
        if is(&names.headers) {
            fields.headers = Some(value);
        }
        if is(&names.partition) {
            fields.partition = Some(value);
        }
        if is(&names.timestamp) {
            fields.timestamp = Some(value);
        }
        if is(&names.topic) {
            fields.topic = Some(value);
        }
        for (header, field) in names.header.iter().zip(&mut fields.header) {
            if header.field == name {
                field.plain = Some(value);
            }
        }
        if let Some(stem) = name.strip_suffix(BASE64_SUFFIX) {
            if names.key.as_deref() == Some(stem) {
                fields.key.base64 = Some(value);
            }
            if names.value.as_deref() == Some(stem) {
                fields.value.base64 = Some(value);
            }
        }
    }

    fn wants(&self, name: &str) -> bool {
        let names = &self.names;
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref() == Some(name);
        let stem = name.strip_suffix(BASE64_SUFFIX);
        [&names.key, &names.value, &names.headers, &names.partition, &names.timestamp, &names.topic]
            .iter()
            .any(|wanted| is(wanted, name))
            || names.header.iter().any(|header| header.field == name)
            || stem.is_some_and(|stem| is(&names.key, stem) || is(&names.value, stem))
    }
}

/// The fields of an object, in its order; `None` if it has none.
fn names_in(line: &[u8]) -> Option<String> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut names = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                map.next_value::<IgnoredAny>()?;
                if names.len() < FIELDS_NAMED {
                    names.push(name);
                } else if names.len() == FIELDS_NAMED {
                    names.push("…".to_owned());
                }
            }
            Ok(names)
        }
    }

    let names = serde_json::Deserializer::from_slice(line).deserialize_map(Names).ok()?;
    (!names.is_empty()).then(|| names.join(", "))
}

/// `serde_json` counts lines within the text, which is always line 1 of one.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

struct FieldsVisitor<'p>(&'p JsonParser);

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let header = vec![Field::default(); self.0.names.header.len()];
        let mut fields = Fields { header, ..Fields::default() };
        while let Some(name) = map.next_key_seed(NameSeed(self.0))? {
            match name {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(name) => {
                    let value = map.next_value()?;
                    self.0.store(&name, value, &mut fields);
                }
            }
        }
        Ok(fields)
    }
}

/// A name that is wanted; without an allocation for those that are not.
struct NameSeed<'p>(&'p JsonParser);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.wants(name).then_some(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.wants(name).then(|| Cow::Owned(name.to_owned())))
    }
}

impl<'a> Field<'a> {
    const fn is_missing(&self) -> bool {
        self.plain.is_none() && self.base64.is_none()
    }

    /// A string's text, the JSON of anything else, nothing for null.
    fn bytes(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        match (self.plain, self.base64) {
            (Some(raw), _) => bytes(name, raw),
            (None, Some(raw)) => decoded(&format!("{name}{BASE64_SUFFIX}"), raw).map(Some),
            (None, None) => Err(Malformed::MissingField(name.to_owned())),
        }
    }
}

fn bytes<'a>(name: &str, raw: &'a RawValue) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    Ok(Some(match string(name, raw)? {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(text.as_bytes()),
    }))
}

/// What a string says; `None` if it is not a string.
fn string<'a>(name: &str, raw: &'a RawValue) -> Result<Option<Cow<'a, str>>, Malformed> {
    let Some(inner) = raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(None);
    };
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Ok(Some(Cow::Owned(text))),
        Err(_) => Err(Malformed::BadField {
            field: name.to_owned(),
            problem: "has an escape that stands for no text",
        }),
    }
}

fn decoded<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, [u8]>, Malformed> {
    let bytes = string(name, raw)?.and_then(|text| base64::decode(&text));
    bytes
        .map(Cow::Owned)
        .ok_or_else(|| Malformed::BadField { field: name.to_owned(), problem: "is not base64" })
}

/// One header as `read` prints it.
#[derive(Deserialize)]
struct HeaderEntry<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value_base64: Option<&'a RawValue>,
}

fn even_null<'de, D: Deserializer<'de>>(input: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

/// An object of names and values, or an array of headers as `read` prints them; none for null.
fn headers<'a>(name: &str, raw: Option<&'a RawValue>) -> Result<Vec<ParsedHeader<'a>>, Malformed> {
    let raw = raw.ok_or_else(|| Malformed::MissingField(name.to_owned()))?;
    let bad = || Malformed::BadField {
        field: name.to_owned(),
        problem: "is neither an object nor an array of {\"key\":…,\"value\":…}",
    };
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(Vec::new()),
        Some(b'{') => {
            let entries = serde_json::Deserializer::from_str(raw.get()).deserialize_map(PairsVisitor);
            entries
                .map_err(|_| bad())?
                .into_iter()
                .map(|(header, value)| {
                    let value = bytes(&header, value)?;
                    Ok((header, value))
                })
                .collect()
        }
        Some(b'[') => {
            let entries: Vec<HeaderEntry<'a>> = serde_json::from_str(raw.get()).map_err(|_| bad())?;
            entries
                .into_iter()
                .map(|entry| {
                    let field = Field { plain: entry.value, base64: entry.value_base64 };
                    let value = field.bytes("value")?;
                    Ok((entry.key, value))
                })
                .collect()
        }
        _ => Err(bad()),
    }
}

/// Names and values in their order, repeated names included.
struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            pairs.push((name.0, map.next_value()?));
        }
        Ok(pairs)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
