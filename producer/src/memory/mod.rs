//! The buffer's budget: charged as buffers grow, given back at the final fate of their records. Who must wait is served in
//! order, and nobody passes those who wait.

mod room;

use std::sync::atomic::{AtomicUsize, Ordering};

use room::Room;

/// One part in so many of the buffer is what halts may keep for a settle. Kept bytes are free only when a caller resumes; one
/// who waits for memory cannot, so what is left must always suffice for whoever waits.
const KEPT_SHARE: usize = 2;

/// The bytes that all unresolved records of a producer may take together.
pub(crate) struct Memory {
    limit: usize,
    room: Room,
    waiting: AtomicUsize,
    /// Bytes that halts keep, of those charged; and the most they may.
    kept: AtomicUsize,
    kept_max: usize,
}

/// Bytes that were charged and not yet put to use; what is left of it goes back.
pub(crate) struct Grant<'a> {
    memory: &'a Memory,
    bytes: usize,
}

impl Memory {
    /// `limit` in bytes; `charge_max` is the most that anyone waits for.
    pub(crate) fn new(limit: usize, charge_max: usize) -> Self {
        Self {
            limit,
            room: Room::new(limit),
            waiting: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            kept_max: (limit / KEPT_SHARE).min(limit.saturating_sub(charge_max)),
        }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> usize {
        self.limit.saturating_sub(self.room.free())
    }

    /// Someone waits for room.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Less than half is in use: room to be generous.
    pub(crate) fn is_ample(&self) -> bool {
        self.room.free() > self.limit / 2
    }

    /// Charges `bytes` if they are free and nobody waits.
    pub(crate) fn try_charge(&self, bytes: usize) -> bool {
        self.room.try_take(bytes)
    }

    /// Waits in line for `bytes`, capped at the limit. `wake` runs once it is known that there is a wait.
    /// `None` when the producer was closed.
    pub(crate) async fn charge(&self, bytes: usize, wake: impl FnOnce()) -> Option<Grant<'_>> {
        let bytes = bytes.min(self.limit);
        if !self.try_charge(bytes) {
            let _waiting = Waiting::new(&self.waiting);
            wake();
            if !self.room.take(bytes).await {
                return None;
            }
        }
        Some(Grant { memory: self, bytes })
    }

    /// Gives back what was charged.
    pub(crate) fn release(&self, bytes: usize) {
        self.room.give(bytes);
    }

    /// Counts `bytes`, which stay charged, among those that halts keep; false if there is no room for them.
    pub(crate) fn try_keep(&self, bytes: usize) -> bool {
        let more = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= self.kept_max);
        self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes back [`Memory::try_keep`].
    pub(crate) fn unkeep(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Nobody waits any more.
    pub(crate) fn close(&self) {
        self.room.close();
    }

    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.room.free()
    }
}

impl Memory {
    /// Makes a grant of bytes that are charged already.
    pub(crate) const fn granted(&self, bytes: usize) -> Grant<'_> {
        Grant { memory: self, bytes }
    }
}

impl Grant<'_> {
    /// The bytes stay charged; who calls this gives them back.
    pub(crate) fn into_bytes(mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }

    /// Takes `bytes` from what was granted, as far as it goes, and charges the rest anew. All or nothing.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.try_charge(more) {
            return false;
        }
        self.bytes = (self.bytes + more) - bytes;
        true
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.release(self.bytes);
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_first_is_served_first_and_nobody_passes() {
        let memory = Memory::new(100, 50);
        assert!(memory.try_charge(90));
        let mut large = Box::pin(memory.charge(50, || ()));
        let mut small = Box::pin(memory.charge(5, || ()));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending(), "behind the large one, though its 5 bytes were free");
        assert!(memory.is_short());
        assert!(!memory.try_charge(1), "nobody passes those who wait");
        memory.release(40);
        let Poll::Ready(Some(first)) = poll(large.as_mut()) else { panic!("50 bytes are free now") };
        assert!(poll(small.as_mut()).is_pending());
        drop(first);
        assert!(poll(small.as_mut()).is_ready());
        assert!(!memory.is_short());
        assert_eq!(memory.available(), 50, "both grants went back");
    }

    #[test]
    fn a_grant_is_used_first_and_its_rest_goes_back() {
        let memory = Memory::new(100, 50);
        let mut grant = match poll(Box::pin(memory.charge(30, || ())).as_mut()) {
            Poll::Ready(Some(grant)) => grant,
            _ => panic!("free"),
        };
        assert!(grant.take(10));
        assert!(grant.take(50), "20 of the grant, 30 new ones");
        assert_eq!(memory.used(), 60);
        assert!(!grant.take(41));
        drop(grant);
        assert_eq!(memory.used(), 60);
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let memory = Memory::new(10, 5);
        assert!(memory.try_charge(10));
        let mut woken = false;
        {
            let mut waiting = Box::pin(memory.charge(4, || woken = true));
            assert!(poll(waiting.as_mut()).is_pending());
        }
        assert!(woken);
        assert!(!memory.is_short());
        memory.release(10);
        assert_eq!(memory.available(), 10);
    }

    #[test]
    fn halts_keep_half_at_most_and_leave_room_for_whoever_waits() {
        for (limit, charge_max, kept_max) in [(100, 10, 50), (100, 80, 20), (100, 100, 0)] {
            let memory = Memory::new(limit, charge_max);
            assert!(memory.try_keep(kept_max));
            assert!(!memory.try_keep(1), "{limit} {charge_max}");
            memory.unkeep(kept_max);
            assert!(kept_max == 0 || memory.try_keep(1));
        }
    }

    #[test]
    fn closing_ends_every_wait() {
        let memory = Memory::new(10, 5);
        assert!(memory.try_charge(10));
        let mut waiting = Box::pin(memory.charge(4, || ()));
        assert!(poll(waiting.as_mut()).is_pending());
        memory.close();
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(None)));
    }
}
