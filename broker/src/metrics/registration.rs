//! Names, units and help texts, and a handle to each: with every label set at zero from the start, since what was never
//! touched is not exported.

use std::{collections::BTreeMap, sync::Mutex};

use gapless_common::{error_code::ErrorCode, protocol::ApiKey};
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};

use super::{BrokerMetrics, ConnectionRefused, Exposition, RefusedReason, Scraped, StaticFacts};

/// All handles, while the recorder is borrowed for registering them.
pub(super) struct Registered {
    requests: BTreeMap<ApiKey, Histogram>,
    request_errors: BTreeMap<(ApiKey, ErrorCode), Counter>,
    refused: BTreeMap<RefusedReason, Counter>,
    connections_refused: BTreeMap<ConnectionRefused, Counter>,
    counters: [Counter; 8],
    flush: (Histogram, Histogram),
    gauges: [Gauge; 4],
    scraped: Scraped,
}

fn counter(name: &'static str, unit: Unit, help: &'static str) -> Counter {
    metrics::describe_counter!(name, unit, help);
    let counter = metrics::counter!(name);
    counter.increment(0);
    counter
}

fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Gauge {
    metrics::describe_gauge!(name, unit, help);
    let gauge = metrics::gauge!(name);
    gauge.set(0.0);
    gauge
}

fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Histogram {
    metrics::describe_histogram!(name, unit, help);
    metrics::histogram!(name)
}

