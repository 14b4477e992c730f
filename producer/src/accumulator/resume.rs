//! How a halted partition goes on: without what failed, or after finding out what became of it.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Gate, Partition};
use crate::delivery::Waiters;
use crate::error::ResumeError;
use crate::fate::Halt;
use crate::observer::{Event, Untold};
use crate::partition::{CannotResume, Effects, Settlement};
use crate::resume::Settled;
use crate::shared::Shared;

/// The way back to who waits for a settle.
pub(super) type Asked = oneshot::Sender<Settled>;

/// Who is to be told and woken once the partition's locks are released: dropping it does so.
#[derive(Default)]
pub(super) struct Woken {
    /// Told first: who is woken finds it done.
    pub(super) untold: Untold,
    pub(super) waiters: Vec<Waiters>,
    pub(super) settled: Option<(Asked, Settled)>,
    /// Who waits for a settle that will not end.
    pub(super) in_vain: Option<Asked>,
}

impl Drop for Woken {
    fn drop(&mut self) {
        drop(std::mem::take(&mut self.untold));
        if let Some((asked, settled)) = self.settled.take() {
            // An error means that nobody waits any more.
            let _ = asked.send(settled);
        }
    }
}

/// Stops a settle when its caller goes away; one that has ended is not touched.
struct Waiting<'a> {
    partition: &'a Partition,
    generation: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.partition.back().stop_settling(self.generation);
    }
}

impl Partition {
    pub(super) fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on without what failed.
    pub(crate) fn skip(self: &Arc<Self>, generation: u64, shared: &Shared) -> Result<Settled, ResumeError> {
        let mut woken = Woken::default();
        let mut machine = self.back();
        if shared.is_closing() {
            return Err(ResumeError::Closed);
        }
        machine.skip(generation).map_err(|why| self.cannot_resume(generation, why))?;
        self.open_gate(shared, generation, &mut woken);
        shared.progressed();
        self.list_if_waiting(&machine, Instant::now());
        Ok(Settled { partition: Arc::clone(&self.name), batches: Vec::new(), halt: None })
    }

    /// Finds out for at most `within` what became of the records that are in doubt, and goes on if all are acknowledged.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        generation: u64,
        within: Duration,
        shared: &Shared,
    ) -> Result<Settled, ResumeError> {
        let (asked, answer) = oneshot::channel();
        let link = {
            let mut woken = Woken::default();
            let mut machine = self.back();
            if shared.is_closing() {
                return Err(ResumeError::Closed);
            }
            let mut effects = Effects::default();
            let moment = shared.moment();
            machine
                .settle(generation, within, moment, &mut effects)
                .map_err(|why| self.cannot_resume(generation, why))?;
            *self.asked() = Some(asked);
            self.apply(effects, shared, &mut woken);
            self.list_if_waiting(&machine, moment.now);
            Arc::clone(&self.front().link)
        };
        let _waiting = Waiting { partition: self, generation };
        link.recheck();
        answer.await.map_err(|_| ResumeError::Closed)
    }

    fn cannot_resume(&self, named: u64, why: CannotResume) -> ResumeError {
        let (topic, partition) = (Arc::clone(&self.name.topic), self.name.partition);
        match why {
            CannotResume::NotHalted => ResumeError::NotHalted { topic, partition },
            CannotResume::Settling => ResumeError::Settling { topic, partition },
            CannotResume::Generation(current) => {
                ResumeError::OtherGeneration { topic, partition, named, current }
            }
        }
    }

    fn open_gate(&self, shared: &Shared, generation: u64, woken: &mut Woken) {
        self.front().gate = if shared.is_closing() { Gate::Closed } else { Gate::Open };
        shared.metrics.partitions_halted.decrement(1);
        woken.untold.add(shared.observers.as_ref(), || Event::Resumed {
            partition: Arc::clone(&self.name),
            generation,
        });
    }

    /// A settle is over. Called under the back lock.
    pub(super) fn settled(&self, settlement: Settlement, shared: &Shared, woken: &mut Woken) {
        let Settlement { batches, generation, halted } = settlement;
        let halt = halted.map(|(generation, first)| {
            Arc::new(Halt { partition: Arc::clone(&self.name), generation, first })
        });
        match &halt {
            None => self.open_gate(shared, generation, woken),
            Some(halt) => {
                self.front().gate = Gate::Halted(Arc::clone(halt));
                woken.untold.add(shared.observers.as_ref(), || Event::Halted(Arc::clone(halt)));
            }
        }
        let settled = Settled { partition: Arc::clone(&self.name), batches, halt };
        match &settled.halt {
            None => tracing::info!("{settled}; it goes on"),
            Some(halt) => tracing::warn!(generation = halt.generation, "{settled}; it is halted again"),
        }
        woken.settled = self.asked().take().map(|asked| (asked, settled));
    }
}
