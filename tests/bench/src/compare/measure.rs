//! Runs a workload: each cell in turn, round after round.

use super::brokers::{Host, Ours};
use super::cell::{Broker, Cell, Client, MANY_PARTITIONS, cells, rounds_of, turned};
use super::java;
use super::processes::{Background, told};
use super::results::Group;
use super::session::{BYTES_MAX, Session, WARM_UP_SECONDS};
use super::workload::{Durability, Kind, Variant, Workload};
use crate::drive::{Codec, Preset};
use crate::failure::Outcome;
use crate::raw::Limits;
use crate::run::Run;

/// What readers read from the beginning.
const READ_BACK_BYTES: u64 = 600_000_000;

const MANY_BYTES_MAX: u64 = 10_000_000;

/// For whoever is to send a number of bytes, however slowly.
const LONG_ENOUGH_SECONDS: f64 = 600.0;

/// All variants of a workload.
pub fn workload(session: &mut Session, workload: &Workload) -> Outcome<()> {
    for variant in workload.variants {
        let ours = Ours::start(&session.work, variant.durability)?;
        match workload.kind {
            Kind::ReadBack => read_back(session, workload, variant, &ours.host)?,
            _ => rounds(session, workload, variant, ours)?,
        }
    }
    session.save()
}

fn rounds(session: &mut Session, workload: &Workload, variant: &Variant, mut ours: Ours) -> Outcome<()> {
    let all = cells(workload, session.having());
    for round in 0..session.report.rounds {
        for cell in turned(&all, round) {
            if round >= rounds_of(workload, cell, session.report.rounds) {
                continue;
            }
            if goes_with_its_broker(variant, cell.broker) {
                ours = Ours::start(&session.work, variant.durability)?;
            }
            let flushed = watch_flushes(workload, variant, cell).then(|| Flushes::of(&ours.broker));
            let run = match workload.kind {
                Kind::TailRead => tail_read(session, variant, cell, &ours.host),
                _ => send(session, workload, variant, cell, &ours.host, None),
            };
            let is_kept = session.keep(workload.name, variant.label, cell, None, round, run);
            if let Some(before) = flushed.filter(|_| is_kept) {
                compare_with_disk(session, workload, &Flushes::of(&ours.broker).since(&before))?;
            }
        }
        if workload.kind == Kind::Awaited {
            let arguments = raw(session, "round-trip,sync", 4096);
            session.report.awaited_limits.push(told(&arguments)?);
        }
    }
    Ok(())
}

/// One run of one cell that sends, with what is due a second if that is given.
pub fn send(
    session: &mut Session,
    workload: &Workload,
    variant: &Variant,
    cell: Cell,
    ours: &Host,
    rate: Option<f64>,
) -> Outcome<Run> {
    if cell.client == Client::Bare {
        return bare(session, variant, cell);
    }
    let topic = session.new_topic();
    let host = session.host(cell, ours)?;
    host.create_topic(&topic, variant.partitions, variant.durability)?;
    let run = if cell.client == Client::Java {
        java::send(session, variant, cell, host, &topic)
    } else {
        let mut arguments =
            drive(cell, variant, host, &topic, Amount::measured(session, variant, cell.broker));
        arguments.extend(words(&["--broker-pid", &host.pid.to_string()]));
        if let Some(rate) = rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        if workload.kind == Kind::Awaited {
            arguments.push("--awaited".to_owned());
        }
        told(&arguments)
    };
    let deleted = if goes_with_its_broker(variant, cell.broker) { Ok(()) } else { host.delete_topic(&topic) };
    settle();
    deleted.and(run)
}

/// Our broker takes its time to delete a thousand partitions, so as to disturb nobody: a new one on an empty directory is there at
/// once.
fn goes_with_its_broker(variant: &Variant, broker: Broker) -> bool {
    broker == Broker::Ours && variant.partitions >= MANY_PARTITIONS
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How much a client sends.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub warm_up_seconds: f64,
    pub seconds: f64,
    pub bytes_max: u64,
}

impl Amount {
    /// So many bytes of values, however long that takes.
    pub const fn bytes(bytes_max: u64) -> Self {
        Self { warm_up_seconds: 0.0, seconds: LONG_ENOUGH_SECONDS, bytes_max }
    }

