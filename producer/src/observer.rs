//! What a producer tells those who watch it: for metrics and traces of the caller's own.
//!
//! One trait with one method, and one event for each thing that happens to a batch, a partition or a connection. Nothing
//! is told of single records: who wants to count, change or trace those does so around [`send`](crate::Producer::send) and its
//! [`Delivery`](crate::Delivery), where the record is at hand.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Attempt;
use crate::fate::{Fate, Halt, PartitionName};
use crate::resume::SettledFate;

/// Watches a producer: [`Builder::observer`](crate::Builder::observer).
///
/// Called on the task on which something happens, which sends and takes answers: so it must be quick, and must not block. No lock
/// is held meanwhile, so it may use the producer; but a [`Producer`](crate::Producer) that it keeps is never dropped.
///
/// Several tasks may call it at once. What happens to one batch is told in its order, and before whoever awaits one
/// of its deliveries is woken; only a `close` or `resume` on another task may be told a moment early or late.
///
/// One that panics is not called again, which is logged; nothing else comes of it (unless panics abort the process).
///
/// ```
/// # use std::sync::Arc;
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// use gapless_producer::{Fate, Producer, observer::Event};
///
/// let lost = Arc::new(AtomicU64::new(0));
/// let counter = Arc::clone(&lost);
/// let builder = Producer::builder().observer(Arc::new(move |event: &Event| match event {
///     Event::Resolved { batch, fate: Fate::NotWritten(_) | Fate::Unknown(_), .. } => {
///         counter.fetch_add(u64::from(batch.records), Ordering::Relaxed);
///     }
///     Event::Halted(halt) => eprintln!("{halt}"),
///     _ => {}
/// }));
/// ```
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A batch goes out in a request. Until [`Event::Resolved`] tells the end, it may go out again.
    #[non_exhaustive]
    Sent {
        /// Which.
        batch: BatchInfo,
        /// Counts the attempts from 1, those of the whole before it was split included.
        attempt: u32,
        /// The id of the broker it goes to.
        broker: i32,
        /// How long its oldest record has waited since its admission.
        waited: Duration,
    },
    /// A request was answered. With `acks` 0: it was written to the connection.
    #[non_exhaustive]
    Answered {
        /// The id of the broker.
        broker: i32,
        /// How many batches were in it.
        batches: usize,
        /// From handing the request to the connection to its answer.
        took: Duration,
    },
    /// A batch of a partition will be sent again.
    #[non_exhaustive]
    Retried {
        /// The partition.
        partition: Arc<PartitionName>,
        /// The label `reason` of the metric `gapless_producer_retries_total`.
        reason: &'static str,
    },
    /// The records of a batch, or of a part of one that was split, have their fate: each of them once.
    #[non_exhaustive]
    Resolved {
        /// Which. One that was never sent has a number too.
        batch: BatchInfo,
        /// What became of them.
        fate: Fate,
        /// How long since the admission of the oldest.
        took: Duration,
    },
    /// A partition takes no records any more, until it is resumed. After a settle that left something in doubt: it
    /// is halted again, in a new generation.
    Halted(Arc<Halt>),
    /// A settle found out what became of records that were resolved as unknown.
    #[non_exhaustive]
    Settled {
        /// Which, by the number that it was resolved with.
        batch: BatchInfo,
        /// What became of them: never [`SettledFate::Unknown`].
        fate: SettledFate,
    },
    /// A halted partition goes on.
    #[non_exhaustive]
    Resumed {
        /// The partition.
        partition: Arc<PartitionName>,
        /// That of the halt that is over.
        generation: u64,
    },
    /// A connection for records is open.
    #[non_exhaustive]
    Connected {
        /// The id of the broker.
        broker: i32,
        /// Its address, `HOST:PORT`.
        address: Arc<str>,
        /// There was one to this broker before.
        again: bool,
    },
    /// A connection for records is gone; what was in flight on it is in doubt, and is sent again.
    #[non_exhaustive]
    Disconnected {
        /// The id of the broker.
        broker: i32,
        /// Its address, `HOST:PORT`.
        address: Arc<str>,
        /// What it died of.
        cause: Arc<str>,
    },
    /// A connection for records could not be opened. It is tried again, with growing pauses.
    #[non_exhaustive]
    NotConnected {
        /// The id of the broker.
        broker: i32,
        /// Where and why.
        attempt: Attempt,
    },
}

/// A batch as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchInfo {
    /// Tells apart the batches of this producer. Both halves of one that a broker found too large keep it.
    pub number: u64,
    /// Where it goes.
    pub partition: Arc<PartitionName>,
    /// How many records it holds.
    pub records: u32,
    /// Its bytes as they travel: compressed, with their header.
    pub size: usize,
    /// Its bytes before compression, with their header.
    pub size_uncompressed: usize,
}

/// Those who watch one producer.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<Watch>>);

struct Watch {
    observer: Arc<dyn Observer>,
    panicked: AtomicBool,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(Arc::new(Watch { observer, panicked: AtomicBool::new(false) }));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whatever happens in there, it returns.
    pub(crate) fn tell(&self, event: &Event) {
        for watch in self.0.iter().filter(|watch| !watch.panicked.load(Ordering::Relaxed)) {
            // What an observer leaves half done is its own: it is not asked again.
            if catch_unwind(AssertUnwindSafe(|| watch.observer.observe(event))).is_err()
                && !watch.panicked.swap(true, Ordering::Relaxed)
            {
                tracing::error!(?event, "an observer panicked; it is told nothing more");
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observer(s)", self.0.len())
    }
}

/// What is to be told once the locks under which it happened are released: dropping it does so.
#[derive(Default)]
pub(crate) struct Untold {
    observers: Option<Arc<Observers>>,
    events: Vec<Event>,
}

impl Untold {
    /// Where nobody watches, `event` is not made, and nothing is allocated.
    pub(crate) fn add(&mut self, observers: Option<&Arc<Observers>>, event: impl FnOnce() -> Event) {
        if let Some(observers) = observers {
            self.observers.get_or_insert_with(|| Arc::clone(observers));
            self.events.push(event());
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        let Some(observers) = &self.observers else { return };
        for event in self.events.drain(..) {
            observers.tell(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_watches_nothing_is_made() {
        let mut untold = Untold::default();
        untold.add(None, || panic!("nobody asked for it"));
        assert_eq!((untold.events.capacity(), untold.observers.is_some()), (0, false));
    }
}
