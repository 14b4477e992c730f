//! One client under load, through its public API, one `send` a record; what came of it is told as JSON.
//!
//! [`ours`] and [`librdkafka`] are the clients; [`schedule`] says what is due when; [`ledger`] counts what became of it.

pub use librdkafka::TUNED as LIBRDKAFKA_TUNED;

mod ledger;
mod librdkafka;
mod ours;
mod schedule;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::failure::{During, Failure, Outcome};
use crate::offsets;
use crate::run::{Latency, Meter, Run, tell};
use crate::values::Values;
use ledger::Told;
use schedule::{Limit, Schedule};

/// Sends for a while with one client, and prints what that was as JSON
///
/// Without --rate as many records go as there is room for; with it, each record is due at its time, and its latency counts from
/// then on, however late it could be sent.
#[derive(Debug, Clone, Args)]
pub struct DriveArgs {
    /// Which client
    #[arg(long, value_enum)]
    client: Library,
    /// How it is set up
    #[arg(long, value_enum, default_value_t = Preset::Defaults)]
    preset: Preset,
    /// The broker
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// A topic that exists
    #[arg(long)]
    topic: String,
    /// Records go to so many partitions in turn
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Bytes of a record's value; there is no key
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// So many producers in this process, each fed by a thread of its own
    #[arg(long, default_value_t = 1)]
    producers: usize,
    /// The batches' codec
    #[arg(long, value_enum, default_value_t = Codec::None)]
    codec: Codec,
    /// Measured phase
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Before it
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Each phase ends earlier when so many bytes of values are sent
    #[arg(long, default_value_t = u64::MAX)]
    bytes_max: u64,
    /// Records due a second, of all producers together
    #[arg(long)]
    rate: Option<f64>,
    /// One record at a time, each awaited
    #[arg(long, conflicts_with = "rate")]
    awaited: bool,
    /// Process of the broker, whose CPU time and memory are told too
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
}

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// gapless-producer
    Ours,
    /// librdkafka through the crate rdkafka
    Librdkafka,
}

/// How a client is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing but the address is set
    Defaults,
    /// For throughput (with --awaited: for latency), idempotent and acks=all
    Tuned,
}

/// A codec of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    None,
    Lz4,
    Zstd,
}

/// How long everything may take to be acknowledged in the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Producers of one library. What takes a `producer` is called on a thread of its own for each.
trait Fleet: Send + Sync {
    /// Sends as much as goes; how many records that were.
    fn flood(&self, producer: usize, values: &Values, limit: &Limit) -> Outcome<u64>;
    /// Sends what is due; how many records that were.
    fn paced(&self, producer: usize, values: &Values, schedule: &Schedule) -> Outcome<u64>;
    /// Sends one record after the other, each awaited, with the first producer; their number, and how long each took.
    fn awaited(&self, values: &Values, limit: &Limit) -> Outcome<u64>;
    /// Waits until these records have their fates.
    fn settle(&self, sent: u64) -> Outcome<Told>;
    /// Latencies so far; they are forgotten.
    fn take_latencies(&self) -> Option<Latency>;
}

impl DriveArgs {
    pub fn run(self) -> Outcome<()> {
        tell(&self.measure()?)
    }

    fn measure(&self) -> Outcome<Run> {
        let values = Values::new(self.size);
        let fleet: Box<dyn Fleet> = match self.client {
            Library::Ours => Box::new(ours::Ours::open(self)?),
            Library::Librdkafka => Box::new(librdkafka::Librdkafka::open(self)?),
        };
        let records_max = self.bytes_max / self.size as u64;
        let before = offsets::end(&self.address, &self.topic, self.partitions)?;
        let warm_up = self.phase(&*fleet, &values, self.warm_up, records_max)?;
        let told = fleet.settle(warm_up)?;
        if told.acked != warm_up {
            return Err(Failure(format!("warm-up: {} of {warm_up} records acknowledged", told.acked)));
        }
        let _ = fleet.take_latencies();

        let meter = Meter::begin(self.broker_pid)?;
        let begun = Instant::now();
        let sent = self.phase(&*fleet, &values, self.seconds, records_max)?;
        let told = fleet.settle(warm_up + sent)?;
        let seconds = told.at.saturating_duration_since(begun).as_secs_f64();
        let cost = meter.end()?;

        let records = told.acked - warm_up;
        let grown = offsets::end(&self.address, &self.topic, self.partitions)? - before;
        if grown != told.acked {
            return Err(Failure(format!("{} records are acknowledged, {grown} are in the log", told.acked)));
        }
        Ok(Run {
            records,
            bytes: records * self.size as u64,
            seconds,
            failed: sent - records,
            client_cpu: cost.client_cpu,
            client_peak_bytes: cost.client_peak_bytes,
            broker_cpu: cost.broker_cpu,
            broker_peak_bytes: cost.broker_peak_bytes,
            latency_ms: fleet.take_latencies(),
            note: told.first_failure,
        })
    }

    /// All producers at once, for so long and no more than so many records; how many were sent.
    fn phase(&self, fleet: &dyn Fleet, values: &Values, seconds: f64, records_max: u64) -> Outcome<u64> {
        let now = Instant::now();
        let limit = Limit::new(now, seconds, records_max / self.producers as u64);
        if self.awaited {
            return fleet.awaited(values, &limit);
        }
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..self.producers)
                .map(|producer| {
                    let limit = limit.clone();
                    scope.spawn(move || match self.rate {
                        None => fleet.flood(producer, values, &limit),
                        Some(rate) => {
                            let schedule = Schedule::new(now, rate, seconds).share(producer, self.producers);
                            fleet.paced(producer, values, &schedule)
                        }
                    })
                })
                .collect();
            let mut sent = 0;
            for sender in senders {
                sent += sender.join().map_err(|_| Failure("a sender panicked".to_owned()))??;
            }
            Ok(sent)
        })
    }

    /// The partition of a record; the client's own choice where there is only one.
    fn partition(&self, number: u64) -> Option<i32> {
        (self.partitions > 1).then(|| (number % self.partitions as u64) as i32)
    }
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> Outcome<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).during("the clock")?;
    Ok(now.as_millis() as i64)
}
