//! What is aimed at, each a ratio of figures of one run. Plain.

use serde::Serialize;

use super::cell::{Broker, Cell, Client};
use super::latency::LOADS;
use super::lines;
use super::results::{Question, Report};
use crate::drive::Preset;
use crate::run::Run;
use crate::summary::{Summary, figure};

/// One aim, and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What is compared with what.
    pub what: String,
    pub bound: Bound,
    /// Behind the figures.
    pub unit: &'static str,
    /// `None`: not measured.
    pub value: Option<f64>,
}

/// Where the value should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    /// Whether the aim is met; `None`: not measured.
    pub fn is_met(&self) -> Option<bool> {
        let value = self.value.filter(|value| value.is_finite())?;
        Some(match self.bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        })
    }

    /// The bound for people.
    pub fn aim(&self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {}{}", figure(least), self.unit),
            Bound::AtMost(most) => format!("≤ {}{}", figure(most), self.unit),
        }
    }

    /// The value for people.
    pub fn found(&self) -> String {
        self.value
            .map_or_else(|| "not measured".to_owned(), |value| format!("{}{}", figure(value), self.unit))
    }
}

const BARE: Cell = Cell::new(Client::Bare, Preset::Tuned, Broker::Bare);
const OURS: Cell = Cell::new(Client::Ours, Preset::Tuned, Broker::Ours);
const OURS_UNTOUCHED: Cell = Cell::new(Client::Ours, Preset::Defaults, Broker::Ours);
const THEIRS: Cell = Cell::new(Client::Librdkafka, Preset::Tuned, Broker::Ours);
const THEIRS_UNTOUCHED: Cell = Cell::new(Client::Librdkafka, Preset::Defaults, Broker::Ours);
const KAFKA: Cell = Cell::new(Client::Librdkafka, Preset::Tuned, Broker::Kafka);

const TIMES: &str = "×";
/// What a scheduler, a protocol and two wake-ups may cost one record beyond disk and wire.
const AWAITED_ALLOWANCE_MS: f64 = 0.06;
/// Fifty times the buffer of one producer, and as much again as one process takes without.
const FIFTY_PRODUCERS_MB: f64 = 1_750.0;
/// What may be growth and is not: an allocator keeps some.
const GROWTH_MB: f64 = 10.0;

/// All of them, in the order in which they were set.
pub fn verdicts(report: &Report) -> Vec<Verdict> {
    let mut all = Vec::new();
    clients(report, &mut all);
    command_lines(report, &mut all);
    brokers(report, &mut all);
    memory_and_reading(report, &mut all);
    disk(report, &mut all);
    crowds(report, &mut all);
    starts(report, &mut all);
    all
}

fn clients(report: &Report, all: &mut Vec<Verdict>) {
    let ratio = Ratio { report, workload: "100B-os", variant: "", load: None };
    all.push(ratio.of("our client ÷ bare pair, 100 B, os: rate", OURS, BARE, rate).at_least(1.0 / 3.0));
    all.push(ratio.of("our client ÷ bare pair, 100 B, os: client CPU", OURS, BARE, client_cpu).at_most(2.5));
    let name = "our client ÷ librdkafka, both tuned, our broker, 100 B, os";
    all.push(ratio.of(format!("{name}: rate"), OURS, THEIRS, rate).at_least(4.0));
    all.push(ratio.of(format!("{name}: client CPU"), OURS, THEIRS, client_cpu).at_most(0.2));
    let name = "our client ÷ librdkafka, both with defaults, our broker, 100 B, os";
    all.push(ratio.of(format!("{name}: rate"), OURS_UNTOUCHED, THEIRS_UNTOUCHED, rate).at_least(4.0));
    for load in LOADS {
        let name = format!("{name}: p99 at {load} % of the slower one's maximum");
        let ratio = Ratio { load: Some(load), ..ratio };
        all.push(ratio.of(name, OURS_UNTOUCHED, THEIRS_UNTOUCHED, p99).at_most(1.0));
    }
}

