//! Pipelined idempotent producers, a broker that is killed with `kill -9` and started again, each time at a share of the
//! acknowledged records: every record is there exactly once, in order, at the offset that was told. (`tests/soak/kills.sh`
//! does it a hundred times with a million.)

use gapless_tests::{
    broker::Broker,
    librdkafka::{Record, consume},
    load::{PARTITIONS, Sender, Told, by_command_line, by_library, by_librdkafka, through},
    oracle::{check, check_places},
};

const RECORDS: u64 = 40_000;

fn log(broker: &Broker, topic: &str) -> Vec<Record> {
    let mut read = consume(broker.address(), topic, PARTITIONS);
    read.sort_by_key(|record| (record.partition, record.offset));
    read
}

fn assert_kept(read: &[Record], told: &Told) {
    let failed = told.iter().filter(|told| told.is_none()).count();
    assert_eq!(failed, 0, "a broker that comes back within seconds costs no record");
    check(read, RECORDS, |number| told[number as usize].is_some())
        .unwrap_or_else(|faults| panic!("{faults}"));
    check_places(read, |number| told[number as usize]).unwrap_or_else(|faults| panic!("{faults}"));
}

/// Through so many deaths of the broker, under all these senders at once; and a last one, after which everything has been
/// recovered from disk.
fn kept(durability: &str, kills: u64, senders: &[(&str, Sender)]) {
    let (topics, senders): (Vec<_>, Vec<_>) = senders.iter().copied().unzip();
    let mut broker = Broker::builder().flag("--durability", durability).start();
    let told = through(&mut broker, &topics, RECORDS, kills, &senders, &mut |broker, _, _| broker.restart());
    let before: Vec<_> = topics.iter().map(|topic| log(&broker, topic)).collect();
    for (read, told) in before.iter().zip(&told) {
        assert_kept(read, told);
    }
    broker.restart();
    for (topic, before) in topics.iter().zip(&before) {
        assert!(log(&broker, topic) == *before, "{topic}: the same log before and after");
    }
}

#[test]
fn of_our_library_and_of_librdkafka_together() {
    kept("fsync", 5, &[("library", by_library), ("librdkafka", by_librdkafka)]);
}

#[test]
fn of_our_command_line() {
    kept("fsync", 3, &[("command-line", by_command_line)]);
}

/// `kill -9` takes a process, not the page cache: the promise holds without a flush, too.
#[test]
fn of_our_library_under_durability_os() {
    kept("os", 3, &[("library", by_library)]);
}
