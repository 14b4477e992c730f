//! Everything that was measured, as it is written to JSON, and what is asked of it. Plain.

use serde::{Deserialize, Serialize};

use super::cell::{Broker, Cell};
use crate::machine::Machine;
use crate::raw::Limits;
use crate::run::Run;
use crate::summary::Summary;

/// One run of one cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    pub workload: String,
    pub variant: String,
    #[serde(flatten)]
    pub cell: Cell,
    /// Percent of the slower side's maximum; `None`: as much as went.
    pub load: Option<u32>,
    pub round: usize,
    /// Seconds since the comparison began.
    pub at: f64,
    pub run: Run,
}

/// A flush under load, and what the disk does with as much.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    pub workload: String,
    /// Bytes that one flush of our broker made durable, on average.
    pub bytes: usize,
    /// What our client and broker appended a second meanwhile, in megabytes, headers of batches included.
    pub pair_mb_per_second: f64,
    /// Append and fdatasync of so many bytes at once, right after it.
    pub raw_mb_per_second: f64,
}

/// A broker's memory while one partition is written to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    pub broker: Broker,
    /// Bytes of values written, and bytes resident then.
    pub resident: Vec<(u64, u64)>,
    pub peak_bytes: u64,
}

/// A start of our broker (of Apache Kafka: with the script around it).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    pub broker: Broker,
    /// What was there before, stopped cleanly.
    pub partitions: i32,
    pub seconds: f64,
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub command: String,
    pub rounds: usize,
    pub seconds: f64,
    /// What is not in it, and why.
    pub not_measured: Vec<String>,
    /// Runs that came to nothing: those beside them count all the same.
    #[serde(default)]
    pub failures: Vec<String>,
    /// Before everything else.
    pub limits: Option<Limits>,
    pub samples: Vec<Sample>,
    pub groups: Vec<Group>,
    /// Round trip and 4 KiB fdatasync between the rounds of one-awaited.
    pub awaited_limits: Vec<Limits>,
    pub memory: Vec<Memory>,
    pub starts: Vec<Start>,
    /// How long all of it took.
    pub total_seconds: f64,
}

impl Report {
    /// Nothing measured yet.
    pub const fn new(machine: Machine, command: String, rounds: usize, seconds: f64) -> Self {
        Self {
            machine,
            command,
            rounds,
            seconds,
            not_measured: Vec::new(),
            failures: Vec::new(),
            limits: None,
            samples: Vec::new(),
            groups: Vec::new(),
            awaited_limits: Vec::new(),
            memory: Vec::new(),
            starts: Vec::new(),
            total_seconds: 0.0,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub workload: &'a str,
    pub variant: &'a str,
    pub cell: Cell,
    pub load: Option<u32>,
}

impl<'a> Question<'a> {
    /// Of a workload with one variant, as much as went.
    pub const fn most(workload: &'a str, cell: Cell) -> Self {
        Self { workload, variant: "", cell, load: None }
    }

    pub const fn variant(self, variant: &'a str) -> Self {
        Self { variant, ..self }
    }

    pub const fn load(self, load: u32) -> Self {
        Self { load: Some(load), ..self }
    }
}

impl Sample {
    fn answers(&self, question: Question<'_>) -> bool {
        self.workload == question.workload
            && self.variant == question.variant
            && self.cell == question.cell
            && self.load == question.load
    }
}

impl Report {
    /// The runs that answer a question.
    pub fn runs<'a>(&'a self, question: Question<'a>) -> impl Iterator<Item = &'a Run> {
        self.samples.iter().filter(move |sample| sample.answers(question)).map(|sample| &sample.run)
    }

    /// One figure of them; `None` where it was not measured.
    pub fn summary(&self, question: Question<'_>, figure: impl Fn(&Run) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.runs(question).filter_map(figure))
    }

    /// The median of one figure.
    pub fn median(&self, question: Question<'_>, figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        self.summary(question, figure).map(|summary| summary.median)
    }

    /// One figure of one by that of another: the median over the rounds, since what is measured in the same round meets the same
    /// state of the machine.
    pub fn ratio(
        &self,
        one: Question<'_>,
        other: Question<'_>,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        let rounds = (0..self.rounds).filter_map(|round| {
            let of = |question: Question<'_>| {
                let sample =
                    self.samples.iter().find(|sample| sample.round == round && sample.answers(question))?;
                figure(&sample.run)
            };
            Some(of(one)? / of(other)?)
        });
        Some(Summary::of(rounds)?.median)
    }

    /// Records a second.
    pub fn rate(&self, question: Question<'_>) -> Option<f64> {
        self.median(question, |run| Some(run.records_per_second()))
    }

    /// Cells that a workload was measured with.
    pub fn cells_of(&self, workload: &str) -> Vec<Cell> {
        let mut cells = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.workload == workload) {
            if !cells.contains(&sample.cell) {
                cells.push(sample.cell);
            }
        }
        cells
    }
}