fn command_lines(report: &Report, all: &mut Vec<Verdict>) {
    let ratio = Ratio { report, workload: lines::NAME, variant: "", load: None };
    let cli = Cell::new(Client::Cli, Preset::Defaults, Broker::Ours);
    for (how, preset) in [("with defaults", Preset::Defaults), ("tuned", Preset::Tuned)] {
        let kcat = Cell::new(Client::Kcat, preset, Broker::Ours);
        let name = format!("our command line ÷ kcat {how}, the same file, our broker");
        all.push(ratio.of(format!("{name}: lines a second"), cli, kcat, rate).at_least(5.0));
        all.push(ratio.of(format!("{name}: CPU"), cli, kcat, client_cpu).at_most(0.2));
    }
}

fn brokers(report: &Report, all: &mut Vec<Verdict>) {
    for workload in ["100B-os", "1KB-os", "100B-fsync", "1KB-fsync"] {
        let ratio = Ratio { report, workload, variant: "", load: None };
        let name = format!("our broker ÷ Apache Kafka, librdkafka tuned, {workload}");
        all.push(
            ratio.of(format!("{name}: broker CPU per GB"), THEIRS, KAFKA, broker_cpu).at_most(1.0 / 6.0),
        );
        all.push(ratio.of(format!("{name}: rate"), THEIRS, KAFKA, rate).at_least(1.0));
        let half = Ratio { load: Some(50), ..ratio };
        all.push(half.of(format!("{name}: p99 at half load"), THEIRS, KAFKA, p99).at_most(1.0 / 3.0));
    }
    for workload in ["100B-os", "1KB-os"] {
        let ratio = Ratio { report, workload, variant: "", load: None };
        let name = format!("our broker ÷ bare server, batches of 1 MB, {workload}: CPU per GB");
        all.push(ratio.of(name, OURS, BARE, broker_cpu).at_most(1.5));
    }
}

fn memory_and_reading(report: &Report, all: &mut Vec<Verdict>) {
    let after = |broker, step: usize| {
        let memory = report.memory.iter().find(|memory| memory.broker == broker)?;
        let resident = if step == 0 { memory.resident.last() } else { memory.resident.get(step) };
        resident.map(|(_, bytes)| *bytes as f64)
    };
    let of = |what: &str, one: Option<f64>, other: Option<f64>| Unbound {
        what: what.to_owned(),
        value: one.zip(other).map(|(one, other)| one / other),
    };
    let ours = after(Broker::Ours, 0);
    all.push(
        of("our broker ÷ Apache Kafka: memory after all was written", ours, after(Broker::Kafka, 0))
            .at_most(0.1),
    );
    let early = after(Broker::Ours, 2);
    all.push(Verdict {
        what: "our broker: memory after all was written, beyond what it was after a fifth of it".to_owned(),
        bound: Bound::AtMost(GROWTH_MB),
        unit: " MB",
        value: ours.zip(early).map(|(late, early)| (late - early) / 1e6),
    });
    let ratio = Ratio { report, workload: "read-back", variant: "cached", load: None };
    let name = "our broker ÷ Apache Kafka, librdkafka tuned reads from page cache: broker CPU per GB";
    all.push(ratio.of(name, THEIRS, KAFKA, broker_cpu).at_most(0.5));
}

fn disk(report: &Report, all: &mut Vec<Verdict>) {
    for workload in ["100B-fsync", "1KB-fsync"] {
        let groups = report.groups.iter().filter(|group| group.workload == workload);
        let shares = Summary::of(groups.map(|group| group.pair_mb_per_second / group.raw_mb_per_second));
        let what =
            format!("pair ÷ raw append + fdatasync of the same group size, {workload}: bytes a second");
        all.push(Unbound { what, value: shares.map(|shares| shares.median) }.at_least(0.8));
    }
    let median = |of: &dyn Fn(&crate::raw::Limits) -> Option<f64>| {
        Summary::of(report.awaited_limits.iter().filter_map(of)).map(|summary| summary.median)
    };
    let flush = median(&|limits| Some(limits.sync.first()?.latency_ms.p50));
    let wire = median(&|limits| Some(limits.round_trip_ms?.p50));
    let awaited =
        report.median(Question::most("one-awaited", OURS).variant("fsync"), |run| Some(run.latency_ms?.p50));
    let most = flush.zip(wire).map(|(flush, wire)| flush + wire + AWAITED_ALLOWANCE_MS);
    all.push(Verdict {
        what: "one awaited record, fsync: p50, at most raw 4 KiB fdatasync + loopback round trip + 0.06 ms"
            .to_owned(),
        bound: Bound::AtMost(most.unwrap_or(f64::NAN)),
        unit: " ms",
        value: awaited.filter(|_| most.is_some()),
    });
}

