//! Sound inputs of every body: where a fuzzer begins, and what the tests change.

use fastrand::Rng;
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    types::{LeaderEpoch, Offset},
};

use crate::{
    protocol::tagged_response,
    recovery::{Entry, encode},
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
        "recovery" => each(&[false, true], of_each, |another_boot| partition(another_boot, rng)),
        other => panic!("no target {other:?}"),
    }
}

/// The names of all targets.
pub const TARGETS: [&str; 5] = ["requests", "responses", "record_batches", "frames", "recovery"];

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
fn partition(another_boot: bool, rng: &mut Rng) -> Vec<u8> {
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
        entries.push(Entry { kind: if rng.bool() { 0 } else { 0x80 }, base, content });
    }
    encode(another_boot, &entries)
}
