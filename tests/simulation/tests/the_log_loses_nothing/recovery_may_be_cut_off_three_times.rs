//! A crash at every step of recovery, at many steps of the recovery after that, and at some step of the third.

use gapless_common::seam::Random;
use gapless_simulation::disk::SimDisk;

use super::history::{go_on, goes_on, history};
use super::ledger::Ledger;
use super::rig::{End, Outcome, disk, live};

/// Steps of a second recovery that are passed over, at the most.
const STRIDE: u64 = 8;

fn crash(disk: &SimDisk, random: &Random) {
    if random.below(2) == 0 {
        disk.power_loss();
    } else {
        disk.kill();
    }
}

/// A copy of the disk after a recovery that was cut off at this change; `None`: it has fewer.
fn cut_off(from: &SimDisk, ledger: &mut Ledger, change: u64, random: &Random) -> Option<SimDisk> {
    let disk = from.fork(random.fork());
    let end = End::Leave.at_change(change);
    let outcome = live(&disk, end, async |broker| ledger.check(broker).await);
    crash(&disk, random);
    matches!(outcome, Outcome::Halted).then_some(disk)
}

#[test]
fn recovery_may_be_cut_off_at_every_step_three_deep() {
    let mut deepest = 0;
    for seed in 0..4 {
        let random = Random::from_seed(seed);
        let begun = disk(seed);
        let mut ledger = Ledger::default();
        // Somewhere in its second half, when there is something to recover.
        let change = 50 + random.below(40);
        live(&begun, End::Leave.at_change(change), async |broker| history(broker, &mut ledger).await);
        crash(&begun, &random);
        for first in 0.. {
            let mut ledger = ledger.clone();
            let Some(once) = cut_off(&begun, &mut ledger, first, &random) else { break };
            let mut second = random.below(STRIDE);
            loop {
                let mut ledger = ledger.clone();
                let Some(twice) = cut_off(&once, &mut ledger, second, &random) else { break };
                deepest = deepest.max(second);
                second += 1 + random.below(STRIDE);
                let third = random.below(second + 3);
                if let Some(thrice) = cut_off(&twice, &mut ledger, third, &random) {
                    let mut after = ledger.clone();
                    let lived = async |broker: &_| go_on(broker, &mut after).await;
                    live(&thrice, End::Kill.at_once(), lived).lived();
                } else {
                    goes_on(&twice, ledger);
                }
            }
        }
    }
    assert!(deepest > 4, "a recovery has some steps: {deepest}");
}
