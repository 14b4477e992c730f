//! Random damage to valid frames, through every decoder of requests and responses: an error or a message, but no panic,
//! and no more memory than the frame's size allows.

#![expect(clippy::print_stdout, reason = "the input that breaks a test is worth a line")]

use bytes::Bytes;
use fastrand::Rng;
use gapless_common::protocol::{ApiKey, DecodeError, Decoder, decode_request_header};

use crate::generate;
use crate::subjects::{self, Subject};

const SEED: u64 = 0x6761_706c_6573_7331;

/// Damaged frames in total.
const INPUTS: usize = 1_000_000;

/// Valid frames of each kind in each version, to be damaged.
const SAMPLES: usize = 8;

/// Damages to a frame, at most.
const DAMAGES_MAX: usize = 4;

/// A valid frame without its length.
struct Frame {
    subject: usize,
    version: i16,
    bytes: Vec<u8>,
}

fn frames(subjects: &[Subject], rng: &mut Rng) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (at, subject) in subjects.iter().enumerate() {
        for version in subject.api.versions() {
            for _ in 0..SAMPLES {
                let mut bytes = header(subject, version);
                bytes.extend(generate::message(&subject.kind, subject.api, version, true, rng).bytes);
                frames.push(Frame { subject: at, version, bytes });
            }
        }
    }
    frames
}

fn header(subject: &Subject, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    if subject.is_request {
        bytes.extend(subject.api.to_i16().to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 2, b'm', b'e']);
        if subject.api.request_header_version(version) >= 2 {
            bytes.push(0);
        }
    }
    bytes
}

/// As a broker or a client reads it: a request is what its header says, a response what was asked for.
fn attack(subjects: &[Subject], frame: &Frame, bytes: &[u8]) -> Result<(), DecodeError> {
    let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
    let subject = &subjects[frame.subject];
    if !subject.is_request {
        return (subject.attack)(&mut input, frame.version);
    }
    let header = decode_request_header(&mut input)?;
    let asked = |subject: &&Subject| subject.is_request && subject.api.to_i16() == header.api_key;
    match subjects.iter().find(asked) {
        Some(subject) => (subject.attack)(&mut input, header.api_version),
        None => {
            assert_eq!(ApiKey::from_i16(header.api_key), None);
            Ok(())
        }
    }
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    // Numbers at the edges of what a length can be.
    const EDGES: [u8; 8] = [0x00, 0x01, 0x02, 0x7e, 0x7f, 0x80, 0xfe, 0xff];
    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..bytes.len());
    let end = (at + rng.usize(1..=8)).min(bytes.len());
    match rng.u8(..9) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes[at] = EDGES[rng.usize(..EDGES.len())],
        3 => bytes[at..end].fill(EDGES[rng.usize(..EDGES.len())]),
        4 => bytes.insert(at, EDGES[rng.usize(..EDGES.len())]),
        5 => drop(bytes.drain(at..end)),
        6 => bytes.truncate(at),
        7 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let from = rng.usize(..=other.len());
            bytes.splice(at.., other[from..].iter().copied());
        }
    }
}

#[test]
fn frames_cut_at_any_byte_are_refused() {
    let subjects = subjects::all();
    for frame in frames(&subjects, &mut Rng::with_seed(SEED)) {
        let name = subjects[frame.subject].name;
        assert_eq!(attack(&subjects, &frame, &frame.bytes), Ok(()), "{name} {}", frame.version);
        for len in 0..frame.bytes.len() {
            assert!(
                attack(&subjects, &frame, &frame.bytes[..len]).is_err(),
                "{name} {}: {:02x?} cut to {len}",
                frame.version,
                frame.bytes
            );
        }
        let trailing = [frame.bytes.as_slice(), &[0]].concat();
        // Behind a response no client looks.
        let may_go_on = name.ends_with("Response");
        assert_eq!(attack(&subjects, &frame, &trailing).is_ok(), may_go_on, "{name} {}", frame.version);
    }
}

#[test]
fn no_damage_makes_a_decoder_panic_or_grow() {
    let subjects = subjects::all();
    let mut rng = Rng::with_seed(SEED);
    let frames = frames(&subjects, &mut rng);
    let mut survived = 0;
    for _ in 0..INPUTS {
        let frame = &frames[rng.usize(..frames.len())];
        let mut bytes = frame.bytes.clone();
        for _ in 0..rng.usize(1..=DAMAGES_MAX) {
            let other = &frames[rng.usize(..frames.len())].bytes;
            damage(&mut bytes, other, &mut rng);
        }
        let guard = Printed { name: subjects[frame.subject].name, version: frame.version, bytes: &bytes };
        survived += usize::from(attack(&subjects, frame, &bytes).is_ok());
        drop(guard);
    }
    // Damage inside of names and numbers leaves a message: the test reaches deep, not only the first length.
    assert!(survived > INPUTS / 20, "{survived} of {INPUTS} were messages still");
}

/// Prints the input at hand if the test panics.
struct Printed<'a> {
    name: &'static str,
    version: i16,
    bytes: &'a [u8],
}

impl Drop for Printed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {SEED:#x}, {} v{}: {:02x?}", self.name, self.version, self.bytes);
        }
    }
}
