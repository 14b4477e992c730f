//! The power fails, or the process is killed, at every single operation of a small history; what was not synced survives
//! in several ways; and each of these worlds goes on, is crashed again, and stopped cleanly.

use gapless_common::seam::Random;
use gapless_simulation::disk::SimDisk;

use super::history::{goes_on, history};
use super::ledger::Ledger;
use super::rig::{End, Outcome, disk, live};

/// Cuts the history off at each of its changes, up to the last one of the clean stop that ends it, and hands on what is
/// left then. How many changes there were.
fn at_every_change(from: &SimDisk, then: impl Fn(u64, &SimDisk, &Ledger)) -> u64 {
    let mut change = 0;
    loop {
        let disk = from.fork(Random::from_seed(change));
        let mut ledger = Ledger::default();
        let outcome =
            live(&disk, End::Leave.at_change(change), async |broker| history(broker, &mut ledger).await);
        then(change, &disk, &ledger);
        if matches!(outcome, Outcome::Lived(())) {
            return change;
        }
        change += 1;
    }
}

/// Every change, and so many ways to lose what was not synced.
pub fn power_fails(from: &SimDisk, ways: u64) -> u64 {
    at_every_change(from, |change, left, ledger| {
        for way in 0..ways {
            let disk = left.fork(Random::from_seed(change * 1000 + way));
            disk.power_loss();
            goes_on(&disk, ledger.clone());
        }
    })
}

#[test]
fn what_was_acknowledged_survives_power_loss_at_any_operation() {
    for seed in 0..3 {
        let changes = power_fails(&disk(seed), 6);
        assert!(changes > 80, "{changes}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_operation() {
    for seed in 0..4 {
        at_every_change(&disk(seed), |change, left, ledger| {
            let disk = left.fork(Random::from_seed(change));
            disk.kill();
            goes_on(&disk, ledger.clone());
        });
    }
}
