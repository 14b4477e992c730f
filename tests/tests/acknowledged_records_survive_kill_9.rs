//! Pipelined idempotent producers, a broker that is killed with `kill -9` and started again three times, each time at a share of
//! the acknowledged records: every record is there exactly once, in order. (`tests/soak/kills.sh` does it with a million.)

use gapless_tests::{
    broker::Broker,
    librdkafka::consume,
    load::{PARTITIONS, Run, by_command_line, by_library, by_librdkafka, through_kills},
    oracle::check,
};

const RECORDS: u64 = 40_000;
const KILLS: u64 = 3;

fn kept(durability: &str, sender: impl FnOnce(&Run<'_>) -> Vec<bool> + Send) {
    let mut broker = Broker::builder().flag("--durability", durability).start();
    let acked = through_kills(&mut broker, "kept", RECORDS, KILLS, sender);
    let failed = acked.iter().filter(|acked| !**acked).count();
    assert_eq!(failed, 0, "a broker that comes back within seconds costs no record");
    let log = |broker: &Broker| {
        let mut read = consume(broker.address(), "kept", PARTITIONS);
        read.sort_by_key(|record| (record.partition, record.offset));
        read
    };
    let read = log(&broker);
    check(&read, RECORDS, |number| acked[number as usize]).unwrap_or_else(|faults| panic!("{faults}"));
    // And once more after another death, when everything has been recovered from disk.
    broker.restart();
    assert!(log(&broker) == read, "the same log before and after");
}

#[test]
fn of_our_library() {
    kept("fsync", by_library);
}

#[test]
fn of_our_command_line() {
    kept("fsync", by_command_line);
}

#[test]
fn of_librdkafka() {
    kept("fsync", by_librdkafka);
}

/// `kill -9` takes a process, not the page cache: the promise holds without a flush, too.
#[test]
fn of_our_library_under_durability_os() {
    kept("os", by_library);
}
