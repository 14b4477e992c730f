//! One producer under load: sends what is due, and counts what is acknowledged.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gapless_common::seam::{Spawner, WallClock};
use gapless_producer::{Producer, RecordView, Rejection, Topic};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::content::{Content, KEY_SIZE};
use super::flight::{Flight, Measured};
use super::schedule::Schedule;

/// After so many records the clock is read, and what was acknowledged is counted.
const RECORDS_PER_LOOK: u64 = 64;

/// Moments of the run, the same for all producers.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub start: Instant,
    /// What is due before is warm-up.
    pub begin: Instant,
    /// What is due from then on is not sent any more.
    pub end: Option<Instant>,
}

/// One producer's part of the load.
pub struct Load {
    pub producer: Producer,
    pub topic: Topic,
    pub content: Arc<Content>,
    pub times: Times,
    /// Records a second; `None`: as many as there is room for.
    pub rate: Option<f64>,
    /// Records, warm-up apart.
    pub records: Option<u64>,
    /// True once it is time to stop early.
    pub stop: watch::Receiver<bool>,
    /// Acknowledged by all producers.
    pub acked: Arc<AtomicU64>,
    pub wall_clock: Arc<dyn WallClock>,
    /// How long everything may take to be acknowledged in the end.
    pub patience: Duration,
}

/// Why nothing more can be sent.
enum End {
    Done,
    Failed(String),
}

impl Load {
    /// Runs to the end; why it ended early, if it did.
    pub async fn run(mut self, spawner: &Spawner, measured: Measured) -> (Measured, Option<String>) {
        let mut flight = Flight::new(measured);
        let schedule = self.rate.map(|rate| Schedule::new(self.times.start, rate));
        let pace = Pace::start(spawner, schedule);
        let failure = match self.send_all(&mut flight, schedule, &pace).await {
            End::Done => None,
            End::Failed(why) => Some(why),
        };
        drop(pace);
        if failure.is_none() {
            self.settle(&mut flight).await;
        }
        // Everything that is left gets its fate now.
        let _ = self.producer.close(Duration::ZERO).await;
        self.sweep(&mut flight);
        (flight.measured, failure)
    }

    async fn send_all(&mut self, flight: &mut Flight, schedule: Option<Schedule>, pace: &Pace) -> End {
        let (mut sent, mut measured) = (0, 0);
        let mut now = Instant::now();
        loop {
            let due_by = schedule.map_or(u64::MAX, |schedule| schedule.due_by(now));
            let mut timestamp_ms = self.wall_clock.now_ms();
            while sent < due_by {
                if sent.is_multiple_of(RECORDS_PER_LOOK) {
                    now = Instant::now();
                    timestamp_ms = self.wall_clock.now_ms();
                    self.sweep(flight);
                }
                if *self.stop.borrow() {
                    return End::Done;
                }
                let due = schedule.map_or(now, |schedule| schedule.due(sent));
                let is_measured = due >= self.times.begin;
                let enough = self.records.is_some_and(|records| measured >= records);
                if (is_measured && enough) || self.times.end.is_some_and(|end| due >= end) {
                    return End::Done;
                }
                if is_measured {
                    measured += 1;
                    flight.measured.behind = flight.measured.behind.max(now.saturating_duration_since(due));
                }
                match self.send(flight, sent, due, timestamp_ms).await {
                    // The clock has to be read again after every wait.
                    Ok(waited) if waited => now = Instant::now(),
                    Ok(_) => {}
                    Err(why) => return End::Failed(why),
                }
                sent += 1;
                if flight.measured.failed > 0 {
                    // Told with its cause by what was measured.
                    return End::Done;
                }
            }
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return End::Done,
                () = poll_fn(|cx| flight.poll_any(cx)) => self.sweep(flight),
                () = pace.tick.notified() => {}
            }
            now = Instant::now();
        }
    }

    /// Sends one record; whether it had to wait for room.
    async fn send(
        &self,
        flight: &mut Flight,
        number: u64,
        due: Instant,
        timestamp_ms: i64,
    ) -> Result<bool, String> {
        let mut key = [0; KEY_SIZE];
        let view = RecordView {
            key: self.content.key(number, &mut key),
            value: Some(self.content.value(number)),
            timestamp_ms: Some(timestamp_ms),
            ..RecordView::new()
        };
        let size = (view.key.map_or(0, <[u8]>::len) + view.value.map_or(0, <[u8]>::len)) as u64;
        let (admitted, waited) = match self.topic.try_send(view) {
            Err(Rejection::Full { .. } | Rejection::NotYetKnown { .. }) => {
                let mut sending = std::pin::pin!(self.topic.send(view));
                let mut stop = self.stop.clone();
                loop {
                    tokio::select! {
                        biased;
                        admitted = &mut sending => break (admitted, true),
                        () = stopped(&mut stop) => return Ok(true),
                        () = poll_fn(|cx| flight.poll_any(cx)) => {
                            let before = flight.acked;
                            flight.sweep();
                            self.acked.fetch_add(flight.acked - before, Ordering::Relaxed);
                        }
                    }
                }
            }
            other => (other, false),
        };
        match admitted {
            Ok(delivery) => flight.add(delivery, due, size),
            // What failed is counted where it ends.
            Err(Rejection::Halted(halt)) => return Err(halt.to_string()),
            Err(other) => return Err(other.to_string()),
        }
        Ok(waited)
    }

    fn sweep(&self, flight: &mut Flight) {
        let before = flight.acked;
        flight.sweep();
        self.acked.fetch_add(flight.acked - before, Ordering::Relaxed);
    }

    /// Waits until everything has its fate, or someone has had enough.
    async fn settle(&self, flight: &mut Flight) {
        let mut flushing = std::pin::pin!(self.producer.flush(self.patience));
        loop {
            tokio::select! {
                biased;
                // What it could not do shows in each record's own fate.
                _ = &mut flushing => return,
                () = poll_fn(|cx| flight.poll_any(cx)) => self.sweep(flight),
            }
        }
    }
}

/// Ready once it is time to stop; who could say so and is gone never does.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Wakes a producer at every tick: from a thread of its own, since a runtime's timers are a millisecond coarse.
struct Pace {
    tick: Arc<Notify>,
    over: Arc<AtomicBool>,
}

impl Pace {
    /// Without a tick nothing has to be waited for.
    fn start(spawner: &Spawner, schedule: Option<Schedule>) -> Self {
        let pace = Self { tick: Arc::new(Notify::new()), over: Arc::new(AtomicBool::new(false)) };
        if let Some(Schedule { start, tick, .. }) = schedule {
            let (notify, over) = (Arc::clone(&pace.tick), Arc::clone(&pace.over));
            let blocking = spawner.clone();
            spawner.spawn(async move {
                blocking
                    .blocking(move || {
                        let mut next = start;
                        while !over.load(Ordering::Relaxed) {
                            next += tick;
                            thread::park_timeout(next.saturating_duration_since(Instant::now()));
                            notify.notify_one();
                        }
                    })
                    .await;
            });
        }
        pace
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
