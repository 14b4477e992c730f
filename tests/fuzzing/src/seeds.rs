//! Sound inputs of every body: where a fuzzer begins, and what the tests change.

use fastrand::Rng;
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    types::{LeaderEpoch, Offset},
};

use crate::{
    damage::{self, history::Moment},
    protocol::tagged_response,
    recovery::{Entry, HEALED, encode, files::Kind},
    schema,
};

/// Of each target by name: `of_each` inputs of every kind it knows.
pub fn of(target: &str, of_each: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let versions: Vec<_> = schema::versions().collect();
    match target {
        "requests" => each(&versions, of_each, |(api, version)| schema::request(api, version, rng)),
        "responses" => each(&versions, of_each, |(api, version)| {
            tagged_response(api, version, &schema::response(api, version, rng))
        }),
        "record_batches" => each(&[(); 8], of_each, |()| schema::batch(rng)),
        "frames" => each(&[1, 7, 255], of_each, |step| stream(step, rng)),
        "recovery" => {
            let written = damage::history::lives(damage::SEED, 8 * of_each);
            let written = written.iter().map(|moment| whole([rng.bool(), rng.bool()], moment, rng));
            let written: Vec<_> = written.collect();
            let made = each(&[false, true], of_each, |another_boot| partition([another_boot, false], rng));
            [written, made].concat()
        }
        "damage" => each(&[0_u8, 1, 2, 3], of_each, |boots| vec![rng.u8(..), boots]),
        other => panic!("no target {other:?}"),
    }
}

/// The names of all targets.
pub const TARGETS: [&str; 6] = ["requests", "responses", "record_batches", "frames", "recovery", "damage"];

fn each<T: Copy>(kinds: &[T], of_each: usize, mut make: impl FnMut(T) -> Vec<u8>) -> Vec<Vec<u8>> {
    kinds.iter().flat_map(|kind| std::iter::repeat_n(*kind, of_each)).map(&mut make).collect()
}

fn stream(step: u8, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![step];
    for _ in 0..rng.usize(1..5) {
        let frame: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
        bytes.extend((frame.len() as i32).to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

/// One or two segments of a few batches, as the broker writes them.
fn partition(other_boots: [bool; 2], rng: &mut Rng) -> Vec<u8> {
    let mut next = i64::from(rng.u16(..300));
    let mut entries = Vec::new();
    for segment in 0..rng.usize(1..=2) {
        let base = next as u16;
        let mut content = Vec::new();
        for _ in 0..rng.usize(1..5) {
            let batch = schema::batch(rng);
            let mut header = BatchHeader::parse(&batch).expect("a sound batch");
            (header.base_offset, header.leader_epoch) = (Offset(next), LeaderEpoch(segment as i32));
            next = header.next_offset().0;
            content.extend(header.to_bytes());
            content.extend(&batch[HEADER_SIZE..]);
        }
        entries.push(Entry { kind: if rng.bool() { 0 } else { HEALED }, base, content });
    }
    encode(other_boots, &entries)
}

/// All files of a partition.
fn whole(other_boots: [bool; 2], moment: &Moment, rng: &mut Rng) -> Vec<u8> {
    let healed = if rng.bool() { HEALED } else { 0 };
    let entries = moment.files.iter().filter_map(|(path, content)| {
        let (kind, base) = Kind::of(path)?;
        let kind = Kind::ALL.iter().position(|known| *known == kind)? as u8 | healed;
        Some(Entry { kind, base: base as u16, content: content.clone() })
    });
    encode(other_boots, &entries.collect::<Vec<_>>())
}
