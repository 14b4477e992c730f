//! What a producer counts, through the crate `metrics`: whoever installs a recorder before the producer is built exports it.
//!
//! Handles are looked up once. Every label set is registered at zero, since what was never touched is not exported. All are
//! updated per batch, request or second, never per record. The catalogue is `grafana/README.md`.
//!
//! Producers of one process share all series: what they count adds up, and so do amounts; of ages the highest stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gapless_common::protocol::ApiKey;
use metrics::{Counter, Gauge, Histogram, Unit};

use crate::fate::Cause;
use crate::partition::Retry;

/// Buckets for every histogram here, by name: a recorder must be given them, or it makes summaries of them.
pub const HISTOGRAM_BUCKETS: [(&str, &[f64]); 5] = [
    (DELIVERY_DURATION, DURATION_BUCKETS),
    (REQUEST_DURATION, DURATION_BUCKETS),
    (BATCH_WAIT, DURATION_BUCKETS),
    (BATCH_FILL, &[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]),
    (
        BATCH_RECORDS,
        &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5],
    ),
];

/// Seconds. From a round trip on one machine to the default delivery timeout.
const DURATION_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0,
];

const RECORDS_SENT: &str = "gapless_producer_records_sent_total";
const RECORDS_ACKED: &str = "gapless_producer_records_acked_total";
const RECORDS_FAILED: &str = "gapless_producer_records_failed_total";
const SENT_BYTES: &str = "gapless_producer_sent_bytes_total";
const DELIVERY_DURATION: &str = "gapless_producer_delivery_duration_seconds";
const REQUEST_DURATION: &str = "gapless_producer_request_duration_seconds";
const BATCH_FILL: &str = "gapless_producer_batch_fill_ratio";
const BATCH_RECORDS: &str = "gapless_producer_batch_records";
const BATCH_WAIT: &str = "gapless_producer_batch_wait_seconds";
const REQUESTS_IN_FLIGHT: &str = "gapless_producer_requests_in_flight";
const BUFFER_BYTES: &str = "gapless_producer_buffer_bytes";
const BUFFER_LIMIT: &str = "gapless_producer_buffer_limit_bytes";
const RETRIES: &str = "gapless_producer_retries_total";
const RECONNECTS: &str = "gapless_producer_reconnects_total";
const PARTITIONS_HALTED: &str = "gapless_producer_partitions_halted";
const OLDEST_UNACKED: &str = "gapless_producer_oldest_unacked_seconds";
const LAST_ACK: &str = "gapless_producer_last_ack_timestamp_seconds";

/// Handles to all of them.
pub(crate) struct ProducerMetrics {
    pub(crate) records_sent: Counter,
    pub(crate) records_acked: Counter,
    /// By [`Cause::LABELS`].
    not_written: [Counter; Cause::LABELS.len()],
    unknown: [Counter; Cause::LABELS.len()],
    pub(crate) sent_bytes: Counter,
    pub(crate) delivery_duration: Histogram,
    pub(crate) produce_duration: Histogram,
    pub(crate) metadata_duration: Histogram,
    pub(crate) init_producer_id_duration: Histogram,
    pub(crate) batch_fill: Histogram,
    pub(crate) batch_records: Histogram,
    pub(crate) batch_wait: Histogram,
    pub(crate) requests_in_flight: Gauge,
    pub(crate) buffer_bytes: Share,
    /// Held for as long as the buffer is.
    _buffer_limit: Share,
    retries: [Counter; Retry::ALL.len()],
    pub(crate) reconnects: Counter,
    pub(crate) partitions_halted: Gauge,
    pub(crate) oldest_unacked: Age,
    pub(crate) last_ack: Gauge,
}

impl ProducerMetrics {
    /// Describes and registers all, with whatever recorder is installed.
    pub(crate) fn new(buffer_limit: usize) -> Self {
        Self::beside(buffer_limit, &AGES)
    }

