//! Opening the logs of all topics at a start: several at once, with word of how far that is when it takes a while.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use gapless_common::seam::TaskHandle;
use tokio::{
    sync::oneshot,
    time::{Instant, interval_at},
};

use super::store::{OpenTopicsError, PARTITIONS_AT_ONCE, Recovered, Store, Unopened};
use crate::descriptors::Descriptors;
use crate::log::{PartitionLog, RecoveryReport};

/// How often it is said how far the recovery is.
const PROGRESS: Duration = Duration::from_secs(1);

type Opened = Result<(Arc<PartitionLog>, RecoveryReport), OpenTopicsError>;

/// A log that is being opened, by a task of its own so that several cores read and check. Dropped, it is given up.
struct Opening {
    task: TaskHandle,
    opened: oneshot::Receiver<Opened>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// Opens the logs of all topics. After an error no task is left behind.
    pub(super) async fn open_all(&self, unopened: Vec<Unopened>) -> Result<Recovered, OpenTopicsError> {
        let began = Instant::now();
        let total: i64 = unopened.iter().map(|topic| i64::from(topic.partitions)).sum();
        let descriptors = Descriptors::new(self.config.descriptors);
        if usize::try_from(total).unwrap_or(usize::MAX) > descriptors.logs_and_connections_max() {
            return Err(OpenTopicsError::Descriptors { partitions: total, limit: descriptors.limit() });
        }
        let jobs: Vec<_> = (unopened.iter().enumerate())
            .flat_map(|(at, Unopened { topic, partitions })| {
                let (name, id, config) = (topic.name.clone(), topic.id, topic.config.clone());
                (0..*partitions).map(move |partition| (at, name.clone(), id, partition, config.clone()))
            })
            .collect();
        let mut opened = stream::iter(jobs)
            .map(|(at, name, id, partition, config)| async move {
                let (sender, receiver) = oneshot::channel();
                let store = self.clone();
                let task = self.environment.spawner.spawn(async move {
                    let opened = store.open_log(&name, id, partition, &config).await;
                    // Nobody waits any more: the start was given up.
                    let _ = sender.send(opened);
                });
                let mut opening = Opening { task, opened: receiver };
                (at, partition, (&mut opening.opened).await)
            })
            .buffer_unordered(PARTITIONS_AT_ONCE);
        let progress = self.prior.progress();
        let mut ticks = interval_at(began + PROGRESS, PROGRESS);
        let mut logs: Vec<Vec<(i32, Arc<PartitionLog>)>> = unopened.iter().map(|_| Vec::new()).collect();
        let mut sum = RecoveryReport::default();
        let mut failed = None;
        loop {
            let next = tokio::select! {
                biased;
                next = opened.next() => next,
                _ = ticks.tick() => {
                    let (done, read) = (progress.partitions(), mebibytes(progress.bytes()));
                    tracing::info!("recovering: {done} of {total} partitions are open, {read} MiB read");
                    continue;
                }
            };
            match next {
                None => break,
                Some((at, partition, Ok(Ok((log, report))))) => {
                    progress.opened();
                    sum.log_bytes += report.log_bytes;
                    sum.scanned_bytes += report.scanned_bytes;
                    sum.rewritten_bytes += report.rewritten_bytes;
                    sum.truncated_bytes += report.truncated_bytes;
                    if let Some(logs) = logs.get_mut(at) {
                        logs.push((partition, log));
                    }
                }
                // The others get to their ends: nothing may go on once this has returned.
                Some((_, _, Ok(Err(error)))) => failed = failed.or(Some(error)),
                Some((_, _, Err(_))) => failed = failed.or(Some(OpenTopicsError::GivenUp)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if total > 0 {
            let took_ms = began.elapsed().as_millis();
            tracing::info!(
                "recovered {total} partitions in {took_ms} ms: {} of {} MiB read, {} MiB written again, {} bytes cut off",
                mebibytes(sum.scanned_bytes),
                mebibytes(sum.log_bytes),
                mebibytes(sum.rewritten_bytes),
                sum.truncated_bytes,
            );
        }
        let topics = unopened.into_iter().zip(logs).map(|(Unopened { mut topic, .. }, mut logs)| {
            logs.sort_by_key(|(partition, _)| *partition);
            topic.partitions = logs.into_iter().map(|(_, log)| log).collect();
            topic
        });
        Ok(Recovered { topics: topics.collect(), truncated_bytes: sum.truncated_bytes })
    }
}

/// Rounded up: what was read at all shows.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
