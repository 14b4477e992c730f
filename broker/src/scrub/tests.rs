//! The order of the scrub by tables, and the scrub of a broker.

use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use tokio::time::timeout;

use super::*;
use crate::{
    log::State,
    testing::{Rig, append, client, create},
};

fn key(topic: &str, partition: i32) -> Key {
    (topic.into(), partition)
}

/// The first of `keys`, which are in order.
fn among(keys: &[Key]) -> impl Fn(Option<&Key>, bool) -> Option<Key> {
    move |from, inclusive| {
        let fits = |key: &&Key| from.is_none_or(|from| *key > from || (inclusive && *key == from));
        keys.iter().find(fits).cloned()
    }
}

fn scrubbed(bytes: u64, next: Option<i64>) -> Scrubbed {
    Scrubbed { bytes, next: next.map(Offset), corrupt: false }
}

#[tokio::test(start_paused = true)]
async fn a_pass_walks_through_every_partition_and_the_next_one_waits() {
    let now = Instant::now();
    let mut schedule = Schedule::new(1000, now);
    let keys = [key("a", 0), key("a", 1), key("b", 0)];
    let mut seen = Vec::new();
    let until = loop {
        match schedule.next(among(&keys)) {
            Step::Rest(until) => break until,
            Step::Scrub(key, from) => {
                seen.push((key.clone(), from.0));
                let next = (from.0 < 20).then_some(from.0 + 10);
                assert_eq!(schedule.done(key, &scrubbed(500, next)), Duration::from_millis(500));
            }
        }
    };
    let expected: Vec<_> =
        keys.iter().flat_map(|key| [0, 10, 20].map(|offset| (key.clone(), offset))).collect();
    assert_eq!((seen, until), (expected, now + PASS_INTERVAL));
    assert_eq!(schedule.next(among(&keys)), Step::Rest(until), "still");
    schedule.begin_pass(until);
    assert_eq!(schedule.next(among(&keys)), Step::Scrub(key("a", 0), Offset(0)));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_partition_is_passed_over_and_a_new_one_begins_at_its_start() {
    let mut schedule = Schedule::new(1000, Instant::now());
    let both = [key("a", 0), key("b", 0)];
    assert_eq!(schedule.next(among(&both)), Step::Scrub(key("a", 0), Offset(0)));
    schedule.done(key("a", 0), &scrubbed(1, Some(10)));
    assert_eq!(schedule.next(among(&both[1..])), Step::Scrub(key("b", 0), Offset(0)));
    schedule.done(key("b", 0), &scrubbed(1, None));
    let third = [key("b", 0), key("c", 0)];
    assert_eq!(schedule.next(among(&third)), Step::Scrub(key("c", 0), Offset(0)));
    assert!(matches!(schedule.next(among(&[])), Step::Rest(_)));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_a_share_of_a_second_within_bounds() {
    for (rate, bytes) in [(1, 64 << 10), (4 << 20, 256 << 10), (1 << 40, 4 << 20)] {
        assert_eq!(Schedule::new(rate, Instant::now()).step_bytes(), bytes, "{rate} bytes a second");
    }
}

#[tokio::test]
async fn the_next_partition_is_found_by_name_and_number() {
    let rig = Rig::new();
    let broker = rig.start("boot").await;
    for (topic, partitions) in [("b", 3), ("a", 1), ("d", 1)] {
        broker.catalogue().create(topic, partitions, std::collections::BTreeMap::new()).await.unwrap();
    }
    for (from, inclusive, found) in [
        (None, true, Some(key("a", 0))),
        (Some(key("a", 0)), true, Some(key("a", 0))),
        (Some(key("a", 0)), false, Some(key("b", 0))),
        (Some(key("b", 1)), true, Some(key("b", 1))),
        (Some(key("b", 1)), false, Some(key("b", 2))),
        (Some(key("b", 2)), false, Some(key("d", 0))),
        // Deleted since.
        (Some(key("c", 5)), true, Some(key("d", 0))),
        (Some(key("c", 5)), false, Some(key("d", 0))),
        (Some(key("d", 0)), false, None),
        (Some(key("e", 0)), true, None),
    ] {
        let next = partition_from(broker.catalogue(), from.as_ref(), inclusive);
        assert_eq!(next, found, "{from:?}, inclusive {inclusive}");
    }
    assert!(broker.stop().await);
}

#[tokio::test]
async fn rot_in_what_nobody_reads_is_found_and_counted_and_other_partitions_go_on() {
    let mut rig = Rig::new();
    rig.config.scrub_bytes_per_second = 0;
    let broker = rig.start("boot").await;
    let peer = client(&broker).await;
    for topic in ["rotten", "sound"] {
        create(&peer, topic).await;
        for value in ["first", "second", "third"] {
            append(&peer, topic, value).await;
        }
    }
    // Behind the back of everybody, in the second of three batches of one size.
    let path = rig.data_dir().join("topics/rotten/0/00000000000000000000.log");
    flip(&path);
    let mut schedule = Schedule::new(1 << 30, Instant::now());
    let mut seen = (0, 0);
    while let Step::Scrub(key, from) =
        schedule.next(|key, inclusive| partition_from(&broker.shared.catalogue, key, inclusive))
    {
        let scrubbed = broker.shared.catalogue.partition(&key.0, key.1).unwrap().scrub(from, 1).await;
        seen = (seen.0 + u32::from(scrubbed.corrupt), seen.1 + scrubbed.bytes);
        schedule.done(key, &scrubbed);
    }
    assert_eq!(seen.0, 1);
    assert!(seen.1 > 0);
    let log = broker.shared.catalogue.partition("rotten", 0).unwrap();
    assert!(matches!(log.state(), State::Quarantined { at: Offset(1), .. }), "{:?}", log.state());
    append(&peer, "sound", "fourth").await;
    let refused = crate::testing::call_by_name(&peer, crate::testing::produce("rotten", -1, "fourth")).await;
    let code = refused.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn the_task_of_a_broker_scrubs_and_counts() {
    let rig = Rig::new();
    let broker = rig.start("boot").await;
    let peer = client(&broker).await;
    create(&peer, "t").await;
    append(&peer, "t", "value").await;
    // The pass that the start began may have been over before there was anything.
    let scrub = broker.shared.seams.spawner.spawn(run(Arc::clone(&broker.shared)));
    let counted = async {
        while !broker.shared.metrics.render(&[]).lines().any(|line| {
            line.strip_prefix("gapless_broker_scrubbed_bytes_total ").is_some_and(|count| count != "0")
        }) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.unwrap();
    scrub.abort();
    assert!(broker.stop().await);
}

#[expect(clippy::disallowed_methods, reason = "rot does not come through the seam")]
fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
