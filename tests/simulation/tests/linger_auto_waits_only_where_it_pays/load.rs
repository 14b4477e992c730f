//! One producer, one wire, and records in some rhythm; what became of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gapless_common::seam::{Random, Seams};
use gapless_producer::{Builder, Linger, Producer, RecordView, Topic};
use gapless_simulation::clock::Clock;
use gapless_simulation::host::Host;
use gapless_simulation::network::{Pace, Weather, Wires, address_of};
use gapless_simulation::trace::Trace;
use gapless_simulation::world::runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::far_end::{self, ADDRESS, Requests, TOPIC};

/// The same for all, so that they differ in their linger alone.
const SEED: u64 = 1;
/// Simulated time that no load takes.
const TIME_MAX: Duration = Duration::from_secs(600);
/// A rate is kept up for so long, but for at least and at most so many records.
const TIME_MEASURED: Duration = Duration::from_millis(200);
const RECORDS_MIN: u64 = 20;
const RECORDS_MAX: u64 = 1_000;
const VALUE_SIZE: usize = 100;
/// So much more than wire and buffer take at once that its sender waits most of the time.
const FLOOD_RECORDS: u64 = 3_000;
const FLOOD_VALUE_SIZE: usize = 1_000;
/// A thirty-second of the defaults, so that a small flood is one.
const FLOOD_BUFFER: usize = gapless_producer::config::BUFFER_MEMORY / 32;
const FLOOD_BATCH: usize = gapless_producer::config::BATCH_SIZE / 32;

/// Between producer and broker.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Even: half of it is the way there.
    pub way_and_back_ms: u64,
    /// Of the broker's disk.
    pub flush_ms: u64,
    pub partitions: u16,
}

impl Wire {
    /// Of one request that nothing else is in the way of.
    pub const fn round_trip(self) -> Duration {
        Duration::from_millis(self.way_and_back_ms + self.flush_ms)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way_and_back_ms, flush_ms, partitions } = self;
        write!(f, "{way_and_back_ms} ms and flushes of {flush_ms}, {partitions} partitions")
    }
}

/// How long records took, from when they were due to their acknowledgement; in ascending order.
#[derive(Debug, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// So many, each of which took so long.
    pub fn all(count: usize, took: Duration) -> Self {
        Self(vec![took; count])
    }

    /// The smallest that at least 99 of 100 do not exceed.
    pub fn p99(&self) -> Duration {
        let rank = (self.0.len() * 99).div_ceil(100);
        self.0[rank - 1]
    }
}

/// What became of records whose callers awaited them.
#[derive(Debug)]
pub struct Paced {
    pub latencies: Latencies,
    pub requests: u64,
}

/// As many records as go.
#[derive(Debug)]
pub struct Flood {
    pub took: Duration,
    pub requests: u64,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests in {:?}", self.requests, self.took)
    }
}

/// What a load is given: a producer that knows every partition, and has sent a record to each.
struct Client {
    producer: Producer,
    topic: Topic,
    seams: Seams,
    /// Of its own, so that every producer gets the same records.
    random: Random,
    requests: Requests,
    partitions: u16,
}

impl Client {
    async fn build(builder: Builder, seams: Seams, partitions: u16, requests: Requests) -> Self {
        let producer = builder.bootstrap_servers(ADDRESS).seams(seams.clone()).build().await.unwrap();
        let topic = producer.topic(TOPIC);
        let random = Random::from_seed(SEED);
        let client = Self { producer, topic, seams, random, requests, partitions };
        for partition in 0..partitions {
            drop(client.send(partition, VALUE_SIZE).await);
        }
        client.flush().await;
        client
    }

    async fn send(&self, partition: u16, size: usize) -> impl Future<Output = ()> + Send + use<> {
        const ZEROS: [u8; FLOOD_VALUE_SIZE] = [0; FLOOD_VALUE_SIZE];
        let record = RecordView::new().partition(i32::from(partition)).value(&ZEROS[..size]);
        let delivery = self.topic.send(record).await.unwrap();
        async move {
            delivery.await.unwrap();
        }
    }

    async fn flush(&self) {
        self.producer.flush(TIME_MAX).await.unwrap();
    }

