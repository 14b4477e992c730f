//! Memory of all requests under way, bounded: bytes are charged as they arrive, never as they are announced.
//!
//! Apache Kafka allocates a frame when its length is announced; twenty connections that announce 90 MB each and send
//! nothing then fill a heap of 1 GB for ever. Here a connection pays for what it has really sent. One largest frame is
//! kept in reserve, and one connection at a time may draw on it, so that full memory still makes progress; and
//! when somebody has waited for [`PATIENCE`], the connection whose unfinished frame has stood still longest is closed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// How long a connection waits for memory before the slowest sender is closed to make room. Long enough for a healthy
/// client to finish a frame over a slow link's round trips, short enough that the others' request timeouts hold.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one connection holds, and how it stands.
struct Account {
    charged: usize,
    standing: Standing,
    evicted: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Bytes of a frame are expected; the last ones came at this time.
    Receiving(Instant),
    /// Waits for memory.
    Waiting,
    /// No frame is under way, or a whole one is being handled and will be given back by itself.
    Settled,
}

/// The policy: who may charge, who must go. No clock and no waiting in here.
struct Books {
    limit: usize,
    /// Part of the limit that only `reserve_holder` may use: one largest frame.
    reserve: usize,
    used: usize,
    reserve_holder: Option<u64>,
    accounts: BTreeMap<u64, Account>,
    next_id: u64,
}

impl Books {
    fn charge(&mut self, id: u64, bytes: usize, now: Instant) -> bool {
        let fits = self.used + bytes <= self.limit - self.reserve;
        let may_use_reserve = self.reserve_holder.is_none_or(|holder| holder == id);
        let granted = fits || (may_use_reserve && self.used + bytes <= self.limit);
        let Some(account) = self.accounts.get_mut(&id) else { return granted };
        if !granted {
            account.standing = Standing::Waiting;
            return false;
        }
        if !fits {
            self.reserve_holder = Some(id);
        }
        account.charged += bytes;
        account.standing = Standing::Receiving(now);
        self.used += bytes;
        true
    }

    /// Gives back all that `id` holds. True when somebody who waits may now find room.
    fn give_back(&mut self, id: u64) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        let freed = std::mem::take(&mut account.charged);
        account.standing = Standing::Settled;
        self.used -= freed;
        if self.reserve_holder == Some(id) {
            self.reserve_holder = None;
        }
        freed > 0
    }

    fn settle(&mut self, id: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.standing = Standing::Settled;
        }
    }

    /// The connection whose unfinished frame has stood still longest, if any holds memory.
    fn slowest(&self) -> Option<Arc<Notify>> {
        self.accounts
            .values()
            .filter_map(|account| match account.standing {
                Standing::Receiving(since) if account.charged > 0 => Some((since, &account.evicted)),
                _ => None,
            })
            .min_by_key(|(since, _)| *since)
            .map(|(_, evicted)| Arc::clone(evicted))
    }
}

/// The broker's bound on request memory.
pub struct MemoryBudget {
    books: Mutex<Books>,
    freed: Notify,
}

impl MemoryBudget {
    /// `limit` bytes in all, of which `reserve` (the largest frame) keep full memory moving.
    pub fn new(limit: usize, reserve: usize) -> Arc<Self> {
        assert!(reserve <= limit, "checked by Config::validate");
        let books =
            Books { limit, reserve, used: 0, reserve_holder: None, accounts: BTreeMap::new(), next_id: 0 };
        Arc::new(Self { books: Mutex::new(books), freed: Notify::new() })
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.books().used
    }

    /// A place to charge to, one a connection.
    pub fn open(self: &Arc<Self>) -> BudgetAccount {
        let mut books = self.books();
        let id = books.next_id;
        books.next_id += 1;
        let evicted = Arc::new(Notify::new());
        let account = Account { charged: 0, standing: Standing::Settled, evicted: Arc::clone(&evicted) };
        books.accounts.insert(id, account);
        BudgetAccount { budget: Arc::clone(self), id, evicted }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's account; closed on drop.
pub struct BudgetAccount {
    budget: Arc<MemoryBudget>,
    id: u64,
    evicted: Arc<Notify>,
}

impl BudgetAccount {
    /// Charges `bytes`, waiting for room. The caller may be chosen as the slowest sender meanwhile: see
    /// [`BudgetAccount::evicted`].
    pub async fn charge(&self, bytes: usize) {
        loop {
            let freed = self.budget.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that memory freed in between is not missed.
            freed.as_mut().enable();
            if self.budget.books().charge(self.id, bytes, Instant::now()) {
                return;
            }
            if timeout(PATIENCE, freed).await.is_err()
                && let Some(slowest) = self.budget.books().slowest()
            {
                slowest.notify_one();
            }
        }
    }

    /// The frame is whole: it is given back when it has been handled, and its sender is not to blame until then.
    pub fn settle(&self) {
        self.budget.books().settle(self.id);
    }

    /// Gives back all that was charged.
    pub fn give_back(&self) {
        if self.budget.books().give_back(self.id) {
            self.budget.freed.notify_waiters();
        }
    }

    /// Resolves when this connection must be closed to make room for others.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for BudgetAccount {
    fn drop(&mut self) {
        self.give_back();
        self.budget.books().accounts.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn full_memory_still_lets_one_frame_through() {
        let budget = MemoryBudget::new(100, 50);
        let (a, b, c) = (budget.open(), budget.open(), budget.open());
        a.charge(50).await;
        b.charge(30).await;
        assert_eq!(budget.used(), 80, "b draws on the reserve");
        assert!(timeout(PATIENCE / 2, c.charge(1)).await.is_err(), "one connection at a time may");
        b.charge(20).await;
        b.give_back();
        c.charge(50).await;
        assert_eq!(budget.used(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sender_that_stood_still_longest_goes() {
        let budget = MemoryBudget::new(100, 50);
        let (slow, handled, quick, waiter) = (budget.open(), budget.open(), budget.open(), budget.open());
        handled.charge(10).await;
        handled.settle();
        slow.charge(20).await;
        tokio::time::advance(Duration::from_millis(10)).await;
        quick.charge(60).await;
        let wait = async {
            waiter.charge(30).await;
        };
        let evict = async {
            slow.evicted().await;
            drop(slow);
            assert!(timeout(PATIENCE / 2, quick.evicted()).await.is_err(), "others are spared");
            quick.give_back();
        };
        tokio::join!(wait, evict);
        assert_eq!(budget.used(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_account_gives_all_back() {
        let budget = MemoryBudget::new(100, 50);
        let account = budget.open();
        account.charge(70).await;
        drop(account);
        assert_eq!(budget.used(), 0);
        budget.open().charge(100).await;
    }
}
