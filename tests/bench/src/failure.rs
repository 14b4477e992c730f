//! Why a measurement could not be made: one sentence.

use std::fmt::{Display, Formatter};

/// A sentence for the person who ran it.
#[derive(Debug, Clone)]
pub struct Failure(pub String);

/// What most functions here give.
pub type Outcome<T> = Result<T, Failure>;

impl Display for Failure {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

/// Says what was being done when something failed.
pub trait During<T> {
    /// Puts `what` in front of the cause.
    fn during(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Outcome<T> {
        self.map_err(|cause| Failure(format!("{what}: {cause}")))
    }
}
