//! One run: everything is built from a plan, goes wrong as planned, is set right, ends, and is judged.

mod end;
mod mischief;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Duration,
};

use gapless_common::seam::{Random, Seams};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use crate::admin;
use crate::clock::Clock;
use crate::consumer::{self, Consumer};
use crate::disk::{DiskConfig, DiskCounts, SimDisk};
use crate::host::Host;
use crate::ledger::{Books, Entry, Ledger, Place, Told};
use crate::network::{Wires, address_of};
use crate::plan::{Kind, Plan, SHORT_LIVED};
use crate::sender::{Common, Sender};
use crate::server::{SERVER, Server};
use crate::trace::Trace;

/// Numbers of hosts.
const SERVER_HOST: u8 = 1;
const OVERSEER_HOST: u8 = 2;
const CONSUMER_HOST: u8 = 3;
const FIRST_PRODUCER_HOST: u8 = 10;

/// Everything is set right: so long until the broker serves again.
const SERVES_WITHIN: Duration = Duration::from_secs(30);
/// And so long until every producer is done: the longest delivery timeout, and room.
const DONE_WITHIN: Duration = Duration::from_secs(180);
/// How often the overseer looks whether the broker has to be started.
const LOOK: Duration = Duration::from_millis(20);

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was run.
    pub seed: u64,
    /// What was wrong; empty if the promise was kept.
    pub faults: Vec<String>,
    /// What happened.
    pub counts: Counts,
    /// Hash and number of all events.
    pub trace: (u64, u64),
}

/// What happened in one run, or in many.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Records that were admitted, acknowledged, reported as not written, as unknown; those of producers that crashed.
    pub admitted: u64,
    /// See `admitted`.
    pub acked: u64,
    /// See `admitted`.
    pub not_written: u64,
    /// See `admitted`.
    pub unknown: u64,
    /// See `admitted`.
    pub untold: u64,
    /// Records that consumers saw.
    pub seen: u64,
    /// How often a caller resumed, leaving what had failed; and how often after finding out that all in doubt was written.
    pub resumed: u64,
    /// See `resumed`.
    pub settled: u64,
    /// Starts of the broker.
    pub starts: u64,
    /// Times that each kind of fault struck.
    pub kinds: BTreeMap<Kind, u64>,
    /// Sectors, names and bytes that disks lost, and what else they did.
    pub disk: DiskCounts,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated_ms += other.simulated_ms;
        self.admitted += other.admitted;
        self.acked += other.acked;
        self.not_written += other.not_written;
        self.unknown += other.unknown;
        self.untold += other.untold;
        self.seen += other.seen;
        self.resumed += other.resumed;
        self.settled += other.settled;
        self.starts += other.starts;
        for (kind, times) in &other.kinds {
            *self.kinds.entry(*kind).or_default() += times;
        }
        self.disk.sectors_lost += other.disk.sectors_lost;
        self.disk.sectors_torn += other.disk.sectors_torn;
        self.disk.names_lost += other.disk.names_lost;
        self.disk.flush_errors += other.disk.flush_errors;
        self.disk.write_errors += other.disk.write_errors;
        self.disk.no_space += other.disk.no_space;
        self.disk.read_errors += other.disk.read_errors;
        self.disk.rotten += other.disk.rotten;
        self.disk.flushes += other.disk.flushes;
        self.disk.whole_syncs += other.disk.whole_syncs;
        self.disk.writes += other.disk.writes;
    }

    fn take_books(&mut self, books: &Books) {
        for entry in books.streams.values().flatten() {
            match entry {
                Entry::Resumed => self.resumed += 1,
                Entry::Settled => self.settled += 1,
                Entry::Settling => {}
                Entry::Record { told, .. } => {
                    self.admitted += 1;
                    match told {
                        Told::Acked(_) => self.acked += 1,
                        Told::NotWritten => self.not_written += 1,
                        Told::Unknown => self.unknown += 1,
                        Told::Nothing => self.untold += 1,
                    }
                }
            }
        }
        self.seen = books.seen.values().map(|seen| seen.len() as u64).sum();
    }
}

