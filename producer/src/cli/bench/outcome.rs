//! The one result on standard output: for people, or as JSON.

use std::fmt;

use gapless_producer::Stats;
use serde::Serialize;

use super::cpu::CpuSeconds;
use super::flight::Measured;
use crate::cli::human;
use crate::cli::latency::Latency;
use crate::cli::result::{Lines, seconds_text};

/// Characters of the longest name in the outcome and the blanks behind it.
const NAMES: usize = 10;

/// What was measured, warm-up apart.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub topic: String,
    pub load: Load,
    /// Records acknowledged.
    pub records: u64,
    /// Records that were not.
    pub failed: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// From the end of the warm-up to the last acknowledgement.
    pub seconds: f64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    /// From due to acknowledged.
    pub latency_ms: Option<Latency>,
    /// The longest that a record left later than it was due.
    pub behind_ms: f64,
    pub cpu_seconds: Option<CpuSeconds>,
    pub cpu_seconds_per_million_records: Option<f64>,
    pub requests: u64,
    pub batches: u64,
    pub records_per_batch: f64,
    /// Average size of a batch before compression, as a share of --batch-size.
    pub batch_fill: f64,
    /// Bytes as they travelled: in batches, compressed.
    pub bytes_sent: u64,
    pub retries: u64,
    pub reconnects: u64,
    /// Settings that drop the promise of exactly once and in order.
    pub weakened_by: Vec<String>,
    pub interrupted: bool,
    pub error: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    /// Records a second; null: as many as there is room for.
    pub rate: Option<f64>,
    pub producers: u32,
    /// Of each value; null: lines of a file.
    pub record_size: Option<usize>,
    pub keys: Option<u32>,
    pub acks: String,
    pub compression: String,
    pub linger: String,
    pub batch_size: usize,
    pub warm_up_seconds: f64,
}

/// What an outcome is made of beside what was measured.
pub struct Run {
    pub topic: String,
    pub load: Load,
    /// Totals of all producers over the time that counts.
    pub stats: Stats,
    pub cpu_seconds: Option<CpuSeconds>,
    pub weakened_by: Vec<String>,
    pub interrupted: bool,
    pub error: Option<String>,
}

impl Outcome {
    pub fn new(run: Run, measured: &Measured) -> Self {
        let seconds = measured.until.saturating_duration_since(measured.timeline.begin).as_secs_f64();
        let rate = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let share = |amount: f64, of: u64| if of == 0 { 0.0 } else { amount / of as f64 };
        Self {
            topic: run.topic,
            load: run.load,
            records: measured.records,
            failed: measured.failed,
            bytes: measured.bytes,
            seconds,
            records_per_second: rate(measured.records),
            bytes_per_second: rate(measured.bytes),
            latency_ms: Latency::of(&measured.latencies),
            behind_ms: measured.behind.as_secs_f64() * 1000.0,
            cpu_seconds: run.cpu_seconds,
            cpu_seconds_per_million_records: run
                .cpu_seconds
                .filter(|_| measured.records > 0)
                .map(|cpu| cpu.total() * 1e6 / measured.records as f64),
            requests: run.stats.requests,
            batches: run.stats.batches_acked,
            records_per_batch: share(run.stats.records_acked as f64, run.stats.batches_acked),
            batch_fill: run.stats.batch_fill(),
            bytes_sent: run.stats.bytes_acked,
            retries: run.stats.retries,
            reconnects: run.stats.reconnects,
            weakened_by: run.weakened_by,
            interrupted: run.interrupted,
            error: run.error,
        }
    }

    /// The load in one line.
    pub fn load_line(&self) -> String {
        let load = &self.load;
        let values = load.record_size.map_or_else(
            || "lines of a file".to_owned(),
            |size| format!("values of {}", human::size(size as u64)),
        );
        let keys = load.keys.map_or_else(String::new, |keys| format!(", {} keys", human::count(keys.into())));
        let rate = load.rate.map_or_else(
            || "as fast as it goes".to_owned(),
            |rate| format!("{} records/s due", rate_text(rate)),
        );
        let producers = human::plural(load.producers.into(), "producer");
        format!(
            "{values}{keys}, {producers}, {rate}; acks {}, linger {}, compression {}",
            load.acks, load.linger, load.compression
        )
    }
}

