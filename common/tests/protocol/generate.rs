//! Makes valid messages of any version from their declarations.

use fastrand::Rng;
use gapless_common::protocol::ApiKey;
use gapless_common::protocol::schema::{Field, Kind};

/// A message as it travels.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub bytes: Vec<u8>,
    /// Every length in it, for who wants to make it lie.
    pub lengths: Vec<Length>,
}

/// A length in a sample.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    pub at: usize,
    /// Bytes that it takes.
    pub size: usize,
    pub width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Two,
    Four,
    /// A varint of the length plus one.
    Compact,
    /// A varint of the number or size of tagged fields.
    Plain,
}

/// A random message of this kind. With `unknown_tags` its structures have tagged fields that no schema knows.
pub fn message(kind: &Kind, api: ApiKey, version: i16, unknown_tags: bool, rng: &mut Rng) -> Sample {
    let flexible = api.is_flexible(version);
    let mut generator = Generator { rng, version, flexible, unknown_tags, sample: Sample::default() };
    generator.value(kind, false);
    generator.sample
}

/// Tags from here on are in no schema.
const UNKNOWN_TAG_MIN: u32 = 100;

/// As long as a name or a batch of records gets, unless it is a long one.
const LENGTH_MAX: usize = 12;

/// Long enough for a part of its own in the encoder.
const LONG: usize = 1500;

struct Generator<'a> {
    rng: &'a mut Rng,
    version: i16,
    flexible: bool,
    unknown_tags: bool,
    sample: Sample,
}

impl Generator<'_> {
    fn value(&mut self, kind: &Kind, nullable: bool) {
        match kind {
            Kind::Bool => {
                let bit = self.rng.u8(..2);
                self.put(&[bit]);
            }
            Kind::Int8 => self.number(1),
            Kind::Int16 => self.number(2),
            Kind::Int32 => self.number(4),
            Kind::Int64 => self.number(8),
            Kind::Uuid => self.number(16),
            Kind::Text | Kind::Bytes | Kind::Records | Kind::Array(_) => {
                let width = match kind {
                    _ if self.flexible => Width::Compact,
                    Kind::Text => Width::Two,
                    _ => Width::Four,
                };
                if nullable && self.rng.u8(..4) == 0 {
                    self.length(None, width);
                } else {
                    self.body(kind, width);
                }
            }
            Kind::Struct(fields) => self.structure(fields),
        }
    }

    /// Often 0 or −1: most defaults are one of them.
    fn number(&mut self, size: usize) {
        let choice = self.rng.u8(..4);
        for _ in 0..size {
            let byte = match choice {
                0 => 0,
                1 => 0xff,
                _ => self.rng.u8(..),
            };
            self.put(&[byte]);
        }
    }

    fn body(&mut self, kind: &Kind, width: Width) {
        match kind {
            Kind::Array(element) => {
                let count = self.rng.usize(..4);
                self.length(Some(count), width);
                for _ in 0..count {
                    self.value(element, false);
                }
            }
            Kind::Text => {
                let characters = self.rng.usize(..=LENGTH_MAX);
                let alphabet = ['a', 'Z', '-', '"', '\\', '\n', 'é', '日', '🦀'];
                let text: String =
                    (0..characters).map(|_| alphabet[self.rng.usize(..alphabet.len())]).collect();
                self.length(Some(text.len()), width);
                self.put(text.as_bytes());
            }
            _ => {
                let long = self.rng.u8(..8) == 0;
                let bytes: Vec<u8> = if long {
                    vec![self.rng.u8(..); LONG]
                } else {
                    (0..self.rng.usize(..=LENGTH_MAX)).map(|_| self.rng.u8(..)).collect()
                };
                self.length(Some(bytes.len()), width);
                self.put(&bytes);
            }
        }
    }

    fn structure(&mut self, fields: &[Field]) {
        let present = |field: &&Field| field.versions.contain(self.version);
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) =
            fields.iter().filter(present).partition(|field| field.tag.is_some());
        for field in plain {
            self.value(&field.kind, field.nullable.contain(self.version));
        }
        if self.flexible {
            self.tagged_fields(&tagged);
        }
    }

    fn tagged_fields(&mut self, fields: &[&Field]) {
        let known: Vec<&&Field> = fields.iter().filter(|_| self.rng.bool()).collect();
        let unknown = if self.unknown_tags { self.rng.u32(..3) } else { 0 };
        self.varint(known.len() as u32 + unknown);
        for field in known {
            let nullable = field.nullable.contain(self.version);
            self.tagged_field(field.tag.unwrap(), |value| value.value(&field.kind, nullable));
        }
        for at in 0..unknown {
            self.tagged_field(UNKNOWN_TAG_MIN + at * 100, |value| {
                let bytes: Vec<u8> = (0..value.rng.usize(..5)).map(|_| value.rng.u8(..)).collect();
                value.put(&bytes);
            });
        }
    }

    fn tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.sample);
        write(self);
        let value = std::mem::replace(&mut self.sample, before);
        put_varint(&mut self.sample.bytes, tag);
        self.varint(value.bytes.len() as u32);
        let start = self.sample.bytes.len();
        self.sample
            .lengths
            .extend(value.lengths.iter().map(|length| Length { at: start + length.at, ..*length }));
        self.put(&value.bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.sample.bytes.extend_from_slice(bytes);
    }

    fn length(&mut self, length: Option<usize>, width: Width) {
        let at = self.sample.bytes.len();
        match width {
            Width::Two => self.put(&length.map_or(-1, |length| length as i16).to_be_bytes()),
            Width::Four => self.put(&length.map_or(-1, |length| length as i32).to_be_bytes()),
            Width::Compact | Width::Plain => {
                put_varint(&mut self.sample.bytes, length.map_or(0, |length| length as u32 + 1));
            }
        }
        self.sample.lengths.push(Length { at, size: self.sample.bytes.len() - at, width });
    }

    fn varint(&mut self, value: u32) {
        let at = self.sample.bytes.len();
        put_varint(&mut self.sample.bytes, value);
        self.sample.lengths.push(Length { at, size: self.sample.bytes.len() - at, width: Width::Plain });
    }
}

/// Appends Kafka's unsigned varint.
pub fn put_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
