//! What a record and a batch cost, in numbers that repeat exactly on any machine: heap objects and their bytes, wake-ups, system
//! calls and bytes through them, of each side apart. A change that makes one of them rise fails here, with its name.
//!
//! Both sides run in one thread and in simulated time, over a network that never waits, and on real files.
//!
//! - [`counts`]: who spends what; the allocator.
//! - [`wires`], [`machine`]: the seams, counted, and how their calls stand for system calls.
//! - [`workloads`]: what is run.
//!
//! What instructions cost is asked by `tests/bench/instructions`.

#![expect(clippy::unwrap_used, reason = "also in what its tests share")]

mod counts;
mod machine;
mod wires;
mod workloads;

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Once;

use gapless_broker::log::Durability;
use gapless_common::seam::{BoxFuture, Connection, Spawner};
use gapless_simulation::world::runtime;
use tokio::io::AsyncWriteExt as _;

use counts::{Counting, Counts, Side, so_far};
use machine::Tasks;
use workloads::{Load, Spent, Workload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A workload with the most it may cost: what it costs now, to the last one.
struct Limit {
    workload: Workload,
    producer: Option<Counts>,
    broker: Counts,
    /// What is counted mostly.
    why: &'static str,
}

/// The sizes of futures and of the libraries' structures differ a little from compiler to compiler, so their bytes may exceed the
/// limit by one in so many. Nothing else may.
const ALLOCATED_BYTES_SLACK: u64 = 50;
/// What costs less than its limit by more than one in so many has become better: then the limit follows, or it guards nothing.
const LOOSE: u64 = 10;

const fn counts(
    allocations: u64,
    allocated_bytes: u64,
    wake_ups: u64,
    system_calls: u64,
    moved_bytes: u64,
) -> Counts {
    Counts { allocations, allocated_bytes, wake_ups, system_calls, moved_bytes }
}

const LIMITS: [Limit; 7] = [
    Limit {
        workload: Workload {
            name: "10,000 records of 100 B in batches of 16 KB, os",
            load: Load::Many(10_000),
            batch_size: 16_384,
            durability: Durability::Os,
        },
        producer: Some(counts(1_643, 2_511_458, 363, 136, 1_108_704)),
        broker: counts(827, 267_756, 136, 204, 2_208_500),
        why: "a batch",
    },
    Limit {
        workload: Workload {
            name: "10,000 records of 100 B in batches of 16 KB, fsync",
            load: Load::Many(10_000),
            batch_size: 16_384,
            durability: Durability::Fsync,
        },
        producer: Some(counts(1_544, 1_866_466, 248, 96, 1_108_704)),
        broker: counts(1_413, 370_364, 202, 179, 2_208_500),
        why: "a batch and its share of a flush",
    },
    Limit {
        workload: Workload {
            name: "40,000 records of 100 B in batches of 1 MB, os",
            load: Load::Many(40_000),
            batch_size: 1_000_000,
            durability: Durability::Os,
        },
        producer: Some(counts(148, 8_690_113, 648, 10, 4_404_205)),
        broker: counts(69, 2_198_845, 10, 35, 8_807_750),
        why: "a byte: each is allocated for and moved as often as it is copied",
    },
    Limit {
        workload: Workload {
            name: "40,000 records of 100 B in batches of 1 MB, fsync",
            load: Load::Many(40_000),
            batch_size: 1_000_000,
            durability: Durability::Fsync,
        },
        producer: Some(counts(145, 8_644_617, 643, 7, 4_404_205)),
        broker: counts(113, 2_206_325, 20, 34, 8_807_750),
        why: "the same, and a flush of much",
    },
    Limit {
        workload: Workload {
            name: "200 records, each awaited, fsync",
            load: Load::Awaited(200),
            batch_size: 1_000_000,
            durability: Durability::Fsync,
        },
        producer: Some(counts(4_803, 4_652_525, 1_246, 400, 60_200)),
        broker: counts(16_606, 2_836_768, 3_045, 1_202, 109_476),
        why: "a request and its flush, shared with nobody",
    },
    Limit {
        workload: Workload {
            name: "50 partitions, a record to each, 20 times, os",
            load: Load::Partitions(50, 20),
            batch_size: 16_384,
            durability: Durability::Os,
        },
        producer: Some(counts(7_865, 6_899_049, 100, 40, 211_820)),
        broker: counts(3_440, 442_408, 40, 1_040, 381_820),
        why: "a small batch among many in one request",
    },
    Limit {
        workload: Workload {
            name: "40,000 records of 100 B in batches of 16 KB, read in answers of 1 MiB",
            load: Load::Fetch(40_000),
            batch_size: 16_384,
            durability: Durability::Os,
        },
        // Who reads here is the test.
        producer: None,
        broker: counts(498, 3_427_265, 11, 248, 6_760_956),
        why: "an answer, and how its bytes get from the file to the socket",
    },
];

/// What a process does once, before anything is counted.
static WARM_UP: Once = Once::new();

fn measure(workload: &Workload) -> Spent {
    // Long enough, in simulated time, for what is done once a second.
    WARM_UP.call_once(|| {
        let awaited = LIMITS.iter().map(|limit| limit.workload);
        for workload in awaited.filter(|workload| matches!(workload.load, Load::Awaited(_))) {
            workload.measure();
        }
    });
    workload.measure()
}

/// What is to be said of one side; nothing if it keeps to its limit.
fn complaints(workload: &Workload, side: Side, spent: Counts, limit: Counts, all: &Spent) -> Vec<String> {
    let mut complaints = Vec::new();
    for ((name, spent), (_, limit)) in spent.named().into_iter().zip(limit.named()) {
        let slack = if name == "allocated bytes" { limit / ALLOCATED_BYTES_SLACK } else { 0 };
        let what = if spent > limit + slack {
            "more than its limit"
        } else if spent < limit - limit / LOOSE {
            "better than its limit, which should follow"
        } else {
            continue;
        };
        complaints.push(format!(
            "{side:?}, {}: {spent} {name}, {what} of {limit} ({:.3} a record, {:.2} a batch; {} records, {} batches)",
            workload.name,
            spent as f64 / all.records as f64,
            spent as f64 / all.batches as f64,
            all.records,
            all.batches,
        ));
    }
    complaints
}

/// As it stands in the table.
fn row(spent: Counts) -> String {
    format!("counts({})", spent.named().map(|(_, count)| in_thousands(count)).join(", "))
}

/// As numbers are written in the sources: `1_234_567`.
fn in_thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join("_")
}

