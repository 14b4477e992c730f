//! The broker's machine: the real broker on a simulated disk, started, stopped, killed.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gapless_broker::{Broker, Config, ListenerConfig};
use gapless_common::seam::{Random, Seams};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::disk::SimDisk;
use crate::host::Host;
use crate::network::Wires;
use crate::plan::Plan;
use crate::trace::Trace;

/// Where the broker listens.
pub const SERVER: &str = "10.0.0.1:9092";

/// How the broker stands.
enum Stand {
    /// No process.
    Down,
    /// A process that starts.
    Starting,
    /// It serves.
    Up(Broker),
    /// It ends by itself.
    Stopping,
    /// The start failed, and the process ended.
    Failed(String),
    /// It has stopped; whether cleanly.
    Stopped(bool),
}

/// The machine; clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    host: Host,
    address: IpAddr,
    disk: SimDisk,
    wires: Wires,
    clock: Clock,
    random: Random,
    trace: Trace,
    config: Config,
    stand: Mutex<Stand>,
    changed: Notify,
    starts: AtomicU64,
}

impl Server {
    /// A machine that is switched off.
    #[must_use]
    pub fn new(
        plan: &Plan,
        address: IpAddr,
        disk: SimDisk,
        wires: Wires,
        clock: Clock,
        random: Random,
        trace: Trace,
    ) -> Self {
        let listener = ListenerConfig { name: "PLAINTEXT".into(), listen: SERVER.into(), advertise: None };
        let config = Config {
            listeners: vec![listener],
            http_listen: None,
            durability: plan.durability,
            auto_create_topics: false,
            segment_bytes: plan.segment_bytes,
            checkpoint_interval_bytes: plan.checkpoint_bytes,
            // Room for the files of a few sealed segments: they are closed and opened again all the time.
            descriptors: Some(100),
            spare_bytes_max: 8 << 10,
            // Some records are dated years ago, and all are asked for at the end.
            retention_ms: -1,
            retention_check_interval: plan.retention_check,
            scrub_bytes_per_second: plan.scrub_bytes_per_second,
            idle_timeout: Duration::from_secs(20),
            frame_timeout: Duration::from_secs(4),
            shutdown_timeout: Duration::from_secs(3),
            ..Config::default()
        };
        let host = Host::new(random.fork());
        let stand = Mutex::new(Stand::Down);
        Self(Arc::new(Inner {
            host,
            address,
            disk,
            wires,
            clock,
            random,
            trace,
            config,
            stand,
            changed: Notify::new(),
            starts: AtomicU64::new(0),
        }))
    }

    /// What runs there.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Its wall clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        self.0.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stand: Stand) {
        let before = std::mem::replace(&mut *self.stand(), stand);
        drop(before);
        self.0.changed.notify_waiters();
    }

    /// There is a process, or one that has stopped and was not waited for yet.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(*self.stand(), Stand::Starting | Stand::Up(_) | Stand::Stopping | Stand::Stopped(_))
    }

    /// It serves clients.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(*self.stand(), Stand::Up(_))
    }

    /// Why the last start failed, if it did.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        match &*self.stand() {
            Stand::Failed(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Starts there were.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.0.starts.load(Ordering::Relaxed)
    }

    /// Starts a process, if there is none.
    pub fn start(&self) {
        if self.runs() {
            return;
        }
        if self.why_not().is_some() {
            // What is left of a start that failed.
            self.kill();
        }
        let inner = &self.0;
        inner.starts.fetch_add(1, Ordering::Relaxed);
        inner.trace.note("broker start", &[]);
        inner.wires.switched_on(inner.address);
        let life = inner.host.boot();
        let spawner = inner.host.spawner();
        let seams = Seams {
            spawner: spawner.clone(),
            network: Arc::new(inner.wires.of_host(inner.address, life)),
            wall_clock: Arc::new(inner.clock.clone()),
            random: inner.random.fork(),
        };
        let files = inner.disk.attach();
        #[cfg(feature = "seeded-bugs")]
        let files = crate::bugs::with_bugs(files);
        let (config, boot) = (inner.config.clone(), inner.disk.boot_id());
        self.set(Stand::Starting);
        let server = self.clone();
        spawner.spawn(async move {
            let started = Box::pin(Broker::start(config, files, &boot, seams)).await;
            match started {
                Ok(broker) => server.set(Stand::Up(broker)),
                Err(error) => {
                    tracing::info!("the broker does not start: {error}");
                    server.set(Stand::Failed(error.to_string()));
                }
            }
        });
    }

    /// Waits until the start has ended, one way or the other, or the process is gone. `Err` says why it failed.
    pub async fn started(&self) -> Result<(), String> {
        self.wait(|stand| match stand {
            Stand::Up(_) => Some(Ok(())),
            Stand::Failed(why) => Some(Err(why.clone())),
            Stand::Down | Stand::Stopped(_) => Some(Err("it was killed".to_owned())),
            Stand::Starting | Stand::Stopping => None,
        })
        .await
    }

    async fn wait<T>(&self, ended: impl Fn(&Stand) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(result) = ended(&self.stand()) {
                return result;
            }
            changed.await;
        }
    }

    /// SIGTERM. Waits until the process has ended; whether it said that all is flushed. `None` if there was none that served.
    pub async fn stop(&self) -> Option<bool> {
        let broker = {
            let mut stand = self.stand();
            match std::mem::replace(&mut *stand, Stand::Stopping) {
                Stand::Up(broker) => broker,
                other => {
                    *stand = other;
                    return None;
                }
            }
        };
        self.0.trace.note("broker stop", &[]);
        let server = self.clone();
        self.0.host.spawner().spawn(async move {
            let clean = broker.stop().await;
            server.set(Stand::Stopped(clean));
        });
        let clean = self
            .wait(|stand| match stand {
                Stand::Stopping => None,
                Stand::Stopped(clean) => Some(Some(*clean)),
                _ => Some(None),
            })
            .await;
        // The process has ended; nothing of it goes on.
        self.end(|inner| {
            inner.disk.kill();
            inner.wires.killed(inner.address);
        });
        clean
    }

    /// kill -9.
    pub fn kill(&self) {
        self.0.trace.note("broker kill", &[]);
        self.end(|inner| {
            inner.disk.kill();
            inner.wires.killed(inner.address);
        });
    }

    /// The plug is pulled.
    pub fn power_loss(&self) {
        self.0.trace.note("power loss", &[]);
        self.end(|inner| {
            inner.disk.power_loss();
            inner.wires.switched_off(inner.address);
        });
    }

    fn end(&self, how: impl FnOnce(&Inner)) {
        // Disk and network first: destructors run when the tasks are dropped.
        how(&self.0);
        self.0.host.crash();
        self.set(Stand::Down);
    }
}
