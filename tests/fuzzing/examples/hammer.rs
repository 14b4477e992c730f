//! Damages partitions until Ctrl-C, with fresh seeds and histories: `cargo run --release -p gapless-fuzzing --example hammer`.
//! `-- SEED` begins at that one, `-- SEED CASES` ends after so many. The first case of each kind of failure is printed.

use std::{
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use fastrand::Rng;
use gapless_fuzzing::damage::{self, Damages};

/// Cases of each seed: its histories take as long as some hundred of them.
const CASES_PER_SEED: u64 = 20_000;

#[expect(clippy::print_stderr, reason = "what it is for")]
fn main() -> ExitCode {
    let mut numbers = env::args().skip(1).map(|number| number.parse::<u64>().expect("a number"));
    let first = numbers.next().unwrap_or(damage::SEED);
    let cases_max = numbers.next().unwrap_or(u64::MAX);
    let place = Arc::new(Mutex::new(String::new()));
    let seen = place.clone();
    panic::set_hook(Box::new(move |panicked| {
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = panicked.to_string();
    }));
    let mut failures = BTreeMap::new();
    let mut cases = 0;
    for seed in first.. {
        let Ok(damages) = catch_unwind(|| Damages::new(seed)) else {
            eprintln!(
                "the histories of seed {seed}: {}",
                place.lock().unwrap_or_else(PoisonError::into_inner)
            );
            return ExitCode::FAILURE;
        };
        let mut rng = Rng::with_seed(seed);
        for _ in 0..CASES_PER_SEED.min(cases_max - cases) {
            let bytes = damage::random(&mut rng);
            cases += 1;
            if catch_unwind(AssertUnwindSafe(|| damages.open(&bytes))).is_ok() {
                continue;
            }
            let why = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let kind = why.lines().next().unwrap_or_default().to_owned();
            let count = failures.entry(kind).or_insert(0);
            *count += 1;
            if *count == 1 {
                eprintln!("histories of seed {seed}, case {bytes:?}: {why}");
            }
        }
        eprintln!("{cases} cases up to seed {seed}, failures: {failures:#?}");
        if cases == cases_max {
            break;
        }
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}
