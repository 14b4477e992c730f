//! What is read off the broker's state when somebody asks for metrics.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    log::{PartitionLog, State},
    metrics::PartitionSample,
    shared::Vitals,
    topics::Topic,
};

/// The text that Prometheus scrapes.
pub async fn text(vitals: &Vitals) -> String {
    let Some(broker) = vitals.running() else { return vitals.metrics.render(&[]) };
    let topics = broker.catalogue.all();
    let logs = || topics.iter().flat_map(|topic| &topic.partitions);
    let gauges = &broker.metrics.scraped;
    gauges.sealed_files_open.set(broker.open_files.count() as f64);
    gauges.sealed_files_reopened.absolute(broker.open_files.reopened());
    gauges.sealed_files_shed.absolute(broker.open_files.shed_so_far());
    gauges.unflushed_bytes.set(logs().map(|log| log.unflushed_bytes() as f64).sum::<f64>());
    let oldest = logs().filter_map(|log| log.oldest_unflushed()).min();
    gauges
        .oldest_unflushed
        .set(oldest.map_or(0.0, |since| Instant::now().duration_since(since).as_secs_f64()));
    let in_state = |wanted: fn(&State) -> bool| logs().filter(|log| wanted(&log.state())).count() as f64;
    gauges.partitions_offline.set(in_state(|state| matches!(state, State::Offline { .. })));
    gauges.partitions_quarantined.set(in_state(|state| matches!(state, State::Quarantined { .. })));
    gauges.in_flight_bytes.set(broker.budget.used() as f64);
    gauges.producers.set(logs().map(|log| log.producers() as f64).sum::<f64>());
    match broker.files.space().await {
        Ok(space) => {
            gauges.disk_available.set(space.available as f64);
            gauges.disk_size.set(space.size as f64);
        }
        Err(error) => tracing::warn!("the room on the data directory's device cannot be told: {error}"),
    }
    let limit = broker.config.metrics_partitions;
    let omitted = logs().count().saturating_sub(limit);
    gauges.partitions_omitted.set(omitted as f64);
    let samples: Vec<PartitionSample> = topics.iter().flat_map(samples).take(limit).collect();
    broker.metrics.render(&samples)
}

fn samples(topic: &Arc<Topic>) -> impl Iterator<Item = PartitionSample> {
    topic.partitions.iter().zip(0..).map(|(log, partition)| sample(topic, partition, log))
}

fn sample(topic: &Topic, partition: i32, log: &PartitionLog) -> PartitionSample {
    PartitionSample {
        topic: topic.name.to_string(),
        partition,
        log_start_offset: log.log_start_offset().0,
        high_watermark: log.high_watermark().0,
        end_offset: log.end_offset().0,
        size_bytes: log.size_bytes(),
        segments: log.segment_count(),
    }
}
