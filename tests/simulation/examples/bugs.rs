//! How often each seeded bug is found: by ordinary seeds, whose faults are drawn without a thought to any bug, and by those of
//! its own profile.
//!
//! `cargo run --release -p gapless-simulation --example bugs -- [--first N] [--ordinary N] [--own N] [--bug NAME]`
//!
//! - `--first N`: the first seed (0).
//! - `--ordinary N`, `--own N`: so many seeds of each (500 and 200; with these it takes some minutes).
//! - `--bug NAME`: only this one, as it is named in `SeededBug`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::{
    env,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use gapless_common::seeded_bug::SeededBug;
use gapless_simulation::{
    bugs::{Hunt, hunt},
    plan::Plan,
};

const THREADS: usize = 2;

/// What came of some seeds.
#[derive(Default)]
struct Tally {
    /// Those that showed the bug, and what was seen.
    found: Vec<(u64, String)>,
    /// Those that fail without it, too.
    failed: Vec<(u64, String)>,
}

impl Tally {
    fn of(bug: SeededBug, first: u64, count: u64, plan: impl Fn(u64) -> Plan + Sync) -> Self {
        let (tally, next) = (Mutex::new(Self::default()), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let hunted = hunt(bug, &plan(first + number));
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        match hunted {
                            Hunt::Missed => {}
                            Hunt::Found(fault) => tally.found.push((first + number, fault)),
                            Hunt::FailsAnyway(fault) => tally.failed.push((first + number, fault)),
                        }
                    }
                });
            }
        });
        let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.found.sort();
        tally.failed.sort();
        tally
    }

    /// How many, and which was the first.
    fn words(&self, first: u64, count: u64) -> String {
        let began =
            self.found.first().map_or(String::from("none"), |(seed, _)| (seed - first + 1).to_string());
        format!("{} of {count} | {began}", self.found.len())
    }
}

fn main() -> ExitCode {
    let (mut first, mut ordinary, mut own, mut only) = (0, 500, 200, None);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        let number = value.as_deref().and_then(|value| value.parse().ok());
        match (argument.as_str(), number, value) {
            ("--first", Some(number), _) => first = number,
            ("--ordinary", Some(number), _) => ordinary = number,
            ("--own", Some(number), _) => own = number,
            ("--bug", _, Some(name)) => only = Some(name),
            _ => {
                eprintln!("{argument}: expected [--first N] [--ordinary N] [--own N] [--bug NAME]");
                return ExitCode::from(2);
            }
        }
    }
    println!(
        "| bug | ordinary seeds that find it | the first | seeds of its own | the first | what is seen |"
    );
    println!("|---|---|---|---|---|---|");
    let mut fails = false;
    for bug in SeededBug::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{bug:?}")) {
            continue;
        }
        let by_chance = Tally::of(bug, first, ordinary, Plan::of);
        let on_purpose = Tally::of(bug, first, own, |seed| Plan::for_bug(seed, bug));
        let seen = on_purpose.found.first().map_or("", |(_, fault)| fault.as_str());
        let (by_chance_words, on_purpose_words) =
            (by_chance.words(first, ordinary), on_purpose.words(first, own));
        println!("| {bug:?} | {by_chance_words} | {on_purpose_words} | {seen} |");
        for (whose, tally) in [("ordinary", by_chance), ("own", on_purpose)] {
            for (seed, fault) in tally.failed {
                fails = true;
                println!("FAILED without {bug:?}: {whose} seed {seed}: {fault}");
            }
        }
    }
    if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