#[cfg(test)]
pub mod testing {
    //! Reports made by hand.

    use super::*;
    use crate::usage::Cpu;

    pub fn empty() -> Report {
        let machine = Machine {
            cpu: "an example".to_owned(),
            cores: 2,
            memory_bytes: 24_000_000_000,
            kernel: "6.1".to_owned(),
            file_system: "ext4".to_owned(),
            load: "0.00".to_owned(),
            versions: vec![("gapless".to_owned(), "0.1.0".to_owned())],
        };
        Report::new(machine, "tests/bench/compare".to_owned(), 3, 2.0)
    }

    /// A run of a second with values of 100 bytes: so many million records, so many CPU seconds of client and broker a million.
    pub fn run(millions: f64, client: f64, broker: f64) -> Run {
        let records = (millions * 1e6) as u64;
        Run {
            records,
            bytes: records * 100,
            seconds: 1.0,
            client_cpu: Cpu { user: client * millions, system: 0.0 },
            client_peak_bytes: 30_000_000,
            broker_cpu: Some(Cpu { user: 0.0, system: broker * millions }),
            broker_peak_bytes: Some(40_000_000),
            ..Run::default()
        }
    }

    pub fn add(report: &mut Report, question: Question<'_>, run: Run) {
        report.samples.push(Sample {
            workload: question.workload.to_owned(),
            variant: question.variant.to_owned(),
            cell: question.cell,
            load: question.load,
            round: 0,
            at: 0.0,
            run,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Client;
    use super::testing::{add, empty, run};
    use super::*;
    use crate::drive::Preset;

    #[test]
    fn a_question_finds_its_own_runs_alone() {
        let ours = Cell::new(Client::Ours, Preset::Tuned, Broker::Ours);
        let question = Question::most("100B-os", ours);
        let mut report = empty();
        for millions in [1.0, 3.0, 2.0] {
            add(&mut report, question, run(millions, 0.5, 0.1));
        }
        add(&mut report, question.load(50), run(9.0, 0.5, 0.1));
        add(&mut report, question.variant("lz4"), run(9.0, 0.5, 0.1));
        add(&mut report, Question::most("1KB-os", ours), run(9.0, 0.5, 0.1));
        let kafka = Cell { broker: Broker::Kafka, ..ours };
        add(&mut report, Question::most("100B-os", kafka), run(9.0, 0.5, 0.1));
        let rate = report.summary(question, |run| Some(run.records_per_second() / 1e6)).unwrap();
        assert_eq!(rate, Summary { least: 1.0, median: 2.0, most: 3.0, modes: None });
        assert_eq!(report.rate(Question::most("read-back", ours)), None);
        assert_eq!(report.cells_of("100B-os"), [ours, kafka]);

        let ratio = |one, other| report.ratio(one, other, |run| Some(run.records_per_second()));
        assert_eq!(ratio(question.load(50), question), Some(9.0), "of the first round");
        assert_eq!(ratio(question.load(80), question), None);

        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read.rate(question), report.rate(question));
    }
}
