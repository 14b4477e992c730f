//! How a run ends: exit codes, and the one sentence that says why.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::progress::above_the_line;

/// Why a run cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// The command line contradicts itself: exit 2.
    Usage(String),
    /// It did not work: exit 1.
    Failed(String),
    /// Asked to stop by a signal: exit 130, as shells report Ctrl-C.
    Interrupted,
    /// Who reads standard output has had enough (`| head`): exit 0.
    OutputClosed,
}

impl Stop {
    /// A failure, told with all its causes.
    pub fn failed(error: &(dyn Error + 'static)) -> Self {
        Self::Failed(with_causes(error))
    }

    /// A failure to write to standard output.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Failed(format!("standard output cannot be written: {error}"))
    }

    /// Says why on standard error; the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                complain(format!("error: {message}\n\nFor more information, try '--help'."));
                ExitCode::from(2)
            }
            Self::Failed(message) => {
                complain(format!("error: {message}"));
                ExitCode::FAILURE
            }
            Self::Interrupted => ExitCode::from(130),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// A line on standard error. Where that is closed, nobody is left to be told.
pub fn complain(message: impl fmt::Display) {
    above_the_line(|| {
        let _ = writeln!(io::stderr().lock(), "{message}");
    });
}

/// An error and its causes in one line, leaving out a cause that is already told.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_told_once() {
        let error = Outer(io::Error::other("refused"));
        assert_eq!(with_causes(&error), "cannot connect: refused");
        let doubled = Outer(io::Error::other("cannot connect"));
        assert_eq!(with_causes(&doubled), "cannot connect");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert!(matches!(Stop::output(&io::ErrorKind::BrokenPipe.into()), Stop::OutputClosed));
        assert!(matches!(Stop::output(&io::ErrorKind::StorageFull.into()), Stop::Failed(_)));
    }
}