fn crowds(report: &Report, all: &mut Vec<Verdict>) {
    let across = |one: &str, other: &str, cell: Cell| {
        let (one, other) = (report.rate(Question::most(one, cell)), report.rate(Question::most(other, cell)));
        one.zip(other).map(|(one, other)| one / other)
    };
    let what = "1,000 partitions ÷ one, fsync, 100 B: rate".to_owned();
    all.push(Unbound { what, value: across("partitions-1000", "100B-fsync", OURS) }.at_least(0.5));
    let what = "fifty producers ÷ one, os, 100 B: rate".to_owned();
    all.push(Unbound { what, value: across("producers-50", "100B-os", OURS) }.at_least(1.0));
    let fifty = Question::most("producers-50", OURS_UNTOUCHED);
    all.push(Verdict {
        what: "fifty producers at 80 % of the slower client's maximum: p99".to_owned(),
        bound: Bound::AtMost(1000.0),
        unit: " ms",
        value: report.median(fifty.load(80), p99),
    });
    all.push(Verdict {
        what: "fifty producers, as much as goes: memory of the client's process (fifty buffers of 32 MiB)"
            .to_owned(),
        bound: Bound::AtMost(FIFTY_PRODUCERS_MB),
        unit: " MB",
        value: report.median(fifty, |run| Some(run.client_peak_bytes as f64 / 1e6)),
    });
}

fn starts(report: &Report, all: &mut Vec<Verdict>) {
    for (what, partitions, most) in
        [("empty directory", 0, 10.0), ("1,000 partitions after a clean stop", 1000, 200.0)]
    {
        let starts = report
            .starts
            .iter()
            .filter(|start| start.broker == Broker::Ours && start.partitions == partitions);
        all.push(Verdict {
            what: format!("start to ready, {what}"),
            bound: Bound::AtMost(most),
            unit: " ms",
            value: Summary::of(starts.map(|start| start.seconds * 1e3)).map(|summary| summary.median),
        });
    }
}

fn rate(run: &Run) -> Option<f64> {
    Some(run.records_per_second())
}

fn client_cpu(run: &Run) -> Option<f64> {
    Some(run.client_cpu_per_million())
}

fn broker_cpu(run: &Run) -> Option<f64> {
    run.broker_cpu_per_gigabyte()
}

fn p99(run: &Run) -> Option<f64> {
    Some(run.latency_ms?.p99)
}

/// A value whose bound is still to be said.
struct Unbound {
    what: String,
    value: Option<f64>,
}

impl Unbound {
    fn at_least(self, least: f64) -> Verdict {
        Verdict { what: self.what, bound: Bound::AtLeast(least), unit: TIMES, value: self.value }
    }

    fn at_most(self, most: f64) -> Verdict {
        Verdict { what: self.what, bound: Bound::AtMost(most), unit: TIMES, value: self.value }
    }
}

/// One cell's figure by another's.
#[derive(Clone, Copy)]
struct Ratio<'a> {
    report: &'a Report,
    workload: &'a str,
    variant: &'a str,
    load: Option<u32>,
}

