//! Writes and flushes that fail in the middle of a pipeline, while what was sent is sent again: nothing that was
//! acknowledged is missing afterwards, no half batch and no batch behind a missing one is left.

use gapless_broker::Broker;
use gapless_common::seam::Random;
use gapless_simulation::disk::{DiskFaults, SimDisk};

use super::history::{EVENTS, goes_on};
use super::ledger::{IN_FLIGHT_MAX, Ledger};
use super::rig::{End, Plan, disk, live};

/// One or two kinds of trouble, rare enough that something comes to pass between them.
fn trouble(random: &Random) -> DiskFaults {
    let mut faults = DiskFaults { only: Some("events".to_owned()), ..DiskFaults::default() };
    for _ in 0..1 + random.below(2) {
        match random.below(8) {
            0 => faults.flush_errors_per_mille = 150,
            1 => faults.write_errors_per_mille = 100,
            2 => faults.short_writes_per_mille = 300,
            3 => faults.truncate_errors_per_mille = 300,
            4 => faults.sync_dir_errors_per_mille = 300,
            5 => faults.name_errors_per_mille = 200,
            6 => faults.slow_ms = 5,
            _ => faults.room = Some(random.below(4000)),
        }
    }
    faults
}

/// Three producers with up to five batches under way each; what fails is sent again, and there is room again at times.
async fn under_trouble(broker: &Broker, ledger: &mut Ledger, disk: &SimDisk, random: &Random) {
    disk.set_faults(trouble(random));
    for _ in 0..20 {
        match random.below(8) {
            0 => {
                let _ = ledger.try_settle(broker, EVENTS).await;
            }
            1 => disk.change_faults(|faults| faults.room = None),
            2 => disk.change_faults(|faults| faults.room = Some(random.below(1000))),
            3 => disk.change_faults(|faults| faults.flushes_that_fail = 1),
            _ => {
                let id = 1 + random.below(3) as i64;
                if ledger.under_way(EVENTS, id) < IN_FLIGHT_MAX {
                    let (records, length) = (1 + random.below(3) as usize, random.below(300) as usize);
                    let _ = ledger.try_send(broker, EVENTS, id, records, length).await;
                }
            }
        }
        if random.below(4) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(random.below(60))).await;
        }
    }
    let _ = ledger.try_settle(broker, EVENTS).await;
    let _ = ledger.check_what_is_served(broker, EVENTS).await;
}

#[test]
pub fn what_was_acknowledged_survives_writes_and_flushes_that_fail() {
    for seed in 0..600 {
        let disk = disk(seed);
        let random = Random::from_seed(seed);
        let mut ledger = Ledger::default();
        live(&disk, End::PowerLoss.after_a_stop(), async |broker| {
            ledger.create(broker, "events", 1, &[("segment.bytes", "2000")]).await;
        })
        .lived();
        for _ in 0..2 {
            let end = if random.below(2) == 0 { End::Kill } else { End::PowerLoss };
            let plan = Plan { stops: random.below(4) == 0, ..end.at_once() };
            live(&disk, plan, async |broker| under_trouble(broker, &mut ledger, &disk, &random).await)
                .lived();
            disk.set_faults(DiskFaults::default());
            live(&disk, End::Kill.at_once(), async |broker| {
                ledger.check(broker).await;
                ledger.settle(broker, EVENTS).await;
            })
            .lived();
        }
        goes_on(&disk, ledger);
    }
}

/// A flush fails, the process is killed, and the page cache lets go of what looked clean. What was never acknowledged may
/// leave a hole, which looks like corruption in this boot; what was acknowledged is served all the same.
#[test]
pub fn what_a_failed_flush_left_in_the_cache_is_not_needed() {
    for seed in 0..100 {
        let disk = disk(seed);
        let mut ledger = Ledger::default();
        live(&disk, End::Kill.at_once(), async |broker| {
            ledger.create(broker, "events", 1, &[]).await;
            for _ in 0..3 {
                ledger.send(broker, EVENTS, 1, 2, 300).await;
                ledger.settle(broker, EVENTS).await;
            }
            disk.set_faults(DiskFaults { flushes_that_fail: 1, ..DiskFaults::default() });
            ledger.send(broker, EVENTS, 1, 2, 300).await;
            ledger.send(broker, EVENTS, 2, 2, 300).await;
            ledger.try_settle(broker, EVENTS).await.expect_err("a flush that failed acknowledges nothing");
            let again = ledger.try_settle(broker, EVENTS).await;
            again.expect_err("nor does a repeat of what it failed for");
        })
        .lived();
        disk.set_faults(DiskFaults::default());
        disk.evict();
        for _ in 0..2 {
            live(&disk, End::PowerLoss.at_once(), async |broker| {
                let (kept, promised) = ledger.check_what_is_served(broker, EVENTS).await;
                assert_eq!(kept, promised, "seed {seed}");
            })
            .lived();
        }
    }
}
