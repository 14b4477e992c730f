//! The one result on standard output: for people, or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::ledger::{Counts, Kind, Ledger, Tally};
use crate::cli::human;
use crate::cli::result::{Lines, seconds_text};

/// Characters of the longest name in the outcome and the blanks behind it.
const NAMES: usize = 11;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub topic: String,
    pub report: String,
    /// Everything acknowledged is there once, in order, byte for byte.
    pub proven: bool,
    #[serde(flatten)]
    pub counts: Counts,
    pub partitions: usize,
    /// Records that were read, at the last reading.
    pub records_read: u64,
    pub first_unclaimed: Option<Unclaimed>,
    /// The last line has no end: the report may lack what was acknowledged last.
    pub report_cut_short: bool,
    pub findings: BTreeMap<Kind, Tally>,
    pub seconds: f64,
}

/// A record that the report does not know.
#[derive(Debug, Serialize)]
pub struct Unclaimed {
    pub partition: i32,
    pub offset: i64,
}

/// What an outcome is made of beside the ledger.
pub struct Run<'a> {
    pub topic: &'a str,
    pub report: String,
    pub partitions: usize,
    pub records_read: u64,
    pub report_cut_short: bool,
    pub elapsed: Duration,
}

impl Outcome {
    pub fn new(run: Run<'_>, ledger: Ledger) -> Self {
        Self {
            topic: run.topic.to_owned(),
            report: run.report,
            proven: ledger.is_clean(),
            counts: ledger.counts,
            partitions: run.partitions,
            records_read: run.records_read,
            first_unclaimed: ledger
                .first_unclaimed
                .map(|(partition, offset)| Unclaimed { partition, offset }),
            report_cut_short: run.report_cut_short,
            findings: ledger.tallies,
            seconds: run.elapsed.as_secs_f64(),
        }
    }

    /// The first finding in one sentence, with how many there are.
    pub fn complaint(&self) -> Option<String> {
        let (kind, tally) = self.findings.first_key_value()?;
        let all: u64 = self.findings.values().map(|tally| tally.count).sum();
        let others = match all {
            1 => String::new(),
            _ => format!(" (the first of {} records of which something is wrong)", human::count(all)),
        };
        Some(format!("{kind}: {}{others}", Place { topic: &self.topic, tally }))
    }
}

/// `topic-0 offset 17 (input:18) is not in the log`.
struct Place<'a> {
    topic: &'a str,
    tally: &'a Tally,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.tally.first;
        write!(f, "{}-{}", self.topic, first.partition)?;
        match (first.offset, first.found_at) {
            (Some(offset), _) | (None, Some(offset)) => write!(f, " offset {offset}")?,
            (None, None) => f.write_str(" offset unknown")?,
        }
        if let (Some(file), Some(line)) = (&first.file, first.line) {
            write!(f, " ({file}:{line})")?;
        }
        write!(f, " {}", first.what)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let found = if self.proven {
            "all there once, in order, byte for byte"
        } else {
            "it does not hold what was acknowledged"
        };
        let acknowledged = human::plural(counts.acknowledged, "record");
        writeln!(f, "{acknowledged} acknowledged in topic {}: {found}", self.topic)?;
        let mut lines = Lines::new(f, NAMES);
        for (kind, tally) in &self.findings {
            let (count, first) = (human::plural(tally.count, "record"), Place { topic: &self.topic, tally });
            lines.line(kind, format_args!("{count}; first: {first}"))?;
        }
        let records = human::plural(self.records_read, "record");
        let partitions = human::plural(self.partitions as u64, "partition");
        lines.line("read", format_args!("{records} in {partitions} in {}", seconds_text(self.seconds)))?;
        if counts.unknown_written + counts.unknown_absent > 0 {
            let [there, not] = [counts.unknown_written, counts.unknown_absent].map(human::count);
            lines.line("unknown", format_args!("{there} there, {not} not: their fate was not known"))?;
        }
        if counts.not_written + counts.rejected > 0 {
            let [not_written, rejected] = [counts.not_written, counts.rejected].map(human::count);
            let told = format_args!("{not_written} not written, {rejected} rejected: never acknowledged");
            lines.line("failed", told)?;
        }
        if let Some(first) = &self.first_unclaimed {
            let others = human::plural(counts.unclaimed, "record");
            let first = format_args!("{}-{} offset {}", self.topic, first.partition, first.offset);
            lines.line("others", format_args!("{others} that the report does not know, first {first}"))?;
        }
        if self.report_cut_short {
            lines.line(
                "report",
                "cut short in its last line: what was acknowledged after it is not looked for",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Finding;
    use super::super::report::Origin;
    use super::*;

    fn outcome(ledger: Ledger) -> Outcome {
        let run = Run {
            topic: "t",
            report: "acks".to_owned(),
            partitions: 2,
            records_read: 1200,
            report_cut_short: false,
            elapsed: Duration::from_secs(2),
        };
        Outcome::new(run, ledger)
    }

    #[test]
    fn people_read_what_was_found_first() {
        let (mut clean, mut ledger) = (Ledger::default(), Ledger::default());
        clean.counts.acknowledged = 1200;
        ledger.counts.acknowledged = 1200;
        let text = outcome(clean).to_string();
        assert!(
            text.starts_with(
                "1,200 records acknowledged in topic t: all there once, in order, byte for byte\n"
            ),
            "{text}"
        );
        let origin = Origin { file: "in.txt".into(), line: 9 };
        ledger
            .add(Kind::Duplicate, 1, || Finding::new(1, Some(3), Some(4), "stands again at offset 4".into()));
        ledger.add(Kind::Missing, 2, || {
            Finding::new(0, Some(8), None, "is not in the log: the log ends before it".into()).from(&origin)
        });
        let outcome = outcome(ledger);
        let text = outcome.to_string();
        assert!(
            text.contains(
                "  missing    2 records; first: t-0 offset 8 (in.txt:9) is not in the log: the log ends before it\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("  duplicate  1 record; first: t-1 offset 3 stands again at offset 4\n"),
            "{text}"
        );
        assert_eq!(
            outcome.complaint().unwrap(),
            "missing: t-0 offset 8 (in.txt:9) is not in the log: the log ends before it (the first of 3 records of \
             which something is wrong)"
        );
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!((&json["proven"], &json["acknowledged"]), (&false.into(), &1200.into()));
        assert_eq!(json["findings"]["missing"]["count"], 2);
        assert_eq!(json["findings"]["missing"]["first"]["offset"], 8);
    }
}
