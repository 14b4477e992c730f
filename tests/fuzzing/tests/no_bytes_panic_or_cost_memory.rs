//! A fixed number of cases from a fixed seed for each body: whatever comes, nothing panics, memory does not grow, and sound
//! bytes are taken. The failing case is printed with its bytes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fastrand::Rng;
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    types::{ProducerEpoch, ProducerId},
};
use gapless_fuzzing::{
    Outcome,
    damage::{self, Damages},
    frames,
    mutation::{mutate, resident_peak},
    protocol, record_batches,
    recovery::{Entry, HEALED, Recovery, encode},
    schema, seeds,
};

const SEED: u64 = 0x6a09_e667_f3bc_c908;

/// Cases of some milliseconds each.
const CASES_OF_DAMAGE: usize = 1_000;

/// Runs `body` on one case, which is printed if it fails.
#[expect(clippy::print_stderr, reason = "the case that fails, for repeating it")]
fn repeatable(target: &str, bytes: &[u8], body: impl Fn(&[u8]) -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| body(bytes))).unwrap_or_else(|panic| {
        eprintln!("{target}, seed {SEED:#x}, these {} bytes: {bytes:02x?}", bytes.len());
        resume_unwind(panic)
    })
}

/// Runs `body` on each seed as it is, which must be taken, and on `cases` changed ones.
fn hammer(target: &str, cases: usize, body: impl Fn(&[u8]) -> Outcome) {
    let mut rng = Rng::with_seed(SEED);
    let sound = seeds::of(target, 4, &mut rng);
    let run = |bytes: &[u8]| repeatable(target, bytes, &body);
    for bytes in &sound {
        assert_eq!(run(bytes), Outcome::Taken, "{target} refuses what is sound: {bytes:02x?}");
    }
    let before = resident_peak();
    let mut taken = 0_usize;
    for _ in 0..cases {
        let mut bytes = sound[rng.usize(..sound.len())].clone();
        mutate(&mut bytes, &mut rng);
        taken += usize::from(run(&bytes) == Outcome::Taken);
    }
    let grown = resident_peak().saturating_sub(before);
    assert!(grown < 64 << 20, "{target}, seed {SEED:#x}: {grown} bytes more than before");
    // Some changes must be refused and some must not, or the cases are of one kind only.
    assert!(taken > cases / 1000 && taken < cases, "{target}: {taken} of {cases} taken");
}

#[test]
fn every_request_truncated_at_each_byte_is_refused() {
    let mut rng = Rng::with_seed(SEED);
    for (api, version) in schema::versions() {
        for _ in 0..4 {
            let whole = schema::request(api, version, &mut rng);
            assert_eq!(protocol::request(&whole), Outcome::Taken, "{api} v{version}: {whole:02x?}");
            for kept in 0..whole.len() {
                let outcome = protocol::request(&whole[..kept]);
                assert_eq!(outcome, Outcome::Refused, "{api} v{version}, {kept} bytes of {whole:02x?}");
            }
        }
    }
}

#[test]
fn every_response_truncated_at_each_byte_is_refused() {
    let mut rng = Rng::with_seed(SEED);
    for (api, version) in schema::versions() {
        for _ in 0..4 {
            let whole = schema::response(api, version, &mut rng);
            assert_eq!(
                protocol::response(api, version, &whole),
                Outcome::Taken,
                "{api} v{version}: {whole:02x?}"
            );
            for kept in 0..whole.len() {
                let outcome = protocol::response(api, version, &whole[..kept]);
                assert_eq!(outcome, Outcome::Refused, "{api} v{version}, {kept} bytes of {whole:02x?}");
            }
        }
    }
}

#[test]
fn a_million_requests_changed_at_random() {
    hammer("requests", 1_000_000, protocol::request);
}

#[test]
fn a_million_responses_changed_at_random() {
    hammer("responses", 1_000_000, protocol::any_response);
}

#[test]
fn record_batches_changed_at_random() {
    hammer("record_batches", 100_000, record_batches::records);
}

#[test]
fn streams_of_frames_changed_at_random() {
    hammer("frames", 100_000, frames::stream);
}

#[test]
fn partitions_changed_at_random_open_and_serve_what_is_sound() {
    let recovery = Recovery::new();
    hammer("recovery", 1_000, |bytes| recovery.open(bytes));
}

#[test]
fn partitions_damaged_at_random_serve_what_was_written_and_is_intact() {
    let damages = Damages::new(damage::SEED);
    for bytes in seeds::of("damage", 4, &mut Rng::with_seed(SEED)) {
        assert_eq!(damages.open(&bytes), Outcome::Taken, "{bytes:02x?}");
    }
    let mut rng = Rng::with_seed(SEED);
    for _ in 0..CASES_OF_DAMAGE {
        let bytes = damage::random(&mut rng);
        repeatable("damage", &bytes, |bytes| damages.open(bytes));
    }
}

/// Found by the fuzzer: the log counted such a batch and the sequencer did not, so that the next one got its offset.
#[test]
fn a_batch_that_no_client_may_send_is_none_of_a_log() {
    let mut rng = Rng::with_seed(SEED);
    let recovery = Recovery::new();
    let faults: [fn(&mut BatchHeader); 3] = [
        |header| header.producer_id = ProducerId(-2),
        |header| (header.producer_id, header.base_sequence) = (ProducerId(7), -1),
        |header| (header.producer_id, header.producer_epoch) = (ProducerId(7), ProducerEpoch(-1)),
    ];
    for fault in faults {
        for another_boot in [false, true] {
            let batch = schema::batch(&mut rng);
            let mut header = BatchHeader::parse(&batch).unwrap();
            fault(&mut header);
            let content = [&header.to_bytes()[..], &batch[HEADER_SIZE..]].concat();
            let bytes = encode([another_boot, false], &[Entry { kind: HEALED, base: 0, content }]);
            assert_eq!(recovery.open(&bytes), Outcome::Refused);
        }
    }
}
