//! The comparison: everything in one run on one machine, interleaved, so that what the machine does meanwhile it does to all.
//!
//! [`workload`] is the table of what is measured, [`cell`] says with whom; [`measure`], [`latency`], [`lines`] and [`extras`]
//! do it, with [`brokers`] and [`processes`]; [`results`] holds what was found, [`targets`] judges it, [`tables`] and
//! [`pictures`] show it.

mod brokers;
mod cell;
mod extras;
mod java;
mod latency;
mod lines;
mod measure;
mod pictures;
mod processes;
mod results;
mod session;
mod tables;
mod targets;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gapless_tests::binaries;

use crate::failure::{During, Failure, Outcome};
use crate::machine::{Machine, version_of};
use brokers::Kafka;
use cell::Broker;
use results::{Report, Start};
use session::{Session, say, write};
use workload::WORKLOADS;

/// Measures everything, and writes compare.json, tables.md, rates.svg, cpu.svg and latency.svg
///
/// The machine's limits and a bare pair without a protocol; our client, librdkafka and the Java client, each with its defaults and tuned,
/// against our broker and against Apache Kafka; our command line beside kcat. In turn, round after round: nothing is compared that
/// was not measured in the same minutes. What cannot be had here (Java, Maven or jars, kcat) is named and left out.
#[derive(Debug, Args)]
#[command(after_long_help = workload::help())]
pub struct CompareArgs {
    /// A few minutes instead of most of an hour: one round, shorter, at half load only
    #[arg(long)]
    quick: bool,
    /// Only these workloads, and of: limits, file, memory, starts
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// How often each figure is measured [default: 5, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Measured phase of each run [default: 2, with --quick 1]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    out: PathBuf,
    /// Jars of Apache Kafka and its tools [default: fetched by tests/peers/apache_kafka.sh, through Maven]
    #[arg(long, value_name = "DIR")]
    kafka: Option<PathBuf>,
    /// An empty directory for what is measured; some 15 GB, removed by whoever made it
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
}

/// Shows what was measured before, once more
///
/// Reads compare.json and writes tables and pictures beside it.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Where compare.json is
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    out: PathBuf,
}

/// What --only takes besides workloads.
const EXTRAS: [&str; 4] = ["limits", lines::NAME, "memory", "starts"];

/// Below it something may fail for want of room.
const FREE_MIN: u64 = 15_000_000_000;

impl CompareArgs {
    pub fn run(self) -> Outcome<()> {
        self.check()?;
        fs::create_dir_all(&self.out).during(self.out.display())?;
        let mut session = self.session()?;
        self.prepare(&mut session)?;
        if self.wants("limits") {
            say("the machine's limits");
            measure::limits(&mut session)?;
        }
        for workload in WORKLOADS.iter().filter(|workload| self.wants(workload.name)) {
            measure::workload(&mut session, workload)?;
            latency::measure(&mut session, workload)?;
        }
        if self.wants(lines::NAME) {
            lines::measure(&mut session)?;
        }
        if self.wants("starts") {
            extras::starts(&mut session)?;
        }
        if self.wants("memory") {
            extras::memory(&mut session)?;
        }
        session.save()?;
        show(&session.report, &self.out)?;
        match session.report.failures.len() {
            0 => Ok(()),
            count => {
                Err(Failure(format!("{count} runs failed; {}/tables.md names them", self.out.display())))
            }
        }
    }

    fn check(&self) -> Outcome<()> {
        let known: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).chain(EXTRAS).collect();
        if let Some(unknown) = self.only.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(Failure(format!("--only {unknown}: there is {}", known.join(", "))));
        }
        if self.rounds == Some(0) {
            return Err(Failure("--rounds 0 measures nothing".to_owned()));
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    fn session(&self) -> Outcome<Session> {
        let arguments: Vec<_> = std::env::args().skip(2).collect();
        let work = self.work.canonicalize().during(self.work.display())?;
        let report = Report::new(
            Machine::look(&work)?,
            format!("tests/bench/compare {}", without_work(&arguments).join(" ")).trim().to_owned(),
            self.rounds.unwrap_or(if self.quick { 1 } else { 5 }),
            self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 }),
        );
        Ok(Session::new(work, self.out.clone(), report, self.quick))
    }

    /// Brokers and versions.
    fn prepare(&self, session: &mut Session) -> Outcome<()> {
        let free = crate::machine::free_bytes(&session.work)?;
        if free < FREE_MIN {
            say(format!(
                "{} has {} GB free: with less than {} something may fail",
                session.work.display(),
                free / 1_000_000_000,
                FREE_MIN / 1_000_000_000
            ));
        }
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        let mut versions = vec![
            ("gapless".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("librdkafka".to_owned(), librdkafka),
        ];
        if let Ok(kcat) = version_of(&PathBuf::from("sh"), &["-c", "kcat -V 2>&1 | grep -m1 -i version"]) {
            versions.push(("kcat:".to_owned(), kcat));
        }
        if let Ok(commit) = version_of(Path::new("git"), &["describe", "--always", "--dirty"]) {
            versions.push(("commit".to_owned(), commit));
        }
        // The programs under test are there before anything is measured.
        let broker = binaries::path("gapless-broker");
        version_of(&broker, &["--version"])?;
        let kafka = brokers::jars(self.kafka.as_deref()).and_then(|jars| {
            let version = brokers::version_of(&jars)?;
            Ok((Kafka::start(&session.work, &jars)?, jars, version))
        });
        match kafka {
            Ok((kafka, jars, version)) => {
                versions.push(("Apache Kafka".to_owned(), version));
                versions.push(("Java:".to_owned(), java::version()?));
                let seconds = kafka.seconds_to_ready;
                session.report.starts.push(Start { broker: Broker::Kafka, partitions: 0, seconds });
                (session.kafka, session.jars) = (Some(kafka), Some(jars));
                say("Apache Kafka warms up");
                measure::warm_up(session)?;
            }
            Err(why) => session.not_measured(format!("Apache Kafka and the Java client: {why}")),
        }
        session.report.machine.versions = versions;
        Ok(())
    }
}

/// The arguments that somebody else would give too.
fn without_work(arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--work" | "--kafka" | "--out" => _ = arguments.next(),
            other => kept.push(other.to_owned()),
        }
    }
    kept
}

impl ReportArgs {
    pub fn run(self) -> Outcome<()> {
        let path = self.out.join("compare.json");
        let text = fs::read_to_string(&path).during(path.display())?;
        show(&serde_json::from_str(&text).during(path.display())?, &self.out)
    }
}

/// Tables and pictures, and the targets once more for whoever waited.
fn show(report: &Report, out: &Path) -> Outcome<()> {
    write(&out.join("tables.md"), &tables::markdown(report))?;
    for (name, svg) in pictures::all(report)? {
        write(&out.join(name), &svg)?;
    }
    for verdict in targets::verdicts(report) {
        let met = verdict.is_met().map_or("  –", |met| if met { "yes" } else { " NO" });
        say(format!("{met}  {}: {} ({})", verdict.what, verdict.found(), verdict.aim()));
    }
    say(format!(
        "{0}/compare.json, {0}/tables.md, {0}/rates.svg, {0}/cpu.svg, {0}/latency.svg",
        out.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_without_the_places_of_this_machine() {
        let arguments = ["--quick", "--work", "/x", "--only", "100B-os", "--kafka", "/y"].map(str::to_owned);
        assert_eq!(without_work(&arguments), ["--quick", "--only", "100B-os"]);
    }
}
