//! The table of workloads: one line of the tables each. Plain.

use serde::{Deserialize, Serialize};

use crate::drive::{Codec, Preset};

/// A line of the tables.
#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    /// For whoever reads the table.
    pub what: &'static str,
    pub kind: Kind,
    pub presets: &'static [Preset],
    /// One figure each in the line.
    pub variants: &'static [Variant],
    /// Everybody takes part: Java, and our client at the other broker with both presets.
    pub is_full: bool,
    /// Latencies are measured too, below the maximum.
    pub has_latency: bool,
    /// No more rounds than that, where time is short and no target depends on it.
    pub rounds_max: usize,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Clients send as much as goes.
    Flood,
    /// The same, while somebody reads at the end; the figures are the reader's.
    TailRead,
    /// Somebody reads what is there from the beginning.
    ReadBack,
    /// Clients send one record at a time and await it.
    Awaited,
}

/// What one figure is about.
#[derive(Debug)]
pub struct Variant {
    /// Empty where a workload has one.
    pub label: &'static str,
    pub durability: Durability,
    /// Bytes of a value.
    pub size: usize,
    pub partitions: i32,
    pub producers: usize,
    pub codec: Codec,
    /// Readers only: nothing of it is in the page cache.
    pub is_cold: bool,
}

/// What a broker answers after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Its own default: ours the disk, Apache Kafka the page cache.
    Default,
    /// The operating system has it.
    Os,
    /// The disk has it: `--durability fsync` here, `flush.messages=1` there.
    Fsync,
}

/// For what has no target of its own, or takes long.
const FEW_ROUNDS: usize = 3;

const BOTH: &[Preset] = &[Preset::Defaults, Preset::Tuned];

/// The variant that others differ from.
const PLAIN: Variant = Variant {
    label: "",
    durability: Durability::Os,
    size: 100,
    partitions: 1,
    producers: 1,
    codec: Codec::None,
    is_cold: false,
};

const fn flood(name: &'static str, what: &'static str, variants: &'static [Variant]) -> Workload {
    Workload {
        name,
        what,
        kind: Kind::Flood,
        presets: BOTH,
        variants,
        is_full: false,
        has_latency: false,
        rounds_max: usize::MAX,
    }
}

/// All of them, in the order in which they are measured and printed.
pub const WORKLOADS: [Workload; 12] = [
    Workload {
        is_full: true,
        has_latency: true,
        ..flood("100B-os", "100-byte records, one partition, acknowledged from the page cache", &[PLAIN])
    },
    Workload {
        is_full: true,
        has_latency: true,
        ..flood("1KB-os", "the same with 1,000 bytes", &[Variant { size: 1000, ..PLAIN }])
    },
    Workload {
        has_latency: true,
        ..flood(
            "100B-fsync",
            "100-byte records, acknowledged from the disk",
            &[Variant { durability: Durability::Fsync, ..PLAIN }],
        )
    },
    Workload {
        has_latency: true,
        ..flood(
            "1KB-fsync",
            "the same with 1,000 bytes",
            &[Variant { durability: Durability::Fsync, size: 1000, ..PLAIN }],
        )
    },
    Workload {
        presets: &[Preset::Defaults],
        is_full: true,
        rounds_max: FEW_ROUNDS,
        ..flood(
            "defaults",
            "100-byte records, clients and brokers as they come: ours answers from the disk, Apache Kafka from the page cache",
            &[Variant { durability: Durability::Default, ..PLAIN }],
        )
    },
    Workload {
        rounds_max: FEW_ROUNDS,
        ..flood(
            "compressed",
            "100-byte records like lines of a log, batches compressed by the client: lz4 / zstd",
            &[
                Variant { label: "lz4", codec: Codec::Lz4, ..PLAIN },
                Variant { label: "zstd", codec: Codec::Zstd, ..PLAIN },
            ],
        )
    },
    Workload {
        rounds_max: FEW_ROUNDS,
        ..flood(
            "partitions-16",
            "100-byte records to 16 partitions in turn",
            &[Variant { partitions: 16, ..PLAIN }],
        )
    },
    Workload {
        rounds_max: FEW_ROUNDS,
        ..flood(
            "partitions-1000",
            "100-byte records to 1,000 partitions in turn, acknowledged from the disk",
            &[Variant { partitions: 1000, durability: Durability::Fsync, ..PLAIN }],
        )
    },
    Workload {
        has_latency: true,
        ..flood(
            "producers-50",
            "100-byte records of fifty producers in one process",
            &[Variant { producers: 50, ..PLAIN }],
        )
    },
    Workload {
        kind: Kind::TailRead,
        rounds_max: FEW_ROUNDS,
        presets: &[Preset::Tuned],
        ..flood(
            "tail-read",
            "librdkafka reads 1,000-byte records at the end while the named client writes them: figures of the reader",
            &[Variant { size: 1000, ..PLAIN }],
        )
    },
    Workload {
        kind: Kind::ReadBack,
        ..flood(
            "read-back",
            "librdkafka reads 1,000-byte records from the beginning: cached / cold (posix_fadvise DONTNEED on all files of the broker)",
            &[
                Variant { label: "cached", size: 1000, ..PLAIN },
                Variant { label: "cold", size: 1000, is_cold: true, ..PLAIN },
            ],
        )
    },
    Workload {
        kind: Kind::Awaited,
        ..flood(
            "one-awaited",
            "one 100-byte record at a time, awaited: page cache / disk",
            &[
                Variant { label: "os", ..PLAIN },
                Variant { label: "fsync", durability: Durability::Fsync, ..PLAIN },
            ],
        )
    },
];

/// The table for whoever asks what there is.
pub fn help() -> String {
    let lines = WORKLOADS.iter().map(|workload| format!("  {:<16} {}\n", workload.name, workload.what));
    format!(
        "Workloads:\n{}\nExamples:\n  \
         tests/bench/compare --quick                        a first look\n  \
         tests/bench/compare --out docs/performance         all of it, on an idle machine\n  \
         tests/bench/compare --only 100B-os,file --rounds 9 two lines, and more certain of them\n",
        lines.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_twelve_each_told_apart() {
        let names: BTreeSet<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), 12);
        for workload in &WORKLOADS {
            let labels: BTreeSet<_> = workload.variants.iter().map(|variant| variant.label).collect();
            assert_eq!(labels.len(), workload.variants.len(), "{}", workload.name);
            assert!(workload.variants.len() == 1 || !labels.contains(""), "{}", workload.name);
        }
    }
}
