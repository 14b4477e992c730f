//! The last batch, cut at every byte of it: recovery keeps all before it, saves what it cuts off, and its producer sends it
//! again.

use std::path::Path;
use std::time::Duration;

use gapless_common::seam::Random;

use super::history::{EVENTS, goes_on};
use super::ledger::{Ledger, log_of};
use super::rig::{End, disk, live};

const SEGMENT: &str = "topics/events/0/00000000000000000000.log";

#[test]
fn a_last_batch_torn_at_any_byte_is_cut_off_saved_and_sent_again() {
    let begun = disk(1);
    let mut ledger = Ledger::default();
    let content = |of: &gapless_simulation::disk::SimDisk| of.content(Path::new(SEGMENT)).unwrap();
    let whole = live(&begun, End::Leave.at_once(), async |broker| {
        ledger.create(broker, "events", 1, &[]).await;
        for _ in 0..3 {
            ledger.send(broker, EVENTS, 1, 2, 50).await;
            ledger.settle(broker, EVENTS).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let whole = content(&begun).len();
        ledger.send(broker, EVENTS, 1, 2, 50).await;
        whole
    })
    .lived();
    let all = content(&begun);
    assert!(all.len() > whole + 100);
    for cut in whole..=all.len() {
        for power_loss in [false, true] {
            let disk = begun.fork(Random::from_seed(cut as u64));
            let mut ledger = ledger.clone();
            if power_loss {
                disk.power_loss();
            } else {
                disk.kill();
            }
            assert!(disk.set_content(Path::new(SEGMENT), &all[..cut]));
            live(&disk, End::Kill.at_once(), async |broker| {
                ledger.check(broker).await;
                let end = log_of(broker, EVENTS).end_offset().0;
                assert_eq!(end, if cut == all.len() { 8 } else { 6 }, "cut at {cut}");
                ledger.settle(broker, EVENTS).await;
            })
            .lived();
            let torn: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with("torn")).collect();
            let saved: Vec<_> = torn.iter().map(|path| disk.content(path).unwrap()).collect();
            if cut == whole || cut == all.len() {
                assert!(saved.is_empty(), "cut at {cut}: {torn:?}");
            } else {
                assert_eq!(saved, [all[whole..cut].to_vec()], "cut at {cut}: what is cut off is saved");
            }
            if cut % 8 == 0 {
                goes_on(&disk, ledger);
            }
        }
    }
}
