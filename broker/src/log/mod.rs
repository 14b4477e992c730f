//! The partition log (Write-Ahead Log, Segmented Log, High-Water Mark).

pub mod sequencer;

/// Why a batch was refused, as metrics count it: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReason {
    /// Its sequence is not the next one.
    Gap,
    /// Its producer's epoch is an old one.
    Fenced,
    /// Its checksum or its format is wrong.
    Corrupt,
    /// It is whole, but not what a client may send.
    Invalid,
    /// It is larger than the topic or the broker allows.
    TooLarge,
    /// Its timestamps are out of range.
    Timestamp,
    /// The partition cannot take it: disk full, offline, quarantined.
    Storage,
}

impl RefusedReason {
    /// Every reason, in the order of the catalogue.
    pub const ALL: [Self; 7] = [
        Self::Gap,
        Self::Fenced,
        Self::Corrupt,
        Self::Invalid,
        Self::TooLarge,
        Self::Timestamp,
        Self::Storage,
    ];

    /// As the metric's label spells it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Timestamp => "timestamp",
            Self::Storage => "storage",
        }
    }
}
