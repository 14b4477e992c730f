//! What is wrong with a message: which one, in which version, at which field.

use std::fmt;
use std::ops::RangeInclusive;

/// Why bytes are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The message ends too early.
    #[error("needs {needed} bytes, but only {remaining} remain")]
    Truncated {
        /// Bytes that the field takes at least.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// An array that cannot fit into what remains.
    #[error("cannot have {count} elements of at least {smallest} bytes in the {remaining} bytes that remain")]
    ElementsBeyondEnd {
        /// Elements announced.
        count: usize,
        /// Bytes that an element takes at least.
        smallest: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length below −1.
    #[error("has a length of {0}")]
    NegativeLength(i64),
    /// Null where this version has none.
    #[error("is null, which this version does not allow")]
    Null,
    /// Text that is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A variable-length number of more than 32 bits.
    #[error("has a variable-length number of more than 32 bits")]
    VarintTooLong,
    /// Bytes after the end of a message or of a tagged field.
    #[error("ends {0} bytes too early")]
    Trailing(usize),
    /// Arrays whose elements would take far more memory than the frame has bytes: an attack, no honest message.
    #[error(
        "would take {needed} bytes of memory, and only {left} are left of what the size of the frame allows"
    )]
    TooMuchMemory {
        /// Bytes of memory for the array at hand.
        needed: usize,
        /// What is left of the budget.
        left: usize,
    },
    /// A version that the codec does not serve.
    #[error("is not served, only versions {} to {} are", .0.start(), .0.end())]
    VersionNotServed(RangeInclusive<i16>),
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeProblem {
    /// The field does not exist in this version, and what it says must not be dropped.
    #[error("has a value, but this version has no such field")]
    NotInVersion,
    /// Null where this version has none.
    #[error("is null, which this version does not allow")]
    Null,
    /// Longer than its length field can say.
    #[error("is {len} long, which exceeds {max}")]
    TooLong {
        /// Bytes, or elements of an array.
        len: usize,
        /// The most that can be said.
        max: usize,
    },
    /// A version that the codec does not serve.
    #[error("is not served, only versions {} to {} are", .0.start(), .0.end())]
    VersionNotServed(RangeInclusive<i16>),
}

/// Where in which message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    message: Option<(&'static str, i16)>,
    /// From the innermost step outwards: errors gather it on their way up.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Field(&'static str),
    Element(usize),
}

impl Place {
    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Element(at) => path.push_str(&format!("[{at}]")),
            }
        }
        path
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some((name, version)) => write!(f, "{name} v{version}")?,
            None => f.write_str("message")?,
        }
        if !self.steps.is_empty() {
            write!(f, ": {}", self.path())?;
        }
        Ok(())
    }
}

macro_rules! placed_error {
    ($(#[$doc:meta])* $name:ident of $problem:ident) => {
        $(#[$doc])*
        // Boxed, so that the results of the decoders of single fields stay small.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Box<(Place, $problem)>);

        impl $name {
            /// A problem at a place still to be told.
            #[must_use]
            pub fn new(problem: $problem) -> Self {
                Self(Box::new((Place::default(), problem)))
            }

            /// What is wrong.
            #[must_use]
            pub fn problem(&self) -> &$problem {
                &self.0.1
            }

            /// Name and version of the message, such as `ProduceRequest` and 9.
            #[must_use]
            pub fn message(&self) -> Option<(&'static str, i16)> {
                self.0.0.message
            }

            /// The field, such as `topic_data[0].name`; empty if the message as a whole is meant.
            #[must_use]
            pub fn path(&self) -> String {
                self.0.0.path()
            }

            pub(super) fn within(mut self, field: &'static str) -> Self {
                self.0.0.steps.push(Step::Field(field));
                self
            }

            pub(super) fn at(mut self, element: usize) -> Self {
                self.0.0.steps.push(Step::Element(element));
                self
            }

            pub(super) fn in_message(mut self, name: &'static str, version: i16) -> Self {
                self.0.0.message = Some((name, version));
                self
            }
        }

        impl From<$problem> for $name {
            fn from(problem: $problem) -> Self {
                Self::new(problem)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", self.0.0, self.0.1)
            }
        }

        impl std::error::Error for $name {}
    };
}

placed_error! {
    /// Bytes that are not the message they should be. The connection they came from has lost its place and is closed.
    DecodeError of DecodeProblem
}

placed_error! {
    /// A message that cannot be written in the version asked for.
    EncodeError of EncodeProblem
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, DecodeProblem, EncodeError, EncodeProblem};

    #[test]
    fn an_error_names_message_version_field_and_numbers() {
        let error = DecodeError::new(DecodeProblem::Truncated { needed: 700, remaining: 12 })
            .within("records")
            .at(2)
            .within("partition_data")
            .at(0)
            .within("topic_data")
            .in_message("ProduceRequest", 9);
        assert_eq!(
            error.to_string(),
            "ProduceRequest v9: topic_data[0].partition_data[2].records needs 700 bytes, but only 12 remain"
        );
        assert_eq!(error.path(), "topic_data[0].partition_data[2].records");

        let error = DecodeError::new(DecodeProblem::Trailing(3)).in_message("MetadataRequest", 0);
        assert_eq!(error.to_string(), "MetadataRequest v0 ends 3 bytes too early");

        let error = EncodeError::new(EncodeProblem::Null).within("topics").in_message("MetadataRequest", 0);
        assert_eq!(
            error.to_string(),
            "MetadataRequest v0: topics is null, which this version does not allow"
        );
    }
}
