//! How many ordinary seeds, whose faults are drawn without a thought to any bug, it takes to find each seeded bug.
//! `cargo run --release -p gapless-simulation --example bugs`; takes minutes.
#![expect(clippy::print_stdout, reason = "a program for people")]

use gapless_common::seeded_bug::SeededBug;
use gapless_simulation::{bugs::seeds_until, plan::Plan};

const LIMIT: u64 = 2_000;

fn main() {
    for bug in SeededBug::ALL {
        match seeds_until(bug, LIMIT, Plan::of) {
            Some((seeds, fault)) => println!("| {bug:?} | {seeds} | {fault} |"),
            None => println!("| {bug:?} | more than {LIMIT} | |"),
        }
    }
}
