//! A hunt that finds nothing proves nothing until it has found something.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gapless_common::seeded_bug::{SeededBug, switch_to};
use gapless_simulation::disk::DiskFaults;

use super::failures_in_a_pipeline_cost_nothing::{
    what_a_failed_flush_left_in_the_cache_is_not_needed,
    what_was_acknowledged_survives_writes_and_flushes_that_fail,
};
use super::power_may_fail_at_any_operation::power_fails;
use super::rig::disk;
use super::served_records_outlive_a_power_loss::what_recovery_serves_after_a_kill_survives_power_loss;
use super::small_files_are_rebuilt_or_refused::an_index_that_rots_in_service_is_not_followed;

fn finds(hunt: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(hunt)).is_err()
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let flushes = DiskFaults { flushes_lie: true, ..DiskFaults::default() };
    let names = DiskFaults { dir_syncs_lie: true, ..DiskFaults::default() };
    for faults in [flushes, names] {
        let lies = disk(1);
        lies.set_faults(faults.clone());
        assert!(finds(|| assert!(power_fails(&lies, 2) > 0)), "{faults:?}");
    }
}

/// Those that lie in the log alone; the others are for the simulation of the pair.
#[test]
fn bugs_of_the_log_are_found_by_these_hunts() {
    let failing: fn() = what_was_acknowledged_survives_writes_and_flushes_that_fail;
    let hunts: [(SeededBug, fn()); 6] = [
        (SeededBug::BelieveSecondFlush, what_a_failed_flush_left_in_the_cache_is_not_needed),
        (SeededBug::RememberFourBatches, failing),
        (SeededBug::KeepDecisionOfFailedWrite, failing),
        (SeededBug::TruncateWithoutFlush, failing),
        (SeededBug::ServeBeforeDurable, what_recovery_serves_after_a_kill_survives_power_loss),
        (SeededBug::TrustCorruptIndex, an_index_that_rots_in_service_is_not_followed),
    ];
    for (bug, hunt) in hunts {
        switch_to(Some(bug));
        let found = finds(hunt);
        switch_to(None);
        assert!(found, "{bug:?}");
    }
}
