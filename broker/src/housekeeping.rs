//! What is done now and then, whether or not anybody asks.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::{
    log::{Reclaimed, retention::RetentionClock},
    shared::Shared,
};

/// How often histograms are moved into their buckets when nobody scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How often it is seen to that there is room kept for freeing a full disk.
const SPARE_UPKEEP: Duration = Duration::from_secs(5);
/// How often it is looked for partitions that have fallen idle.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// Checkpoints that are begun at one such look: each is small files that are flushed to a disk that others want too.
const IDLE_CHECKPOINTS_PER_LOOK: usize = 8;
/// How often the producers of idle partitions are looked through for those whose time is over.
const PRODUCER_EXPIRY: Duration = Duration::from_secs(60);

/// Keeps the metrics and the producers in order.
pub async fn keep_house(broker: Arc<Shared>) {
    let mut upkeep = interval(METRICS_UPKEEP);
    let mut expiry = interval(PRODUCER_EXPIRY);
    let mut idle = interval(IDLE_LOOK);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = upkeep.tick() => broker.metrics.upkeep(),
            _ = idle.tick() => note_idle(&broker),
            _ = expiry.tick() => {
                for topic in broker.catalogue.all() {
                    for log in &topic.partitions {
                        log.expire_producers();
                    }
                }
            }
        }
    }
}

/// What fell idle has its checkpoint, so that a crash later on costs the next start nothing there.
fn note_idle(broker: &Shared) {
    let (topics, now) = (broker.catalogue.all(), Instant::now());
    let logs = topics.iter().flat_map(|topic| &topic.partitions);
    // Those that are begun now are not found again by the next look.
    logs.filter(|log| log.note_if_idle(now)).take(IDLE_CHECKPOINTS_PER_LOOK).for_each(drop);
}

/// Keeps some room for freeing a full disk: made after the start, which it does not hold up, and again when it was used.
pub async fn keep_spare(broker: Arc<Shared>) {
    let mut upkeep = interval(SPARE_UPKEEP);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        upkeep.tick().await;
        broker.spare.fill().await;
    }
}

/// Deletes what topics no longer keep. A task of its own, since unlinking large files takes its time.
pub async fn enforce_retention(broker: Arc<Shared>) {
    let every = broker.config.retention_check_interval;
    let started = Instant::now();
    let mut clock = RetentionClock::new(broker.seams.wall_clock.now_ms(), Duration::ZERO);
    let mut check = interval_at(started + every, every);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        check.tick().await;
        let was_ahead = clock.is_ahead();
        let wall_ms = broker.seams.wall_clock.now_ms();
        let now_ms = clock.now(wall_ms, started.elapsed());
        if clock.is_ahead() && !was_ahead {
            tracing::warn!(
                "the clock has jumped ahead by {} s: retention goes by it only if it stays so for an hour",
                (wall_ms - now_ms) / 1000
            );
        }
        retain_all(&broker, now_ms).await;
    }
}

async fn retain_all(broker: &Shared, now_ms: i64) {
    let mut all = Reclaimed::default();
    for topic in broker.catalogue.all() {
        let limits = topic.config.retention();
        for (log, partition) in topic.partitions.iter().zip(0..) {
            match log.retain(&limits, now_ms).await {
                Ok(reclaimed) => {
                    all.segments += reclaimed.segments;
                    all.bytes += reclaimed.bytes;
                }
                Err(error) => {
                    tracing::warn!("retention of {}-{partition} stopped half way: {error}", topic.name);
                }
            }
            // Where there is nothing to do nothing is waited for, and there may be thousands.
            tokio::task::yield_now().await;
        }
    }
    if all.segments > 0 {
        tracing::info!("retention deleted {} segments of {} bytes", all.segments, all.bytes);
    }
}