impl Registered {
    pub(super) fn new(facts: &StaticFacts, process: &metrics_process::Collector) -> Self {
        process.describe();
        metrics::describe_gauge!(
            "gapless_broker_build_info",
            Unit::Count,
            "Always 1; the label says which version runs"
        );
        metrics::gauge!("gapless_broker_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        metrics::describe_gauge!(
            "gapless_broker_durability_info",
            Unit::Count,
            "Always 1; the label says what acks=all waits for"
        );
        metrics::gauge!("gapless_broker_durability_info", "mode" => facts.durability).set(1.0);
        gauge("gapless_broker_connections_limit", Unit::Count, "--max-connections")
            .set(facts.connections_limit as f64);
        gauge("gapless_broker_in_flight_limit_bytes", Unit::Bytes, "--max-inflight-bytes")
            .set(facts.in_flight_limit_bytes as f64);
        gauge(
            "gapless_broker_sealed_files_limit",
            Unit::Count,
            "Files of sealed segments that stay open at the most, by the process's limit of file descriptors",
        )
        .set(facts.sealed_files_limit as f64);

        metrics::describe_histogram!(
            "gapless_broker_request_duration_seconds",
            Unit::Seconds,
            "From a whole request to its answer being ready to be written, waiting for a flush or for data included"
        );
        metrics::describe_counter!(
            "gapless_broker_request_errors_total",
            Unit::Count,
            "Error codes answered, by Kafka's name; a request with several partitions can count several"
        );
        let mut requests = BTreeMap::new();
        let mut request_errors = BTreeMap::new();
        for api in ApiKey::ALL.iter().copied() {
            requests.insert(
                api,
                metrics::histogram!("gapless_broker_request_duration_seconds", "api" => api.name()),
            );
            for error in (facts.errors_of)(api).iter().copied() {
                let counter = metrics::counter!("gapless_broker_request_errors_total", "api" => api.name(), "error" => error.name());
                counter.increment(0);
                request_errors.insert((api, error), counter);
            }
        }
        metrics::describe_counter!(
            "gapless_broker_batches_refused_total",
            Unit::Count,
            "Batches refused, by reason"
        );
        let refused = RefusedReason::ALL
            .into_iter()
            .map(|(reason, name)| {
                let counter = metrics::counter!("gapless_broker_batches_refused_total", "reason" => name);
                counter.increment(0);
                (reason, counter)
            })
            .collect();
        metrics::describe_counter!(
            "gapless_broker_connections_refused_total",
            Unit::Count,
            "Connections that were not served: closed (limit), or left waiting because none could be accepted (descriptors)"
        );
        let connections_refused =
            [(ConnectionRefused::Limit, "limit"), (ConnectionRefused::Descriptors, "descriptors")]
                .into_iter()
                .map(|(reason, name)| {
                    let counter =
                        metrics::counter!("gapless_broker_connections_refused_total", "reason" => name);
                    counter.increment(0);
                    (reason, counter)
                })
                .collect();
        Self {
            requests,
            request_errors,
            refused,
            connections_refused,
            counters: [
                counter("gapless_broker_appended_records_total", Unit::Count, "Records appended to logs"),
                counter(
                    "gapless_broker_appended_batches_total",
                    Unit::Count,
                    "Record batches appended to logs",
                ),
                counter("gapless_broker_appended_bytes_total", Unit::Bytes, "Bytes appended to logs"),
                counter(
                    "gapless_broker_fetched_bytes_total",
                    Unit::Bytes,
                    "Bytes of record batches answered to fetches",
                ),
                counter(
                    "gapless_broker_batches_duplicate_total",
                    Unit::Count,
                    "Batches sent again that were in the log already and answered with their first offset",
                ),
                counter(
                    "gapless_broker_flush_errors_total",
                    Unit::Count,
                    "Flushes that failed; each takes a partition offline",
                ),
                counter(
                    "gapless_broker_scrubbed_bytes_total",
                    Unit::Bytes,
                    "Bytes of logs compared with their checksums by the scrub",
                ),
                counter(
                    "gapless_broker_scrub_corrupt_batches_total",
                    Unit::Count,
                    "Batches that the scrub found corrupt or unreadable; each quarantines its partition",
                ),
            ],
            flush: (
                histogram(
                    "gapless_broker_flush_duration_seconds",
                    Unit::Seconds,
                    "Time of one flush of one file",
                ),
                histogram("gapless_broker_flush_batches", Unit::Count, "Batches made durable by one flush"),
            ),
            gauges: [
                gauge(
                    "gapless_broker_recovery_truncated_bytes",
                    Unit::Bytes,
                    "Bytes of torn tails cut off by the recovery at the last start; they are saved under torn/",
                ),
                gauge("gapless_broker_ready", Unit::Count, "1 once clients are served"),
                gauge("gapless_broker_connections", Unit::Count, "Open connections"),
                gauge("gapless_broker_requests_in_flight", Unit::Count, "Requests read and not yet answered"),
            ],
            scraped: Scraped {
                unflushed_bytes: gauge(
                    "gapless_broker_unflushed_bytes",
                    Unit::Bytes,
                    "Bytes appended and not yet flushed",
                ),
                oldest_unflushed: gauge(
                    "gapless_broker_oldest_unflushed_seconds",
                    Unit::Seconds,
                    "Age of the oldest bytes that are not yet flushed",
                ),
                partitions_offline: gauge(
                    "gapless_broker_partitions_offline",
                    Unit::Count,
                    "Partitions that take no writes because a write or flush failed for good",
                ),
                partitions_quarantined: gauge(
                    "gapless_broker_partitions_quarantined",
                    Unit::Count,
                    "Partitions in which corruption was found",
                ),
                in_flight_bytes: gauge(
                    "gapless_broker_in_flight_bytes",
                    Unit::Bytes,
                    "Memory of requests under way",
                ),
                producers: gauge(
                    "gapless_broker_producers",
                    Unit::Count,
                    "Producer ids remembered, over all partitions",
                ),
                disk_available: gauge(
                    "gapless_broker_disk_available_bytes",
                    Unit::Bytes,
                    "Room left where the data directory lies",
                ),
                disk_size: gauge(
                    "gapless_broker_disk_size_bytes",
                    Unit::Bytes,
                    "Size of the file system of the data directory",
                ),
                partitions_omitted: gauge(
                    "gapless_broker_metrics_partitions_omitted",
                    Unit::Count,
                    "Partitions without series of their own, beyond --metrics-partitions",
                ),
                sealed_files_open: gauge(
                    "gapless_broker_sealed_files_open",
                    Unit::Count,
                    "Files of sealed segments that are open",
                ),
                sealed_files_reopened: counter(
                    "gapless_broker_sealed_files_reopened_total",
                    Unit::Count,
                    "Files of sealed segments opened again that had been closed to make room for others",
                ),
                sealed_files_shed: counter(
                    "gapless_broker_sealed_files_shed_total",
                    Unit::Count,
                    "Files of sealed segments closed because the process had no file descriptor left",
                ),
            },
        }
    }

    pub(super) fn into_metrics(
        self,
        recorder: PrometheusRecorder,
        handle: PrometheusHandle,
        process: metrics_process::Collector,
    ) -> BrokerMetrics {
        let [
            appended_records,
            appended_batches,
            appended_bytes,
            fetched_bytes,
            batches_duplicate,
            flush_errors,
            scrubbed_bytes,
            scrub_corrupt_batches,
        ] = self.counters;
        let [recovery_truncated_bytes, ready, connections, requests_in_flight] = self.gauges;
        let (flush_duration, flush_batches) = self.flush;
        BrokerMetrics {
            requests: self.requests,
            request_errors: self.request_errors,
            refused: self.refused,
            connections_refused: self.connections_refused,
            appended_records,
            appended_batches,
            appended_bytes,
            fetched_bytes,
            batches_duplicate,
            flush_duration,
            flush_batches,
            flush_errors,
            scrubbed_bytes,
            scrub_corrupt_batches,
            recovery_truncated_bytes,
            ready,
            connections,
            requests_in_flight,
            scraped: self.scraped,
            exposition: Mutex::new(Exposition { recorder, handle, process }),
        }
    }
}
