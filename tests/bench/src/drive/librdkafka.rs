//! librdkafka, through the crate that Rust programs use: its threaded producer, a delivery callback, nothing of ours
//! allocated for a record.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::ledger::{Ledger, Told};
use super::schedule::{Limit, RECORDS_PER_LOOK, Schedule};
use super::{Codec, DriveArgs, Fleet, PATIENCE, Preset, wall_clock_ms};
use crate::failure::{During, Failure, Outcome};
use crate::run::Latency;
use crate::values::Values;

/// For throughput, as its documentation advises; also for kcat.
pub const TUNED: [(&str, &str); 6] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    ("batch.num.messages", "100000"),
    ("queue.buffering.max.messages", "1000000"),
];

/// For who awaits each record.
const TUNED_AWAITED: [(&str, &str); 3] =
    [("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "0")];

/// When its queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// The producers.
pub struct Librdkafka {
    producers: Vec<ThreadedProducer<Counting>>,
    ledger: Arc<Ledger>,
    /// Latencies count from here.
    epoch: Instant,
    args: DriveArgs,
}

struct Counting {
    ledger: Arc<Ledger>,
    epoch: Instant,
}

/// When a record was due, in nanoseconds since the epoch; of no interest where it is [`UNTIMED`].
type Due = usize;
const UNTIMED: Due = usize::MAX;

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = Due;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Due) {
        match result {
            Ok(_) => {
                if due != UNTIMED {
                    let due = self.epoch + Duration::from_nanos(due as u64);
                    self.ledger.latency([due.elapsed()]);
                }
                self.ledger.ack();
            }
            Err((error, _)) => self.ledger.fail(|| error.to_string()),
        }
    }
}

impl Librdkafka {
    pub fn open(args: &DriveArgs) -> Outcome<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &args.address).set_log_level(RDKafkaLogLevel::Critical);
        match args.codec {
            Codec::None => {}
            Codec::Lz4 => _ = config.set("compression.type", "lz4"),
            Codec::Zstd => _ = config.set("compression.type", "zstd"),
        }
        let properties: &[_] = match (args.preset, args.awaited) {
            (Preset::Defaults, _) => &[],
            (Preset::Tuned, false) => &TUNED,
            (Preset::Tuned, true) => &TUNED_AWAITED,
        };
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let (ledger, epoch) = (Arc::<Ledger>::default(), Instant::now());
        let mut producers = Vec::new();
        for _ in 0..args.producers {
            let context = Counting { ledger: Arc::clone(&ledger), epoch };
            producers.push(config.create_with_context(context).during("librdkafka")?);
        }
        Ok(Self { producers, ledger, epoch, args: args.clone() })
    }

    fn send(
        &self,
        producer: &ThreadedProducer<Counting>,
        value: &[u8],
        number: u64,
        timestamp_ms: i64,
        due: Due,
    ) -> Outcome<()> {
        let mut record =
            BaseRecord::<'_, [u8], [u8], Due>::with_opaque_to(&self.args.topic, due).payload(value);
        record.partition = self.args.partition(number);
        record.timestamp = (self.args.preset == Preset::Tuned).then_some(timestamp_ms);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    sleep(FULL_PAUSE);
                }
                Err((error, _)) => return Err(Failure(format!("sending: {error}"))),
            }
        }
    }
}

impl Fleet for Librdkafka {
    fn flood(&self, producer: usize, values: &Values, limit: &Limit) -> Outcome<u64> {
        let producer = &self.producers[producer];
        let (mut sent, mut timestamp_ms) = (0, 0);
        loop {
            if sent % RECORDS_PER_LOOK == 0 {
                timestamp_ms = wall_clock_ms()?;
                if !limit.admits(sent, Instant::now()) {
                    return Ok(sent);
                }
            }
            self.send(producer, values.get(sent), sent, timestamp_ms, UNTIMED)?;
            sent += 1;
        }
    }

    fn paced(&self, producer: usize, values: &Values, schedule: &Schedule) -> Outcome<u64> {
        let producer = &self.producers[producer];
        let mut sent = 0;
        while sent < schedule.records {
            let due_by = schedule.due_by(Instant::now());
            let timestamp_ms = wall_clock_ms()?;
            while sent < due_by {
                let due = schedule.due(sent).saturating_duration_since(self.epoch).as_nanos() as Due;
                self.send(producer, values.get(sent), sent, timestamp_ms, due)?;
                sent += 1;
            }
            sleep(schedule.pause(sent, Instant::now()));
        }
        Ok(sent)
    }

    fn awaited(&self, values: &Values, limit: &Limit) -> Outcome<u64> {
        let already = self.ledger.told();
        let mut sent = 0;
        while limit.admits(sent, Instant::now()) {
            let due = self.epoch.elapsed().as_nanos() as Due;
            self.send(&self.producers[0], values.get(sent), sent, wall_clock_ms()?, due)?;
            sent += 1;
            self.ledger.settle(already + sent, PATIENCE)?;
        }
        Ok(sent)
    }

    fn settle(&self, sent: u64) -> Outcome<Told> {
        for producer in &self.producers {
            // Only to send what lingers: its own wait for the end is a tenth of a second coarse.
            let _ = producer.flush(Duration::ZERO);
        }
        self.ledger.settle(sent, PATIENCE)
    }

    fn take_latencies(&self) -> Option<Latency> {
        self.ledger.take_latencies()
    }
}
