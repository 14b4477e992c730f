//! Where records came from: source and line, kept as runs of consecutive lines.

use std::fmt;
use std::sync::Arc;

/// Source and line of one record. Ordered as the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Which source, in the order of the command line.
    pub source: u32,
    /// From 1.
    pub line: u64,
}

/// Where a reader of the input stands.
#[derive(Debug, Default)]
pub struct Cursor {
    pub place: Place,
}

impl Cursor {
    /// To this line of this source, or to the next one.
    pub const fn advance(&mut self, source: usize, line: Option<u64>) {
        // A command line names fewer sources than a u32 counts.
        let source = source as u32;
        if self.place.source != source {
            self.place = Place { source, line: 0 };
        }
        self.place.line = match line {
            Some(line) => line,
            None => self.place.line + 1,
        };
    }
}

/// Names of all sources, for messages.
#[derive(Debug, Clone)]
pub struct SourceNames(pub Arc<[String]>);

impl SourceNames {
    pub fn name(&self, source: u32) -> &str {
        // A file that is followed has a number for each of its generations, and one name.
        self.0.get(source as usize).or(self.0.last()).map_or("?", String::as_str)
    }

    /// `FILE:LINE`.
    pub fn show(&self, place: Place) -> impl fmt::Display {
        format!("{}:{}", self.name(place.source), place.line)
    }
}

/// Consecutive lines of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: Place,
    pub count: u32,
}

/// Places of many records, in the order of their admission.
#[derive(Debug, Default)]
pub struct Places {
    runs: Vec<Run>,
    count: u32,
}

impl Places {
    pub fn push(&mut self, place: Place) {
        self.count += 1;
        if let Some(last) = self.runs.last_mut()
            && last.first.source == place.source
            && last.first.line + u64::from(last.count) == place.line
        {
            last.count += 1;
            return;
        }
        self.runs.push(Run { first: place, count: 1 });
    }

    pub const fn count(&self) -> u32 {
        self.count
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn iter(&self) -> impl Iterator<Item = Place> {
        self.runs.iter().flat_map(|run| {
            (0..u64::from(run.count)).map(|at| Place { source: run.first.source, line: run.first.line + at })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_lines_take_no_room_of_their_own() {
        let mut places = Places::default();
        let all = [(0, 1), (0, 2), (0, 3), (0, 7), (0, 8), (1, 9), (1, 1), (1, 2)];
        for (source, line) in all {
            places.push(Place { source, line });
        }
        assert_eq!(places.count(), 8);
        assert_eq!(places.runs().len(), 4);
        assert_eq!(places.iter().map(|place| (place.source, place.line)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn places_are_ordered_as_the_input_is() {
        let names = SourceNames(["a.txt".to_owned(), "<stdin>".to_owned()].into());
        let (first, second) = (Place { source: 0, line: 900 }, Place { source: 1, line: 2 });
        assert!(first < second);
        assert_eq!(names.show(second).to_string(), "<stdin>:2");
        assert_eq!(names.show(Place { source: 7, line: 1 }).to_string(), "<stdin>:1");
    }
}
