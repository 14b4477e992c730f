//! The one result of a command on standard output, for people or as JSON, and the lines of it that several commands tell in
//! the same words.

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::args::OutputFormat;
use super::exit::Stop;
use super::human;

/// Prints it as asked for.
pub fn print(result: &(impl Display + Serialize), format: OutputFormat) -> Result<(), Stop> {
    match format {
        OutputFormat::Text => print_text(&result.to_string()),
        OutputFormat::Json => {
            let text = serde_json::to_string(result).map_err(|error| Stop::failed(&error))?;
            print_text(&format!("{text}\n"))
        }
    }
}

/// Prints text as it is, so that whoever reads it has it at once.
pub fn print_text(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Stop::output(&error))
}

/// A result for people: a sentence, and below it a fact a line behind its name.
pub struct Lines<'f, 'a> {
    f: &'f mut fmt::Formatter<'a>,
    /// Characters that the longest name and the blanks behind it take.
    names: usize,
}

impl<'f, 'a> Lines<'f, 'a> {
    pub const fn new(f: &'f mut fmt::Formatter<'a>, names: usize) -> Self {
        Self { f, names }
    }

    /// The sentence of what a producer sent. `place`: `topic events`.
    pub fn acknowledged(
        &mut self,
        records: u64,
        place: impl Display,
        bytes: u64,
        seconds: f64,
    ) -> fmt::Result {
        let (records, size, took) =
            (human::plural(records, "record"), human::size(bytes), seconds_text(seconds));
        writeln!(self.f, "{records} acknowledged in {place}: {size} in {took}")
    }

    /// One fact.
    pub fn line(&mut self, name: impl Display, fact: impl Display) -> fmt::Result {
        writeln!(self.f, "  {name:<width$}{fact}", width = self.names)
    }

    /// Both are of a second.
    pub fn rate(&mut self, records: f64, bytes: f64) -> fmt::Result {
        let (records, bytes) = (human::rate(records), human::size(bytes as u64));
        self.line("rate", format_args!("{records} records/s, {bytes}/s"))
    }

    pub fn retries(&mut self, retries: u64, reconnects: u64) -> fmt::Result {
        let (retries, reconnects) = (human::count(retries), human::plural(reconnects, "reconnect"));
        self.line("retries", format_args!("{retries}, {reconnects}"))
    }

    /// Nothing if the promise holds.
    pub fn promise(&mut self, weakened_by: &[String]) -> fmt::Result {
        if weakened_by.is_empty() {
            return Ok(());
        }
        let by = weakened_by.join(", ");
        self.line("promise", format_args!("records may be lost, doubled or out of order: {by}"))
    }
}

/// As people read it.
pub fn seconds_text(seconds: f64) -> String {
    human::duration(Duration::from_secs_f64(seconds))
}
