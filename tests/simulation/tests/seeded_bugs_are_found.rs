//! Every bug that the code is seeded with is found by the simulation, each within a number of seeds. `--nocapture` shows
//! how many it took.
#![expect(clippy::print_stdout, reason = "the table is read by people")]

use gapless_common::seeded_bug::{SeededBug, switch_to};
use gapless_simulation::plan::Plan;
use gapless_simulation::runner::run_caught;

/// Switches the bug on for this thread while it lives.
struct Bug(Option<SeededBug>);

impl Bug {
    fn on(bug: SeededBug) -> Self {
        Self(switch_to(Some(bug)))
    }
}

impl Drop for Bug {
    fn drop(&mut self) {
        switch_to(self.0);
    }
}

/// How many seeds it takes until one fails that is well without the bug, and what is seen then.
fn seeds_until(bug: SeededBug, limit: u64, plan: impl Fn(u64) -> Plan) -> Option<(u64, String)> {
    (0..limit).find_map(|seed| {
        let with = {
            let _on = Bug::on(bug);
            run_caught(plan(seed)).faults
        };
        let fault = with.into_iter().next()?;
        run_caught(plan(seed)).faults.is_empty().then_some((seed + 1, fault))
    })
}

fn is_found(bug: SeededBug, limit: u64) {
    let found = seeds_until(bug, limit, |seed| Plan::for_bug(seed, bug));
    let (seeds, fault) = found.unwrap_or_else(|| panic!("{bug:?} is not found within {limit} seeds"));
    println!("{bug:?}: {seeds} seeds of its kind: {fault}");
}

macro_rules! bugs {
    ($($name:ident: $bug:ident within $limit:literal;)*) => {
        $(#[test] fn $name() {
            is_found(SeededBug::$bug, $limit);
        })*

        #[test]
        fn none_is_forgotten() {
            let listed = [$(SeededBug::$bug),*];
            let missing: Vec<_> = SeededBug::ALL.into_iter().filter(|bug| !listed.contains(bug)).collect();
            assert_eq!(missing, []);
        }
    };
}

bugs! {
    no_flush: NoFlush within 50;
    no_directory_sync: NoDirectorySync within 50;
    acknowledge_before_flush: AcknowledgeBeforeFlush within 50;
    answer_duplicate_before_flush: AnswerDuplicateBeforeFlush within 500;
    believe_second_flush: BelieveSecondFlush within 200;
    remember_four_batches: RememberFourBatches within 500;
    keep_decision_of_failed_write: KeepDecisionOfFailedWrite within 100;
    retry_out_of_order: RetryOutOfOrder within 50;
    drop_timed_out_batch: DropTimedOutBatch within 200;
    trust_corrupt_index: TrustCorruptIndex within 500;
    trust_abandoned_snapshot: TrustAbandonedSnapshot within 500;
    trust_stale_clean_mark: TrustStaleCleanMark within 500;
    truncate_without_flush: TruncateWithoutFlush within 500;
    serve_before_durable: ServeBeforeDurable within 500;
}

/// What the ordinary seeds, whose faults are drawn without a thought to any bug, take to find each.
#[test]
#[ignore = "takes minutes, and is a figure, not a test: it asserts nothing"]
fn how_many_ordinary_seeds_each_takes() {
    const LIMIT: u64 = 2_000;
    for bug in SeededBug::ALL {
        match seeds_until(bug, LIMIT, Plan::of) {
            Some((seeds, fault)) => println!("| {bug:?} | {seeds} | {fault} |"),
            None => println!("| {bug:?} | more than {LIMIT} | |"),
        }
    }
}
