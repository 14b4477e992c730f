//! The same seeds every time, on two threads. `simulate` runs others, until it is stopped.

use gapless_simulation::runner::{Runs, run_all};

const SEEDS: u64 = 2_000;

#[test]
fn two_thousand_seeds_keep_the_promise() {
    let report = run_all(&Runs { first: 0, count: SEEDS, threads: 2, failures_max: 5 }, |_| true);
    let failures: Vec<_> = report.failures.iter().map(|(_, why)| why.as_str()).collect();
    assert!(failures.is_empty(), "of {} runs failed:\n{}", report.counts.runs, failures.join("\n"));
    let counts = report.counts;
    assert_eq!(counts.runs, SEEDS);
    // A world in which nothing happens keeps every promise.
    assert!(counts.acked > 300 * SEEDS && counts.not_written > 0 && counts.unknown > 0, "{counts:?}");
    assert!(counts.disk.whole_syncs > SEEDS / 20, "{counts:?}");
    assert!(counts.resumed > 0 && counts.settled > 0, "{counts:?}");
    assert!(counts.disk.sectors_lost > 0 && counts.disk.flush_errors > 0 && counts.disk.names_lost > 0);
}
