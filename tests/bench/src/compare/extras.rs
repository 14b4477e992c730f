//! What is not a rate: memory while much is written, and the time from start to ready.

use std::time::Instant;

use super::brokers::{Host, Ours, flags};
use super::cell::{Broker, Cell, Client};
use super::measure::{Amount, drive};
use super::processes::told;
use super::results::{Memory, Start};
use super::session::{Session, say};
use super::workload::{Durability, WORKLOADS};
use crate::drive::Preset;
use crate::failure::{During, Outcome};
use crate::machine::free_bytes;
use crate::run::Run;
use crate::summary::figure;
use crate::usage::Watched;

/// Written to each broker, in so many steps.
const MEMORY_BYTES: u64 = 10_000_000_000;
const MEMORY_BYTES_QUICK: u64 = 2_000_000_000;
const STEPS: u64 = 10;

const START_PARTITIONS: i32 = 1000;
/// Spread over them.
const START_BYTES: u64 = 10_000_000;

/// Memory after each step.
pub fn memory(session: &mut Session) -> Outcome<()> {
    let bytes = if session.is_quick { MEMORY_BYTES_QUICK } else { MEMORY_BYTES };
    let free = free_bytes(&session.work)?;
    if free < bytes * 3 / 2 {
        session.not_measured(format!(
            "memory after {} GB written: {} has {} GB free",
            bytes / 1_000_000_000,
            session.work.display(),
            free / 1_000_000_000
        ));
        return Ok(());
    }
    let ours = Ours::start(&session.work, Durability::Os)?;
    let written = fill(session, &ours.host, bytes)?;
    session.report.memory.push(written);
    drop(ours);
    if let Some(kafka) = session.kafka.take() {
        let written = fill(session, &kafka.host, bytes);
        session.kafka = Some(kafka);
        session.report.memory.push(written?);
    }
    session.save()
}

/// By the faster client: what it takes is not measured here. One topic, records of 1,000 bytes.
fn fill(session: &mut Session, host: &Host, bytes: u64) -> Outcome<Memory> {
    let topic = session.new_topic();
    let variant = &WORKLOADS[1].variants[0];
    host.create_topic(&topic, 1, Durability::Os)?;
    let broker = Watched::process(host.pid);
    broker.forget_peak()?;
    let mut memory =
        Memory { broker: host.kind, resident: vec![(0, broker.resident_bytes()?)], peak_bytes: 0 };
    let cell = Cell::new(Client::Ours, Preset::Tuned, host.kind);
    let mut written = 0;
    for _ in 0..STEPS {
        // The broker's process is not named: its peak would begin anew.
        let arguments = drive(cell, variant, host, &topic, Amount::bytes(bytes / STEPS));
        written += told::<Run>(&arguments)?.bytes;
        memory.resident.push((written, broker.resident_bytes()?));
    }
    memory.peak_bytes = broker.peak_bytes()?;
    say(format!(
        "memory of {} after {} GB: peak {} MB",
        host.kind.name(),
        figure(written as f64 / 1e9),
        figure(memory.peak_bytes as f64 / 1e6)
    ));
    host.delete_topic(&topic)?;
    rustix::fs::sync();
    Ok(memory)
}

/// From the start of the process to its ready line.
pub fn starts(session: &mut Session) -> Outcome<()> {
    for _ in 0..session.report.rounds {
        let dir =
            tempfile::TempDir::with_prefix_in("start-", &session.work).during(session.work.display())?;
        for partitions in [0, START_PARTITIONS] {
            let data_dir = dir.path().join(partitions.to_string());
            let builder = flags(Durability::Default).data_dir(&data_dir);
            if partitions > 0 {
                let mut before = builder.clone().start();
                let host = Host {
                    address: before.address().to_owned(),
                    pid: before.process().id(),
                    data_dir: data_dir.clone(),
                    kind: Broker::Ours,
                };
                host.create_topic("start", partitions, Durability::Default)?;
                let variant = &super::workload::Variant { partitions, ..WORKLOADS[0].variants[0] };
                let cell = Cell::new(Client::Ours, Preset::Tuned, Broker::Ours);
                told::<Run>(&drive(cell, variant, &host, "start", Amount::bytes(START_BYTES)))?;
                before.stop();
            }
            let begun = Instant::now();
            let broker = builder.start();
            let seconds = begun.elapsed().as_secs_f64();
            drop(broker);
            say(format!("start with {partitions} partitions: ready after {} ms", figure(seconds * 1e3)));
            session.report.starts.push(Start { broker: Broker::Ours, partitions, seconds });
        }
    }
    session.save()
}
