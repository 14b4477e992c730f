//! Every metric of the broker: described, registered at zero (`registration`), and kept as handles, so that no name is
//! looked up on a request's way. The catalogue for people is `grafana/README.md`; a test holds the two against each other.

mod registration;

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use gapless_common::{error_code::ErrorCode, protocol::ApiKey};
use metrics::{Counter, Gauge, Histogram, Unit, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use self::registration::Registered;
use crate::log::FlushObserver;

/// Seconds. From a request answered out of memory to one that waited for a sick disk or a long poll.
const REQUEST_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds. Healthy disks stay below 10 ms (etcd's guidance).
const FLUSH_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Batches made durable by one flush: how well group commit groups.
const FLUSH_BATCHES_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Why a batch was refused: a closed set, the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReason {
    /// A sequence was skipped.
    Gap,
    /// An old epoch.
    Fenced,
    /// The checksum does not match.
    Corrupt,
    /// Malformed, or not allowed from a client.
    Invalid,
    /// Over `max.message.bytes` or `segment.bytes`.
    TooLarge,
    /// Too far ahead of the clock.
    Timestamp,
    /// The disk, or a bound of the broker, would not take it.
    Storage,
}

impl RefusedReason {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Gap, "gap"),
        (Self::Fenced, "fenced"),
        (Self::Corrupt, "corrupt"),
        (Self::Invalid, "invalid"),
        (Self::TooLarge, "too_large"),
        (Self::Timestamp, "timestamp"),
        (Self::Storage, "storage"),
    ];

    /// The reason behind a code that a batch was answered with; `None` when it is not the batch that was refused.
    pub fn of(code: ErrorCode) -> Option<Self> {
        Some(match code {
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Self::Gap,
            ErrorCode::INVALID_PRODUCER_EPOCH => Self::Fenced,
            ErrorCode::CORRUPT_MESSAGE => Self::Corrupt,
            ErrorCode::INVALID_RECORD
            | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
            | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Self::Invalid,
            ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => Self::TooLarge,
            ErrorCode::INVALID_TIMESTAMP => Self::Timestamp,
            ErrorCode::KAFKA_STORAGE_ERROR => Self::Storage,
            _ => return None,
        })
    }
}

/// Why a connection was closed before it was served: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionRefused {
    /// `--max-connections`.
    Limit,
    /// The process has no file descriptor left.
    Descriptors,
}

/// Handles to all metrics that change on a request's way, and to the gauges that are set at each scrape.
pub struct BrokerMetrics {
    requests: BTreeMap<ApiKey, Histogram>,
    request_errors: BTreeMap<(ApiKey, ErrorCode), Counter>,
    refused: BTreeMap<RefusedReason, Counter>,
    connections_refused: BTreeMap<ConnectionRefused, Counter>,
    pub(crate) appended_records: Counter,
    pub(crate) appended_batches: Counter,
    pub(crate) appended_bytes: Counter,
    pub(crate) fetched_bytes: Counter,
    pub(crate) batches_duplicate: Counter,
    pub(crate) flush_duration: Histogram,
    pub(crate) flush_batches: Histogram,
    pub(crate) flush_errors: Counter,
    pub(crate) scrubbed_bytes: Counter,
    pub(crate) scrub_corrupt_batches: Counter,
    pub(crate) recovery_truncated_bytes: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) requests_in_flight: Gauge,
    pub(crate) scraped: Scraped,
    exposition: Mutex<Exposition>,
}

/// What is read off the broker's state when somebody asks.
pub(crate) struct Scraped {
    pub(crate) unflushed_bytes: Gauge,
    pub(crate) oldest_unflushed: Gauge,
    pub(crate) partitions_offline: Gauge,
    pub(crate) partitions_quarantined: Gauge,
    pub(crate) in_flight_bytes: Gauge,
    pub(crate) producers: Gauge,
    pub(crate) disk_available: Gauge,
    pub(crate) disk_size: Gauge,
    pub(crate) partitions_omitted: Gauge,
    pub(crate) sealed_files_open: Gauge,
    pub(crate) sealed_files_reopened: Counter,
    pub(crate) sealed_files_shed: Counter,
}

/// The numbers of one partition, for its series.
pub struct PartitionSample {
    /// Topic's name.
    pub topic: String,
    /// Partition's number.
    pub partition: i32,
    /// First offset that can be read.
    pub log_start_offset: i64,
    /// End of what consumers see.
    pub high_watermark: i64,
    /// End of what was appended.
    pub end_offset: i64,
    /// Bytes of all segments.
    pub size_bytes: u64,
    /// Number of segments.
    pub segments: usize,
}

