//! Latencies of a run: gathered in a histogram, told by percentile.

use std::fmt;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::result::seconds_text;

/// Latencies are kept with three digits, from a microsecond to an hour (longer ones count as an hour).
const LATENCY_MAX_US: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// How long so many records took, each.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Result<Self, CreationError> {
        Ok(Self(Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS)?))
    }

    pub fn record(&mut self, latency: Duration, count: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US).clamp(1, LATENCY_MAX_US);
        self.0.saturating_record_n(micros, count);
    }

    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that there is room for all of them.
        let _ = self.0.add(&other.0);
    }

    /// Of microseconds.
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// Milliseconds. For people `{}`, and `{:#}` with the percentile that only many records have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
}

impl Latency {
    /// `None` if there was nothing to measure.
    pub fn of(latencies: &Latencies) -> Option<Self> {
        let histogram = latencies.histogram();
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Self {
            mean: histogram.mean() / 1000.0,
            min: histogram.min() as f64 / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1000.0,
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |ms: f64| seconds_text(ms / 1000.0);
        let [p50, p90, p99, p999, max] = [self.p50, self.p90, self.p99, self.p999, self.max].map(show);
        write!(f, "p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, ")?;
        if f.alternate() {
            write!(f, "p99.99 {}, ", show(self.p9999))?;
        }
        write!(f, "max {max}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_told_in_the_unit_that_fits() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(Latency::of(&latencies), None);
        latencies.record(Duration::from_micros(1500), 99);
        latencies.record(Duration::from_millis(80), 1);
        let latency = Latency::of(&latencies).unwrap();
        let told = "p50 1.50 ms, p90 1.50 ms, p99 1.50 ms, p99.9 80.1 ms, max 80.1 ms";
        assert_eq!(latency.to_string(), told);
        assert_eq!(format!("{latency:#}"), told.replace(", max", ", p99.99 80.1 ms, max"));
        // What took no time, and what took longer than anyone waits, counts all the same.
        latencies.record(Duration::ZERO, 1);
        latencies.record(Duration::MAX, 1);
        assert_eq!(latencies.histogram().len(), 102);
        assert_eq!(Latency::of(&latencies).unwrap().min, 0.001);
    }
}