/// Whole where it is, else with what digits it has.
fn rate_text(rate: f64) -> String {
    if rate.fract() == 0.0 { human::count(rate as u64) } else { rate.to_string() }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines::new(f, NAMES);
        let place = format_args!("topic {}", self.topic);
        lines.acknowledged(self.records, place, self.bytes, self.seconds)?;
        lines.line("load", self.load_line())?;
        lines.rate(self.records_per_second, self.bytes_per_second)?;
        if let Some(latency) = self.latency_ms {
            lines.line("latency", format_args!("{latency:#}"))?;
        }
        if self.load.rate.is_some() {
            let behind = seconds_text(self.behind_ms / 1000.0);
            lines.line("sending", format_args!("at most {behind} behind what was due"))?;
        }
        if let Some(cpu) = self.cpu_seconds {
            let each = self
                .cpu_seconds_per_million_records
                .map_or_else(String::new, |each| format!(", {each:.2} s per million records"));
            lines.line("cpu", format_args!("{:.2} s user, {:.2} s system{each}", cpu.user, cpu.system))?;
        }
        lines.line(
            "batches",
            format_args!(
                "{} in {}, {:.0} records each, {:.1} % of {} full; {} sent",
                human::count(self.batches),
                human::plural(self.requests, "request"),
                self.records_per_batch,
                self.batch_fill * 100.0,
                human::size(self.load.batch_size as u64),
                human::size(self.bytes_sent),
            ),
        )?;
        lines.retries(self.retries, self.reconnects)?;
        if self.failed > 0 {
            let failed = human::plural(self.failed, "record");
            lines.line("failed", format_args!("{failed}, warm-up included"))?;
        }
        lines.promise(&self.weakened_by)?;
        if self.interrupted {
            lines.line("run", "interrupted; measured until then")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    /// A run of two seconds with 2,000 records.
    pub fn outcome() -> (Outcome, Measured) {
        let begin = Instant::now();
        let mut measured = Measured::new(begin).unwrap();
        for number in 0..2000 {
            measured.latencies.record(Duration::from_micros(500 + number), 1);
            measured.timeline.count(begin + Duration::from_millis(number), 1);
        }
        measured.records = 2000;
        measured.bytes = 200_000;
        measured.until = begin + Duration::from_secs(2);
        let load = Load {
            rate: Some(1000.0),
            producers: 1,
            record_size: Some(100),
            keys: Some(50),
            acks: "all".to_owned(),
            compression: "none".to_owned(),
            linger: "auto".to_owned(),
            batch_size: 1_000_000,
            warm_up_seconds: 1.0,
        };
        let run = Run {
            topic: "bench".to_owned(),
            load,
            stats: Stats::default(),
            cpu_seconds: Some(CpuSeconds { user: 0.3, system: 0.1 }),
            weakened_by: Vec::new(),
            interrupted: false,
            error: None,
        };
        (Outcome::new(run, &measured), measured)
    }

    #[test]
    fn people_and_programs_read_what_was_measured() {
        let (outcome, _) = outcome();
        let text = outcome.to_string();
        for words in [
            "2,000 records acknowledged in topic bench: 195.3 KiB in 2.00 s\n",
            "values of 100 bytes, 50 keys, 1 producer, 1,000 records/s due; acks all, linger auto",
            "1,000 records/s, 97.7 KiB/s",
            "p50 1.50 ms",
            "0.30 s user, 0.10 s system, 200.00 s per million records",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!((&json["records"], &json["load"]["rate"]), (&2000.into(), &1000.0.into()));
    }
}
