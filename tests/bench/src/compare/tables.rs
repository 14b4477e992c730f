//! The results as Markdown. Plain.

use std::fmt::Write as _;

use super::cell::{Broker, Cell, Client};
use super::lines;
use super::results::{Question, Report};
use super::targets::verdicts;
use super::workload::{WORKLOADS, Workload};
use crate::drive::Preset;
use crate::run::Run;
use crate::summary::{Summary, figure};

/// Everything.
pub fn markdown(report: &Report) -> String {
    let mut to = String::new();
    head(report, &mut to);
    targets(report, &mut to);
    limits(report, &mut to);
    workloads(report, &mut to);
    latencies(report, &mut to);
    file(report, &mut to);
    extras(report, &mut to);
    to
}

fn line(to: &mut String, text: impl AsRef<str>) {
    to.push_str(text.as_ref());
    to.push('\n');
}

fn row(to: &mut String, fields: impl IntoIterator<Item = String>) {
    let fields: Vec<_> = fields.into_iter().collect();
    line(to, format!("| {} |", fields.join(" | ")));
}

fn header(to: &mut String, names: &[String]) {
    row(to, names.iter().cloned());
    line(to, format!("|{}", "---|".repeat(names.len())));
}

fn section(to: &mut String, title: &str, text: &str) {
    let _ = write!(to, "\n## {title}\n\n");
    if !text.is_empty() {
        let _ = write!(to, "{text}\n\n");
    }
}

fn head(report: &Report, to: &mut String) {
    let machine = &report.machine;
    let versions: Vec<_> =
        machine.versions.iter().map(|(program, version)| format!("{program} {version}")).collect();
    line(
        to,
        format!(
            "Made by `{}` in {} minutes: {} rounds of {} s for each figure (fewer where each takes long), interleaved; a figure is a median, with the \
             least and the most behind it. {}, {} cores, {} GB, Linux {}, {}; load before it began: {}. {}.",
            report.command,
            figure(report.total_seconds / 60.0),
            report.rounds,
            figure(report.seconds),
            machine.cpu,
            machine.cores,
            figure(machine.memory_bytes as f64 / 1e9),
            machine.kernel,
            machine.file_system,
            machine.load,
            versions.join("; "),
        ),
    );
    if !report.not_measured.is_empty() {
        line(to, "\nNot measured:");
        for what in &report.not_measured {
            line(to, format!("- {what}"));
        }
    }
    if !report.failures.is_empty() {
        line(to, "\nRuns that failed:");
        for what in &report.failures {
            line(to, format!("- {what}"));
        }
    }
}

fn targets(report: &Report, to: &mut String) {
    section(
        to,
        "Targets",
        "Of the ratios of each round the median; of what was not measured side by side the ratio of medians.",
    );
    header(to, &["", "target", "measured", "met"].map(str::to_owned));
    for verdict in verdicts(report) {
        let met = verdict.is_met().map_or("", |met| if met { "yes" } else { "**no**" });
        row(to, [verdict.what.clone(), verdict.aim(), verdict.found(), met.to_owned()]);
    }
}

fn limits(report: &Report, to: &mut String) {
    let Some(limits) = &report.limits else { return };
    section(to, "The machine's limits", "");
    header(to, &["", ""].map(str::to_owned));
    let size = |bytes: usize| {
        if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
    };
    for stream in &limits.stream {
        let rate = format!("{} GB/s", figure(stream.gb_per_second));
        row(to, [format!("loopback TCP, one stream, writes of {}", size(stream.write_bytes)), rate]);
    }
    if let Some(trip) = &limits.round_trip_ms {
        let trip = format!("p50 {} µs, p99 {} µs", figure(trip.p50 * 1e3), figure(trip.p99 * 1e3));
        row(to, ["loopback round trip, 64 bytes, blocking threads".to_owned(), trip]);
    }
    for cache in &limits.page_cache {
        let rate = format!(
            "{} GB/s new file, {} GB/s over cached pages",
            figure(cache.cold_gb_per_second),
            figure(cache.over_gb_per_second)
        );
        row(to, [format!("page cache, writes of {}", size(cache.write_bytes)), rate]);
    }
    for sync in &limits.sync {
        let found = format!(
            "p50 {} ms, p99 {} ms, {} MB/s",
            figure(sync.latency_ms.p50),
            figure(sync.latency_ms.p99),
            figure(sync.mb_per_second)
        );
        row(to, [format!("append + fdatasync of {}", size(sync.write_bytes)), found]);
    }
    if let Some(rate) = limits.crc_gb_per_second {
        row(to, ["CRC-32C".to_owned(), format!("{} GB/s", figure(rate))]);
    }
}

