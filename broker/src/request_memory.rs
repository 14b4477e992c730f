//! Memory of all requests under way, bounded: bytes are charged as they arrive, never as they are announced.
//!
//! Apache Kafka allocates a frame when its length is announced; twenty connections that announce 90 MB each and send
//! nothing then fill a heap of 1 GB for ever. Here a connection pays for what it has really sent, and a step ahead. One
//! largest frame is kept in reserve, and one connection at a time may draw on it, so that full memory still makes
//! progress; small requests have a slice of their own, so that a broker full of large ones still answers who asks small
//! questions; and when somebody has waited for [`PATIENCE`], the connection whose unfinished frame has come
//! slowest is closed.

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

/// The slice of small requests, as a part of the whole: 4 MiB of the default.
const SMALL_SLICE_DIVISOR: usize = 32;

/// What requests that wait for data may hold, as a part of the whole: 32 MiB of the default, a hundred thousand
/// ordinary fetches. Past it a fetch is answered at once with what there is.
const WAITING_DIVISOR: usize = 4;

/// What a frame is charged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Charged at once as a whole, and soon handled.
    Small,
    /// Charged as it comes.
    Large,
}

/// What one connection's frame under way holds, and how it stands.
struct Account {
    charged: usize,
    /// When the frame that is coming was first charged; `None` when none is, or it is whole.
    receiving_since: Option<Instant>,
    evicted: Arc<Notify>,
}

/// The policy: who may charge, who must go. No clock and no waiting in here.
struct Books {
    limit: usize,
    /// Part of the limit that of large frames only `reserve_holder`'s may use: one largest frame.
    reserve: usize,
    /// Part of the limit that only small frames may use.
    small_slice: usize,
    used: usize,
    /// Part of `used` that waits for data.
    waiting: usize,
    reserve_holder: Option<u64>,
    accounts: BTreeMap<u64, Account>,
    next_id: u64,
}

impl Books {
    fn charge(&mut self, id: u64, bytes: usize, size: Size, now: Instant) -> bool {
        let after = self.used + bytes;
        let for_large = self.limit - self.small_slice;
        let fits = match size {
            Size::Small => after <= self.limit,
            Size::Large => after <= for_large - self.reserve,
        };
        let from_reserve = !fits
            && size == Size::Large
            && after <= for_large
            && self.reserve_holder.is_none_or(|holder| holder == id);
        let Some(account) = self.accounts.get_mut(&id) else { return fits };
        account.receiving_since.get_or_insert(now);
        if !fits && !from_reserve {
            return false;
        }
        if from_reserve {
            self.reserve_holder = Some(id);
        }
        account.charged += bytes;
        self.used = after;
        true
    }

    /// The frame of `id` is handled now: what it holds is no longer the account's. Also says whether it drew on the
    /// reserve.
    fn take(&mut self, id: u64) -> (usize, bool) {
        let Some(account) = self.accounts.get_mut(&id) else { return (0, false) };
        account.receiving_since = None;
        (std::mem::take(&mut account.charged), self.reserve_holder == Some(id))
    }

    fn give_back(&mut self, bytes: usize, from_reserve: bool) {
        self.used -= bytes;
        if from_reserve {
            self.reserve_holder = None;
        }
    }

    fn wait_with(&mut self, bytes: usize) -> bool {
        let after = self.waiting + bytes;
        let may = after <= self.limit / WAITING_DIVISOR;
        if may {
            self.waiting = after;
        }
        may
    }

    fn is_receiving(&self, id: u64) -> bool {
        self.accounts.get(&id).is_some_and(|account| account.receiving_since.is_some())
    }

    fn settle(&mut self, id: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.receiving_since = None;
        }
    }

    /// The connection whose unfinished frame has come with the fewest bytes a second, if any holds memory.
    fn slowest(&self, now: Instant) -> Option<Arc<Notify>> {
        self.accounts
            .values()
            .filter(|account| account.charged > 0)
            .filter_map(|account| account.receiving_since.map(|since| (account, now.duration_since(since))))
            .map(|(account, took)| {
                (account.charged as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE), account)
            })
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, account)| Arc::clone(&account.evicted))
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
        let small_slice = limit / SMALL_SLICE_DIVISOR;
        assert!(reserve <= limit - small_slice, "checked by Config::validate");
        let books = Books {
            limit,
            reserve,
            small_slice,
            used: 0,
            waiting: 0,
            reserve_holder: None,
            accounts: BTreeMap::new(),
            next_id: 0,
        };
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
        let account = Account { charged: 0, receiving_since: None, evicted: Arc::clone(&evicted) };
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
    pub async fn charge(&self, bytes: usize, size: Size) {
        loop {
            let freed = self.budget.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that memory freed in between is not missed.
            freed.as_mut().enable();
            if self.budget.books().charge(self.id, bytes, size, Instant::now()) {
                return;
            }
            if timeout(PATIENCE, freed).await.is_err()
                && let Some(slowest) = self.budget.books().slowest(Instant::now())
            {
                slowest.notify_one();
            }
        }
    }

    /// The frame is whole, and its sender no longer to blame for the memory it takes.
    pub fn settle(&self) {
        self.budget.books().settle(self.id);
    }

    /// What the frame holds, for whoever handles it.
    pub fn take(&self) -> Charge {
        let (bytes, from_reserve) = self.budget.books().take(self.id);
        Charge { budget: Arc::clone(&self.budget), bytes, from_reserve, waits: false }
    }

    /// Resolves when this connection must be closed to make room for others: it was the slowest sender, and still sends.
    pub async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            if self.budget.books().is_receiving(self.id) {
                return;
            }
        }
    }
}

