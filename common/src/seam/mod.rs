//! The seams: what the pair takes from the machine, passed in so that a simulation can pass something else.
//!
//! Monotonic time is Tokio's own (`tokio::time`), which can be paused. Files are the broker's alone and have their
//! seam there. Everything else that is not computed from arguments comes through [`Seams`].

mod network;
mod random;
mod spawn;
mod wall_clock;

use std::sync::Arc;

pub use network::{
    ConnectError, ConnectStage, Connection, Listener, Network, ReadHalf, RealNetwork, WriteHalf,
};
pub use random::Random;
pub use spawn::{RealSpawn, Spawn, Spawner, TaskHandle};
pub use wall_clock::{RealWallClock, WallClock};

/// One set of seams, handed down from whoever starts a broker or a producer.
#[derive(Clone)]
pub struct Seams {
    /// Starts tasks and blocking work.
    pub spawner: Spawner,
    /// Opens and accepts connections.
    pub network: Arc<dyn Network>,
    /// Time of day, for timestamps only; durations are measured with `tokio::time`.
    pub wall_clock: Arc<dyn WallClock>,
    /// The one source of randomness.
    pub random: Random,
}

impl Seams {
    /// The machine itself: Tokio's tasks, TCP, the system clock, a generator seeded by the operating system.
    #[must_use]
    pub fn real() -> Self {
        Self {
            spawner: Spawner::new(RealSpawn),
            network: Arc::new(RealNetwork),
            wall_clock: Arc::new(RealWallClock),
            random: Random::from_entropy(),
        }
    }
}

/// A future on the heap: what a seam returns, since it is used behind `dyn`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
