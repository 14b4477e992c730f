//! librdkafka as the client that reads.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::drive::Preset;
use crate::failure::{During, Failure, Outcome};
use crate::offsets;
use crate::run::{Latency, Meter, Run, histogram, tell};

/// Reads a topic with librdkafka, and prints what that was as JSON
///
/// From the beginning it reads what is there. With --tail it prints "reading" once it stands at the end, reads what comes
/// until standard input ends, and then on to what is the end by then.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// How librdkafka is set up
    #[arg(long, value_enum, default_value_t = Preset::Defaults)]
    preset: Preset,
    /// The broker
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// What to read
    #[arg(long)]
    topic: String,
    /// How many partitions it has
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Read what comes, not what is there
    #[arg(long)]
    tail: bool,
    /// Process of the broker, whose CPU time and memory are told too
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
}

/// For throughput: much is fetched ahead, and a full queue is looked at again soon (by default after a second).
const TUNED: [(&str, &str); 5] = [
    ("fetch.message.max.bytes", "10000000"),
    ("fetch.max.bytes", "100000000"),
    ("queued.min.messages", "1000000"),
    ("queued.max.messages.kbytes", "262144"),
    ("fetch.queue.backoff.ms", "2"),
];

/// Nothing for so long is a failure, unless it is what is read for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often whoever reads at the end looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

impl ReadArgs {
    pub fn run(self) -> Outcome<()> {
        let consumer = self.consumer()?;
        let mut reading = Reading::default();
        let from = if self.tail { Offset::End } else { Offset::Beginning };
        let wanted =
            if self.tail { u64::MAX } else { offsets::end(&self.address, &self.topic, self.partitions)? };
        if self.tail {
            // Only once it stands at every partition's end does it miss nothing that comes.
            self.assign(&consumer, from)?;
            while reading.ended.len() < self.partitions as usize {
                reading.step(&consumer, PATIENCE)?.then_some(()).ok_or_else(|| self.silent(&reading))?;
            }
            tell(&"reading")?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        if self.tail {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                // Its end is all that is of interest.
                let _ = std::io::stdin().read_to_end(&mut Vec::new());
                stop.store(true, Ordering::Relaxed);
            });
        }
        let meter = Meter::begin(self.broker_pid)?;
        if !self.tail {
            self.assign(&consumer, from)?;
        }
        while reading.records < wanted && !stop.load(Ordering::Relaxed) {
            let patience = if self.tail { LOOK } else { PATIENCE };
            if !reading.step(&consumer, patience)? && !self.tail {
                return Err(self.silent(&reading));
            }
        }
        let behind = if self.tail { self.catch_up(&consumer, &mut reading)? } else { 0 };
        let cost = meter.end()?;
        let (Some(first), Some(last)) = (reading.first, reading.last) else {
            return Err(self.silent(&reading));
        };
        tell(&Run {
            records: reading.records,
            bytes: reading.bytes,
            seconds: last.duration_since(first).as_secs_f64(),
            failed: 0,
            client_cpu: cost.client_cpu,
            client_peak_bytes: cost.client_peak_bytes,
            broker_cpu: cost.broker_cpu,
            broker_peak_bytes: cost.broker_peak_bytes,
            latency_ms: if self.tail { Latency::of(&reading.since_sent) } else { None },
            note: self.tail.then(|| format!("{behind} records behind when the writer had ended")),
        })
    }

    fn consumer(&self) -> Outcome<BaseConsumer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.address)
            // Asked for by the library, although no group is joined.
            .set("group.id", "gapless-bench")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set_log_level(RDKafkaLogLevel::Critical);
        if self.preset == Preset::Tuned {
            for (name, value) in TUNED {
                config.set(name, value);
            }
        }
        config.create().during("librdkafka")
    }

    fn assign(&self, consumer: &BaseConsumer, from: Offset) -> Outcome<()> {
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.partitions {
            assignment.add_partition_offset(&self.topic, partition, from).during("librdkafka")?;
        }
        consumer.assign(&assignment).during("assigning")
    }

    /// Reads to what is the end by now; how many records that were.
    fn catch_up(&self, consumer: &BaseConsumer, reading: &mut Reading) -> Outcome<u64> {
        let before = reading.records;
        let mut behind = 0;
        for partition in 0..self.partitions {
            let (_, end) =
                consumer.fetch_watermarks(&self.topic, partition, PATIENCE).during("end offsets")?;
            while reading.next.get(&partition).is_some_and(|next| *next < end) {
                reading.step(consumer, PATIENCE)?.then_some(()).ok_or_else(|| self.silent(reading))?;
            }
            behind = reading.records - before;
        }
        Ok(behind)
    }

    fn silent(&self, reading: &Reading) -> Failure {
        Failure(format!("{}: nothing more after {} records and {PATIENCE:?}", self.topic, reading.records))
    }
}

/// What was read.
struct Reading {
    records: u64,
    bytes: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// By partition: the offset behind the last record.
    next: BTreeMap<i32, i64>,
    /// By partition: it was read to its end once.
    ended: BTreeMap<i32, ()>,
    /// From a record's timestamp, in nanoseconds.
    since_sent: hdrhistogram::Histogram<u64>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            records: 0,
            bytes: 0,
            first: None,
            last: None,
            next: BTreeMap::new(),
            ended: BTreeMap::new(),
            since_sent: histogram(),
        }
    }
}

/// Clocks are read after so many records: at a million a second each reading counts.
const RECORDS_PER_LOOK: u64 = 64;

impl Reading {
    /// Takes what is there next; false if nothing came in time.
    fn step(&mut self, consumer: &BaseConsumer, patience: Duration) -> Outcome<bool> {
        let message = match consumer.poll(patience) {
            None => return Ok(false),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ended.insert(partition, ());
                self.last = self.first.map(|_| Instant::now());
                return Ok(true);
            }
            Some(message) => message.during("reading")?,
        };
        if self.records.is_multiple_of(RECORDS_PER_LOOK) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
            let sent = Duration::from_millis(message.timestamp().to_millis().unwrap_or(0).max(0) as u64);
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(sent);
            self.since_sent.saturating_record(since.as_nanos() as u64);
        }
        self.records += 1;
        self.bytes += message.payload_len() as u64;
        self.next.insert(message.partition(), message.offset() + 1);
        Ok(true)
    }
}