    /// As long as every measured phase, behind a warm-up.
    fn measured(session: &Session, variant: &Variant, broker: Broker) -> Self {
        let has_many = variant.partitions >= MANY_PARTITIONS;
        // Each request waits for a thousand flushes there: what librdkafka queues in a second would take minutes.
        let bytes_max = if has_many && broker == Broker::Kafka { MANY_BYTES_MAX } else { BYTES_MAX };
        Self { warm_up_seconds: WARM_UP_SECONDS, seconds: session.report.seconds, bytes_max }
    }
}

/// The command line of a client.
pub fn drive(cell: Cell, variant: &Variant, host: &Host, topic: &str, amount: Amount) -> Vec<String> {
    let client = if cell.client == Client::Ours { "ours" } else { "librdkafka" };
    let mut arguments = words(&["drive", "--client", client, "--preset", preset(cell.preset)]);
    arguments.extend(words(&["--address", &host.address, "--topic", topic]));
    let codec = match variant.codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    };
    for (name, value) in [
        ("--codec", codec.to_owned()),
        ("--size", variant.size.to_string()),
        ("--partitions", variant.partitions.to_string()),
        ("--producers", variant.producers.to_string()),
        ("--seconds", amount.seconds.to_string()),
        ("--warm-up", amount.warm_up_seconds.to_string()),
        ("--bytes-max", amount.bytes_max.to_string()),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    arguments
}

const fn preset(preset: Preset) -> &'static str {
    match preset {
        Preset::Defaults => "defaults",
        Preset::Tuned => "tuned",
    }
}

