//! Records under way: one entry a batch, not a record. Batches of one partition end in order, so only each partition's
//! oldest is looked at.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use gapless_producer::Delivery;

/// Records of one batch, admitted one after the other.
pub struct Group<T> {
    /// The first one's.
    pub delivery: Delivery,
    /// What is to be known of them.
    pub records: T,
}

/// All that was admitted and has not been seen to end.
pub struct UnderWay<T> {
    /// Of each topic, of each partition.
    partitions: Vec<Vec<VecDeque<Group<T>>>>,
}

impl<T: Default> UnderWay<T> {
    pub const fn new() -> Self {
        Self { partitions: Vec::new() }
    }

    /// A record was admitted to this topic, counted from 0: where to note what is to be known of it.
    pub fn add(&mut self, delivery: Delivery, topic: usize) -> Option<&mut T> {
        // Partitions are numbered from 0; a negative number never comes from an admission.
        let partition = usize::try_from(delivery.partition().partition.0).unwrap_or(0);
        if self.partitions.len() <= topic {
            self.partitions.resize_with(topic + 1, Vec::new);
        }
        let partitions = self.partitions.get_mut(topic)?;
        if partitions.len() <= partition {
            partitions.resize_with(partition + 1, VecDeque::new);
        }
        let groups = partitions.get_mut(partition)?;
        if !groups.back().is_some_and(|last| last.delivery.shares_batch_with(&delivery)) {
            groups.push_back(Group { delivery, records: T::default() });
        }
        groups.back_mut().map(|group| &mut group.records)
    }

    /// True when nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().flatten().all(VecDeque::is_empty)
    }

    /// Takes out what has ended by now, each partition's oldest first.
    pub fn ended(&mut self) -> impl Iterator<Item = Group<T>> {
        self.partitions.iter_mut().flatten().flat_map(|groups| {
            std::iter::from_fn(move || {
                let ended = groups.front()?.delivery.try_result().is_some();
                if ended { groups.pop_front() } else { None }
            })
        })
    }

    /// Waits until something has ended that [`UnderWay::ended`] will then take out. Pending for ever when nothing is under
    /// way.
    pub fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for front in self.partitions.iter_mut().flatten().filter_map(VecDeque::front_mut) {
            if Pin::new(&mut front.delivery).poll(cx).is_ready() {
                any = Poll::Ready(());
            }
        }
        any
    }
}
