//! Every bug that the code is seeded with is found by the simulation, each within a number of seeds. `--nocapture` shows
//! how many it took.
#![expect(clippy::print_stdout, reason = "the table is read by people")]

use gapless_common::seeded_bug::SeededBug;
use gapless_simulation::bugs::seeds_until;
use gapless_simulation::plan::Plan;

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
