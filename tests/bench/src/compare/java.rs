//! The Java client: `ProducerPerformance`, as everybody runs it.

use std::path::Path;
use std::process::Command;

use super::brokers::Host;
use super::cell::Cell;
use super::processes::{foreign, write_lines};
use super::session::Session;
use super::workload::Variant;
use crate::drive::Preset;
use crate::failure::{During, Failure, Outcome};
use crate::offsets;
use crate::run::{Latency, Run};
use crate::usage::Watched;
use crate::values::Values;

/// For throughput; idempotence and acks=all are its defaults.
const TUNED: [&str; 3] = ["linger.ms=5", "batch.size=1000000", "buffer.memory=67108864"];

/// So many lines of values it picks from.
const LINES: u64 = 4096;

/// It takes a number of records, not a time: what it sends in a second on a slow machine.
const BYTES_PER_SECOND: f64 = 60e6;
const RECORDS_PER_SECOND: f64 = 400e3;
/// A virtual machine compiles what runs often: what it sends in the first seconds does not count for its rate.
const WARM_UP_SECONDS: f64 = 1.5;

/// One run. CPU time is of the whole process, from the start of the virtual machine on, and of all records; the rate is of those
/// behind the warm-up.
pub fn send(session: &Session, variant: &Variant, cell: Cell, host: &Host, topic: &str) -> Outcome<Run> {
    let jars = session.jars.as_ref().ok_or_else(|| Failure("no jars here".to_owned()))?;
    let values = session.work.join(format!("values-{}", variant.size));
    if !values.exists() {
        write_lines(&values, &Values::new(variant.size), LINES)?;
    }
    let rate = RECORDS_PER_SECOND.min(BYTES_PER_SECOND / variant.size as f64);
    let warm_up = (rate * WARM_UP_SECONDS) as u64;
    let records = warm_up + (rate * session.report.seconds) as u64;
    let mut command = java(jars, "org.apache.kafka.tools.ProducerPerformance");
    command
        .args(["--bootstrap-server", &host.address, "--topic", topic, "--throughput", "-1"])
        .args([
            "--num-records",
            &records.to_string(),
            "--warmup-records",
            &warm_up.to_string(),
            "--payload-file",
        ])
        .arg(&values);
    if cell.preset == Preset::Tuned {
        command.arg("--command-property").args(TUNED);
    }
    let broker = Watched::process(host.pid);
    broker.forget_peak()?;
    let before = broker.cpu()?;
    let ran = foreign(&mut command)?;
    let broker_cpu = Some(broker.cpu()?.since(before));
    let broker_peak_bytes = Some(broker.peak_bytes()?);
    let said = parse(&ran.stdout)
        .ok_or_else(|| Failure(format!("ProducerPerformance says something else: {}", ran.stdout)))?;
    let kept = offsets::end(&host.address, topic, variant.partitions)?;
    Ok(Run {
        records: kept,
        bytes: kept * variant.size as u64,
        seconds: kept as f64 / said.records_per_second,
        failed: records - kept.min(records),
        client_cpu: ran.cpu,
        client_peak_bytes: ran.peak_bytes,
        broker_cpu,
        broker_peak_bytes,
        // Counted from when it sent, not from when a record was due.
        latency_ms: None,
        note: Some(format!(
            "sent to acknowledged: p50 {} ms, p99 {} ms",
            said.latency_ms.p50, said.latency_ms.p99
        )),
    })
}

/// One of Kafka's programs.
fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.arg("-Xmx512m").arg("-cp").arg(jars.join("*")).arg(class);
    command
}

/// Its version.
pub fn version() -> Outcome<String> {
    crate::machine::version_of(Path::new("java"), &["-version"]).during("java")
}

/// Its last line.
#[derive(Debug, PartialEq)]
struct Said {
    records_per_second: f64,
    latency_ms: Latency,
}

fn parse(text: &str) -> Option<Said> {
    let line =
        text.lines().find(|line| line.contains("steady state records sent") && line.contains(" 99th, "))?;
    let before = |unit: &str| line.split(unit).next()?.rsplit([' ', '(']).next()?.parse::<f64>().ok();
    Some(Said {
        records_per_second: before(" records/sec")?,
        latency_ms: Latency {
            p50: before(" ms 50th")?,
            p90: before(" ms 95th")?,
            p99: before(" ms 99th")?,
            p999: before(" ms 99.9th")?,
            max: before(" ms max latency")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_last_line_is_read() {
        let text = "Reading payloads from: /tmp/x\nNumber of records read: 4096\n\
            900000 records sent, 86936.4 records/sec (8.29 MB/sec), 2444.93 ms avg latency, 3298.00 ms max latency, \
            2568 ms 50th, 3174 ms 95th, 3223 ms 99th, 3285 ms 99.9th.\n\
            800000 steady state records sent, 519480.5 records/sec (49.54 MB/sec), 310.42 ms avg latency, 430.00 ms max \
            latency, 338 ms 50th, 402 ms 95th, 426 ms 99th, 430 ms 99.9th.\n";
        let said = parse(text).unwrap();
        assert_eq!(said.records_per_second, 519_480.5);
        let latency = said.latency_ms;
        assert_eq!((latency.p50, latency.p90, latency.p99, latency.max), (338.0, 402.0, 426.0, 430.0));
        assert_eq!(parse("nothing of that kind"), None);
    }
}
