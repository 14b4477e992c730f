//! The promises that are checked through the front door, one module each. One program holds them all: it is linked once,
//! and tests of different promises wait beside each other.

#![cfg(test)]

mod a_growing_file_is_followed_without_a_gap;
mod a_terminal_shows_progress_and_keeps_what_is_said;
mod acknowledged_records_survive_kill_9;
mod bench_measures_what_was_due;
mod broken_batches_are_refused;
mod crowds_are_bounded;
mod damage_is_found_and_named;
mod disks_may_be_full_or_read_only;
mod fates_are_true_whatever_a_broker_answers;
mod frozen_brokers_leave_no_hole;
mod hostile_bytes_end_one_connection;
mod house_rules;
mod librdkafka_is_served;
mod metrics_are_the_catalogue;
mod publish_accounts_for_every_line;
mod publish_takes_what_people_have;
mod rot_is_refused_and_repaired_on_request;
mod sequences_are_checked;
mod starts_and_stops_are_clean;
mod the_wire_may_break_anywhere;
mod topic_names_follow_kafkas_rules;
mod topics_are_known_by_id;
mod what_goes_in_comes_out;
mod what_was_acknowledged_can_be_proven;
