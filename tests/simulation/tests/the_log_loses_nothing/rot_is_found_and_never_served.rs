//! One bit rots and the power fails. Below the last flush mark that is corruption: the partition is quarantined, nothing is
//! cut off, and what lies before it is served. Above it, it may be taken for a torn tail. Nothing wrong is ever served.

use std::path::Path;
use std::time::Duration;

use gapless_broker::log::State;
use gapless_common::seam::Random;
use gapless_simulation::disk::{DiskFaults, SimDisk};

use super::history::EVENTS;
use super::ledger::{Ledger, log_of};
use super::rig::{End, Outcome, disk, live};

const SEGMENT: &str = "topics/events/0/00000000000000000000.log";

fn size(disk: &SimDisk) -> u64 {
    disk.content(Path::new(SEGMENT)).unwrap().len() as u64
}

/// What was flushed and marked ends at the returned position; behind it lies what was acknowledged just now, and what
/// was not.
fn filled(disk: &SimDisk, ledger: &mut Ledger, acknowledged_behind: u64) -> u64 {
    live(disk, End::Leave.at_once(), async |broker| {
        ledger.create(broker, "events", 1, &[]).await;
        for _ in 0..4 {
            ledger.send(broker, EVENTS, 1, 2, 200).await;
            ledger.send(broker, EVENTS, 2, 1, 500).await;
            ledger.settle(broker, EVENTS).await;
        }
        // Long enough for the mark.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let marked = size(disk);
        for _ in 0..acknowledged_behind {
            ledger.send(broker, EVENTS, 1, 1, 100).await;
            ledger.settle(broker, EVENTS).await;
        }
        ledger.send(broker, EVENTS, 2, 2, 300).await;
        marked
    })
    .lived()
}

#[test]
fn rot_below_the_flush_mark_quarantines_and_cuts_nothing_off() {
    for seed in 0..60 {
        let begun = disk(seed);
        let mut ledger = Ledger::default();
        let marked = filled(&begun, &mut ledger, seed % 3);
        let random = Random::from_seed(seed);
        for _ in 0..8 {
            let disk = begun.fork(random.fork());
            let mut ledger = ledger.clone();
            if random.below(2) == 0 {
                disk.power_loss();
            } else {
                disk.kill();
            }
            let before = disk.content(Path::new(SEGMENT)).unwrap();
            assert!(disk.rot(Path::new(SEGMENT), random.below(marked), random.below(8) as u8));
            let rotten = disk.content(Path::new(SEGMENT)).unwrap();
            if rotten == before {
                // The page cache has newer bytes of that sector, which heal it.
                continue;
            }
            let mut served = None;
            // The second start has not forgotten it.
            for end in [End::Kill, End::PowerLoss] {
                live(&disk, end.after_a_stop(), async |broker| {
                    let (kept, promised) = ledger.check_what_is_served(broker, EVENTS).await;
                    assert!(kept < promised, "seed {seed}: something is lost");
                    assert_eq!(*served.get_or_insert(kept), kept, "seed {seed}: as much as before");
                    let state = log_of(broker, EVENTS).state();
                    assert!(matches!(state, State::Quarantined { .. }), "seed {seed}: {state:?}");
                })
                .lived();
                assert_eq!(
                    disk.content(Path::new(SEGMENT)).unwrap(),
                    rotten,
                    "seed {seed}: nothing is cut off"
                );
            }
        }
    }
}

#[test]
fn rot_above_the_flush_mark_costs_nothing_below_it_and_is_never_served() {
    for seed in 0..60 {
        let begun = disk(seed);
        let mut ledger = Ledger::default();
        let marked = filled(&begun, &mut ledger, 1 + seed % 3);
        let below: usize = 4 * 3;
        let random = Random::from_seed(seed);
        for _ in 0..8 {
            let disk = begun.fork(random.fork());
            let mut ledger = ledger.clone();
            disk.power_loss();
            let behind = size(&disk) - marked;
            assert!(behind > 0, "what was acknowledged is there");
            assert!(disk.rot(Path::new(SEGMENT), marked + random.below(behind), random.below(8) as u8));
            for end in [End::Kill, End::PowerLoss] {
                live(&disk, end.at_once(), async |broker| {
                    let (kept, promised) = ledger.check_what_is_served(broker, EVENTS).await;
                    assert!(kept >= below, "seed {seed}: {kept} of {promised}");
                })
                .lived();
            }
        }
    }
}

/// In a segment that is not the last one, whatever the mark says.
#[test]
fn rot_in_an_old_segment_is_found_before_it_is_served() {
    for seed in 0..200 {
        let disk = disk(seed);
        let random = Random::from_seed(seed);
        let mut ledger = Ledger::default();
        live(&disk, End::Kill.at_once(), async |broker| {
            ledger.create(broker, "events", 1, &[("segment.bytes", "2000")]).await;
            for _ in 0..12 {
                ledger.send(broker, EVENTS, 1, 2, 200).await;
                ledger.settle(broker, EVENTS).await;
            }
        })
        .lived();
        let old = size(&disk);
        assert!(disk.rot(Path::new(SEGMENT), random.below(old), random.below(8) as u8));
        for end in [End::Kill, End::PowerLoss] {
            live(&disk, end.after_a_stop(), async |broker| {
                let (kept, promised) = ledger.check_what_is_served(broker, EVENTS).await;
                assert!(kept < promised, "seed {seed}: something is lost");
                let state = log_of(broker, EVENTS).state();
                assert!(matches!(state, State::Quarantined { .. }), "seed {seed}: {state:?}");
            })
            .lived();
        }
    }
}

/// A sector that went to a wrong place is missing where it belongs, and too much where it is.
#[test]
fn a_write_that_went_astray_is_never_served() {
    let mut quarantined = 0;
    for seed in 0..300 {
        let disk = disk(seed);
        let mut ledger = Ledger::default();
        live(&disk, End::PowerLoss.at_once(), async |broker| {
            ledger.create(broker, "events", 1, &[("segment.bytes", "2000")]).await;
            disk.set_faults(DiskFaults {
                misdirected_per_mille: 60,
                only: Some(".log".to_owned()),
                ..DiskFaults::default()
            });
            for _ in 0..10 {
                ledger.send(broker, EVENTS, 1, 2, 200).await;
                ledger.settle(broker, EVENTS).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        })
        .lived();
        disk.set_faults(DiskFaults::default());
        let damaged = !disk.damage().is_empty();
        // Without its mark the end of a log looks torn.
        let hits_marks =
            disk.damage().iter().any(|hit| hit.path.as_deref() == Some(Path::new("flush-marks")));
        for end in [End::Kill, End::PowerLoss] {
            let outcome = live(&disk, end.after_a_stop(), async |broker| {
                let (kept, promised) = ledger.check_what_is_served(broker, EVENTS).await;
                let state = log_of(broker, EVENTS).state();
                let is_well = kept == promised && state == State::Online;
                let is_quarantined = matches!(state, State::Quarantined { .. });
                assert!(
                    is_well || hits_marks || (is_quarantined && damaged),
                    "seed {seed}: {kept} of {promised}, {state:?}"
                );
                quarantined += usize::from(is_quarantined);
            });
            // The stray may have hit a file without which nothing starts.
            assert!(damaged || !matches!(outcome, Outcome::Refused(_)), "seed {seed}: {outcome:?}");
        }
    }
    assert!(quarantined > 20, "{quarantined}");
}
