//! What one client run says of itself: a line of JSON on standard output.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::failure::{During, Outcome};
use crate::usage::{Cpu, Watched};

/// One run of one client against one broker; the measured phase alone, whose end is the last acknowledgement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Run {
    /// Records sent, and told to be in the log (or read, by a reader).
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    pub seconds: f64,
    /// Records that were not acknowledged.
    pub failed: u64,
    pub client_cpu: Cpu,
    pub client_peak_bytes: u64,
    /// None where the broker's process was not named.
    pub broker_cpu: Option<Cpu>,
    pub broker_peak_bytes: Option<u64>,
    /// From when a record was due (awaited: sent) to its acknowledgement.
    pub latency_ms: Option<Latency>,
    /// Whatever else this client knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Run {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }

    pub fn client_cpu_per_million(&self) -> f64 {
        self.client_cpu.total() / self.records as f64 * 1e6
    }

    pub fn broker_cpu_per_million(&self) -> Option<f64> {
        Some(self.broker_cpu?.total() / self.records as f64 * 1e6)
    }

    pub fn broker_cpu_per_gigabyte(&self) -> Option<f64> {
        Some(self.broker_cpu?.total() / self.bytes as f64 * 1e9)
    }
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Nanoseconds up to two minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are allowed")
}

impl Latency {
    /// Of nanoseconds; `None` of nothing.
    pub fn of(nanoseconds: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e6;
        (!nanoseconds.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: nanoseconds.max() as f64 / 1e6,
        })
    }
}

/// Both ends, from here on.
pub struct Meter {
    client: Watched,
    broker: Option<Watched>,
    client_before: Cpu,
    broker_before: Option<Cpu>,
}

/// What both ends have cost meanwhile.
pub struct Cost {
    pub client_cpu: Cpu,
    pub client_peak_bytes: u64,
    pub broker_cpu: Option<Cpu>,
    pub broker_peak_bytes: Option<u64>,
}

impl Meter {
    pub fn begin(broker_pid: Option<u32>) -> Outcome<Self> {
        let (client, broker) = (Watched::this(), broker_pid.map(Watched::process));
        if let Some(broker) = &broker {
            broker.forget_peak()?;
        }
        let broker_before = broker.as_ref().map(Watched::cpu).transpose()?;
        Ok(Self { client_before: client.cpu()?, client, broker, broker_before })
    }

    pub fn end(self) -> Outcome<Cost> {
        let client_cpu = self.client.cpu()?.since(self.client_before);
        let mut cost = Cost {
            client_cpu,
            client_peak_bytes: self.client.peak_bytes()?,
            broker_cpu: None,
            broker_peak_bytes: None,
        };
        if let (Some(broker), Some(before)) = (self.broker, self.broker_before) {
            cost.broker_cpu = Some(broker.cpu()?.since(before));
            cost.broker_peak_bytes = Some(broker.peak_bytes()?);
        }
        Ok(cost)
    }
}

/// Says something to whoever started this process.
#[expect(clippy::print_stdout, reason = "the one way in which a run is told")]
pub fn tell(what: &impl Serialize) -> Outcome<()> {
    println!("{}", serde_json::to_string(what).during("writing JSON")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_ratios_of_what_was_counted() {
        let run = Run {
            records: 2_000_000,
            bytes: 200_000_000,
            seconds: 2.0,
            client_cpu: Cpu { user: 1.0, system: 0.5 },
            broker_cpu: Some(Cpu { user: 0.1, system: 0.1 }),
            ..Run::default()
        };
        assert_eq!(run.records_per_second(), 1e6);
        assert_eq!(run.megabytes_per_second(), 100.0);
        assert_eq!(run.client_cpu_per_million(), 0.75);
        assert_eq!(run.broker_cpu_per_gigabyte(), Some(1.0));
        assert_eq!(run.broker_cpu_per_million(), Some(0.1));
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
    }

    #[test]
    fn latencies_are_milliseconds() {
        let mut nanoseconds = histogram();
        assert_eq!(Latency::of(&nanoseconds), None);
        for number in 1..=1000 {
            nanoseconds.record(number * 1_000_000).unwrap();
        }
        let latency = Latency::of(&nanoseconds).unwrap();
        for (found, expected) in
            [(latency.p50, 500.0), (latency.p90, 900.0), (latency.p99, 990.0), (latency.max, 1000.0)]
        {
            assert!((found - expected).abs() <= expected / 1000.0, "{found} {expected}");
        }
    }
}