    fn beside(buffer_limit: usize, ages: &'static Mutex<BTreeMap<u64, f64>>) -> Self {
        describe();
        let limit = Share::of(metrics::gauge!(BUFFER_LIMIT));
        limit.set(buffer_limit);
        let failed = |fate: &'static str| {
            Cause::LABELS
                .map(|reason| zero(metrics::counter!(RECORDS_FAILED, "fate" => fate, "reason" => reason)))
        };
        let request = |api: ApiKey| metrics::histogram!(REQUEST_DURATION, "api" => api.name());
        Self {
            records_sent: zero(metrics::counter!(RECORDS_SENT)),
            records_acked: zero(metrics::counter!(RECORDS_ACKED)),
            not_written: failed("not_written"),
            unknown: failed("unknown"),
            sent_bytes: zero(metrics::counter!(SENT_BYTES)),
            delivery_duration: metrics::histogram!(DELIVERY_DURATION),
            produce_duration: request(ApiKey::Produce),
            metadata_duration: request(ApiKey::Metadata),
            init_producer_id_duration: request(ApiKey::InitProducerId),
            batch_fill: metrics::histogram!(BATCH_FILL),
            batch_records: metrics::histogram!(BATCH_RECORDS),
            batch_wait: metrics::histogram!(BATCH_WAIT),
            requests_in_flight: there(metrics::gauge!(REQUESTS_IN_FLIGHT)),
            buffer_bytes: Share::of(metrics::gauge!(BUFFER_BYTES)),
            _buffer_limit: limit,
            retries: Retry::ALL.map(|reason| zero(metrics::counter!(RETRIES, "reason" => reason.label()))),
            reconnects: zero(metrics::counter!(RECONNECTS)),
            partitions_halted: there(metrics::gauge!(PARTITIONS_HALTED)),
            oldest_unacked: Age::new(metrics::gauge!(OLDEST_UNACKED), ages),
            last_ack: there(metrics::gauge!(LAST_ACK)),
        }
    }

    /// Records that were not acknowledged.
    pub(crate) fn failed(&self, not_written: bool, cause: &Cause, records: u64) {
        let counters = if not_written { &self.not_written } else { &self.unknown };
        let label = cause.label();
        if let Some(counter) =
            Cause::LABELS.iter().position(|known| *known == label).and_then(|at| counters.get(at))
        {
            counter.increment(records);
        }
    }

    /// A batch that has to be sent again.
    pub(crate) fn retried(&self, reason: Retry) {
        if let Some(counter) =
            Retry::ALL.iter().position(|known| *known == reason).and_then(|at| self.retries.get(at))
        {
            counter.increment(1);
        }
    }

    /// How long a request took.
    pub(crate) fn requested(&self, api: ApiKey, took: Duration) {
        match api {
            ApiKey::Metadata => self.metadata_duration.record(took),
            ApiKey::InitProducerId => self.init_producer_id_duration.record(took),
            _ => self.produce_duration.record(took),
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

/// Exported from now on; another producer may have set it already.
fn there(gauge: Gauge) -> Gauge {
    gauge.increment(0.0);
    gauge
}

/// What one producer adds to a gauge, until it is dropped.
pub(crate) struct Share {
    gauge: Gauge,
    mine: AtomicUsize,
}

impl Share {
    fn of(gauge: Gauge) -> Self {
        Self { gauge: there(gauge), mine: AtomicUsize::new(0) }
    }

    /// This producer's part is `amount` from now on.
    pub(crate) fn set(&self, amount: usize) {
        // Differences of whole numbers below 2^53 add up without an error, in whichever order they come.
        let before = self.mine.swap(amount, Ordering::Relaxed);
        if amount >= before {
            self.gauge.increment((amount - before) as f64);
        } else {
            self.gauge.decrement((before - amount) as f64);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The ages that the producers of this process report; one entry each.
static AGES: Mutex<BTreeMap<u64, f64>> = Mutex::new(BTreeMap::new());
static NEXT_AGE: AtomicU64 = AtomicU64::new(0);

/// What one producer says to a gauge that shows the highest of all.
pub(crate) struct Age {
    gauge: Gauge,
    ages: &'static Mutex<BTreeMap<u64, f64>>,
    number: u64,
}

impl Age {
    fn new(gauge: Gauge, ages: &'static Mutex<BTreeMap<u64, f64>>) -> Self {
        Self { gauge: there(gauge), ages, number: NEXT_AGE.fetch_add(1, Ordering::Relaxed) }
    }

    /// This producer's age in seconds; 0: it has none.
    pub(crate) fn set(&self, seconds: f64) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds > 0.0 {
            ages.insert(self.number, seconds);
        } else {
            ages.remove(&self.number);
        }
        // Under the lock, so that the last word is the latest.
        self.gauge.set(ages.values().copied().fold(0.0, f64::max));
    }
}

impl Drop for Age {
    fn drop(&mut self) {
        self.set(0.0);
    }
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};

    counter!(RECORDS_SENT, Unit::Count, "Records handed to a connection for the first time");
    counter!(RECORDS_ACKED, Unit::Count, "Records acknowledged");
    counter!(
        RECORDS_FAILED,
        Unit::Count,
        "Records not acknowledged, by fate (not_written: not in the log; unknown: in it or not) and reason"
    );
    counter!(SENT_BYTES, Unit::Bytes, "Bytes of record batches handed to connections, retries included");
    histogram!(
        DELIVERY_DURATION,
        Unit::Seconds,
        "From the admission of a batch's oldest record to its acknowledgement, once a batch"
    );
    histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "From handing a request to the connection to its answer, by API"
    );
    histogram!(BATCH_FILL, "Size of a batch before compression, as a share of batch_size");
    histogram!(BATCH_RECORDS, "Records in a batch");
    histogram!(
        BATCH_WAIT,
        Unit::Seconds,
        "How long a batch's oldest record waited before the batch was first sent"
    );
    gauge!(REQUESTS_IN_FLIGHT, "Produce requests sent and not yet answered");
    gauge!(
        BUFFER_BYTES,
        Unit::Bytes,
        "Memory charged for records that have no fate yet, or that a halt keeps for a settle"
    );
    gauge!(
        BUFFER_LIMIT,
        Unit::Bytes,
        "The most that buffer_bytes can be: the setting buffer_memory, of all producers of the process"
    );
    counter!(RETRIES, Unit::Count, "Batches that had to be sent again, by reason");
    counter!(RECONNECTS, Unit::Count, "Connections opened to a broker that had been connected before");
    gauge!(PARTITIONS_HALTED, "Partitions that take no records until they are resumed");
    gauge!(
        OLDEST_UNACKED,
        Unit::Seconds,
        "Age of the oldest record that has no fate yet; 0 when there is none"
    );
    gauge!(
        LAST_ACK,
        Unit::Seconds,
        "When the last acknowledgement came, in seconds since 1970; 0 before the first"
    );
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use super::*;

    #[test]
    fn every_metric_is_exported_at_zero_and_histograms_have_buckets() {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in HISTOGRAM_BUCKETS {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).unwrap();
        }
        let recorder = builder.build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            let metrics = ProducerMetrics::new(1000);
            metrics.failed(true, &Cause::Closed, 3);
            recorder.handle().render()
        });
        assert!(!text.contains(" summary"), "{text}");
        for (name, kind) in [
            (RECORDS_SENT, "counter"),
            (RECORDS_ACKED, "counter"),
            (RECORDS_FAILED, "counter"),
            (SENT_BYTES, "counter"),
            (DELIVERY_DURATION, "histogram"),
            (REQUEST_DURATION, "histogram"),
            (BATCH_FILL, "histogram"),
            (BATCH_RECORDS, "histogram"),
            (BATCH_WAIT, "histogram"),
            (REQUESTS_IN_FLIGHT, "gauge"),
            (BUFFER_BYTES, "gauge"),
            (BUFFER_LIMIT, "gauge"),
            (RETRIES, "counter"),
            (RECONNECTS, "counter"),
            (PARTITIONS_HALTED, "gauge"),
            (OLDEST_UNACKED, "gauge"),
            (LAST_ACK, "gauge"),
        ] {
            assert!(text.contains(&format!("# TYPE {name} {kind}")), "{name} in {text}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in {text}");
        }
        for reason in Cause::LABELS {
            let line = format!("{RECORDS_FAILED}{{fate=\"unknown\",reason=\"{reason}\"}} 0");
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert!(text.contains("{fate=\"not_written\",reason=\"closed\"} 3"), "{text}");
    }

    #[test]
    fn producers_of_one_process_do_not_overwrite_each_other() {
        static AGES: Mutex<BTreeMap<u64, f64>> = Mutex::new(BTreeMap::new());
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let says = |metric: &str, value: &str| {
                let text = recorder.handle().render();
                assert!(text.contains(&format!("{metric} {value}\n")), "{metric} {value} in {text}");
            };
            let first = ProducerMetrics::beside(1000, &AGES);
            first.buffer_bytes.set(300);
            first.requests_in_flight.increment(2.0);
            first.partitions_halted.increment(1.0);
            first.last_ack.set(17.0);
            first.oldest_unacked.set(5.0);
            let second = ProducerMetrics::beside(2000, &AGES);
            for (metric, value) in [
                (BUFFER_LIMIT, "3000"),
                (BUFFER_BYTES, "300"),
                (REQUESTS_IN_FLIGHT, "2"),
                (PARTITIONS_HALTED, "1"),
                (LAST_ACK, "17"),
                (OLDEST_UNACKED, "5"),
            ] {
                says(metric, value);
            }
            second.buffer_bytes.set(50);
            second.buffer_bytes.set(40);
            second.oldest_unacked.set(2.0);
            says(BUFFER_BYTES, "340");
            says(OLDEST_UNACKED, "5");
            first.oldest_unacked.set(0.0);
            says(OLDEST_UNACKED, "2");
            drop(second);
            says(BUFFER_LIMIT, "1000");
            says(BUFFER_BYTES, "300");
            says(OLDEST_UNACKED, "0");
        });
    }
}
