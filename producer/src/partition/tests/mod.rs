//! The machine against a table of single steps (`table`, `settle`, on a `bench`), and against a model broker under random faults
//! (`promise`).

mod bench;
mod promise;
mod settle;
mod table;

use std::time::Duration;

use gapless_common::backoff::Backoff;
use tokio::time::Instant;

use super::*;

/// A batch of numbered records, with the stamp that its bytes would carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) records: Vec<u32>,
    pub(super) admitted: Instant,
    pub(super) stamp: Option<Stamp>,
    /// There is no room to keep it.
    pub(super) bulky: bool,
}

impl Batch for Numbers {
    fn records(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap()
    }

    fn size(&self) -> usize {
        self.records.len()
    }

    fn admitted(&self) -> Instant {
        self.admitted
    }

    fn stamp(&mut self, stamp: Option<Stamp>) {
        self.stamp = stamp;
    }

    fn split(mut self) -> Result<[Self; 2], Self> {
        if self.records.len() < 2 {
            return Err(self);
        }
        let second = self.records.split_off(self.records.len() / 2);
        let second = Self { records: second, ..self.clone() };
        Ok([self, second])
    }

    fn keep(&mut self) -> Option<Self> {
        (!self.bulky).then(|| self.clone())
    }
}

pub(super) fn rules(on_failure: OnFailure) -> Rules {
    Rules {
        idempotent: true,
        max_in_flight: 5,
        delivery_timeout: Duration::from_secs(120),
        drain_limit: Duration::from_secs(30),
        on_failure,
        backoff: Backoff::default(),
    }
}

pub(super) fn identity(id: i64, epoch: i16) -> Identity {
    Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}