impl Drop for BudgetAccount {
    fn drop(&mut self) {
        drop(self.take());
        self.budget.books().accounts.remove(&self.id);
    }
}

/// The memory of one whole request; given back on drop.
pub struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: usize,
    from_reserve: bool,
    waits: bool,
}

impl Charge {
    /// Whether the request may wait for data, and keep its memory for so long.
    pub fn may_wait(&mut self) -> bool {
        self.waits = self.waits || self.budget.books().wait_with(self.bytes);
        self.waits
    }

    /// The request no longer takes memory, though it goes on.
    pub fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        {
            let mut books = self.budget.books();
            books.give_back(bytes, self.from_reserve);
            if std::mem::take(&mut self.waits) {
                books.waiting -= bytes;
            }
        }
        self.budget.freed.notify_waiters();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 3200;
    const RESERVE: usize = 1600;
    const FOR_LARGE: usize = LIMIT - LIMIT / SMALL_SLICE_DIVISOR;

    #[tokio::test(start_paused = true)]
    async fn full_memory_still_lets_one_frame_through() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let (a, b, c) = (budget.open(), budget.open(), budget.open());
        a.charge(FOR_LARGE - RESERVE, Size::Large).await;
        b.charge(RESERVE - 10, Size::Large).await;
        assert!(
            timeout(PATIENCE / 2, c.charge(1, Size::Large)).await.is_err(),
            "one connection at a time may"
        );
        b.charge(10, Size::Large).await;
        assert_eq!(budget.used(), FOR_LARGE);
        drop(b.take());
        c.charge(RESERVE, Size::Large).await;
        assert_eq!(budget.used(), FOR_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn small_requests_pass_a_broker_that_is_full_of_large_ones() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let (a, b, small) = (budget.open(), budget.open(), budget.open());
        a.charge(FOR_LARGE - RESERVE, Size::Large).await;
        b.charge(RESERVE, Size::Large).await;
        small.charge(LIMIT - FOR_LARGE, Size::Small).await;
        assert!(
            timeout(PATIENCE / 2, budget.open().charge(1, Size::Small)).await.is_err(),
            "bounded all the same"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_sender_goes_even_if_it_waits_for_memory_itself() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let (slow, handled, quick, waiter) = (budget.open(), budget.open(), budget.open(), budget.open());
        handled.charge(10, Size::Large).await;
        handled.settle();
        slow.charge(200, Size::Large).await;
        tokio::time::advance(Duration::from_millis(500)).await;
        quick.charge(FOR_LARGE - 210, Size::Large).await;
        let wait = waiter.charge(30, Size::Large);
        let more = timeout(PATIENCE * 2, slow.charge(1, Size::Large));
        let evict = async {
            slow.evicted().await;
            drop(slow.take());
            assert!(timeout(PATIENCE / 2, quick.evicted()).await.is_err(), "others are spared");
            drop(quick.take());
        };
        let ((), more, ()) = tokio::join!(wait, more, evict);
        assert!(more.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_account_gives_all_back() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let account = budget.open();
        account.charge(FOR_LARGE, Size::Large).await;
        drop(account);
        assert_eq!(budget.used(), 0);
        budget.open().charge(FOR_LARGE, Size::Large).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_sent_all_is_not_closed_for_having_been_slow() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let (slow, waiter) = (budget.open(), budget.open());
        slow.charge(FOR_LARGE, Size::Large).await;
        let wait = timeout(PATIENCE * 2, waiter.charge(RESERVE, Size::Large));
        assert!(wait.await.is_err(), "nobody makes room");
        // It was chosen while it was sending, and is through before it hears of it.
        slow.settle();
        drop(slow.take());
        assert!(timeout(PATIENCE, slow.evicted()).await.is_err());
        waiter.charge(RESERVE, Size::Large).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_hold_no_more_than_their_part() {
        let budget = MemoryBudget::new(LIMIT, RESERVE);
        let (account, other) = (budget.open(), budget.open());
        let part = LIMIT / WAITING_DIVISOR;
        account.charge(part, Size::Small).await;
        let mut first = account.take();
        assert!(first.may_wait());
        assert!(first.may_wait(), "asked again, it is charged once");
        other.charge(1, Size::Small).await;
        let mut second = other.take();
        assert!(!second.may_wait());
        drop(account);
        assert_eq!(budget.used(), part + 1, "a request outlives its connection's account");
        drop(first);
        assert!(second.may_wait());
        second.give_back();
        assert_eq!(budget.used(), 0);
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