/// A runtime whose clock moves only when nothing is left to do.
///
/// # Panics
/// If there is no memory for one.
#[must_use]
pub fn runtime() -> Runtime {
    let built = Builder::new_current_thread().enable_time().start_paused(true).build();
    built.unwrap_or_else(|error| panic!("no runtime: {error}"))
}

/// Runs a plan.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    runtime().block_on(async {
        BEGIN.set(Some(Instant::now()));
        Box::pin(World::new(plan).run()).await
    })
}

/// A program and the host it runs on.
struct Program {
    host: Host,
    clock: Clock,
    number: u8,
    /// Does not run before this.
    down_until: Option<Instant>,
    sender: Sender,
}

struct World {
    plan: Plan,
    begin: Instant,
    random: Random,
    trace: Trace,
    wires: Wires,
    disk: SimDisk,
    server: Server,
    /// Somebody who never crashes.
    overseer: Host,
    consumers: Host,
    producers: Vec<Program>,
    ledger: Ledger,
    places: Arc<[Place]>,
    /// The broker does not run before this.
    down_until: Arc<Mutex<Instant>>,
    closing: Arc<AtomicBool>,
    readers_closing: Arc<AtomicBool>,
    counts: Counts,
    /// Where rot struck, and what may be missing for it.
    rotten: Vec<(Place, i64)>,
    power_losses: u64,
    /// When the topic that is deleted now and then was last seen to be there for good.
    last_made: Option<Instant>,
    faults: Vec<String>,
}

impl World {
    fn new(plan: Plan) -> Self {
        let random = Random::from_seed(plan.seed);
        let trace = Trace::default();
        let wires = Wires::new(random.fork(), trace.clone());
        let config = DiskConfig {
            flush_ms_max: plan.flush_ms_max,
            segment_flush_ms_max: plan.segment_flush_ms_max,
            whole_sync: plan.whole_sync,
            ..DiskConfig::default()
        };
        let disk = SimDisk::new(random.fork(), config);
        let server = Server::new(
            &plan,
            address_of(SERVER_HOST),
            disk.clone(),
            wires.clone(),
            Clock::new(),
            random.fork(),
            trace.clone(),
        );
        let places: Arc<[Place]> = plan
            .topics
            .iter()
            .flat_map(|topic| (0..topic.partitions).map(|partition| Place { topic: topic.name, partition }))
            .collect();
        let ledger = Ledger::default();
        let closing = Arc::new(AtomicBool::new(false));
        let common = Common {
            ledger: ledger.clone(),
            trace: trace.clone(),
            server: SERVER,
            places: Arc::clone(&places),
            never_diverges: !(plan.may_lose() || plan.damages()),
            lives: Arc::new(AtomicU32::new(0)),
            closing: Arc::clone(&closing),
        };
        let producers = (FIRST_PRODUCER_HOST..)
            .zip(&plan.producers)
            .map(|(number, plan)| Program {
                host: Host::new(random.fork()),
                clock: Clock::new(),
                number,
                down_until: None,
                sender: Sender::new(common.clone(), plan.clone()),
            })
            .collect();
        Self {
            begin: Instant::now(),
            overseer: Host::new(random.fork()),
            consumers: Host::new(random.fork()),
            random,
            trace,
            wires,
            disk,
            server,
            producers,
            ledger,
            places,
            down_until: Arc::new(Mutex::new(Instant::now())),
            closing,
            readers_closing: Arc::default(),
            counts: Counts { runs: 1, ..Counts::default() },
            rotten: Vec::new(),
            power_losses: 0,
            last_made: None,
            faults: Vec::new(),
            plan,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "hosts are what the seam for tasks stands on here")]
    async fn run(mut self) -> Outcome {
        let hosts: Vec<Host> = [self.server.host(), &self.overseer, &self.consumers]
            .into_iter()
            .chain(self.producers.iter().map(|program| &program.host))
            .cloned()
            .collect();
        for host in &hosts {
            tokio::spawn(host.drive());
        }
        tracing::info!("{:?}", self.plan);
        if self.begin().await {
            self.misbehave().await;
            if self.set_right().await {
                self.end().await;
            }
        }
        let books = self.ledger.copy();
        self.counts.take_books(&books);
        self.counts.simulated_ms = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.counts.disk = self.disk.counts();
        self.counts.starts = self.server.starts();
        self.trace.note("disk", &[self.disk.trace_hash()]);
        self.disk.kill();
        self.server.kill();
        hosts.iter().for_each(Host::crash);
        let mut faults = books.faults;
        faults.append(&mut self.faults);
        Outcome { seed: self.plan.seed, faults, counts: self.counts, trace: self.trace.summary() }
    }

