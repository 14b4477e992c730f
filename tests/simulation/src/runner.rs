//! Many seeds over a few threads, each in a world of its own; what fails is told with the command that shows it again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::plan::Plan;
use crate::world::{Counts, Outcome, run};

/// Every so many seeds one is run twice, and has to come to the same.
const TWICE_ONE_IN: u64 = 50;
/// A run that takes longer, by the clock on the wall, hangs: simulated time does not pass in it any more.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Which seeds, and how.
#[derive(Debug, Clone)]
pub struct Runs {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Threads.
    pub threads: u64,
    /// How many that fail are enough.
    pub failures_max: usize,
}

/// What came of them.
#[derive(Debug, Default)]
pub struct Report {
    /// What happened in all.
    pub counts: Counts,
    /// Seeds that failed, with what was wrong and how to see it again.
    pub failures: Vec<(u64, String)>,
}

/// How to see a seed's run again.
#[must_use]
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p gapless-simulation --example simulate -- --seed {seed} --verbose")
}

/// Runs a plan; what panics is a fault like any other.
#[must_use]
pub fn run_caught(plan: Plan) -> Outcome {
    let seed = plan.seed;
    catch_unwind(AssertUnwindSafe(|| run(plan))).unwrap_or_else(|panic| {
        let said = (panic.downcast_ref::<String>().map(String::as_str))
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no words");
        Outcome { seed, faults: vec![format!("a panic: {said}")], counts: Counts::default(), trace: (0, 0) }
    })
}

/// Runs a seed; now and then twice.
fn run_seed(seed: u64) -> Outcome {
    let mut outcome = run_caught(Plan::of(seed));
    if seed.is_multiple_of(TWICE_ONE_IN) {
        let again = run_caught(Plan::of(seed));
        if again.trace != outcome.trace {
            outcome.faults.push(format!(
                "two runs of this seed differ: hash and events {:?}, and then {:?}",
                outcome.trace, again.trace
            ));
        }
    }
    outcome
}

/// Runs them all. `progress` hears of the counts now and then; false stops.
///
/// # Panics
/// When a run hangs: it cannot be stopped, so the process has to end.
pub fn run_all(runs: &Runs, mut progress: impl FnMut(&Report) -> bool) -> Report {
    let mut report = Report::default();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..runs.threads {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs.count || sender.send(run_seed(runs.first.wrapping_add(number))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            let outcome = match receiver.recv_timeout(HANGS_AFTER) {
                Ok(outcome) => outcome,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => hangs(runs, next.load(Ordering::Relaxed)),
            };
            report.counts.add(&outcome.counts);
            if !outcome.faults.is_empty() {
                let why = format!("{}\n  {}", replay_command(outcome.seed), outcome.faults.join("\n  "));
                report.failures.push((outcome.seed, why));
            }
            if report.failures.len() >= runs.failures_max || !progress(&report) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    report.failures.sort();
    report
}

#[expect(clippy::print_stderr, reason = "the process ends here, and this is all it can still say")]
fn hangs(runs: &Runs, begun: u64) -> ! {
    let first = runs.first.wrapping_add(begun.saturating_sub(runs.threads));
    eprintln!(
        "no run has ended for {HANGS_AFTER:?}: one of the seeds {first} to {} hangs; for instance\n{}",
        first.wrapping_add(runs.threads),
        replay_command(first)
    );
    std::process::exit(101)
}
