//! The command lines: our `publish` and kcat, each with the same file of lines.

use std::path::Path;
use std::process::Command;

use gapless_tests::binaries;

use super::brokers::{Host, Ours};
use super::cell::{Broker, Cell, Client, turned};
use super::processes::{foreign, write_lines};
use super::session::Session;
use super::workload::Durability;
use crate::drive::{LIBRDKAFKA_TUNED, Preset};
use crate::failure::{Failure, Outcome};
use crate::machine::version_of;
use crate::offsets;
use crate::run::Run;
use crate::usage::Watched;
use crate::values::Values;

/// The name in the tables.
pub const NAME: &str = "file";

const LINE_BYTES: usize = 100;
const LINES: u64 = 2_000_000;
const LINES_QUICK: u64 = 500_000;

/// Round after round, with a broker that answers from the page cache.
pub fn measure(session: &mut Session) -> Outcome<()> {
    let lines = if session.is_quick { LINES_QUICK } else { LINES };
    let file = session.work.join("lines");
    write_lines(&file, &Values::new(LINE_BYTES), lines)?;
    let has_kcat = version_of(Path::new("kcat"), &["-V"]).is_ok();
    if !has_kcat {
        session.not_measured("kcat: not installed");
    }
    let mut all = Vec::new();
    for broker in [Broker::Ours, Broker::Kafka] {
        for client in [Client::Cli, Client::Kcat] {
            for preset in [Preset::Defaults, Preset::Tuned] {
                let can_be_had = (client != Client::Kcat || has_kcat)
                    && (broker != Broker::Kafka || session.kafka.is_some());
                // Our command line has nothing to be tuned: its defaults are meant for this.
                if can_be_had && (client, preset) != (Client::Cli, Preset::Tuned) {
                    all.push(Cell::new(client, preset, broker));
                }
            }
        }
    }
    let ours = Ours::start(&session.work, Durability::Os)?;
    for round in 0..session.report.rounds {
        for cell in turned(&all, round) {
            let run = publish(session, cell, &ours.host, &file, lines);
            session.keep(NAME, "", cell, None, round, run);
        }
    }
    session.save()
}

fn publish(session: &mut Session, cell: Cell, ours: &Host, file: &Path, lines: u64) -> Outcome<Run> {
    let topic = session.new_topic();
    let host = session.host(cell, ours)?;
    host.create_topic(&topic, 1, Durability::Os)?;
    let mut command = match cell.client {
        Client::Cli => {
            let mut command = Command::new(binaries::path("gapless-producer"));
            command
                .args(["publish", "--quiet", "--bootstrap-server", &host.address, "--topic", &topic])
                .arg(file);
            command
        }
        _ => {
            let mut command = Command::new("kcat");
            command.args(["-P", "-q", "-b", &host.address, "-t", &topic]);
            if cell.preset == Preset::Tuned {
                for (name, value) in LIBRDKAFKA_TUNED {
                    command.arg("-X").arg(format!("{name}={value}"));
                }
            }
            command.arg("-l").arg(file);
            command
        }
    };
    let broker = Watched::process(host.pid);
    broker.forget_peak()?;
    let before = broker.cpu()?;
    let ran = foreign(&mut command)?;
    let broker_cpu = Some(broker.cpu()?.since(before));
    let kept = offsets::end(&host.address, &topic, 1)?;
    if kept != lines {
        return Err(Failure(format!("{}: of {lines} lines {kept} are in the log", cell.name())));
    }
    let run = Run {
        records: kept,
        bytes: kept * LINE_BYTES as u64,
        seconds: ran.seconds,
        failed: 0,
        client_cpu: ran.cpu,
        client_peak_bytes: ran.peak_bytes,
        broker_cpu,
        broker_peak_bytes: Some(broker.peak_bytes()?),
        latency_ms: None,
        note: None,
    };
    host.delete_topic(&topic)?;
    rustix::fs::sync();
    Ok(run)
}
