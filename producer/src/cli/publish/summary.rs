//! The one result on standard output: what a run did, for people or as JSON.

use std::fmt;
use std::time::Duration;

use gapless_producer::Stats;
use serde::Serialize;

use super::tracker::Counts;
use crate::cli::human;
use crate::cli::latency::{Latencies, Latency};
use crate::cli::result::Lines;

/// Characters of the longest name in the summary and the blanks behind it.
const NAMES: usize = 10;

/// A run in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Null if there was another number than one.
    pub topic: Option<String>,
    pub topics: Vec<String>,
    /// Records acknowledged.
    pub records: u64,
    /// Records that are not in the log.
    pub not_written: u64,
    /// Records of which that is not known.
    pub unknown: u64,
    /// Lines that are no records, or were refused before they were sent.
    pub rejected: u64,
    /// Records sent whose value is null: tombstones.
    pub nulls: u64,
    /// Bytes of keys, values and headers of the records acknowledged.
    pub bytes: u64,
    /// The same as they travelled: in batches, compressed.
    pub bytes_sent: u64,
    pub batches: u64,
    /// Average size of a batch before compression, as a share of --batch-size.
    pub batch_fill: f64,
    pub retries: u64,
    pub reconnects: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    /// From reading a record to its acknowledgement; null without one.
    pub latency_ms: Option<Latency>,
    /// Settings that drop the promise of exactly once and in order.
    pub weakened_by: Vec<String>,
    pub interrupted: bool,
    /// Why not every record was acknowledged.
    pub error: Option<String>,
    #[serde(skip)]
    pub batch_size: u64,
}

/// What a summary is made of beside the producer's own totals.
pub struct Run<'a> {
    pub topics: Vec<String>,
    pub nulls: u64,
    pub counts: Counts,
    pub rejected: u64,
    pub latencies: &'a Latencies,
    pub elapsed: Duration,
    pub weakened_by: Vec<String>,
    pub interrupted: bool,
    pub error: Option<String>,
}

impl Summary {
    pub fn new(run: Run<'_>, stats: &Stats) -> Self {
        let seconds = run.elapsed.as_secs_f64();
        let rate = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        Self {
            topic: (run.topics.len() == 1).then(|| run.topics.concat()),
            topics: run.topics,
            nulls: run.nulls,
            records: run.counts.acked,
            not_written: run.counts.not_written,
            unknown: run.counts.unknown,
            rejected: run.rejected,
            bytes: run.counts.bytes_acked,
            bytes_sent: stats.bytes_acked,
            batches: stats.batches_acked,
            batch_fill: stats.batch_fill(),
            retries: stats.retries,
            reconnects: stats.reconnects,
            seconds,
            records_per_second: rate(run.counts.acked),
            bytes_per_second: rate(run.counts.bytes_acked),
            latency_ms: Latency::of(run.latencies),
            weakened_by: run.weakened_by,
            interrupted: run.interrupted,
            error: run.error,
            batch_size: stats.batch_size,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines::new(f, NAMES);
        let place = match &self.topic {
            Some(topic) => format!("topic {topic}"),
            None => human::plural(self.topics.len() as u64, "topic"),
        };
        lines.acknowledged(self.records, place, self.bytes, self.seconds)?;
        if self.is_idle() {
            return self.tell_rest(&mut lines);
        }
        lines.rate(self.records_per_second, self.bytes_per_second)?;
        lines.line(
            "batches",
            format_args!(
                "{}, {:.1} % of {} full on average; {} sent",
                human::count(self.batches),
                self.batch_fill * 100.0,
                human::size(self.batch_size),
                human::size(self.bytes_sent),
            ),
        )?;
        lines.retries(self.retries, self.reconnects)?;
        if let Some(latency) = self.latency_ms {
            lines.line("latency", latency)?;
        }
        self.tell_rest(&mut lines)
    }
}

impl Summary {
    /// Nothing was sent and nothing tried: there are no figures worth a line.
    const fn is_idle(&self) -> bool {
        self.records + self.batches + self.retries + self.reconnects == 0
    }

    /// What is told of a run whether it sent something or not.
    fn tell_rest(&self, lines: &mut Lines<'_, '_>) -> fmt::Result {
        if self.nulls > 0 {
            let nulls = human::plural(self.nulls, "value");
            lines.line("nulls", format_args!("{nulls} sent as null, which deletes its key"))?;
        }
        if self.not_written + self.unknown + self.rejected > 0 {
            let [not_written, unknown, rejected] =
                [self.not_written, self.unknown, self.rejected].map(human::count);
            lines.line(
                "failed",
                format_args!("{not_written} not written, {unknown} unknown, {rejected} rejected"),
            )?;
        }
        lines.promise(&self.weakened_by)?;
        if self.interrupted {
            lines.line("input", "interrupted; what was read before is accounted for here")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(latencies: &Latencies, weakened_by: &[&str], counts: Counts) -> Summary {
        let run = Run {
            topics: vec!["events".to_owned()],
            nulls: 0,
            counts,
            rejected: 0,
            latencies,
            elapsed: Duration::from_secs(2),
            weakened_by: weakened_by.iter().map(|&text| text.to_owned()).collect(),
            interrupted: false,
            error: None,
        };
        Summary::new(run, &Stats::default())
    }

    #[test]
    fn people_read_what_happened() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_micros(1500), 99);
        latencies.record(Duration::from_millis(80), 1);
        let counts = Counts { admitted: 3000, acked: 3000, bytes_acked: 3 << 20, ..Counts::default() };
        let text = summary(&latencies, &[], counts).to_string();
        assert!(
            text.starts_with("3,000 records acknowledged in topic events: 3.0 MiB in 2.00 s\n"),
            "{text}"
        );
        assert!(text.contains("1,500 records/s, 1.5 MiB/s"), "{text}");
        assert!(text.contains("p50 1.50 ms, p90 1.50 ms, p99 1.50 ms, p99.9 80.1 ms, max 80.1 ms"), "{text}");
        assert!(!text.contains("failed") && !text.contains("promise"), "{text}");
        let counts = Counts { unknown: 2, not_written: 1, ..counts };
        let text = summary(&latencies, &["acks=1"], counts).to_string();
        assert!(text.contains("1 not written, 2 unknown, 0 rejected"), "{text}");
        assert!(text.contains("out of order: acks=1"), "{text}");
        let nothing = Latencies::new().unwrap();
        let text = summary(&nothing, &[], Counts::default()).to_string();
        assert_eq!(text, "0 records acknowledged in topic events: 0 bytes in 2.00 s\n");
    }

    #[test]
    fn programs_read_the_same() {
        let latencies = Latencies::new().unwrap();
        let counts = Counts { acked: 10, ..Counts::default() };
        let json = serde_json::to_value(summary(&latencies, &[], counts)).unwrap();
        assert_eq!(json["records"], 10);
        assert_eq!(json["records_per_second"], 5.0);
        assert!(json["latency_ms"].is_null());
        assert!(json["error"].is_null());
    }
}
