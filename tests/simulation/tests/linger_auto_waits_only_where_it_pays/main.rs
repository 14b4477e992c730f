//! The linger `auto` beside no linger and a fixed one, in simulated time, from one record a second to more than the wire
//! carries: what records pay for company, and how many requests that spares.
//!
//! What it should keep to is a p99 of 1.1 times that without a linger, or half a round trip above it. It is held to a quarter,
//! its own distance between requests; one that counts the same quarter from each record's admission does not keep to that.
//! Tokio's timers tick in milliseconds, so nothing is asked of round trips below two. `--nocapture` shows the curves.
//!
//! - [`far_end`]: a broker as far as a producer can tell by its clock.
//! - [`load`]: records in an open loop, all at once, or one awaited after the other.

#![expect(clippy::unwrap_used, reason = "also in what its tests share")]

mod far_end;
mod load;

use std::time::Duration;

use gapless_producer::Linger;

use load::{Latencies, Wire};

const AUTO: Linger = Linger::Auto { cap: gapless_producer::config::LINGER_CAP };
const NONE: Linger = Linger::Fixed(Duration::ZERO);
const FIVE_MS: Linger = Linger::Fixed(Duration::from_millis(5));

const WAYS_AND_BACK_MS: [u64; 3] = [2, 4, 10];
const FLUSHES_MS: [u64; 2] = [0, 3];
const PARTITIONS: [u16; 3] = [1, 16, 1_000];
/// Records a second.
const RATES: [u64; 7] = [1, 10, 100, 1_000, 3_000, 6_000, 20_000];

fn wires() -> impl Iterator<Item = Wire> {
    WAYS_AND_BACK_MS.into_iter().flat_map(|way_and_back_ms| {
        FLUSHES_MS.into_iter().flat_map(move |flush_ms| {
            PARTITIONS.into_iter().map(move |partitions| Wire { way_and_back_ms, flush_ms, partitions })
        })
    })
}

/// In ticks of the clock.
fn quarter_of(round_trip: Duration) -> Duration {
    Duration::from_millis(u64::try_from(round_trip.as_millis()).unwrap().div_ceil(4))
}

#[test]
fn records_wait_at_most_a_quarter_round_trip_longer_than_without_a_linger() {
    let mut wrong = Vec::new();
    for wire in wires() {
        for rate in RATES {
            let none = load::at_rate(wire, NONE, rate);
            let auto = load::at_rate(wire, AUTO, rate);
            let p99 = none.latencies.p99();
            let limit = (p99 + p99 / 10).max(p99 + quarter_of(wire.round_trip()));
            let line = format!(
                "{wire}, {rate}/s: p99 {:?}, without {p99:?}; requests {}, without {}",
                auto.latencies.p99(),
                auto.requests,
                none.requests
            );
            println!("{line}");
            if auto.latencies.p99() > limit {
                wrong.push(format!("{line}; limit {limit:?}"));
            }
            assert!(
                auto.requests <= none.requests,
                "{line}: it never sends more requests than no linger at all"
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn at_saturation_it_sends_as_few_requests_as_a_fixed_linger_and_is_as_fast() {
    for wire in wires() {
        let [none, fixed, auto] = [NONE, FIVE_MS, AUTO].map(|linger| load::all_at_once(wire, linger));
        let line = format!("{wire}: auto {auto}, 5 ms {fixed}, without {none}");
        println!("{line}");
        assert!(none.took > wire.round_trip() * 10, "{line}: it waits for the wire");
        assert!(auto.requests * 10 <= fixed.requests * 11, "{line}");
        assert!(auto.took <= fixed.took.min(none.took) * 11 / 10, "{line}");
    }
}

#[test]
fn who_sends_one_record_and_awaits_it_pays_nothing() {
    for wire in wires() {
        let told = load::one_by_one(wire, AUTO, 20);
        assert_eq!(told, Latencies::all(20, wire.round_trip()), "{wire}");
    }
}

#[test]
fn a_thousand_cold_partitions_share_one_request() {
    for wire in wires().filter(|wire| wire.partitions == 1_000) {
        let [none, auto] = [NONE, AUTO].map(|linger| load::one_to_each_partition(wire, linger));
        assert_eq!(auto.requests, 1, "{wire}");
        assert_eq!(auto.latencies, none.latencies, "{wire}");
    }
}

#[test]
fn callers_who_each_await_their_record_share_requests() {
    const CALLERS: u32 = 32;
    const ROUNDS: u32 = 20;
    for wire in wires() {
        let told = load::in_step(wire, AUTO, CALLERS, ROUNDS);
        assert!(told.requests <= u64::from(ROUNDS) * 2, "{wire}: {} requests", told.requests);
    }
}
