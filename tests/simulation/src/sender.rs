//! A program that sends through the producer's library, and writes down everything that it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use gapless_common::seam::Seams;
use gapless_producer::{
    Cause, DeliveryError, FlushError, Halt, Linger, OnFailure, Producer, Record, Rejection, Resume,
    SettledFate, Unsettled,
};
use tokio::time::sleep;

use crate::clock::EPOCH_MS;
use crate::ledger::{Ledger, Place, Told};
use crate::plan::{ProducerPlan, SHORT_LIVED};
use crate::record::{Name, value_of};
use crate::trace::Trace;

/// How long a flush at the end may take before it is tried again.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// Before what was refused is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Records to each partition that show, when everything is set right, that everything goes on.
const LAST_WORDS: u32 = 3;
/// An hour and a half: more than a broker lets a timestamp be ahead of its clock.
const TOO_FAR_AHEAD_MS: i64 = 5_400_000;

/// What all lives of all producers share.
#[derive(Clone)]
pub struct Common {
    /// What was told.
    pub ledger: Ledger,
    /// What happened.
    pub trace: Trace,
    /// The broker.
    pub server: &'static str,
    /// Where records go.
    pub places: Arc<[Place]>,
    /// Nothing that was acknowledged may get lost, so no log may seem to part from what was.
    pub never_diverges: bool,
    /// Numbers of lives.
    pub lives: Arc<AtomicU32>,
    /// Everything is set right: no new records but the last words.
    pub closing: Arc<AtomicBool>,
}

/// One producer, over all its lives.
#[derive(Clone)]
pub struct Sender {
    common: Common,
    plan: Arc<ProducerPlan>,
    /// Records that are still to be sent.
    left: Arc<AtomicU32>,
    /// It has said its last words, and they were acknowledged.
    done: Arc<AtomicBool>,
}

/// One life of a producer.
#[derive(Clone)]
struct OneLife {
    sender: Sender,
    seams: Seams,
    producer: Producer,
    number: u32,
    next: Arc<AtomicU32>,
}

impl Sender {
    /// Has sent nothing yet.
    #[must_use]
    pub fn new(common: Common, plan: ProducerPlan) -> Self {
        let left = Arc::new(AtomicU32::new(plan.records));
        Self { common, plan: Arc::new(plan), left, done: Arc::default() }
    }

    /// Whether everything it had to say is acknowledged, or has another fate.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Lives until everything is sent, or the host crashes.
    pub async fn live(self, seams: Seams) {
        let number = self.common.lives.fetch_add(1, Ordering::Relaxed);
        if self.plan.skips {
            self.common.ledger.skips(number);
        }
        if !self.plan.idempotence {
            self.common.ledger.is_weak(number, self.plan.acks);
        }
        let producer = loop {
            match self.build(seams.clone()).await {
                Ok(producer) => break producer,
                Err(error) => {
                    tracing::debug!("producer {number}: {error}");
                    sleep(PAUSE).await;
                }
            }
        };
        let life = OneLife { sender: self, seams, producer, number, next: Arc::default() };
        let mut tasks: Vec<_> = (1..life.sender.plan.tasks)
            .map(|_| life.seams.spawner.spawn(life.clone().send_share()))
            .collect();
        life.clone().send_share().await;
        for task in &mut tasks {
            task.ended().await;
        }
        life.say_last_words().await;
        life.sender.done.store(true, Ordering::Relaxed);
        if let Err(error) = life.producer.close(FLUSH_PATIENCE).await {
            life.sender
                .common
                .ledger
                .fault(format!("producer {number} has flushed and cannot close: {error}"));
        }
    }