    /// Above 0, up to 1.
    fn draw_share(&self) -> f64 {
        (self.random.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn draw_partition(&self) -> u16 {
        u16::try_from(self.random.below(u64::from(self.partitions))).unwrap()
    }
}

/// Runs a load in a world of its own.
#[expect(clippy::disallowed_methods, reason = "hosts are what the seam for tasks stands on here")]
fn simulate<L>(wire: Wire, builder: Builder, load: impl FnOnce(Client) -> L) -> L::Output
where
    L: Future<Output: Send> + Send + 'static,
{
    runtime().block_on(async {
        let random = Random::from_seed(SEED);
        let wires = Wires::new(random.fork(), Trace::default());
        let way_ms = wire.way_and_back_ms / 2;
        let pace = Pace { min_ms: way_ms, max_ms: way_ms, trickle: None };
        wires.set_weather(Weather { pace, ..Weather::FINE });
        let [far, near] = [1, 2].map(|number| {
            let host = Host::new(random.fork());
            let life = host.boot();
            tokio::spawn(host.drive());
            Seams {
                spawner: host.spawner(),
                network: Arc::new(wires.of_host(address_of(number), life)),
                wall_clock: Arc::new(Clock::new()),
                random: random.fork(),
            }
        });
        let (requests, flush) = (Requests::default(), Duration::from_millis(wire.flush_ms));
        far.spawner.clone().spawn(far_end::serve(far, wire.partitions, flush, requests.clone()));
        let (done, result) = oneshot::channel();
        let client = Client::build(builder, near.clone(), wire.partitions, requests).await;
        let loading = load(client);
        near.spawner.spawn(async move { drop(done.send(loading.await)) });
        timeout(TIME_MAX, result).await.expect("a load hangs").expect("a load ends")
    })
}

/// So many records a second on average, at random moments, each to any partition.
pub fn at_rate(wire: Wire, linger: Linger, rate: u64) -> Paced {
    let count = (rate * TIME_MEASURED.as_millis() as u64 / 1_000).clamp(RECORDS_MIN, RECORDS_MAX);
    simulate(wire, Producer::builder().linger(linger), async move |client: Client| {
        let (requests, begin) = (client.requests.so_far(), Instant::now());
        let mut at_seconds = 0.0;
        let due: Vec<Instant> = (0..count)
            .map(|_| {
                at_seconds -= client.draw_share().ln() / rate as f64;
                // Whole milliseconds: what timers do not know is not part of any latency.
                begin + Duration::from_millis((at_seconds * 1_000.0) as u64)
            })
            .collect();
        let mut under_way = FuturesUnordered::new();
        let mut latencies = Vec::new();
        let mut next = 0;
        while latencies.len() < due.len() {
            tokio::select! {
                biased;
                Some(took) = under_way.next() => latencies.push(took),
                () = sleep_until(due.get(next).copied().unwrap_or(begin)), if next < due.len() => {
                    while let Some(was_due) = due.get(next).copied().filter(|due| *due <= Instant::now()) {
                        let delivery = client.send(client.draw_partition(), VALUE_SIZE).await;
                        under_way.push(async move {
                            delivery.await;
                            was_due.elapsed()
                        });
                        next += 1;
                    }
                }
            }
        }
        Paced { latencies: Latencies::of(latencies), requests: client.requests.so_far() - requests }
    })
}

/// As many records as go, through a buffer that is soon full.
pub fn all_at_once(wire: Wire, linger: Linger) -> Flood {
    let builder = Producer::builder().linger(linger).batch_size(FLOOD_BATCH).buffer_memory(FLOOD_BUFFER);
    simulate(wire, builder, async move |client: Client| {
        let (requests, begin) = (client.requests.so_far(), Instant::now());
        for _ in 0..FLOOD_RECORDS {
            drop(client.send(client.draw_partition(), FLOOD_VALUE_SIZE).await);
        }
        client.flush().await;
        Flood { took: begin.elapsed(), requests: client.requests.so_far() - requests }
    })
}

/// One record after the other, each awaited.
pub fn one_by_one(wire: Wire, linger: Linger, records: u32) -> Latencies {
    simulate(wire, Producer::builder().linger(linger), async move |client: Client| {
        let mut latencies = Vec::new();
        for _ in 0..records {
            let sent = Instant::now();
            client.send(client.draw_partition(), VALUE_SIZE).await.await;
            latencies.push(sent.elapsed());
        }
        Latencies::of(latencies)
    })
}

/// One record to each partition, all at one moment.
pub fn one_to_each_partition(wire: Wire, linger: Linger) -> Paced {
    simulate(wire, Producer::builder().linger(linger), async move |client: Client| {
        let (requests, begin) = (client.requests.so_far(), Instant::now());
        let mut under_way = Vec::new();
        for partition in 0..client.partitions {
            under_way.push(client.send(partition, VALUE_SIZE).await);
        }
        let mut latencies = Vec::new();
        for delivery in under_way {
            delivery.await;
            latencies.push(begin.elapsed());
        }
        Paced { latencies: Latencies::of(latencies), requests: client.requests.so_far() - requests }
    })
}

/// Callers who each send a record, await it, and send the next, for so many rounds.
pub fn in_step(wire: Wire, linger: Linger, callers: u32, rounds: u32) -> Paced {
    simulate(wire, Producer::builder().linger(linger), async move |client: Client| {
        let requests = client.requests.so_far();
        let client = Arc::new(client);
        let (told, mut all_told) = tokio::sync::mpsc::channel(usize::try_from(callers * rounds).unwrap());
        for _ in 0..callers {
            let (client, told) = (Arc::clone(&client), told.clone());
            client.seams.spawner.clone().spawn(async move {
                for _ in 0..rounds {
                    let sent = Instant::now();
                    client.send(client.draw_partition(), VALUE_SIZE).await.await;
                    told.send(sent.elapsed()).await.unwrap();
                }
            });
        }
        drop(told);
        let mut latencies = Vec::new();
        while let Some(took) = all_told.recv().await {
            latencies.push(took);
        }
        Paced { latencies: Latencies::of(latencies), requests: client.requests.so_far() - requests }
    })
}
