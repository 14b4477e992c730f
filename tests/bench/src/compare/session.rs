//! What a comparison has at hand while it runs: brokers, jars, a directory, and what it has measured so far.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::brokers::{Host, Kafka};
use super::cell::{Broker, Cell, Having};
use super::results::{Report, Sample};
use crate::failure::{During, Failure, Outcome};
use crate::run::Run;
use crate::summary::figure;

/// One comparison.
pub struct Session {
    pub work: PathBuf,
    pub out: PathBuf,
    pub begun: Instant,
    pub report: Report,
    pub is_quick: bool,
    /// Of Apache Kafka and its tools.
    pub jars: Option<PathBuf>,
    pub kafka: Option<Kafka>,
    /// Topics so far: each run gets one of its own.
    topics: usize,
}

/// Bytes of values that one run writes at most: they have to fit into the page cache of a machine with some memory, below the
/// share from which the kernel makes writers wait.
pub const BYTES_MAX: u64 = 1_500_000_000;

/// Before each measured phase.
pub const WARM_UP_SECONDS: f64 = 0.4;

impl Session {
    pub fn new(work: PathBuf, out: PathBuf, report: Report, is_quick: bool) -> Self {
        Self { work, out, begun: Instant::now(), report, is_quick, jars: None, kafka: None, topics: 0 }
    }

    pub fn having(&self) -> Having {
        Having { kafka: self.kafka.is_some(), java: self.jars.is_some() }
    }

    /// The broker of a cell, where ours is this one.
    pub fn host<'a>(&'a self, cell: Cell, ours: &'a Host) -> Outcome<&'a Host> {
        match cell.broker {
            Broker::Ours => Ok(ours),
            Broker::Kafka => self
                .kafka
                .as_ref()
                .map(|kafka| &kafka.host)
                .ok_or_else(|| Failure("no Kafka here".to_owned())),
            Broker::Bare => Err(Failure("the bare server has no topics".to_owned())),
        }
    }

    /// A name that no topic had.
    pub fn new_topic(&mut self) -> String {
        self.topics += 1;
        format!("bench-{}", self.topics)
    }

    /// Keeps what was measured, and tells it. A run that failed does not take the others with it: it is named, and the whole
    /// fails at the end. Whether there is something.
    pub fn keep(
        &mut self,
        workload: &str,
        variant: &str,
        cell: Cell,
        load: Option<u32>,
        round: usize,
        run: Outcome<Run>,
    ) -> bool {
        let loaded = load.map_or_else(String::new, |percent| format!(" at {percent} %"));
        let label = if variant.is_empty() { String::new() } else { format!(" {variant}") };
        let run = match run {
            Ok(run) => run,
            Err(why) => {
                let what = format!("{workload}{label}{loaded}, round {}, {}: {why}", round + 1, cell.name());
                say(format!("FAILED: {what}"));
                self.report.failures.push(what);
                return false;
            }
        };
        let latency = run.latency_ms.map_or_else(String::new, |latency| {
            format!(", p50 {} ms, p99 {} ms", figure(latency.p50), figure(latency.p99))
        });
        let broker = run
            .broker_cpu_per_gigabyte()
            .map_or_else(String::new, |cpu| format!(", broker {} CPU-s/GB", figure(cpu)));
        let failed = if run.failed > 0 { format!(", {} FAILED", run.failed) } else { String::new() };
        say(format!(
            "{workload}{label}{loaded}, round {}, {}: {} M records/s, client {} CPU-s/M{broker}{latency}{failed}",
            round + 1,
            cell.name(),
            figure(run.records_per_second() / 1e6),
            figure(run.client_cpu_per_million()),
        ));
        self.report.samples.push(Sample {
            workload: workload.to_owned(),
            variant: variant.to_owned(),
            cell,
            load,
            round,
            at: self.begun.elapsed().as_secs_f64(),
            run,
        });
        true
    }

    /// What cannot be had here, once.
    pub fn not_measured(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.report.not_measured.contains(&what) {
            say(format!("not measured: {what}"));
            self.report.not_measured.push(what);
        }
    }

    /// Writes what there is so far.
    pub fn save(&mut self) -> Outcome<()> {
        self.report.total_seconds = self.begun.elapsed().as_secs_f64();
        write(&self.out.join("compare.json"), &serde_json::to_string_pretty(&self.report).during("JSON")?)
    }
}

/// Writes a file of the output directory.
pub fn write(path: &Path, text: &str) -> Outcome<()> {
    std::fs::write(path, text).during(path.display())
}

/// Says what goes on.
#[expect(clippy::print_stderr, reason = "a program for people")]
pub fn say(what: impl std::fmt::Display) {
    eprintln!("{what}");
}