    fn fault(&mut self, what: String) {
        tracing::error!("{what}");
        self.faults.push(what);
    }

    /// The seams of a host that lives; `boot` begins a new life.
    fn seams(&self, host: &Host, number: u8, clock: Clock) -> Seams {
        Seams {
            spawner: host.spawner(),
            network: Arc::new(self.wires.of_host(address_of(number), host.life())),
            wall_clock: Arc::new(clock),
            random: self.random.fork(),
        }
    }

    fn overseer_seams(&self) -> Seams {
        self.seams(&self.overseer, OVERSEER_HOST, Clock::new())
    }

    /// Everything runs, and nothing is wrong yet. False if that did not come about.
    async fn begin(&mut self) -> bool {
        self.overseer.boot();
        self.server.start();
        if let Err(why) = self.server.started().await {
            self.fault(format!("the broker does not start on an empty disk: {why}"));
            return false;
        }
        let (seams, topics) = (self.overseer_seams(), self.plan.topics.clone());
        let making = self.by_overseer(async move {
            for topic in &topics {
                admin::create(&seams, topic).await;
            }
        });
        if timeout(SERVES_WITHIN, making).await.is_err() {
            self.fault("topics cannot be made on a fresh broker".to_owned());
            return false;
        }
        self.wires.set_weather(self.plan.weather);
        let (server, down_until) = (self.server.clone(), Arc::clone(&self.down_until));
        self.overseer.spawner().spawn(async move {
            loop {
                sleep(LOOK).await;
                let due = *down_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if !server.runs() && due <= Instant::now() {
                    server.start();
                }
            }
        });
        for at in 0..self.producers.len() {
            self.start_producer(at);
        }
        self.start_consumer();
        true
    }

    fn start_producer(&mut self, at: usize) {
        let Some(program) = self.producers.get_mut(at) else { return };
        program.down_until = None;
        program.host.boot();
        let (host, number, clock) = (program.host.clone(), program.number, program.clock.clone());
        let sender = program.sender.clone();
        self.wires.switched_on(address_of(number));
        let seams = self.seams(&host, number, clock);
        host.spawner().spawn(sender.live(seams));
    }

    fn start_consumer(&self) {
        self.consumers.boot();
        let consumer = Consumer {
            ledger: self.ledger.clone(),
            server: SERVER,
            places: self.places.iter().filter(|place| place.topic != SHORT_LIVED).cloned().collect(),
            leave: consumer::Leave {
                loss: self.plan.may_lose() || self.plan.may_tear(),
                damage: self.plan.damages(),
                offline: self.plan.takes_offline(),
                retention: self.plan.deletes(),
            },
            closing: Arc::clone(&self.readers_closing),
        };
        let seams = self.seams(&self.consumers, CONSUMER_HOST, Clock::new());
        self.consumers.spawner().spawn(consumer.live(seams));
    }

    /// Runs something on the host that never crashes, and waits for its end.
    async fn by_overseer(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.overseer.spawner().spawn(task).ended().await;
    }
}

thread_local! {
    static BEGIN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Simulated milliseconds of this thread's run; `None` outside of one.
#[must_use]
pub fn now_ms() -> Option<u128> {
    tokio::runtime::Handle::try_current().ok()?;
    BEGIN.get().map(|begin| begin.elapsed().as_millis())
}
