//! Tasks and blocking work.

use std::sync::Arc;

use futures_util::future::{AbortHandle, Abortable};
use tokio::sync::{oneshot, watch};

use super::BoxFuture;

/// What can run a task to its end, and work that blocks a thread.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` concurrently with the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs `work` where blocking is allowed: a bounded pool of threads, never a reactor.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// Tokio's own: the runtime in whose context it is called.
pub struct RealSpawn;

impl Spawn for RealSpawn {
    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

/// A handle to whatever runs tasks here; cheap to clone.
#[derive(Clone)]
pub struct Spawner(Arc<dyn Spawn>);

impl Spawner {
    /// Tasks will run on `spawn`.
    pub fn new(spawn: impl Spawn) -> Self {
        Self(Arc::new(spawn))
    }

    /// Starts `task`. Dropping the handle lets it run on.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let (ended, end) = watch::channel(());
        let task = Abortable::new(task, registration);
        self.0.spawn(Box::pin(async move {
            // Dropped when the task ends, is aborted, panics, or its runtime goes: each of them shows in `TaskHandle::ended`.
            let _ended = ended;
            let _ = task.await;
        }));
        TaskHandle { abort, end }
    }

    /// Runs `work` on a thread that may block, and waits for its result. `None` when the runtime shut down or the work
    /// panicked: then nothing is known of what it did.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.blocking(Box::new(move || {
            // A caller that went away does not need the result.
            let _ = sender.send(work());
        }));
        receiver.await.ok()
    }
}

/// A started task.
pub struct TaskHandle {
    abort: AbortHandle,
    end: watch::Receiver<()>,
}

impl TaskHandle {
    /// Stops the task at its next `await`.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Waits until the task has ended, however it did.
    pub async fn ended(&mut self) {
        while self.end.changed().await.is_ok() {}
    }
}
