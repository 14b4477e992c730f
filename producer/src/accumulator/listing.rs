//! Whether a partition stands in a sender's queue. Kept under the lock that callers take, so that a record is never
//! admitted unnoticed, and a sender is woken only when something changed for it.

use tokio::time::Instant;

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it has nothing to send. The next record puts it in the queue.
    Idle,
    /// Among those with an unfilled batch.
    Unfilled,
    /// Among those with something that needs no company: a full batch, or one to be sent again.
    Full,
    /// Nowhere, though it has something to send: the sender waits for an event of this partition, and lists it then.
    Blocked,
}

/// A place, and a number that makes entries of earlier places recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) place: Place,
    pub(crate) number: u32,
}

/// An entry for a sender's queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    pub(crate) full: bool,
    /// When the oldest record in it was admitted.
    pub(crate) since: Instant,
}

impl Listing {
    pub(crate) const fn new() -> Self {
        Self { place: Place::Idle, number: 0 }
    }

    /// Moves to `place`; entries made before are void. The entry to be queued, if the place is a queue.
    pub(crate) fn move_to(&mut self, place: Place, since: Instant) -> Option<Entry> {
        self.place = place;
        self.number = self.number.wrapping_add(1);
        match place {
            Place::Idle | Place::Blocked => None,
            Place::Unfilled => Some(Entry { number: self.number, full: false, since }),
            Place::Full => Some(Entry { number: self.number, full: true, since }),
        }
    }
}
