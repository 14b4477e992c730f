//! One life of a broker on a simulated disk: started, used by a script, ended in one of several ways.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gapless_broker::{Broker, Config};
use gapless_common::seam::{
    BoxFuture, ConnectError, ConnectStage, Connection, Listener, Network, Random, Seams, Spawn, Spawner,
    WallClock,
};
use gapless_simulation::disk::{DiskConfig, SimDisk};

/// How a life goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The disk halts at this change, counted from the start.
    pub halt_at: Option<u64>,
    /// The broker is stopped cleanly behind the script.
    pub stops: bool,
    /// What then becomes of the process, or of the machine.
    pub end: End,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Kill,
    PowerLoss,
    /// The process is cut off in the middle of what it does; what becomes of that is for copies of the disk to find out.
    Leave,
}

impl End {
    /// Without warning, behind the script.
    pub fn at_once(self) -> Plan {
        Plan { halt_at: None, stops: false, end: self }
    }

    /// After a clean stop.
    pub fn after_a_stop(self) -> Plan {
        Plan { stops: true, ..self.at_once() }
    }

    /// At this change of the disk, which may be one of a clean stop.
    pub fn at_change(self, change: u64) -> Plan {
        Plan { halt_at: Some(change), ..self.after_a_stop() }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The script came to its end.
    Lived(T),
    /// The disk halted first.
    Halted,
    /// The broker did not start, and says why.
    Refused(String),
}

impl<T> Outcome<T> {
    pub fn lived(self) -> T {
        match self {
            Self::Lived(value) => value,
            Self::Halted => panic!("the disk halted"),
            Self::Refused(why) => panic!("the broker did not start: {why}"),
        }
    }
}

/// Simulated time that no life takes.
const LIFE_MAX: Duration = Duration::from_secs(600);

pub fn disk(seed: u64) -> SimDisk {
    let config =
        DiskConfig { flush_ms_max: 2, delayed_per_mille: 20, operation_ms_max: 2, ..DiskConfig::default() };
    SimDisk::new(Random::from_seed(seed), config)
}

/// Lives as planned.
pub fn live<T>(disk: &SimDisk, plan: Plan, script: impl AsyncFnOnce(&Broker) -> T) -> Outcome<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let files = disk.attach();
        if let Some(changes) = plan.halt_at {
            disk.halt_at(disk.counts().changes + changes);
        }
        let boot_id = disk.boot_id();
        let mut life = pin!(tokio::time::timeout(LIFE_MAX, async {
            let broker = match Broker::start(config(), files, &boot_id, seams()).await {
                Ok(broker) => broker,
                Err(error) => return Outcome::Refused(error.to_string()),
            };
            let result = script(&broker).await;
            if plan.stops {
                broker.stop().await;
            }
            Outcome::Lived(result)
        }));
        let outcome = tokio::select! {
            biased;
            () = disk.halted() => Outcome::Halted,
            lived = &mut life => lived.expect("a life hangs"),
        };
        // Before destructors run: what is dead does nothing more.
        match plan.end {
            End::Kill => disk.kill(),
            End::PowerLoss => disk.power_loss(),
            End::Leave => drop(disk.attach()),
        }
        outcome
    })
}

fn config() -> Config {
    Config {
        http_listen: None,
        max_message_bytes: 1 << 16,
        segment_bytes: 1 << 20,
        // What makes and fills these files is no change of a log, and every change is one more life here.
        spare_bytes_max: 0,
        ..Config::default()
    }
}

fn seams() -> Seams {
    Seams {
        spawner: Spawner::new(OneThread),
        network: Arc::new(NoNetwork),
        wall_clock: Arc::new(Epoch),
        random: Random::from_seed(1),
    }
}

/// Tasks of this runtime; blocking work, which there is none of on this disk, at once.
struct OneThread;

impl Spawn for OneThread {
    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

struct Epoch;

impl WallClock for Epoch {
    fn now_ms(&self) -> i64 {
        super::ledger::NOW_MS
    }
}

/// Nobody ever comes.
struct NoNetwork;

impl Network for NoNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        let refused = ConnectError {
            address: address.to_owned(),
            stage: ConnectStage::Connect,
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        Box::pin(async { Err(refused) })
    }

    fn listen<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Ok(Box::new(Deaf) as Box<dyn Listener>) })
    }
}

struct Deaf;

impl Listener for Deaf {
    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9092))
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(std::future::pending())
    }
}