/// The bare pair, with a server of its own.
fn bare(session: &Session, variant: &Variant, cell: Cell) -> Outcome<Run> {
    let mut server = words(&["bare-server", "--dir", &session.work.to_string_lossy()]);
    if variant.durability == Durability::Fsync {
        server.push("--fsync".to_owned());
    }
    let (server, address) = Background::start::<String>(&server)?;
    let batch = if cell.preset == Preset::Defaults { "16384" } else { "1000000" };
    let mut arguments = words(&["bare-client", "--address", &address, "--batch", batch]);
    for (name, value) in [
        ("--size", variant.size.to_string()),
        ("--seconds", session.report.seconds.to_string()),
        ("--bytes-max", BYTES_MAX.to_string()),
        ("--broker-pid", server.id().to_string()),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    let run = told(&arguments);
    drop(server);
    settle();
    run
}

/// The last run's files are gone; what of them is still on its way to the disk is not to be in the next one's.
fn settle() {
    rustix::fs::sync();
}

/// Somebody reads at the end while the cell's client writes.
fn tail_read(session: &mut Session, variant: &Variant, cell: Cell, ours: &Host) -> Outcome<Run> {
    let topic = session.new_topic();
    let host = session.host(cell, ours)?;
    host.create_topic(&topic, variant.partitions, variant.durability)?;
    // A pause behind a warm-up would count as the reader's.
    let amount = Amount { warm_up_seconds: 0.0, ..Amount::measured(session, variant, cell.broker) };
    let run = read_and_write(variant, cell, host, &topic, amount);
    let deleted = host.delete_topic(&topic);
    settle();
    deleted.and(run)
}

fn read_and_write(variant: &Variant, cell: Cell, host: &Host, topic: &str, amount: Amount) -> Outcome<Run> {
    let mut arguments = reader(Preset::Tuned, variant, host, topic);
    arguments.push("--tail".to_owned());
    let (reading, _) = Background::start::<String>(&arguments)?;
    // The reader watches the broker.
    let written: Run = told(&drive(cell, variant, host, topic, amount))?;
    let mut run: Run = reading.end()?;
    run.failed = written.failed;
    Ok(run)
}

fn reader(how: Preset, variant: &Variant, host: &Host, topic: &str) -> Vec<String> {
    let mut arguments =
        words(&["read", "--preset", preset(how), "--address", &host.address, "--topic", topic]);
    arguments.extend(words(&["--broker-pid", &host.pid.to_string()]));
    arguments.extend(words(&["--partitions", &variant.partitions.to_string()]));
    arguments
}

/// What our client wrote is read, again and again.
fn read_back(session: &mut Session, workload: &Workload, variant: &Variant, ours: &Host) -> Outcome<()> {
    let all = cells(workload, session.having());
    let topic = session.new_topic();
    let mut hosts: Vec<Broker> = all.iter().map(|cell| cell.broker).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for broker in &hosts {
        let writer = Cell::new(Client::Ours, Preset::Tuned, *broker);
        let host = session.host(writer, ours)?;
        host.create_topic(&topic, variant.partitions, variant.durability)?;
        told::<Run>(&drive(writer, variant, host, &topic, Amount::bytes(READ_BACK_BYTES)))?;
    }
    for round in 0..session.report.rounds {
        for cell in turned(&all, round) {
            let host = session.host(cell, ours)?;
            if variant.is_cold {
                host.make_cold()?;
            }
            let run = told(&reader(cell.preset, variant, host, &topic));
            session.keep(workload.name, variant.label, cell, None, round, run);
        }
    }
    for broker in &hosts {
        session.host(Cell::new(Client::Ours, Preset::Tuned, *broker), ours)?.delete_topic(&topic)?;
    }
    settle();
    Ok(())
}

/// Where the share of the disk's own rate is of interest.
fn watch_flushes(workload: &Workload, variant: &Variant, cell: Cell) -> bool {
    workload.kind == Kind::Flood
        && variant.durability == Durability::Fsync
        && variant.partitions == 1
        && (cell.client, cell.broker) == (Client::Ours, Broker::Ours)
}

/// What our broker had appended and flushed.
struct Flushes {
    bytes: f64,
    records: f64,
    flushes: f64,
}

impl Flushes {
    fn of(broker: &gapless_tests::broker::Broker) -> Self {
        let metrics = broker.metrics();
        Self {
            bytes: metrics.sum("gapless_broker_appended_bytes_total", &[]),
            records: metrics.sum("gapless_broker_appended_records_total", &[]),
            flushes: metrics.sum("gapless_broker_flush_duration_seconds_count", &[]),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            records: (self.records - earlier.records).max(1.0),
            flushes: (self.flushes - earlier.flushes).max(1.0),
        }
    }
}

/// The disk's own rate with groups as large as those that were flushed in the last run.
fn compare_with_disk(session: &mut Session, workload: &Workload, flushed: &Flushes) -> Outcome<()> {
    let Some(sample) = session.report.samples.last() else { return Ok(()) };
    let pair_mb_per_second = sample.run.records_per_second() * flushed.bytes / flushed.records / 1e6;
    let bytes = (flushed.bytes / flushed.flushes) as usize;
    let limits: Limits = told(&raw(session, "sync", bytes))?;
    if let Some(sync) = limits.sync.first() {
        session.report.groups.push(Group {
            workload: workload.name.to_owned(),
            bytes,
            pair_mb_per_second,
            raw_mb_per_second: sync.mb_per_second,
        });
    }
    Ok(())
}

fn raw(session: &Session, parts: &str, sync_bytes: usize) -> Vec<String> {
    let mut arguments = words(&["raw", "--dir", &session.work.to_string_lossy(), "--parts", parts]);
    arguments.extend(words(&["--sync-bytes", &sync_bytes.to_string(), "--seconds", raw_seconds(session)]));
    arguments
}

/// For each figure of the machine's limits.
const fn raw_seconds(session: &Session) -> &'static str {
    if session.is_quick { "0.3" } else { "1" }
}

/// The machine's limits, before everything else.
pub fn limits(session: &mut Session) -> Outcome<()> {
    let arguments =
        words(&["raw", "--dir", &session.work.to_string_lossy(), "--seconds", raw_seconds(session)]);
    session.report.limits = Some(told(&arguments)?);
    session.save()
}

/// A JVM compiles what it runs often; nobody measures one that has just started.
pub fn warm_up(session: &mut Session) -> Outcome<()> {
    let Some(kafka) = &session.kafka else { return Ok(()) };
    let seconds = if session.is_quick { 3.0 } else { 10.0 };
    let amount = Amount { warm_up_seconds: 0.0, seconds, bytes_max: BYTES_MAX };
    let topic = "bench-warm-up";
    let cell = Cell::new(Client::Librdkafka, Preset::Tuned, Broker::Kafka);
    kafka.host.create_topic(topic, 1, Durability::Os)?;
    for variant in [super::workload::WORKLOADS[0].variants, super::workload::WORKLOADS[1].variants] {
        told::<Run>(&drive(cell, &variant[0], &kafka.host, topic, amount))?;
    }
    kafka.host.delete_topic(topic)?;
    settle();
    Ok(())
}
