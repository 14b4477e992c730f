//! What a declaration looks like at run time. The codec takes the smallest size of an element from here; tests and
//! fuzzers walk it to make messages.

/// An inclusive range of versions; may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self { first: 0, last: -1 };

    /// `first` and all later ones.
    #[must_use]
    pub const fn from(first: i16) -> Self {
        Self { first, last: i16::MAX }
    }

    /// `first` to `last`, both included.
    #[must_use]
    pub const fn between(first: i16, last: i16) -> Self {
        Self { first, last }
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contain(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// How a structure is written: in which version, with which kind of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Version of the API.
    pub version: i16,
    /// Compact lengths, and tagged fields at the end of each structure (KIP-482).
    pub flexible: bool,
    /// The field at hand may be null.
    pub nullable: bool,
}

impl Form {
    pub(super) const fn new(version: i16, flexible: bool) -> Self {
        Self { version, flexible, nullable: false }
    }

    /// The same form for a field of the structure.
    pub(super) const fn of(self, field: &Field) -> Self {
        Self { nullable: field.nullable.contain(self.version), ..self }
    }

    /// The same form for an element of the array; those are never null.
    pub(super) const fn of_element(self) -> Self {
        Self { nullable: false, ..self }
    }
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Kafka's name in snake case.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The versions that have it.
    pub versions: Versions,
    /// The versions in which it may be null.
    pub nullable: Versions,
    /// Its number, if it is a tagged field: written only when it differs from its default.
    pub tag: Option<u32>,
    /// In versions without the field a value is dropped; otherwise it is an error.
    pub ignorable: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind, versions: Versions) -> Self {
        Self { name, kind, versions, nullable: Versions::NONE, tag: None, ignorable: false }
    }

    pub(super) const fn nullable(self, versions: Versions) -> Self {
        Self { nullable: versions, ..self }
    }

    pub(super) const fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(super) const fn ignorable(self) -> Self {
        Self { ignorable: true, ..self }
    }
}

/// The type of a field on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes, big-endian, as are all numbers.
    Int16,
    /// Four bytes.
    Int32,
    /// Eight bytes.
    Int64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8 behind its length (two bytes, or compact).
    Text,
    /// Bytes behind their length (four bytes, or compact).
    Bytes,
    /// Record batches behind their length (four bytes, or compact).
    Records,
    /// Elements behind their count (four bytes, or compact).
    Array(&'static Kind),
    /// Fields in order, and in flexible versions the tagged fields.
    Struct(&'static [Field]),
}

impl Kind {
    /// The fewest bytes that a value takes in this version.
    #[must_use]
    pub fn size_min(&self, version: i16, flexible: bool) -> usize {
        match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 => 2,
            Self::Int32 => 4,
            Self::Int64 => 8,
            Self::Uuid => 16,
            Self::Text | Self::Bytes | Self::Records | Self::Array(_) if flexible => 1,
            Self::Text => 2,
            Self::Bytes | Self::Records | Self::Array(_) => 4,
            Self::Struct(fields) => fields
                .iter()
                .filter(|field| field.tag.is_none() && field.versions.contain(version))
                .map(|field| field.kind.size_min(version, flexible))
                .sum::<usize>()
                .saturating_add(usize::from(flexible)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Kind, Versions};

    #[test]
    fn smallest_sizes() {
        const FIELDS: &[Field] = &[
            Field::new("id", Kind::Int32, Versions::from(0)),
            Field::new("name", Kind::Text, Versions::between(0, 3)),
            Field::new("parts", Kind::Array(&Kind::Int64), Versions::from(1)),
            Field::new("extra", Kind::Int64, Versions::from(2)).tag(0),
        ];
        let table = [(0, false, 6), (1, false, 10), (3, true, 7), (4, true, 6)];
        for (version, flexible, size) in table {
            assert_eq!(Kind::Struct(FIELDS).size_min(version, flexible), size, "version {version}");
        }
        assert!(!Versions::NONE.contain(0) && !Versions::NONE.contain(-1));
    }
}
