//! Every file but the segments: one bit flipped at each of its bytes, cut, emptied, or gone. What follows from the log is
//! rebuilt from it; without the others the start is refused with a sentence that names the file. Nothing wrong is served.

use std::path::{Path, PathBuf};

use gapless_broker::Broker;
use gapless_common::seam::Random;
use gapless_simulation::disk::SimDisk;

use super::history::{EVENTS, go_on};
use super::ledger::{Ledger, log_of, read_at};
use super::rig::{End, Outcome, disk, live};

/// Bytes of one file that are tried: all of a small one.
const BYTES_MAX: u64 = 150;

/// What cannot be rebuilt.
const PRECIOUS: [&str; 2] = ["meta.json", "topic.json"];

fn is_small(path: &Path) -> bool {
    path.extension().is_none_or(|extension| extension != "log") && path != Path::new(".lock")
}

fn goes_on_or_is_refused(disk: &SimDisk, path: &Path, damage: &str, mut ledger: Ledger) {
    for end in [End::Kill.at_once(), End::PowerLoss.after_a_stop()] {
        match live(disk, end, async |broker| go_on(broker, &mut ledger).await) {
            Outcome::Lived(()) => {}
            Outcome::Halted => panic!("{} {damage}", path.display()),
            Outcome::Refused(why) => {
                let is_precious = PRECIOUS.iter().any(|name| path.ends_with(name));
                assert!(is_precious, "{} {damage}: {why}", path.display());
                assert!(why.contains(&path.display().to_string()), "{} {damage}: {why}", path.display());
            }
        }
    }
}

fn damage_each(disk: &SimDisk, ledger: &Ledger) -> Vec<PathBuf> {
    let small: Vec<PathBuf> = disk.files().into_iter().filter(|path| is_small(path)).collect();
    for path in &small {
        let bytes = disk.content(path).unwrap();
        let len = bytes.len() as u64;
        let random = Random::from_seed(len);
        let copy = || disk.fork(random.fork());
        for at in 0..len.min(BYTES_MAX) {
            let position = if len <= BYTES_MAX { at } else { random.below(len) };
            let disk = copy();
            let bit = random.below(8) as u8;
            assert!(disk.rot(path, position, bit));
            goes_on_or_is_refused(&disk, path, &format!("bit {bit} at {position}"), ledger.clone());
        }
        for kept in [0, len / 2, len.saturating_sub(1)] {
            let disk = copy();
            assert!(disk.set_content(path, &bytes[..kept as usize]));
            goes_on_or_is_refused(&disk, path, &format!("cut to {kept}"), ledger.clone());
        }
        let disk = copy();
        assert!(disk.lose(path));
        goes_on_or_is_refused(&disk, path, "gone", ledger.clone());
    }
    small
}

/// Two producers fill some segments, long enough for more than one entry in their indexes.
async fn long_segments(broker: &Broker, ledger: &mut Ledger) {
    ledger.create(broker, "events", 1, &[("segment.bytes", "20000")]).await;
    for round in 0..70 {
        ledger.send(broker, EVENTS, 1 + round % 2, 2, 400).await;
        ledger.settle(broker, EVENTS).await;
    }
}

#[test]
fn a_damaged_small_file_is_rebuilt_or_refused() {
    for plan in [End::Kill.at_once(), End::Kill.after_a_stop(), End::PowerLoss.after_a_stop()] {
        let disk = disk(1);
        let mut ledger = Ledger::default();
        live(&disk, plan, async |broker| long_segments(broker, &mut ledger).await).lived();
        let small = damage_each(&disk, &ledger);
        for name in ["meta.json", "topic.json", "state.json", "flush-marks", "00000000000000000000.index"] {
            assert!(small.iter().any(|path| path.ends_with(name)), "{name} of {small:?}");
        }
    }
}

#[test]
pub fn an_index_that_rots_in_service_is_not_followed() {
    for seed in 0..30 {
        let disk = disk(seed);
        let mut ledger = Ledger::default();
        live(&disk, End::Kill.at_once(), async |broker| {
            long_segments(broker, &mut ledger).await;
            let is_index = |path: &Path| {
                path.extension().is_some_and(|extension| extension.to_string_lossy().ends_with("index"))
            };
            for _ in 0..40 {
                disk.rot_somewhere(is_index).unwrap();
            }
            for offset in (0..log_of(broker, EVENTS).end_offset().0).step_by(7) {
                assert_eq!(read_at(broker, EVENTS, offset).await, offset, "seed {seed}");
            }
            ledger.check(broker).await;
        })
        .lived();
    }
}