impl Ratio<'_> {
    fn of(self, what: impl Into<String>, one: Cell, other: Cell, figure: fn(&Run) -> Option<f64>) -> Unbound {
        let of = |cell| Question { workload: self.workload, variant: self.variant, cell, load: self.load };
        Unbound { what: what.into(), value: self.report.ratio(of(one), of(other), figure) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::testing::{add, empty, run};
    use super::super::results::{Group, Memory, Start};
    use super::*;
    use crate::raw::{Limits, Sync};
    use crate::run::Latency;

    fn named<'a>(all: &'a [Verdict], what: &str) -> &'a Verdict {
        all.iter().find(|verdict| verdict.what.contains(what)).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let all = verdicts(&empty());
        assert!(all.iter().all(|verdict| verdict.is_met().is_none() && verdict.found() == "not measured"));
        assert!(all.len() > 30);
    }

    #[test]
    fn ratios_are_of_medians_and_bounds_count_themselves() {
        let mut report = empty();
        for (cell, millions, client, broker) in [
            (OURS, 4.0, 0.1, 0.03),
            (THEIRS, 1.0, 0.5, 0.05),
            (BARE, 10.0, 0.04, 0.02),
            (KAFKA, 0.5, 1.0, 0.5),
        ] {
            add(&mut report, Question::most("100B-os", cell), run(millions, client, broker));
        }
        let all = verdicts(&report);
        let tuned = named(&all, "both tuned, our broker, 100 B, os: rate");
        assert_eq!((tuned.found().as_str(), tuned.aim().as_str()), ("4.00×", "≥ 4.00×"));
        assert_eq!(tuned.is_met(), Some(true));
        assert_eq!(named(&all, "both tuned, our broker, 100 B, os: client CPU").is_met(), Some(true));
        assert_eq!(named(&all, "bare pair, 100 B, os: rate").is_met(), Some(true));
        assert_eq!(named(&all, "librdkafka tuned, 100B-os: broker CPU").is_met(), Some(true));
        assert_eq!(named(&all, "bare server, batches of 1 MB, 100B-os").is_met(), Some(true));
        assert_eq!(named(&all, "librdkafka tuned, 100B-os: p99 at half load").is_met(), None);
    }

    #[test]
    fn an_awaited_record_is_compared_with_disk_and_wire() {
        let latency = |p50| Latency { p50, ..Latency::default() };
        let mut report = empty();
        report.awaited_limits.push(Limits {
            round_trip_ms: Some(latency(0.05)),
            sync: vec![Sync { write_bytes: 4096, latency_ms: latency(0.15), mb_per_second: 20.0 }],
            ..Limits::default()
        });
        let awaited = Run { latency_ms: Some(latency(0.3)), ..run(0.001, 1.0, 1.0) };
        add(&mut report, Question::most("one-awaited", OURS).variant("fsync"), awaited);
        let all = verdicts(&report);
        let verdict = named(&all, "one awaited record");
        assert_eq!((verdict.found().as_str(), verdict.aim().as_str()), ("0.30 ms", "≤ 0.26 ms"));
        assert_eq!(verdict.is_met(), Some(false));
    }

    #[test]
    fn memory_groups_and_starts_are_judged() {
        let mut report = empty();
        let resident = |bytes: &[u64]| bytes.iter().map(|bytes| (0, *bytes)).collect();
        report.memory = vec![
            Memory { broker: Broker::Ours, resident: resident(&[10, 20, 30, 32]), peak_bytes: 40 },
            Memory { broker: Broker::Kafka, resident: resident(&[300, 400]), peak_bytes: 400 },
        ];
        report.groups.push(Group {
            workload: "1KB-fsync".to_owned(),
            bytes: 1_000_000,
            pair_mb_per_second: 70.0,
            raw_mb_per_second: 100.0,
        });
        report.starts.push(Start { broker: Broker::Ours, partitions: 0, seconds: 0.008 });
        let all = verdicts(&report);
        assert_eq!(named(&all, "Apache Kafka: memory").value, Some(0.08));
        assert_eq!(named(&all, "a fifth of it").is_met(), Some(true));
        assert_eq!(named(&all, "group size, 1KB-fsync").is_met(), Some(false));
        assert_eq!(named(&all, "start to ready, empty").is_met(), Some(true));
        assert_eq!(named(&all, "start to ready, 1,000").is_met(), None);
    }
}
