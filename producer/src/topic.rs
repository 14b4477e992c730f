//! What is known of one topic: its partitions, and which of them records without a key go to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gapless_common::error_code::ErrorCode;
use gapless_common::records::Compression;
use gapless_common::types::PartitionId;
use tokio::sync::Notify;

use crate::accumulator::{Admitted, Attempt, Leave, Obstacle, Partition, Terms};
use crate::delivery::Delivery;
use crate::error::{Rejection, TopicError};
use crate::memory::Grant;
use crate::partitioner::{Choice, Sticky, Turns};
use crate::record::RecordView;
use crate::shared::Shared;

/// One topic.
pub(crate) struct TopicState {
    pub(crate) name: Arc<str>,
    partitions: PartitionList,
    /// Partitions there are now: 0 while none is known.
    count: AtomicU32,
    sticky: Sticky,
    turns: Turns,
    answer: Mutex<Asked>,
    changed: Notify,
}

/// What the brokers said last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Answers so far.
    times: u64,
    /// Why there is nothing to know; `None`: it is known.
    code: Option<ErrorCode>,
}

impl TopicState {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            name,
            partitions: PartitionList::default(),
            count: AtomicU32::new(0),
            sticky: Sticky::default(),
            turns: Turns::default(),
            answer: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// How many partitions it has; `None` while that is not known.
    pub(crate) fn count(&self) -> Option<u32> {
        Some(self.count.load(Ordering::Acquire)).filter(|count| *count > 0)
    }

    pub(crate) fn all_partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.iter().cloned().collect()
    }

    /// The partition of this number, made by `make` if it is the first time that it is heard of.
    pub(crate) fn partition(
        &self,
        number: u32,
        make: impl FnOnce() -> Arc<Partition>,
    ) -> Option<&Arc<Partition>> {
        self.partitions.get_or_insert(number, make)
    }

    pub(crate) fn known_partition(&self, number: u32) -> Option<&Arc<Partition>> {
        self.partitions.get(number)
    }

    /// All partitions below `count` are there.
    pub(crate) fn learnt(&self, count: u32) {
        self.count.store(count, Ordering::Release);
        self.answered(None);
    }

    /// The brokers answered, and not with partitions.
    pub(crate) fn answered(&self, code: Option<ErrorCode>) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        *answer = Asked { times: answer.times + 1, code };
        drop(answer);
        self.changed();
    }

    /// Whoever waits should look again.
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }

    fn asked(&self) -> Asked {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until its partitions are known.
    pub(crate) async fn known(&self, shared: &Shared) -> Result<(), Rejection> {
        let after = shared.config.metadata_timeout;
        let before = self.asked().times;
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if shared.is_closing() {
                    return Err(Rejection::Closed);
                }
                if self.count().is_some() {
                    return Ok(());
                }
                let asked = self.asked();
                if asked.times > before
                    && let Some(code) = asked.code
                    && !code.is_retriable()
                {
                    return Err(TopicError::Refused { topic: Arc::clone(&self.name), code }.into());
                }
                shared.wants.topic(&self.name);
                changed.await;
            }
        };
        match tokio::time::timeout(after, waiting).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(shared)),
        }
    }

    fn timed_out(&self, shared: &Shared) -> Rejection {
        let after = shared.config.metadata_timeout;
        let topic = Arc::clone(&self.name);
        match self.asked().code {
            Some(code) => TopicError::Missing { topic, code, after }.into(),
            None => {
                TopicError::Unreachable { topic, unreachable: Box::new(shared.unreachable(after)) }.into()
            }
        }
    }

    /// One attempt to admit a record, without waiting.
    #[inline]
    pub(crate) fn attempt(
        &self,
        shared: &Shared,
        view: &RecordView<'_>,
        grant: Option<&mut Grant<'_>>,
        leave: Leave,
    ) -> Result<Delivery, Obstacle> {
        let mut attempt = Attempt::new(leave, grant);
        match self.admit(shared, view, &mut attempt) {
            Some(admitted) => Ok(admitted.delivery(attempt.timestamp_ms)),
            None => Err(attempt.obstacle()),
        }
    }

    /// Admits a record to a partition of this topic. `None`: it was not, and `attempt` says why.
    ///
    /// What it gives back fits into registers: a result with all in one piece would be copied from layer to layer, right after
    /// it was written, which costs a small record more than its checksum does.
    pub(crate) fn admit(
        &self,
        shared: &Shared,
        view: &RecordView<'_>,
        attempt: &mut Attempt<'_, '_>,
    ) -> Option<Admitted> {
        let Some(count) = self.count() else {
            return attempt.fail(if shared.is_closing() {
                Obstacle::Rejected(Rejection::Closed)
            } else {
                Obstacle::NeedsTopic
            });
        };
        let (number, favoured) = match view.partition {
            Some(PartitionId(chosen)) => match u32::try_from(chosen) {
                Ok(number) if number < count => (number, false),
                _ => return attempt.fail(Obstacle::Rejected(self.no_such(PartitionId(chosen), count))),
            },
            None => match shared.config.partitioner.choose(view.key, count) {
                Choice::Partition(number) => (number, false),
                Choice::Sticky => (self.sticky.current(count), true),
                Choice::NextInTurn => (self.turns.take(count), false),
                Choice::Nowhere => {
                    let topic = Arc::clone(&self.name);
                    return attempt.fail(Obstacle::Rejected(Rejection::NoPartitionNamed { topic }));
                }
            },
        };
        let Some(partition) = self.partitions.get(number) else { return attempt.fail(Obstacle::NeedsTopic) };
        let terms = Terms {
            clock: &*shared.seams.wall_clock,
            memory: &shared.memory,
            batch_size: shared.config.batch_size,
            compressed: shared.config.compression != Compression::None,
            favoured,
        };
        let admitted = partition.admit(view, &terms, attempt)?;
        if attempt.favour_spent {
            let is_led = |number| self.partitions.get(number).is_some_and(|partition| partition.is_led());
            self.sticky.switch(number, count, &shared.seams.random, is_led);
        }
        Some(admitted)
    }

    fn no_such(&self, partition: PartitionId, count: u32) -> Rejection {
        Rejection::NoSuchPartition { topic: Arc::clone(&self.name), partition, count }
    }
}

/// Partitions by number: grows, and is read without a lock. The n-th block has room for 2^n of them.
#[derive(Default)]
struct PartitionList {
    blocks: [OnceLock<Block>; 24],
}

type Block = Box<[OnceLock<Arc<Partition>>]>;

impl PartitionList {
    const fn place(number: u32) -> (usize, usize) {
        let shifted = number.saturating_add(1);
        let block = shifted.ilog2();
        (block as usize, (shifted - (1 << block)) as usize)
    }

    fn get(&self, number: u32) -> Option<&Arc<Partition>> {
        let (block, at) = Self::place(number);
        self.blocks.get(block)?.get()?.get(at)?.get()
    }

    /// `None` past 2^24 partitions.
    fn get_or_insert(&self, number: u32, make: impl FnOnce() -> Arc<Partition>) -> Option<&Arc<Partition>> {
        let (block, at) = Self::place(number);
        let block =
            self.blocks.get(block)?.get_or_init(|| (0..1 << block).map(|_| OnceLock::new()).collect());
        Some(block.get(at)?.get_or_init(make))
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.blocks.iter().filter_map(OnceLock::get).flat_map(|block| block.iter()).filter_map(OnceLock::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_blocks_without_a_gap() {
        let mut expected = (0, 0);
        for number in 0..1000 {
            assert_eq!(PartitionList::place(number), expected);
            expected.1 += 1;
            if expected.1 == 1 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }
}
