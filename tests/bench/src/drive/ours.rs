//! Our own library.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gapless_producer::{
    Builder, Compression, Delivery, Linger, PartitionId, Producer, RecordView, Rejection, Topic,
};
use tokio::runtime::Runtime;

use super::ledger::{Ledger, Told, lock};
use super::schedule::{Limit, RECORDS_PER_LOOK, Schedule};
use super::{Codec, DriveArgs, Fleet, PATIENCE, Preset, wall_clock_ms};
use crate::failure::{During, Failure, Outcome};
use crate::run::Latency;
use crate::values::Values;

/// The producers, and the runtime whose threads do the sending.
pub struct Ours {
    producers: Vec<(Producer, Topic)>,
    runtime: Runtime,
    ledger: Arc<Ledger>,
    args: DriveArgs,
}

/// For many partitions: as much as librdkafka would take for them too, bounded.
const BUFFER_PER_PARTITION: usize = 256 * 1024;
const BUFFER_MAX: usize = 256 * 1024 * 1024;

fn builder(args: &DriveArgs) -> Builder {
    let builder = Producer::builder().bootstrap_servers(&args.address).compression(
        match args.codec {
            Codec::None => Compression::None,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        None,
    );
    match args.preset {
        Preset::Defaults => builder,
        Preset::Tuned if args.awaited => builder.linger(Linger::Fixed(Duration::ZERO)),
        Preset::Tuned => {
            let buffer = gapless_producer::config::BUFFER_MEMORY;
            let wanted = args.partitions as usize * BUFFER_PER_PARTITION;
            builder
                .linger(Linger::Fixed(Duration::from_millis(5)))
                .buffer_memory(buffer.max(wanted).min(BUFFER_MAX))
        }
    }
}

impl Ours {
    pub fn open(args: &DriveArgs) -> Outcome<Self> {
        // Who awaits one record at a time is served soonest where no thread has to wake another.
        let runtime = match (args.awaited, args.preset) {
            (true, Preset::Tuned) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        }
        .during("a runtime")?;
        let mut producers = Vec::new();
        for _ in 0..args.producers {
            let producer = runtime.block_on(builder(args).build()).during("the producer")?;
            let topic = producer.topic(&args.topic);
            producers.push((producer, topic));
        }
        Ok(Self { producers, runtime, ledger: Arc::default(), args: args.clone() })
    }

    /// The record of this number. With the defaults it says no more than it must.
    fn view<'a>(&self, values: &'a Values, number: u64, timestamp_ms: i64) -> RecordView<'a> {
        RecordView {
            partition: self.args.partition(number).map(PartitionId),
            timestamp_ms: (self.args.preset == Preset::Tuned).then_some(timestamp_ms),
            ..RecordView::new().value(values.get(number))
        }
    }
}

impl Fleet for Ours {
    fn flood(&self, producer: usize, values: &Values, limit: &Limit) -> Outcome<u64> {
        let (_, topic) = &self.producers[producer];
        self.runtime.block_on(async {
            let (mut sent, mut timestamp_ms) = (0, 0);
            loop {
                if sent % RECORDS_PER_LOOK == 0 {
                    timestamp_ms = wall_clock_ms()?;
                    if !limit.admits(sent, Instant::now()) {
                        return Ok(sent);
                    }
                }
                // What became of it is counted by the producer.
                drop(topic.send(self.view(values, sent, timestamp_ms)).await.during("sending")?);
                sent += 1;
            }
        })
    }

    fn paced(&self, producer: usize, values: &Values, schedule: &Schedule) -> Outcome<u64> {
        let (_, topic) = &self.producers[producer];
        let mut batches = Batches { under_way: Vec::new(), ledger: &self.ledger, runtime: &self.runtime };
        let mut sent = 0;
        while sent < schedule.records {
            let now = Instant::now();
            let due_by = schedule.due_by(now);
            let timestamp_ms = wall_clock_ms()?;
            while sent < due_by {
                let view = self.view(values, sent, timestamp_ms);
                let delivery = match topic.try_send(view) {
                    Err(Rejection::Full { .. } | Rejection::NotYetKnown { .. }) => {
                        self.runtime.block_on(topic.send(view))
                    }
                    other => other,
                };
                batches.add(delivery.during("sending")?, schedule.due(sent));
                sent += 1;
            }
            std::thread::sleep(schedule.pause(sent, Instant::now()));
        }
        Ok(sent)
    }

