//! Connections being served: counted, and up to a limit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::Gauge;
use tokio::sync::Notify;

/// How many there are.
pub struct OpenConnections {
    count: AtomicUsize,
    none: Notify,
    gauge: Gauge,
}

impl OpenConnections {
    /// Shown by `gauge`.
    pub fn new(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), none: Notify::new(), gauge })
    }

    /// One more, unless there are `limit`.
    pub fn enter(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < limit).then_some(count + 1))
            .ok()?;
        self.gauge.increment(1.0);
        Some(OpenConnection(Arc::clone(self)))
    }

    /// Waits until no connection is open.
    pub async fn none(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One of them; leaves on drop.
pub struct OpenConnection(Arc<OpenConnections>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.gauge.decrement(1.0);
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
