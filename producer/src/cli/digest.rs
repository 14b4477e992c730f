//! Digests by which a report proves what was sent: XXH3-128 with seed 0, written as 32 hexadecimal digits.
//!
//! - Of one record: its key, its value, the number of its headers, and of each header its name and its value. A field is its
//!   length and its bytes; every number takes eight bytes, big-endian, and the length of null is −1. So neither two fields
//!   that run together nor null and empty look alike.
//! - Of records in a row: of their digests, sixteen bytes each, one behind the other.
//! - Of their timestamps: of those, milliseconds since 1970, eight bytes each. Timestamps stand apart because a topic with
//!   LogAppendTime replaces them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// The length of a field that is null.
const NULL: i64 = -1;

/// One digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 16]);

/// What is known of a record that was sent: enough to tell it from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    pub digest: Digest,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Takes the digest of one record after the other.
#[derive(Debug, Default)]
pub struct RecordHasher {
    /// The fields of the record at hand: kept for its room.
    fields: Vec<u8>,
}

impl RecordHasher {
    /// Of a record with these fields; headers are names and values in their order.
    pub fn digest<'a>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Digest {
        self.fields.clear();
        self.field(key);
        self.field(value);
        self.number(length(headers.len()));
        for (name, value) in headers {
            self.field(Some(name));
            self.field(value);
        }
        Digest::of(&self.fields)
    }

    fn field(&mut self, field: Option<&[u8]>) {
        self.number(field.map_or(NULL, |bytes| length(bytes.len())));
        self.fields.extend_from_slice(field.unwrap_or_default());
    }

    fn number(&mut self, number: i64) {
        self.fields.extend_from_slice(&number.to_be_bytes());
    }
}

/// No field is longer than an address space, half of which an `i64` counts.
fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Takes the digests of records in a row.
#[derive(Clone)]
pub struct RunHasher {
    digests: twox_hash::xxhash3_128::Hasher,
    timestamps: twox_hash::xxhash3_128::Hasher,
}

impl RunHasher {
    pub fn new() -> Self {
        let hasher = twox_hash::xxhash3_128::Hasher::new;
        Self { digests: hasher(), timestamps: hasher() }
    }

    pub fn push(&mut self, record: &Fingerprint) {
        self.digests.write(&record.digest.0);
        self.timestamps.write(&record.timestamp_ms.to_be_bytes());
    }

    /// Of the records, and of their timestamps.
    pub fn finish(&self) -> RunDigest {
        RunDigest {
            digest: Digest(self.digests.finish_128().to_be_bytes()),
            timestamps: Digest(self.timestamps.finish_128().to_be_bytes()),
        }
    }
}

/// Of records in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunDigest {
    pub digest: Digest,
    pub timestamps: Digest,
}

impl RunDigest {
    pub fn of(records: &[Fingerprint]) -> Self {
        let mut hasher = RunHasher::new();
        for record in records {
            hasher.push(record);
        }
        hasher.finish()
    }
}

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(bytes).to_be_bytes())
    }

    /// From 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|digest| Self(digest.to_be_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                Digest::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    type Header<'a> = (&'a [u8], Option<&'a [u8]>);

    fn digest(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Digest {
        RecordHasher::default().digest(key, value, headers.iter().copied())
    }

    #[test]
    fn records_that_run_together_differ() {
        let all = [
            digest(None, None, &[]),
            digest(Some(b""), None, &[]),
            digest(None, Some(b""), &[]),
            digest(Some(b""), Some(b""), &[]),
            digest(Some(b"a"), Some(b"bc"), &[]),
            digest(Some(b"ab"), Some(b"c"), &[]),
            digest(None, Some(b"abc"), &[]),
            digest(None, Some(b"ab"), &[(b"c", None)]),
            digest(None, Some(b"ab"), &[(b"c", Some(b""))]),
            digest(None, Some(b"ab"), &[(b"", Some(b"c"))]),
            digest(None, Some(b"ab"), &[(b"", Some(b"c")), (b"", None)]),
            digest(None, Some(b"ab"), &[(b"", None), (b"", Some(b"c"))]),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    /// Reports are read by others, and by later versions: what they say stays what it is. The figures come from the
    /// reference implementation (`xxh128sum`) over the bytes that the documentation describes.
    #[test]
    fn digests_stay_what_they_are() {
        let record = digest(Some(b"k"), Some(b"value"), &[(b"h", None)]);
        assert_eq!(record.to_string(), "5bae9bd56de4310b74e1d5a7d0d6366a");
        let records = [(record, 1_700_000_000_000), (digest(None, None, &[]), -1)]
            .map(|(digest, timestamp_ms)| Fingerprint { digest, timestamp_ms });
        let run = RunDigest::of(&records);
        assert_eq!(run.digest.to_string(), "31532ede314201ff10aa79858cd98440");
        assert_eq!(run.timestamps.to_string(), "64bab3a6614fe05893cdcf61bfbd74ac");
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let record = digest(Some(b"k"), None, &[]);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), record);
        let small = Digest::parse("0000000000000000000000000000000f").unwrap();
        assert_eq!(small.to_string(), "0000000000000000000000000000000f");
        for wrong in ["", "0f", "+000000000000000000000000000000f", "g000000000000000000000000000000f"] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