    async fn build(&self, seams: Seams) -> Result<Producer, gapless_producer::BuildError> {
        let plan = &self.plan;
        Producer::builder()
            .bootstrap_servers(self.common.server)
            .seams(seams)
            .auto_create_topics(false)
            .request_timeout(plan.request_timeout)
            .delivery_timeout(plan.delivery_timeout)
            .connect_timeout(Duration::from_millis(700))
            .metadata_timeout(Duration::from_secs(3))
            .metadata_age_max(Duration::from_secs(5))
            .heartbeat_interval(Duration::from_millis(800))
            .retry_backoff(Duration::from_millis(10), Duration::from_millis(300))
            .acks(plan.acks)
            .idempotence(plan.idempotence)
            .batch_size(plan.batch_size)
            .buffer_memory(plan.buffer_memory)
            .max_in_flight(plan.max_in_flight)
            .linger(plan.linger.map_or_else(Linger::default, Linger::Fixed))
            .compression(plan.compression, None)
            .on_failure(if plan.skips { OnFailure::Skip } else { OnFailure::Halt })
            .build()
            .await
    }

    /// One record less; false if none was left.
    fn take_one(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl OneLife {
    fn below(&self, limit: u64) -> u64 {
        self.seams.random.below(limit)
    }

    fn draw_place(&self) -> Option<&Place> {
        let places = &self.sender.common.places;
        places.get(usize::try_from(self.below(places.len() as u64)).unwrap_or(0))
    }

    /// Sends in bursts until nothing is left.
    async fn send_share(self) {
        let plan = Arc::clone(&self.sender.plan);
        loop {
            // Mostly to one partition, so that batches fill.
            let Some(usual) = self.draw_place() else { return };
            for _ in 0..1 + self.below(plan.burst_max) {
                if self.sender.common.closing.load(Ordering::Relaxed) || !self.sender.take_one() {
                    return;
                }
                let place = if self.below(plan.strays_one_in) == 0 {
                    self.draw_place().unwrap_or(usual)
                } else {
                    usual
                };
                self.send(place).await;
            }
            sleep(Duration::from_millis(self.below(plan.pause_ms_max))).await;
        }
    }

    fn timestamp(&self) -> Option<i64> {
        let one_in = self.sender.plan.odd_time_one_in?;
        (self.below(one_in) == 0).then(|| match self.below(3) {
            0 => self.seams.wall_clock.now_ms() + TOO_FAR_AHEAD_MS,
            1 => EPOCH_MS - 365 * 86_400_000,
            _ => self.seams.wall_clock.now_ms() + TOO_FAR_AHEAD_MS / 2,
        })
    }

    /// Sends one record, whatever it takes.
    async fn send(&self, place: &Place) {
        let common = &self.sender.common;
        loop {
            let name = Name { producer: self.number, number: self.next.fetch_add(1, Ordering::Relaxed) };
            let mut record = Record::new(place.topic).partition(place.partition).value(value_of(name));
            if let Some(timestamp) = self.timestamp() {
                record = record.timestamp(timestamp);
            }
            match self.producer.send(record).await {
                Ok(delivery) => {
                    let line = common.ledger.admitted(place.clone(), name);
                    let (ledger, trace) = (common.ledger.clone(), common.trace.clone());
                    let never_diverges = common.never_diverges && place.topic != SHORT_LIVED;
                    self.seams.spawner.spawn(async move {
                        let told = delivery.await;
                        if let Err(error) = &told
                            && let Cause::LogDiverged { .. } = error.cause()
                            && never_diverges
                        {
                            ledger.fault(format!("{name}: {error}"));
                        }
                        let told = match told {
                            Ok(acked) => Told::Acked(acked.offset.map(|offset| offset.0)),
                            Err(DeliveryError::NotWritten(failure)) => {
                                tracing::debug!("{name} not written: {}", failure.cause);
                                Told::NotWritten
                            }
                            Err(DeliveryError::Unknown(failure)) => {
                                tracing::debug!("{name} unknown: {}", failure.cause);
                                Told::Unknown
                            }
                        };
                        trace.note(
                            match told {
                                Told::Acked(_) => "acked",
                                Told::NotWritten => "not written",
                                Told::Unknown | Told::Nothing => "unknown",
                            },
                            &[u64::from(name.producer), u64::from(name.number)],
                        );
                        ledger.told(&line, told);
                    });
                    return;
                }
                Err(refused) => match refused.reason {
                    Rejection::Halted(halt) => self.resume(&halt).await,
                    Rejection::Closed => return,
                    reason => {
                        tracing::debug!("producer {}: {reason}", self.number);
                        sleep(PAUSE).await;
                        if common.closing.load(Ordering::Relaxed) && place.topic == SHORT_LIVED {
                            return;
                        }
                    }
                },
            }
        }
    }

    async fn resume(&self, halt: &Halt) {
        let (partition, mut generation) = (&halt.partition, halt.generation);
        let common = &self.sender.common;
        let named =
            |place: &&Place| place.topic == &*partition.topic && place.partition == partition.partition.0;
        let Some(place) = common.places.iter().find(named) else { return };
        tracing::debug!("producer {} resumes: {halt}", self.number);
        if let Some(within) = self.sender.plan.settles {
            match self.settle(place, generation, within).await {
                Some(again) => generation = again,
                None => return,
            }
        }
        let resumed = self.producer.resume(place.topic, place.partition, generation, Resume::Skip).await;
        // An error says that another task of ours was faster.
        if resumed.is_ok() {
            common.ledger.resumed(place.clone(), self.number);
        }
    }

    /// Finds out what became of what is in doubt; the generation in which the partition is halted still, if that is to be skipped.
    async fn settle(&self, place: &Place, generation: u64, within: Duration) -> Option<u64> {
        let common = &self.sender.common;
        let ledger = &common.ledger;
        let in_doubt = loop {
            // All deliveries have their fates; not everyone who waits for one has run.
            match ledger.in_doubt(place, self.number) {
                Some(lines) => break lines,
                None => sleep(Duration::from_millis(1)).await,
            }
        };
        let settling = ledger.settling(place, self.number);
        let how = Resume::Settle(within);
        let settled = match self.producer.resume(place.topic, place.partition, generation, how).await {
            Ok(settled) => settled,
            Err(_) => {
                // Another task of ours is at it, or was.
                sleep(PAUSE).await;
                return None;
            }
        };
        tracing::debug!("producer {} settles {settled}", self.number);
        let found: Vec<SettledFate> = settled.records().collect();
        if found.len() != in_doubt.len() {
            ledger.fault(format!("{} records were in doubt, and the settle tells {settled}", in_doubt.len()));
        }
        for (line, fate) in in_doubt.iter().zip(found) {
            if let SettledFate::Unknown(Unsettled::Stopped(cause)) = &fate
                && let Cause::LogDiverged { .. } = **cause
                && common.never_diverges
                && place.topic != SHORT_LIVED
            {
                ledger.fault(format!("{place}: {cause}"));
            }
            ledger.found(
                line,
                match fate {
                    SettledFate::Acked { base, .. } => Told::Acked(base.map(|base| base.0)),
                    SettledFate::NotWritten => Told::NotWritten,
                    _ => Told::Unknown,
                },
            );
        }
        if settled.halt.is_none() {
            ledger.settled(&settling);
        }
        settled.halt.map(|halt| halt.generation)
    }

    async fn flush(&self) {
        loop {
            match self.producer.flush(FLUSH_PATIENCE).await {
                Ok(()) => return,
                Err(FlushError::Halted(halts)) => {
                    for halt in halts {
                        self.resume(&halt).await;
                    }
                }
                Err(error) => tracing::debug!("producer {}: {error}", self.number),
            }
        }
    }

    async fn say_last_words(&self) {
        self.flush().await;
        while !self.sender.common.closing.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
        }
        let places = Arc::clone(&self.sender.common.places);
        for _ in 0..LAST_WORDS {
            for place in places.iter() {
                self.send(place).await;
            }
        }
        self.flush().await;
    }
}
