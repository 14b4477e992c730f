//! Who leads what: topics, partitions, brokers, and the producer's id.
//!
//! - `mod.rs`: what the rest of the producer wants to know;
//! - `leaders.rs`: which leaders to believe, of those that metadata and refusals name;
//! - `directory.rs`: what is believed, and the links that follow it;
//! - `task.rs`: the task that asks.

mod directory;
mod leaders;
mod task;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(crate) use directory::{Directory, link};
pub(crate) use leaders::Hint;
pub(crate) use task::run;

/// What is to be found out. Anyone adds to it; the task takes it.
#[derive(Default)]
pub(crate) struct Wants {
    list: Mutex<Wanted>,
    bell: Notify,
}

/// A list of wishes.
#[derive(Debug, Default)]
struct Wanted {
    /// Leaders may have changed.
    refresh: bool,
    /// Topics that someone waits for.
    topics: BTreeSet<Arc<str>>,
    /// A producer id.
    identity: bool,
}

impl Wants {
    fn list(&self) -> MutexGuard<'_, Wanted> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Metadata may be out of date.
    pub(crate) fn refresh(&self) {
        self.list().refresh = true;
        self.bell.notify_one();
    }

    /// Someone waits for this topic.
    pub(crate) fn topic(&self, name: &Arc<str>) {
        self.list().topics.insert(Arc::clone(name));
        self.bell.notify_one();
    }

    /// Someone waits for a producer id.
    pub(crate) fn identity(&self) {
        self.list().identity = true;
        self.bell.notify_one();
    }

    fn take(&self) -> Wanted {
        std::mem::take(&mut *self.list())
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }
}
