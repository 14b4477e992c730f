//! The process is killed, recovery serves and answers what it found, and then the power fails: what was read or
//! acknowledged is there. A flush that failed before the kill has left pages that only look as if they were on the disk.

use gapless_common::seam::Random;
use gapless_simulation::disk::DiskFaults;

use super::history::{EVENTS, goes_on};
use super::ledger::Ledger;
use super::rig::{End, disk, live};

#[test]
pub fn what_recovery_serves_after_a_kill_survives_power_loss() {
    for seed in 0..400 {
        let disk = disk(seed);
        let random = Random::from_seed(seed);
        let mut ledger = Ledger::default();
        // Three of four histories end with a flush that fails, of this one or of that one.
        let failing = random.below(4);
        live(&disk, End::Kill.at_once(), async |broker| {
            ledger.create(broker, "events", 1, &[("segment.bytes", "3000")]).await;
            for round in 0..4 {
                if round == failing {
                    disk.set_faults(DiskFaults {
                        flushes_that_fail: 1,
                        only: Some(".log".to_owned()),
                        ..DiskFaults::default()
                    });
                }
                for id in 1..=2 {
                    let records = 1 + random.below(3) as usize;
                    let _ = ledger.try_send(broker, EVENTS, id, records, 200).await;
                }
                let settled = ledger.try_settle(broker, EVENTS).await;
                if round == failing {
                    settled.expect_err("a flush that failed acknowledges nothing");
                    break;
                }
                settled.unwrap();
            }
        })
        .lived();
        disk.set_faults(DiskFaults::default());
        // Reads everything, and so promises it; answers what is sent again.
        goes_on(&disk, ledger);
    }
}