    fn awaited(&self, values: &Values, limit: &Limit) -> Outcome<u64> {
        let (_, topic) = &self.producers[0];
        let ledger = &self.ledger;
        self.runtime.block_on(async {
            let mut sent = 0;
            while limit.admits(sent, Instant::now()) {
                let begun = Instant::now();
                let view =
                    RecordView { partition: self.args.partition(sent).map(PartitionId), ..RecordView::new() };
                let delivery = topic.send(view.value(values.get(sent))).await.during("sending")?;
                delivery.await.during("awaiting")?;
                ledger.latency([begun.elapsed()]);
                sent += 1;
            }
            Ok(sent)
        })
    }

    fn settle(&self, sent: u64) -> Outcome<Told> {
        for (producer, _) in &self.producers {
            self.runtime.block_on(producer.flush(PATIENCE)).during("flushing")?;
        }
        let at = Instant::now();
        let stats = self.producers.iter().map(|(producer, _)| producer.stats());
        let (acked, failed) = stats.fold((0, 0), |(acked, failed), stats| {
            (acked + stats.records_acked, failed + stats.records_not_written + stats.records_unknown)
        });
        if acked + failed != sent {
            return Err(Failure(format!("of {sent} records {acked} are acknowledged and {failed} failed")));
        }
        Ok(Told { acked, at, first_failure: None })
    }

    fn take_latencies(&self) -> Option<Latency> {
        self.ledger.take_latencies()
    }
}

/// Records under way, by batch: what one waits for is the batch, and each record counts from when it was due.
struct Batches<'a> {
    /// Of each partition the batch that still grows.
    under_way: Vec<Option<Arc<Batch>>>,
    ledger: &'a Arc<Ledger>,
    runtime: &'a Runtime,
}

struct Batch {
    /// Of its first record.
    delivery: Mutex<Delivery>,
    state: Mutex<State>,
}

enum State {
    /// When its records were due.
    UnderWay(Vec<Instant>),
    Acked(Instant),
}

impl Batches<'_> {
    fn add(&mut self, delivery: Delivery, due: Instant) {
        let partition = usize::try_from(delivery.partition().partition.0).unwrap_or(0);
        if self.under_way.len() <= partition {
            self.under_way.resize_with(partition + 1, || None);
        }
        let place = &mut self.under_way[partition];
        match place {
            Some(batch) if lock(&batch.delivery).shares_batch_with(&delivery) => batch.add(due, self.ledger),
            _ => {
                let state = Mutex::new(State::UnderWay(vec![due]));
                let batch = Arc::new(Batch { delivery: Mutex::new(delivery), state });
                *place = Some(Arc::clone(&batch));
                let ledger = Arc::clone(self.ledger);
                self.runtime.spawn(async move { batch.end(&ledger).await });
            }
        }
    }
}

impl Batch {
    fn add(&self, due: Instant, ledger: &Ledger) {
        match &mut *lock(&self.state) {
            State::UnderWay(dues) => dues.push(due),
            // It was acknowledged between its admission and now.
            State::Acked(at) => ledger.latency([at.saturating_duration_since(due)]),
        }
    }

    async fn end(&self, ledger: &Ledger) {
        // That one failed is counted by the producer.
        if poll_fn(|cx| Pin::new(&mut *lock(&self.delivery)).poll(cx)).await.is_ok() {
            let now = Instant::now();
            let before = std::mem::replace(&mut *lock(&self.state), State::Acked(now));
            if let State::UnderWay(dues) = before {
                ledger.latency(dues.into_iter().map(|due| now.saturating_duration_since(due)));
            }
        }
    }
}
