//! Every bug that the code is seeded with is found by the simulation, each within a number of seeds. `--nocapture` shows
//! how many it took.
#![expect(clippy::print_stdout, reason = "the table is read by people")]

use gapless_common::seeded_bug::SeededBug;
use gapless_simulation::bugs::seeds_until;
use gapless_simulation::plan::Plan;

fn is_found(bug: SeededBug, limit: u64) {
    let found = seeds_until(bug, 0, limit, |seed| Plan::for_bug(seed, bug));
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
    no_flush: NoFlush within 20;
    no_directory_sync: NoDirectorySync within 20;
    acknowledge_before_flush: AcknowledgeBeforeFlush within 40;
    answer_duplicate_before_flush: AnswerDuplicateBeforeFlush within 100;
    believe_second_flush: BelieveSecondFlush within 60;
    remember_four_batches: RememberFourBatches within 60;
    keep_decision_of_failed_write: KeepDecisionOfFailedWrite within 100;
    retry_out_of_order: RetryOutOfOrder within 50;
    drop_timed_out_batch: DropTimedOutBatch within 60;
    trust_corrupt_index: TrustCorruptIndex within 100;
    trust_abandoned_snapshot: TrustAbandonedSnapshot within 100;
    trust_stale_clean_mark: TrustStaleCleanMark within 100;
    truncate_without_flush: TruncateWithoutFlush within 100;
    serve_before_durable: ServeBeforeDurable within 100;
}
