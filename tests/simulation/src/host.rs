//! A host: tasks that run until it crashes, stand still while it is frozen, and go in an order that the seed decides.
//!
//! Which of the tasks that are ready goes next is drawn, and each goes in a turn of its own, between those of other hosts:
//! Tokio's fair queue would explore one order only.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use gapless_common::seam::{BoxFuture, Random, Spawn, Spawner};

/// One turn in so many is left to others, though there is something to do.
const PASS_ONE_IN: u64 = 8;
/// The longest that work which may block takes, in simulated milliseconds.
const BLOCKING_MS_MAX: u64 = 3;

/// A machine, or one process on a machine of its own; clones are the same one.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    random: Random,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Arc<Task>>,
    /// By number, so that the order of wake-ups does not matter: Tokio's `watch` wakes in one that no seed decides.
    ready: Vec<Arc<Task>>,
    next_task: u64,
    /// Of whoever drives the host.
    driver: Option<Waker>,
    frozen: bool,
    life: Life,
}

/// One life of a host, from a boot to a crash.
#[derive(Clone, Default)]
pub struct Life(Arc<AtomicBool>);

impl Life {
    /// It has not ended.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Task {
    number: u64,
    host: Weak<Inner>,
    queued: AtomicBool,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(host) = self.host.upgrade() {
            host.now_ready(self);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ready(&self, task: Arc<Task>) {
        let mut state = self.state();
        let at = state.ready.partition_point(|other| other.number < task.number);
        state.ready.insert(at, task);
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// One turn: one task that is ready. Pending always; ends only with the world.
    fn turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.driver.as_ref().is_none_or(|driver| !driver.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        if state.frozen || state.ready.is_empty() {
            return Poll::Pending;
        }
        if self.random.below(PASS_ONE_IN) == 0 {
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let drawn = self.random.below(state.ready.len() as u64);
        let task = state.ready.remove(usize::try_from(drawn).unwrap_or(0));
        let more = !state.ready.is_empty();
        drop(state);
        if more {
            cx.waker().wake_by_ref();
        }
        task.queued.store(false, Ordering::Relaxed);
        let mut slot = task.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = slot.as_mut() else { return Poll::Pending };
        let waker = Waker::from(Arc::clone(&task));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let ended = slot.take();
            drop(slot);
            self.state().tasks.remove(&task.number);
            drop(ended);
        }
        Poll::Pending
    }
}

impl Host {
    /// A host that is not running yet.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self(Arc::new(Inner { random, state: Mutex::default() }))
    }

    /// Runs whatever runs on it, for as long as this is polled.
    pub fn drive(&self) -> impl Future<Output = ()> + Send + 'static {
        let host = self.clone();
        poll_fn(move |cx| host.0.turn(cx))
    }

    /// Begins a life, in which tasks can be started.
    pub fn boot(&self) -> Life {
        let mut state = self.0.state();
        state.life = Life(Arc::new(AtomicBool::new(true)));
        state.frozen = false;
        state.life.clone()
    }

    /// What starts tasks in the life that goes on now; they end with it.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        let life = self.0.state().life.clone();
        Spawner::new(OnHost { host: Arc::downgrade(&self.0), life })
    }

    /// Ends its life: no task is polled again, and all are dropped. What they hold must be dead already, since destructors
    /// run: disk and network are told first.
    pub fn crash(&self) {
        let mut state = self.0.state();
        state.life.0.store(false, Ordering::Relaxed);
        let tasks = std::mem::take(&mut state.tasks);
        let ready = std::mem::take(&mut state.ready);
        state.frozen = false;
        drop(state);
        for task in tasks.into_values() {
            let future = task.future.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(future);
        }
        drop(ready);
    }

    /// Stops polling (SIGSTOP, or a machine that swaps) or goes on.
    pub fn freeze(&self, frozen: bool) {
        let mut state = self.0.state();
        state.frozen = frozen;
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// The life that goes on now, or the last one.
    #[must_use]
    pub fn life(&self) -> Life {
        self.0.state().life.clone()
    }
}

struct OnHost {
    host: Weak<Inner>,
    life: Life,
}

impl Spawn for OnHost {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let Some(host) = self.host.upgrade().filter(|_| self.life.goes_on()) else { return };
        let mut state = host.state();
        let number = state.next_task;
        state.next_task += 1;
        let task = Arc::new(Task {
            number,
            host: Arc::downgrade(&host),
            queued: AtomicBool::new(false),
            future: Mutex::new(Some(task)),
        });
        state.tasks.insert(number, Arc::clone(&task));
        drop(state);
        task.wake();
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let Some(host) = self.host.upgrade() else { return };
        let wait = Duration::from_millis(host.random.below(BLOCKING_MS_MAX + 1));
        self.spawn(Box::pin(async move {
            tokio::time::sleep(wait).await;
            work();
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::world::runtime;

    #[test]
    fn a_frozen_host_stands_still_and_a_crashed_one_is_dropped() {
        runtime().block_on(async {
            let host = Host::new(Random::from_seed(1));
            host.boot();
            let (count, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(()));
            let (counting, held) = (Arc::clone(&count), Arc::clone(&dropped));
            host.spawner().spawn(async move {
                let _held = held;
                loop {
                    sleep(Duration::from_millis(10)).await;
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            });
            let begin = Instant::now();
            let script = async {
                sleep(Duration::from_millis(105)).await;
                assert_eq!(count.load(Ordering::Relaxed), 10);
                host.freeze(true);
                sleep(Duration::from_millis(1000)).await;
                assert_eq!(count.load(Ordering::Relaxed), 10);
                host.freeze(false);
                sleep(Duration::from_millis(25)).await;
                assert!(count.load(Ordering::Relaxed) > 10);
                host.crash();
                assert_eq!(Arc::strong_count(&dropped), 1);
                host.spawner().spawn(async { panic!("a dead host runs nothing") });
                sleep(Duration::from_millis(100)).await;
            };
            tokio::select! {
                biased;
                () = host.drive() => {}
                () = script => {}
            }
            assert_eq!(begin.elapsed(), Duration::from_millis(1230));
        });
    }

    #[test]
    fn the_order_of_tasks_is_the_seeds() {
        let order = |seed| {
            runtime().block_on(async {
                let host = Host::new(Random::from_seed(seed));
                host.boot();
                let seen = Arc::new(Mutex::new(Vec::new()));
                for number in 0..20 {
                    let seen = Arc::clone(&seen);
                    host.spawner().spawn(async move { seen.lock().unwrap().push(number) });
                }
                tokio::select! {
                    biased;
                    () = host.drive() => {}
                    () = sleep(Duration::from_millis(1)) => {}
                }
                host.crash();
                Arc::into_inner(seen).unwrap().into_inner().unwrap()
            })
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
