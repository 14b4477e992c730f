//! A partition's files of any content, as they may lie there after whatever happened: it opens, what it serves is sound and
//! contiguous, it takes records again, and the next start finds the same.
//!
//! - [`files`]: their names and checksums.
//! - [`place`]: where they are laid down, opened and looked at.

pub mod files;
pub mod place;

use gapless_broker::log::{Boot, State};

use self::files::Kind;
use self::place::{Files, Place, append, config, in_a_process};
use crate::Outcome;

/// Added to [`Entry::kind`]: its checksums are set right first, so that a fuzzer gets past them.
pub const HEALED: u8 = 0x80;

/// One file of a partition.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which of the partition's files, by its place in [`Kind::ALL`].
    pub kind: u8,
    /// The offset in its name.
    pub base: u16,
    /// What it holds.
    pub content: Vec<u8>,
}

/// Files as the bytes that [`Recovery::open`] takes. The machine was started anew before the first start, or not, and before
/// the second.
pub fn encode(other_boots: [bool; 2], entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![u8::from(other_boots[0]) | u8::from(other_boots[1]) << 1];
    for entry in entries {
        bytes.push(entry.kind);
        bytes.extend(entry.base.to_be_bytes());
        bytes.extend((entry.content.len() as u16).to_be_bytes());
        bytes.extend(&entry.content);
    }
    bytes
}

/// The other way, as far as it goes: a length beyond the end takes what is there.
fn decode(bytes: &[u8]) -> ([Boot; 2], Files) {
    let Some((boots, mut rest)) = bytes.split_first() else { return ([Boot::Same; 2], Files::new()) };
    let boot = |bit: u8| if boots & bit == 0 { Boot::Same } else { Boot::Other };
    let mut files = Files::new();
    while let [kind, base_high, base_low, len_high, len_low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low])).min(after.len());
        let (content, after) = after.split_at(len);
        let base = u16::from_be_bytes([*base_high, *base_low]);
        let known = Kind::ALL[usize::from(kind & !HEALED) % Kind::ALL.len()];
        let content = content.to_vec();
        let content = if kind & HEALED == 0 { content } else { known.sealed(content) };
        files.insert(known.path(base.into()), content);
        rest = after;
    }
    ([boot(1), boot(2)], files)
}

/// Opens partitions, one after the other.
pub struct Recovery {
    place: Place,
}

impl Recovery {
    /// With a place of its own.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self { place: Place::new() }
    }

    /// Lays the files down and opens the partition.
    ///
    /// # Panics
    /// If it does not open, serves what is not sound, or does not find the next time what it found now.
    pub fn open(&self, bytes: &[u8]) -> Outcome {
        let ([boot, next_boot], files) = decode(bytes);
        self.place.lay(&files);
        let first = in_a_process(async {
            let process = self.place.try_start(boot, 1_000_000, config()).await?;
            let log = &process.log;
            let mut found = self.place.look(log).await;
            let outcome = if found.end > found.start { Outcome::Taken } else { Outcome::Refused };
            if log.state() == State::Online {
                let (offset, batch) = append(log).await;
                found.batches.insert(offset.0, batch);
                found.end = log.end_offset();
            }
            Some((outcome, found))
        });
        let Some((outcome, found)) = first else { return Outcome::Refused };
        let again = in_a_process(async {
            let process = self.place.start(next_boot, 1_000_001, config()).await;
            self.place.look(&process.log).await
        });
        assert_eq!(again, found, "the next start finds something else");
        outcome
    }
}
