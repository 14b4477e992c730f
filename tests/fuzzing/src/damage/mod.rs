//! What becomes of a partition when its files are damaged, one by one or together, and lie under checksums that fit, judged by
//! what was written: nothing else is served; what was flushed and is intact is served; what is cut off was saved; a quarantine
//! changes no segment; and the next start finds the same.
//!
//! - [`history`]: what was written.
//! - `edits`: what becomes of the files.
//! - `oracle`: what may be made of that.

mod edits;
pub mod history;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use gapless_broker::log::{Boot, State};

use self::{history::Moment, oracle::Damage};
use crate::{
    Outcome,
    recovery::place::{Files, Found, Place, append, config, in_a_process, send},
};

/// The histories that the fuzzer and the tests begin with.
pub const SEED: u64 = 1;
/// Lives in them.
const LIVES: usize = 48;

/// Damages partitions, one after the other.
pub struct Damages {
    place: Place,
    moments: Vec<Moment>,
    /// The highest of all.
    epoch: i32,
}

/// One case: which moment, which boots, which edits, as [`Damages::open`] takes it.
pub fn random(rng: &mut Rng) -> Vec<u8> {
    let edits = if rng.u8(..3) > 0 { 1 } else { rng.usize(2..5) };
    let mut bytes = vec![rng.u8(..), rng.u8(..4)];
    for _ in 0..edits {
        bytes.extend(edits::random(rng));
    }
    bytes
}

impl Damages {
    /// With a place of its own, and the histories of a seed.
    pub fn new(seed: u64) -> Self {
        let moments = history::lives(seed, LIVES);
        let epoch = moments.iter().map(|moment| moment.epoch).max().unwrap_or(0);
        Self { place: Place::new(), moments, epoch }
    }

    /// Opens a partition as the bytes say, and judges.
    ///
    /// # Panics
    /// If something is served, lost or changed that must not be.
    pub fn open(&self, bytes: &[u8]) -> Outcome {
        let Some(([which, boots], edits)) = bytes.split_first_chunk() else { return Outcome::Refused };
        let moment = &self.moments[usize::from(*which) % self.moments.len()];
        let boot = |bit: u8| if boots & bit == 0 { Boot::Same } else { Boot::Other };
        let (mut files, mut forged) = (moment.files.clone(), BTreeSet::new());
        for edit in edits.chunks_exact(edits::SIZE) {
            let edit = edit.try_into().expect("so many bytes");
            forged.extend(edits::apply(edit, &mut files, &self.moments));
        }
        self.place.lay(&files);
        let damage = Damage::of(moment, &files, &forged);
        let first = in_a_process(self.first_start(boot(1), moment, &damage, &files));
        let Some((outcome, found)) = first else { return Outcome::Refused };
        let again = in_a_process(async {
            let process = self.place.start(boot(2), self.epoch + 2, config()).await;
            self.place.look(&process.log).await
        });
        assert_eq!(again, found, "the next start finds something else: {damage:?}");
        outcome
    }

    async fn first_start(
        &self,
        boot: Boot,
        moment: &Moment,
        damage: &Damage,
        files: &Files,
    ) -> Option<(Outcome, Found)> {
        let process = self.place.try_start(boot, self.epoch + 1, config()).await?;
        let log = &process.log;
        let was_quarantined = log.state() != State::Online;
        let mut found = self.place.look(log).await;
        let segments = |files: &Files| {
            let mut segments = files.clone();
            segments.retain(|path, _| oracle::is_segment(path));
            segments
        };
        damage.judge(moment, &found);
        oracle::judge_segments(&segments(files), &self.place.files(), was_quarantined);
        if log.state() != State::Online {
            return Some((Outcome::Refused, found));
        }
        if damage.is_harmless() {
            for (offset, sent) in moment.retries().into_values() {
                let again = send(log, &sent).await.expect("what came before may come again");
                assert_eq!((again.duplicate, again.base_offset.0), (true, offset), "{damage:?}");
            }
            let epochs: BTreeMap<i32, i64> = (moment.batches.iter())
                .map(|(base, batch)| (history::header_of(batch).leader_epoch.0, *base))
                .rev()
                .collect();
            damage.judge_epochs(log, &epochs);
        }
        let (offset, batch) = append(log).await;
        found.batches.insert(offset.0, batch);
        found.end = log.end_offset();
        Some((Outcome::Taken, found))
    }
}
