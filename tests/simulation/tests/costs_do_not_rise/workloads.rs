//! Small fixed loads of the real pair, each in a world of its own: warmed up first, then counted.

use std::sync::Arc;
use std::time::Duration;

use gapless_broker::log::Durability;
use gapless_broker::{Broker, Config, ListenerConfig};
use gapless_common::channel::{Channel, ChannelConfig};
use gapless_common::protocol::messages::FetchRequest;
use gapless_common::protocol::messages::fetch::{FetchPartition, FetchTopic};
use gapless_common::protocol::{RecordData, Text};
use gapless_common::records::batches;
use gapless_common::seam::{Random, Seams, Spawner};
use gapless_producer::{Linger, Producer, RecordView, Topic};
use gapless_simulation::clock::Clock;
use gapless_simulation::world::runtime;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::counts::{Counts, Side, so_far};
use super::machine::{CountedFiles, Tasks};
use super::wires::{ADDRESS, Wires};

const SEED: u64 = 1;
const TOPIC: &str = "counted";
const VALUE: [u8; 100] = [b'v'; 100];
/// A caller lets others run after so many records, as another core would have.
const RECORDS_PER_TURN: u32 = 64;
/// Simulated time until a broker has done what it does once after its start.
const SETTLED: Duration = Duration::from_millis(500);
/// Never waited for: full batches leave at once, others when they are flushed.
const LINGER: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(60);
/// The last version of a fetch that names topics.
const FETCH_VERSION: i16 = 12;
const FETCH_BYTES: i32 = 1 << 20;

/// Where flushes wait for no disk, if there is such a place: what is counted is the same everywhere.
const IN_MEMORY: &str = "/dev/shm";

/// What is sent, or read.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// So many records, one after the other, to one partition.
    Many(u32),
    /// So many, each awaited before the next.
    Awaited(u32),
    /// One record to each of so many partitions, and all of them awaited; so often.
    Partitions(u32, u32),
    /// So many records, written before, are read from the beginning.
    Fetch(u32),
}

/// A load and what it meets.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub load: Load,
    pub batch_size: usize,
    pub durability: Durability,
}

/// What a load has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub producer: Counts,
    pub broker: Counts,
    pub records: u64,
    /// Batches that were written; of a fetch, answers.
    pub batches: u64,
}

impl Workload {
    /// Runs it.
    pub fn measure(self) -> Spent {
        runtime().block_on(async {
            let directory = tempfile::tempdir_in(IN_MEMORY).or_else(|_| tempfile::tempdir()).unwrap();
            let wires = Wires::new();
            let [near, far] = [Side::Producer, Side::Broker].map(|side| Seams {
                spawner: Spawner::new(Tasks(side)),
                network: Arc::new(wires.clone()),
                wall_clock: Arc::new(Clock::new()),
                random: Random::from_seed(SEED),
            });
            let files = Arc::new(CountedFiles::new(directory.path(), far.spawner.clone()));
            let broker = Broker::start(self.config(), files, "boot", far).await.unwrap();
            sleep(SETTLED).await;
            let (done, result) = oneshot::channel();
            let seams = near.clone();
            near.spawner.spawn(async move {
                let _ = done.send(Box::pin(self.run(seams)).await);
            });
            let spent = result.await.unwrap();
            assert!(broker.stop().await);
            spent
        })
    }

    const fn partitions(self) -> u32 {
        match self.load {
            Load::Partitions(partitions, _) => partitions,
            Load::Many(_) | Load::Awaited(_) | Load::Fetch(_) => 1,
        }
    }

    fn config(self) -> Config {
        Config {
            listeners: vec![ListenerConfig {
                name: "PLAINTEXT".into(),
                listen: ADDRESS.into(),
                advertise: None,
            }],
            http_listen: None,
            durability: self.durability,
            partitions: i32::try_from(self.partitions()).unwrap(),
            scrub_bytes_per_second: 0,
            ..Config::default()
        }
    }