#[test]
fn no_workload_costs_more_than_it_did() {
    let mut wrong = Vec::new();
    let mut table = Vec::new();
    for Limit { workload, producer, broker, why } in &LIMITS {
        let spent = measure(workload);
        if let Some(producer) = producer {
            table.push(format!("{} ({why}): producer {}", workload.name, row(spent.producer)));
            wrong.extend(complaints(workload, Side::Producer, spent.producer, *producer, &spent));
        }
        table.push(format!("{} ({why}): broker {}", workload.name, row(spent.broker)));
        wrong.extend(complaints(workload, Side::Broker, spent.broker, *broker, &spent));
    }
    println!("{}", table.join("\n"));
    assert!(
        wrong.is_empty(),
        "{}\n\nIf that is meant, these are the new limits:\n{}",
        wrong.join("\n"),
        table.join("\n")
    );
}

#[test]
fn what_is_counted_repeats() {
    for Limit { workload, .. } in &LIMITS {
        assert_eq!(measure(workload), measure(workload), "{}", workload.name);
    }
}

/// Each kind of cost is seen, on the side that has it: else a limit guards nothing.
#[test]
fn every_kind_of_cost_is_seen() {
    let costs = |work: fn(Connection) -> BoxFuture<'static, ()>| {
        runtime().block_on(async {
            // A runtime makes room for those who yield when the first one does.
            tokio::task::yield_now().await;
            let [near, _far] = wires::connection();
            let (before, others) = (so_far(Side::Producer), so_far(Side::Broker));
            let spawner = Spawner::new(Tasks(Side::Producer));
            spawner.spawn(work(near)).ended().await;
            assert_eq!(so_far(Side::Broker), others, "the other side has done nothing");
            so_far(Side::Producer) - before
        })
    };
    let idle = costs(|_near| Box::pin(async {}));
    let beyond = |work| costs(work) - idle;

    let allocates = beyond(|_near| Box::pin(async { drop(black_box(vec![1_u8; 1000])) }));
    assert_eq!(allocates, counts(1, 1000, 0, 0, 0));
    let grows = beyond(|_near| {
        Box::pin(async {
            let mut bytes = black_box(Vec::<u8>::with_capacity(1000));
            bytes.reserve_exact(3000);
            drop(black_box(bytes));
        })
    });
    assert_eq!(grows, counts(2, 4000, 0, 0, 0));
    let yields = beyond(|_near| Box::pin(tokio::task::yield_now()));
    assert_eq!(yields, counts(0, 0, 1, 0, 0));
    let writes_parts_together = beyond(|mut near| {
        Box::pin(async move {
            let parts = [b"one", b"two"].map(|part| IoSlice::new(part));
            assert_eq!(near.writer.write_vectored(&parts).await.unwrap(), 6);
        })
    });
    assert_eq!(writes_parts_together, counts(0, 0, 0, 1, 6));
    let writes_parts_apart = beyond(|mut near| {
        Box::pin(async move {
            near.writer.write_all(b"one").await.unwrap();
            near.writer.write_all(b"two").await.unwrap();
        })
    });
    assert_eq!(writes_parts_apart, counts(0, 0, 0, 2, 6));
}