/// A figure of the tables of workloads.
struct Figure {
    title: &'static str,
    text: &'static str,
    of: fn(&Report, Question<'_>) -> Option<String>,
}

const FIGURES: [Figure; 6] = [
    Figure {
        title: "Million records a second",
        text: "",
        of: |report, question| {
            summary(report, question, |run| Some(run.records_per_second() / 1e6))
                .map(|found| found.to_string())
        },
    },
    Figure {
        title: "Megabytes of values a second",
        text: "",
        of: |report, question| {
            summary(report, question, |run| Some(run.megabytes_per_second()))
                .map(|found| figure(found.median))
        },
    },
    Figure {
        title: "CPU seconds of the client per million records",
        text: "User + system. The Java client's include the start of its virtual machine.",
        of: |report, question| {
            split(report, question, |run| {
                let by = |seconds: f64| seconds / run.records as f64 * 1e6;
                Some((by(run.client_cpu.user), by(run.client_cpu.system)))
            })
        },
    },
    Figure {
        title: "CPU seconds of the broker per GB of values",
        text: "User + system.",
        of: |report, question| {
            split(report, question, |run| {
                let (cpu, by) = (run.broker_cpu?, |seconds: f64| seconds / run.bytes as f64 * 1e9);
                Some((by(cpu.user), by(cpu.system)))
            })
        },
    },
    Figure {
        title: "CPU seconds of the broker per million records",
        text: "",
        of: |report, question| {
            summary(report, question, Run::broker_cpu_per_million).map(|found| figure(found.median))
        },
    },
    Figure {
        title: "Peak memory in MB: client, broker",
        text: "",
        of: |report, question| {
            let client = summary(report, question, |run| Some(run.client_peak_bytes as f64 / 1e6))?;
            let broker = summary(report, question, |run| Some(run.broker_peak_bytes? as f64 / 1e6))?;
            Some(format!("{:.0}, {:.0}", client.most, broker.most))
        },
    },
];

fn summary(report: &Report, question: Question<'_>, of: impl Fn(&Run) -> Option<f64>) -> Option<Summary> {
    report.summary(question, of)
}

/// The sum, and its parts.
fn split(report: &Report, question: Question<'_>, of: impl Fn(&Run) -> Option<(f64, f64)>) -> Option<String> {
    let total = report.summary(question, |run| of(run).map(|(user, system)| user + system))?;
    let user = report.median(question, |run| of(run).map(|(user, _)| user))?;
    let system = report.median(question, |run| of(run).map(|(_, system)| system))?;
    Some(format!("{} = {} + {}", total, figure(user), figure(system)))
}

fn workloads(report: &Report, to: &mut String) {
    let mut about = "Workloads, a line each:\n\n".to_owned();
    for workload in &WORKLOADS {
        let _ = writeln!(about, "- `{}`: {}", workload.name, workload.what);
    }
    section(to, "Workloads", about.trim_end());
    line(to, "![rates](rates.svg)\n\n![CPU](cpu.svg)\n");
    for figure in &FIGURES {
        let _ = write!(to, "### {}\n\n", figure.title);
        if !figure.text.is_empty() {
            let _ = write!(to, "{}\n\n", figure.text);
        }
        for broker in [Broker::Ours, Broker::Kafka] {
            table(report, figure, broker, to);
        }
    }
}

/// Columns of a broker's table; the bare pair stands beside ours.
fn columns(broker: Broker) -> Vec<Cell> {
    let mut all = Vec::new();
    if broker == Broker::Ours {
        all.extend(
            [Preset::Defaults, Preset::Tuned].map(|preset| Cell::new(Client::Bare, preset, Broker::Bare)),
        );
    }
    for client in [Client::Ours, Client::Librdkafka, Client::Java] {
        all.extend([Preset::Defaults, Preset::Tuned].map(|preset| Cell::new(client, preset, broker)));
    }
    all
}

fn table(report: &Report, figure: &Figure, broker: Broker, to: &mut String) {
    let mut columns = columns(broker);
    let is_measured =
        |cell: &Cell| WORKLOADS.iter().any(|workload| report.cells_of(workload.name).contains(cell));
    columns.retain(is_measured);
    if columns.iter().all(|cell| cell.broker == Broker::Bare) {
        return;
    }
    let names: Vec<_> =
        std::iter::once(String::new()).chain(columns.iter().map(|cell| cell.name())).collect();
    header(to, &names);
    for workload in &WORKLOADS {
        let found: Vec<_> = columns.iter().map(|cell| entry(report, figure, workload, *cell)).collect();
        if found.iter().any(|entry| !entry.is_empty()) {
            row(to, std::iter::once(format!("`{}`", workload.name)).chain(found));
        }
    }
    line(to, "");
}

/// The figures of a workload's variants.
fn entry(report: &Report, figure: &Figure, workload: &Workload, cell: Cell) -> String {
    let found: Vec<_> = workload
        .variants
        .iter()
        .filter_map(|variant| (figure.of)(report, Question::most(workload.name, cell).variant(variant.label)))
        .collect();
    found.join(" / ")
}

fn latencies(report: &Report, to: &mut String) {
    section(
        to,
        "Latency",
        "Milliseconds from when a record was due to its acknowledgement, in an open loop, at shares of what the slower of two sides \
         can do; where no share stands, one record at a time is awaited, or (`tail-read`) from the record's timestamp to the reader. \
         Medians of the rounds.\n\n![latency](latency.svg)",
    );
    header(
        to,
        &["workload", "load", "", "records/s", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned),
    );
    let mut seen: Vec<Question<'_>> = Vec::new();
    for sample in report.samples.iter().filter(|sample| sample.run.latency_ms.is_some()) {
        let question = Question {
            workload: &sample.workload,
            variant: &sample.variant,
            cell: sample.cell,
            load: sample.load,
        };
        let is_new = seen.iter().all(|other| {
            (other.workload, other.variant, other.cell, other.load)
                != (question.workload, question.variant, question.cell, question.load)
        });
        if is_new {
            seen.push(question);
            latency(report, question, to);
        }
    }
}

fn latency(report: &Report, question: Question<'_>, to: &mut String) {
    let label = if question.variant.is_empty() { String::new() } else { format!(" {}", question.variant) };
    let load = question.load.map_or_else(String::new, |percent| format!("{percent} %"));
    let mut fields = vec![
        format!("`{}`{label}", question.workload),
        load,
        question.cell.name(),
        report.rate(question).map_or_else(String::new, figure),
    ];
    let of: [fn(&Run) -> Option<f64>; 5] = [
        |run| Some(run.latency_ms?.p50),
        |run| Some(run.latency_ms?.p90),
        |run| Some(run.latency_ms?.p99),
        |run| Some(run.latency_ms?.p999),
        |run| Some(run.latency_ms?.max),
    ];
    fields.extend(of.map(|of| report.median(question, of).map_or_else(String::new, figure)));
    row(to, fields);
}

fn file(report: &Report, to: &mut String) {
    let cells = report.cells_of(lines::NAME);
    if cells.is_empty() {
        return;
    }
    section(to, "A file of 100-byte lines", "Whole processes, from start to end.");
    header(
        to,
        &["", "million lines/s", "CPU-s of the client a million", "of the broker", "peak MB of the client"]
            .map(str::to_owned),
    );
    for cell in cells {
        let question = Question::most(lines::NAME, cell);
        let of = |of: fn(&Run) -> Option<f64>| {
            report.summary(question, of).map_or_else(String::new, |found| found.to_string())
        };
        row(
            to,
            [
                cell.name(),
                of(|run| Some(run.records_per_second() / 1e6)),
                of(|run| Some(run.client_cpu_per_million())),
                of(Run::broker_cpu_per_million),
                of(|run| Some(run.client_peak_bytes as f64 / 1e6)),
            ],
        );
    }
}

fn extras(report: &Report, to: &mut String) {
    if !report.memory.is_empty() {
        section(
            to,
            "Memory",
            "Resident MB of the broker after so many GB of 1,000-byte values, one partition.",
        );
        for memory in &report.memory {
            let steps: Vec<_> = memory
                .resident
                .iter()
                .map(|(written, resident)| {
                    format!("{} GB {:.0}", figure(*written as f64 / 1e9), *resident as f64 / 1e6)
                })
                .collect();
            let peak = memory.peak_bytes as f64 / 1e6;
            line(to, format!("- {}: {}; peak {peak:.0}", memory.broker.name(), steps.join(", ")));
        }
    }
    if !report.starts.is_empty() {
        section(to, "Start to ready", "");
        for (broker, partitions) in [(Broker::Ours, 0), (Broker::Ours, 1000), (Broker::Kafka, 0)] {
            let starts =
                report.starts.iter().filter(|start| (start.broker, start.partitions) == (broker, partitions));
            if let Some(found) = Summary::of(starts.map(|start| start.seconds * 1e3)) {
                let what =
                    if partitions == 0 { "empty directory" } else { "1,000 partitions, cleanly stopped" };
                line(to, format!("- {}, {what}: {found} ms", broker.name()));
            }
        }
    }
    if !report.groups.is_empty() {
        section(
            to,
            "Flushes under load",
            "Our broker's groups, and the disk's own rate with as much at once.",
        );
        header(to, &["", "bytes a flush", "pair, MB/s", "raw append + fdatasync, MB/s"].map(str::to_owned));
        for group in &report.groups {
            row(
                to,
                [
                    format!("`{}`", group.workload),
                    group.bytes.to_string(),
                    figure(group.pair_mb_per_second),
                    figure(group.raw_mb_per_second),
                ],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::testing::{add, empty, run};
    use super::*;

    #[test]
    fn each_workload_is_one_line_of_each_table() {
        let mut report = empty();
        for workload in &WORKLOADS {
            for variant in workload.variants {
                for broker in [Broker::Ours, Broker::Kafka] {
                    let cell = Cell::new(Client::Librdkafka, Preset::Tuned, broker);
                    let question = Question::most(workload.name, cell).variant(variant.label);
                    add(&mut report, question, run(1.0, 0.5, 0.1));
                    add(&mut report, question, run(2.0, 0.5, 0.1));
                }
            }
        }
        let text = markdown(&report);
        for workload in &WORKLOADS {
            let lines = text.lines().filter(|line| line.starts_with(&format!("| `{}` |", workload.name)));
            assert_eq!(lines.count(), 2 * FIGURES.len(), "{}: at both brokers", workload.name);
        }
        assert!(text.contains("| librdkafka tuned → gapless |"));
        assert!(text.contains("| `compressed` | 1.50 (1.00–2.00) / 1.50 (1.00–2.00) |"), "{text}");
        assert!(text.contains("| 0.50 = 0.50 + 0.00 |"));
        assert!(!text.contains("Java defaults"), "nobody measured it");
        let fields = |line: &str| line.matches('|').count();
        let mut width = None;
        for line in text.lines() {
            match (line.starts_with('|'), width) {
                (true, None) => width = Some(fields(line)),
                (true, Some(width)) => assert_eq!(fields(line), width, "{line}"),
                (false, _) => width = None,
            }
        }
    }
}