    async fn run(self, seams: Seams) -> Spent {
        let builder = Producer::builder().bootstrap_servers(ADDRESS).seams(seams.clone());
        let producer =
            builder.batch_size(self.batch_size).linger(Linger::Fixed(LINGER)).build().await.unwrap();
        let client = Client { topic: producer.topic(TOPIC), producer };
        // The connection, metadata, the producer's id, and the first batch of each partition.
        client.one_to_each(self.partitions()).await;
        if let Load::Fetch(records) = self.load {
            client.many(records).await;
            client.producer.close(TIME_MAX).await.unwrap();
            return fetch(&seams, i64::from(records) + 1).await;
        }
        client.many(RECORDS_PER_TURN).await;
        let before = client.producer.stats();
        let counted = Counted::begin();
        match self.load {
            Load::Many(records) => client.many(records).await,
            Load::Awaited(records) => {
                for _ in 0..records {
                    client.topic.send(record(0)).await.unwrap().await.unwrap();
                }
            }
            Load::Partitions(partitions, rounds) => {
                for _ in 0..rounds {
                    client.one_to_each(partitions).await;
                }
            }
            Load::Fetch(_) => {}
        }
        let (producer, broker) = counted.end();
        let after = client.producer.stats();
        Spent {
            producer,
            broker,
            records: after.records_acked - before.records_acked,
            batches: after.batches_acked - before.batches_acked,
        }
    }
}

/// What both sides have spent when counting began.
struct Counted(Counts, Counts);

impl Counted {
    fn begin() -> Self {
        Self(so_far(Side::Producer), so_far(Side::Broker))
    }

    /// What they have spent since.
    fn end(self) -> (Counts, Counts) {
        (so_far(Side::Producer) - self.0, so_far(Side::Broker) - self.1)
    }
}

fn record(partition: u32) -> RecordView<'static> {
    RecordView::new().partition(i32::try_from(partition).unwrap()).value(&VALUE)
}

struct Client {
    producer: Producer,
    topic: Topic,
}

impl Client {
    async fn many(&self, records: u32) {
        for number in 1..=records {
            drop(self.topic.send(record(0)).await.unwrap());
            if number % RECORDS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.producer.flush(TIME_MAX).await.unwrap();
    }

    async fn one_to_each(&self, partitions: u32) {
        for partition in 0..partitions {
            drop(self.topic.send(record(partition)).await.unwrap());
        }
        self.producer.flush(TIME_MAX).await.unwrap();
    }
}

/// Reads everything up to an offset; counts from the second answer on.
async fn fetch(seams: &Seams, end: i64) -> Spent {
    let channel = Channel::connect(seams, ADDRESS, &ChannelConfig::default()).await.unwrap();
    let mut offset = fetch_once(&channel, 0).await;
    let (first, mut answers) = (offset, 0);
    let counted = Counted::begin();
    while offset < end {
        offset = fetch_once(&channel, offset).await;
        answers += 1;
    }
    let (producer, broker) = counted.end();
    Spent { producer, broker, records: u64::try_from(end - first).unwrap(), batches: answers }
}

/// Where to read on.
async fn fetch_once(channel: &Channel, offset: i64) -> i64 {
    let partition = FetchPartition {
        fetch_offset: offset,
        last_fetched_epoch: -1,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![FetchTopic {
            topic: Text::from(TOPIC),
            partitions: vec![partition],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let answer = channel.send(request, FETCH_VERSION, TIME_MAX).await.unwrap().await.unwrap();
    let data = &answer.responses[0].partitions[0];
    assert!(data.error_code.is_ok());
    let bytes = data.records.as_ref().and_then(RecordData::memory).cloned().unwrap();
    let next = batches(bytes).last().map_or(offset, |batch| batch.unwrap().0.next_offset().0);
    assert!(next > offset, "nothing came from {offset}");
    next
}
