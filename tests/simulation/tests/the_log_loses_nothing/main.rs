//! Hunts at the level of the log alone: a broker without clients, on a disk that fails at the worst moment. What it has
//! acknowledged, or let a consumer read, must be there afterwards; and what it serves must be what was sent.
//!
//! - [`rig`]: one life of a broker on a simulated disk, from its start to its end.
//! - [`ledger`]: what was sent and promised, and whether it is there.
//! - [`history`]: what is done in such a life.
//! - the rest: one file per promise.

#![expect(clippy::unwrap_used, reason = "also in what its tests share")]

mod a_torn_tail_costs_only_itself;
mod failures_in_a_pipeline_cost_nothing;
mod history;
mod known_bugs_are_found;
mod ledger;
mod power_may_fail_at_any_operation;
mod recovery_may_be_cut_off_three_times;
mod rig;
mod rot_is_found_and_never_served;
mod served_records_outlive_a_power_loss;
mod small_files_are_rebuilt_or_refused;