struct Exposition {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

impl FlushObserver for BrokerMetrics {
    fn flushed(&self, took: Duration, batches: u64, failed: bool) {
        self.flush_duration.record(took.as_secs_f64());
        self.flush_batches.record(batches as f64);
        if failed {
            self.flush_errors.increment(1);
        }
    }
}

/// What is told once, at the start.
pub struct StaticFacts {
    /// `fsync` or `os`.
    pub durability: &'static str,
    /// `--max-connections`.
    pub connections_limit: usize,
    /// `--max-inflight-bytes`.
    pub in_flight_limit_bytes: usize,
    /// Files of sealed segments that stay open at the most.
    pub sealed_files_limit: usize,
    /// The error codes that each API answers: the closed set of its label.
    pub errors_of: fn(ApiKey) -> &'static [ErrorCode],
}

impl BrokerMetrics {
    /// Describes and registers everything on a recorder of this broker's own, so that several can live in one process.
    ///
    /// # Errors
    /// Never in practice: the exporter refuses empty bucket lists, and none here is.
    pub fn new(facts: &StaticFacts) -> Result<Self, metrics_exporter_prometheus::BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full("gapless_broker_request_duration_seconds".into()),
                REQUEST_BUCKETS,
            )?
            .set_buckets_for_metric(
                Matcher::Full("gapless_broker_flush_duration_seconds".into()),
                FLUSH_BUCKETS,
            )?
            .set_buckets_for_metric(
                Matcher::Full("gapless_broker_flush_batches".into()),
                FLUSH_BATCHES_BUCKETS,
            )?
            .build_recorder();
        let handle = recorder.handle();
        let process = metrics_process::Collector::default();
        Ok(with_local_recorder(&recorder, || Registered::new(facts, &process))
            .into_metrics(recorder, handle, process))
    }

    /// A request's answer is ready to be written.
    pub fn request_done(&self, api: ApiKey, took: Duration) {
        if let Some(histogram) = self.requests.get(&api) {
            histogram.record(took.as_secs_f64());
        }
    }

    /// An error code is part of an answer.
    pub fn request_error(&self, api: ApiKey, code: ErrorCode) {
        if code.is_ok() {
            return;
        }
        let counter = self.request_errors.get(&(api, code));
        debug_assert!(counter.is_some(), "{api:?} answers {code} without listing it in api::errors_of");
        if let Some(counter) = counter {
            counter.increment(1);
        }
    }

    /// A batch was refused with `code`.
    pub fn batch_refused(&self, code: ErrorCode) {
        if let Some(counter) = RefusedReason::of(code).and_then(|reason| self.refused.get(&reason)) {
            counter.increment(1);
        }
    }

    /// A connection was closed unserved.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        if let Some(counter) = self.connections_refused.get(&reason) {
            counter.increment(1);
        }
    }

    /// The text that Prometheus scrapes. Partitions have a recorder of their own each time, so that the series of a
    /// deleted topic end.
    pub fn render(&self, partitions: &[PartitionSample]) -> String {
        let Ok(exposition) = self.exposition.lock() else { return String::new() };
        with_local_recorder(&exposition.recorder, || exposition.process.collect());
        let mut text = exposition.handle.render();
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || record_partitions(partitions));
        text.push_str(&recorder.handle().render());
        text
    }

    /// Moves what histograms gathered into their buckets; to be called now and then when nobody scrapes, or they grow.
    pub fn upkeep(&self) {
        if let Ok(exposition) = self.exposition.lock() {
            exposition.handle.run_upkeep();
        }
    }
}

fn record_partitions(partitions: &[PartitionSample]) {
    let gauge =
        |name: &'static str, unit: Unit, help: &'static str, value: &dyn Fn(&PartitionSample) -> f64| {
            metrics::describe_gauge!(name, unit, help);
            for sample in partitions {
                let labels = [("topic", sample.topic.clone()), ("partition", sample.partition.to_string())];
                metrics::gauge!(name, &labels).set(value(sample));
            }
        };
    gauge(
        "gapless_broker_partition_log_start_offset",
        Unit::Count,
        "First offset that can be read",
        &|sample| sample.log_start_offset as f64,
    );
    gauge(
        "gapless_broker_partition_high_watermark",
        Unit::Count,
        "End of what consumers see: durable under the mode in force",
        &|sample| sample.high_watermark as f64,
    );
    gauge("gapless_broker_partition_end_offset", Unit::Count, "End of what was appended", &|sample| {
        sample.end_offset as f64
    });
    gauge("gapless_broker_partition_size_bytes", Unit::Bytes, "Bytes of all segments", &|sample| {
        sample.size_bytes as f64
    });
    gauge("gapless_broker_partition_segments", Unit::Count, "Number of segments", &|sample| {
        sample.segments as f64
    });
}
