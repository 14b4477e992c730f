//! Who is measured against whom. Plain.

use serde::{Deserialize, Serialize};

use super::workload::{Durability, Kind, Variant, Workload};
use crate::drive::{Codec, Preset};

/// Who sends, or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    Bare,
    Ours,
    Librdkafka,
    Java,
    /// Our command line, with a file.
    Cli,
    Kcat,
}

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Broker {
    Bare,
    Ours,
    Kafka,
}

impl Broker {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare server",
            Self::Ours => "gapless",
            Self::Kafka => "Apache Kafka",
        }
    }
}

/// A column of the tables: a client, its setting and a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    pub client: Client,
    /// Of the bare client: batches of 16 KB, or of 1 MB.
    pub preset: Preset,
    pub broker: Broker,
}

impl Cell {
    pub const fn new(client: Client, preset: Preset, broker: Broker) -> Self {
        Self { client, preset, broker }
    }

    /// For people.
    pub fn name(self) -> String {
        let preset = match (self.client, self.preset) {
            (Client::Bare, Preset::Defaults) => return "bare pair, 16 KB".to_owned(),
            (Client::Bare, Preset::Tuned) => return "bare pair, 1 MB".to_owned(),
            (_, Preset::Defaults) => "defaults",
            (_, Preset::Tuned) => "tuned",
        };
        let client = match self.client {
            Client::Bare | Client::Ours => "ours",
            Client::Librdkafka => "librdkafka",
            Client::Java => "Java",
            Client::Cli => "our CLI",
            Client::Kcat => "kcat",
        };
        let broker = match self.broker {
            Broker::Bare | Broker::Ours => "gapless",
            Broker::Kafka => "Kafka",
        };
        format!("{client} {preset} → {broker}")
    }
}

/// What can be had here.
#[derive(Debug, Clone, Copy)]
pub struct Having {
    pub kafka: bool,
    pub java: bool,
}

/// The cells of a workload, in the order of the tables.
pub fn cells(workload: &Workload, having: Having) -> Vec<Cell> {
    use {Broker as B, Client as C, Preset as P};
    let mut all = Vec::new();
    // It knows neither partitions nor codecs, has one connection, and nothing that could be left untouched.
    let is_plain = |variant: &Variant| {
        (variant.partitions, variant.producers, variant.codec) == (1, 1, Codec::None)
            && variant.durability != Durability::Default
    };
    let is_for_bare = workload.kind == Kind::Flood && workload.variants.iter().all(is_plain);
    if is_for_bare && workload.is_full {
        all.push(Cell::new(C::Bare, P::Defaults, B::Bare));
    }
    if is_for_bare {
        all.push(Cell::new(C::Bare, P::Tuned, B::Bare));
    }
    let clients: &[_] = match workload.kind {
        Kind::ReadBack => &[C::Librdkafka],
        Kind::Flood if workload.is_full => &[C::Ours, C::Librdkafka, C::Java],
        _ => &[C::Ours, C::Librdkafka],
    };
    for client in clients {
        for broker in [B::Ours, B::Kafka] {
            for preset in workload.presets {
                let can_be_had = (broker != B::Kafka || having.kafka) && (*client != C::Java || having.java);
                // Brokers are compared with the same client, tuned; the rest at the other one costs more time than it tells.
                let is_of_interest = broker == B::Ours
                    || (*client, *preset) == (C::Librdkafka, P::Tuned)
                    || workload.is_full
                    || matches!(workload.kind, Kind::TailRead | Kind::ReadBack);
                if can_be_had && is_of_interest {
                    all.push(Cell::new(*client, *preset, broker));
                }
            }
        }
    }
    all
}

/// How often a cell is measured, if others are so often: whoever takes long is asked less often.
pub fn rounds_of(workload: &Workload, cell: Cell, rounds: usize) -> usize {
    let has_many = workload.variants.iter().any(|variant| variant.partitions >= MANY_PARTITIONS);
    let most = match (cell.client, cell.broker) {
        // A flush of each of a thousand files for each request: a million queued records take a minute.
        (_, Broker::Kafka) if has_many => 1,
        // A virtual machine has to warm up each time.
        (Client::Java, _) => 3,
        _ => workload.rounds_max,
    };
    rounds.min(most)
}

/// From so many on, what a broker does for each partition is what a run costs.
pub const MANY_PARTITIONS: i32 = 1000;

/// Both sides of a comparison of latencies: each is measured at shares of what the slower one can do.
pub fn sides(workload: &Workload, having: Having) -> Vec<[Cell; 2]> {
    use {Broker as B, Client as C, Preset as P};
    if !workload.has_latency {
        return Vec::new();
    }
    let mut all =
        vec![[Cell::new(C::Ours, P::Defaults, B::Ours), Cell::new(C::Librdkafka, P::Defaults, B::Ours)]];
    if having.kafka {
        all.push([Cell::new(C::Librdkafka, P::Tuned, B::Ours), Cell::new(C::Librdkafka, P::Tuned, B::Kafka)]);
    }
    all
}

/// The order of one round: each begins with another one, so that nobody always meets what the same other left behind.
pub fn turned<T: Copy>(all: &[T], round: usize) -> Vec<T> {
    let mut all = all.to_vec();
    if !all.is_empty() {
        let by = round % all.len();
        all.rotate_left(by);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::workload::WORKLOADS;
    use super::*;

    #[test]
    fn without_java_or_kafka_the_rest_is_measured() {
        let all = Having { kafka: true, java: true };
        let none = Having { kafka: false, java: false };
        for workload in &WORKLOADS {
            let (with, without) = (cells(workload, all), cells(workload, none));
            assert_eq!(with.iter().collect::<BTreeSet<_>>().len(), with.len(), "each once");
            let fewer: Vec<_> = with
                .into_iter()
                .filter(|cell| cell.broker != Broker::Kafka && cell.client != Client::Java)
                .collect();
            assert_eq!(without, fewer, "{}", workload.name);
            let has =
                |client| without.iter().any(|cell| cell.client == client && cell.broker == Broker::Ours);
            assert!(has(Client::Librdkafka), "{}", workload.name);
            assert!(has(Client::Ours) || workload.kind == Kind::ReadBack, "{}", workload.name);
        }
        assert_eq!(cells(&WORKLOADS[0], all).len(), 14);
        for side in WORKLOADS.iter().flat_map(|workload| sides(workload, all)) {
            assert_ne!(side[0], side[1]);
        }
    }

    #[test]
    fn whoever_takes_long_is_measured_less_often() {
        let find = |name| WORKLOADS.iter().find(|workload| workload.name == name).unwrap();
        let tuned = |client, broker| Cell::new(client, Preset::Tuned, broker);
        let (ours, kafka) = (tuned(Client::Ours, Broker::Ours), tuned(Client::Librdkafka, Broker::Kafka));
        assert_eq!(rounds_of(find("100B-os"), ours, 5), 5);
        assert_eq!(rounds_of(find("100B-os"), tuned(Client::Java, Broker::Ours), 5), 3);
        assert_eq!(rounds_of(find("partitions-1000"), ours, 5), 3);
        assert_eq!(rounds_of(find("partitions-1000"), kafka, 5), 1);
        assert_eq!(rounds_of(find("compressed"), ours, 2), 2);
    }

    #[test]
    fn rounds_begin_with_each_in_turn() {
        assert_eq!(turned(&[1, 2, 3], 0), [1, 2, 3]);
        assert_eq!(turned(&[1, 2, 3], 4), [2, 3, 1]);
        assert!(turned::<u8>(&[], 4).is_empty());
    }
}
