//! The field's words as types, so that an offset cannot be passed where a sequence belongs.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// Position of a record in its partition, from 0. Never negative in a log; −1 on the wire means "not known".
    Offset(i64)
}
number! {
    /// Number of a partition within its topic, from 0.
    PartitionId(i32)
}
number! {
    /// A producer's identity, given out by a broker (InitProducerId). −1 on the wire: not idempotent.
    ProducerId(i64)
}
number! {
    /// Generation of a producer id, 0 to 32767; a lower one than the broker knows is fenced.
    ProducerEpoch(i16)
}
number! {
    /// Generation of a partition's leadership; rises at every unclean start of the broker, never falls.
    LeaderEpoch(i32)
}

impl Offset {
    /// The offset `records` further on; the last there can be, if that is beyond it (a peer may name any).
    #[must_use]
    pub const fn plus(self, records: i64) -> Self {
        Self(self.0.saturating_add(records))
    }
}

impl ProducerId {
    /// What a batch of a producer without idempotence carries.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// What a batch of a producer without idempotence carries.
    pub const NONE: Self = Self(-1);
}

/// Number of a record in the stream of one producer to one partition: 0 to 2^31 − 1, and then 0 again
/// (Kafka's `DefaultRecordBatch.incrementSequence`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence of an epoch.
    pub const ZERO: Self = Self(0);

    /// `None` for a negative number, which is no sequence (−1 on the wire: not idempotent).
    #[must_use]
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number as it travels.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `records` further on, wrapping from 2^31 − 1 to 0.
    #[must_use]
    pub const fn plus(self, records: u32) -> Self {
        Self(((self.0 as u64 + records as u64) & 0x7fff_ffff) as i32)
    }

    /// How many steps lead from `earlier` to `self`, around the wrap if need be: 0 to 2^31 − 1.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        (self.0 as u32).wrapping_sub(earlier.0 as u32) & 0x7fff_ffff
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence({})", self.0)
    }
}

/// Identity of a topic: a topic deleted and created again under the same name has another (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// A version 4 UUID from 128 random bits.
    #[must_use]
    pub const fn from_random_bits(bits: u128) -> Self {
        let mut bytes = bits.to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Reads what [`fmt::Display`] writes: 22 characters of URL-safe base64 without padding.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (at, symbol) in text.bytes().enumerate() {
            let value = u128::from(BASE64.iter().position(|known| *known == symbol)? as u8);
            // The 22nd symbol carries two bits of the id; its other four must be zero.
            if at == 21 {
                if value & 0x0f != 0 {
                    return None;
                }
                bits = (bits << 2) | (value >> 4);
            } else {
                bits = (bits << 6) | value;
            }
        }
        Some(Self(bits.to_be_bytes()))
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for TopicId {
    /// As Kafka's tools print it: URL-safe base64 without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for at in 0..22 {
            let value = if at == 21 { (bits << 4) & 0x3f } else { (bits >> (122 - 6 * at)) & 0x3f };
            // Six bits are a place in the table.
            let symbol = usize::try_from(value).ok().and_then(|place| BASE64.get(place)).unwrap_or(&b'A');
            fmt::Write::write_char(f, char::from(*symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_to_zero() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(last.plus(1), Sequence::ZERO);
        assert_eq!(last.plus(6).get(), 5);
        assert_eq!(Sequence::ZERO.since(last), 1);
        assert_eq!(last.since(last), 0);
        assert_eq!(Sequence::new(-1), None);
    }

    #[test]
    fn an_offset_that_a_peer_made_up_is_no_overflow() {
        assert_eq!(Offset(i64::MAX).plus(5), Offset(i64::MAX));
        assert_eq!(Offset(i64::MIN).plus(-1), Offset(i64::MIN));
    }

    #[test]
    fn topic_ids_print_as_kafka_prints_them_and_read_back() {
        // Kafka's reserved id of the metadata topic, `Uuid.METADATA_TOPIC_ID`.
        let metadata = TopicId(1u128.to_be_bytes());
        assert_eq!(metadata.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(metadata));
        let id = TopicId::from_random_bits(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(TopicId::parse("AAAAAAAAAAAAAAAAAAAAAR"), None, "stray bits");
        assert_eq!(TopicId::parse("short"), None);
    }
}
