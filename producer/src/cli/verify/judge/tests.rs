use proptest::prelude::*;

use super::*;
use crate::cli::digest::{Digest, RecordHasher, RunDigest};

fn digest(number: i64) -> Digest {
    RecordHasher::default().digest(None, Some(&number.to_be_bytes()), [].into_iter())
}

fn fingerprint(number: i64) -> Fingerprint {
    Fingerprint { digest: digest(number), timestamp_ms: number }
}

fn origin(number: i64) -> Origin {
    Origin { file: "in".into(), line: number.unsigned_abs() + 1 }
}

/// Record `number` with this fate.
fn claim(number: i64, fate: Fate) -> Claim {
    Claim::Record(RecordClaim { fate, fingerprint: fingerprint(number), origin: origin(number) })
}

/// Records of these numbers, each acknowledged at the offset of its number.
fn acked(numbers: impl IntoIterator<Item = i64>) -> Vec<Claim> {
    numbers.into_iter().map(|number| claim(number, Fate::Acked(Some(number)))).collect()
}

/// Records `begin..begin + count`, acknowledged as a batch at the offset of the first one's number.
fn batch(begin: i64, count: i64) -> Claim {
    let records: Vec<_> = (begin..begin + count).map(fingerprint).collect();
    Claim::Run(RunClaim {
        offset: begin,
        count: u32::try_from(count).unwrap(),
        digest: RunDigest::of(&records),
        origin: origin(begin),
    })
}

fn stored(offset: i64, number: i64) -> Stored {
    Stored { offset, digest: digest(number), stamp: Stamp::Created(number) }
}

/// A log of these records without a hole, from offset 0.
fn log(numbers: impl IntoIterator<Item = i64>) -> Vec<Stored> {
    (0..).zip(numbers).map(|(offset, number)| stored(offset, number)).collect()
}

fn judge(claims: &[Claim], log: &[Stored]) -> Ledger {
    let (mut judge, mut ledger) = (Judge::new(0), Ledger::default());
    let mut log = log.iter().peekable();
    for claim in claims {
        loop {
            let step = judge.hold(claim, log.peek().copied(), &mut ledger);
            if step.consumed {
                log.next();
            }
            if step.settled {
                break;
            }
        }
    }
    for record in log {
        judge.rest(record, &mut ledger);
    }
    judge.finish(&mut ledger);
    ledger
}

/// Kind, count, and where the first was acknowledged and found.
type Found = (Kind, u64, Option<i64>, Option<i64>);

fn found(ledger: &Ledger) -> Vec<Found> {
    let told = |(kind, tally): (&Kind, &super::super::ledger::Tally)| {
        (*kind, tally.count, tally.first.offset, tally.first.found_at)
    };
    ledger.tallies.iter().map(told).collect()
}

const N: i64 = 2000;

#[test]
fn what_is_there_as_acknowledged_is_proven() {
    let ledger = judge(&acked(0..N), &log(0..N));
    assert_eq!(found(&ledger), []);
    assert_eq!((ledger.counts.acknowledged, ledger.counts.proven), (2000, 2000));
    let batches: Vec<_> = (0..N / 100).map(|at| batch(at * 100, 100)).collect();
    let ledger = judge(&batches, &log(0..N));
    assert_eq!((found(&ledger), ledger.counts.proven), (vec![], 2000));
    assert_eq!(found(&judge(&[], &[])), []);
}

#[test]
fn each_fault_is_found_and_named_once() {
    let numbers: Vec<i64> = (0..N).collect();
    let changed = |change: &dyn Fn(&mut Vec<i64>)| {
        let mut numbers = numbers.clone();
        change(&mut numbers);
        log(numbers)
    };
    let cases: [(&str, Vec<Stored>, Vec<Found>); 15] = [
        (
            "removed",
            changed(&|log| {
                log.remove(700);
            }),
            vec![(Kind::Missing, 1, Some(700), None)],
        ),
        (
            "the first removed",
            changed(&|log| {
                log.remove(0);
            }),
            vec![(Kind::Missing, 1, Some(0), None)],
        ),
        ("the last removed", changed(&|log| log.truncate(1999)), vec![(Kind::Missing, 1, Some(1999), None)]),
        (
            "five removed",
            changed(&|log| drop(log.drain(700..705))),
            vec![(Kind::Missing, 5, Some(700), None)],
        ),
        ("doubled", changed(&|log| log.insert(701, 700)), vec![(Kind::Duplicate, 1, Some(700), Some(701))]),
        (
            "doubled later",
            changed(&|log| log.insert(900, 700)),
            vec![(Kind::Duplicate, 1, Some(700), Some(900))],
        ),
        (
            "the last doubled",
            changed(&|log| log.push(1999)),
            vec![(Kind::Duplicate, 1, Some(1999), Some(2000))],
        ),
        (
            "a batch doubled",
            changed(&|log| drop(log.splice(800..800, 700..800))),
            vec![(Kind::Duplicate, 100, Some(700), Some(800))],
        ),
        ("swapped", changed(&|log| log.swap(700, 701)), vec![(Kind::Order, 1, Some(700), Some(701))]),
        (
            "moved back",
            changed(&|log| {
                let record = log.remove(700);
                log.insert(900, record);
            }),
            vec![(Kind::Order, 1, Some(700), Some(900))],
        ),
        (
            "moved ahead",
            changed(&|log| {
                let record = log.remove(900);
                log.insert(700, record);
            }),
            vec![(Kind::Order, 1, Some(900), Some(700))],
        ),
        ("altered", changed(&|log| log[700] = -5), vec![(Kind::Different, 1, Some(700), Some(700))]),
        ("the first altered", changed(&|log| log[0] = -5), vec![(Kind::Different, 1, Some(0), Some(0))]),
        ("inserted", changed(&|log| log.insert(700, -5)), vec![(Kind::Unexpected, 1, None, Some(700))]),
        ("all gone", vec![], vec![(Kind::Missing, 2000, Some(0), None)]),
    ];
    for (name, log, expected) in cases {
        assert_eq!(found(&judge(&acked(0..N), &log)), expected, "{name}");
    }
}

#[test]
fn faults_of_batches_are_found_too() {
    let batches: Vec<_> = (0..10).map(|at| batch(at * 100, 100)).collect();
    let numbers: Vec<i64> = (0..1000).collect();
    let altered = log(numbers.iter().map(|number| if *number == 730 { -5 } else { *number }));
    assert_eq!(found(&judge(&batches, &altered)), [(Kind::Different, 100, Some(700), Some(700))]);
    let swapped = log((0..730).chain([731, 730]).chain(732..1000));
    assert_eq!(found(&judge(&batches, &swapped)), [(Kind::Different, 100, Some(700), Some(700))]);
    let doubled = log((0..731).chain(730..1000));
    let first = found(&judge(&batches, &doubled)).into_iter().find(|(kind, ..)| *kind == Kind::Duplicate);
    assert_eq!(first, Some((Kind::Duplicate, 1, Some(730), Some(731))));
    let cut = log(0..730);
    assert_eq!(found(&judge(&batches, &cut)), [(Kind::Missing, 270, Some(730), None)]);
    let mut holed = log(0..1000);
    holed.drain(730..740);
    assert_eq!(found(&judge(&batches, &holed)), [(Kind::Missing, 10, Some(730), None)]);
    let mut late = log(0..1000);
    late[730].stamp = Stamp::Created(1);
    let ledger = judge(&batches, &late);
    assert_eq!(found(&ledger), [(Kind::Different, 100, Some(700), Some(700))]);
    assert!(ledger.tallies[&Kind::Different].first.what.contains("a timestamp differs"));
}

#[test]
fn the_sentence_says_what_stands_there_instead() {
    let mut late = log(0..10);
    late[4].stamp = Stamp::Created(77);
    let ledger = judge(&acked(0..10), &late);
    let first = &ledger.tallies[&Kind::Different].first;
    assert_eq!(first.what, "has the timestamp 77, and was sent with 4");
    assert_eq!((first.file.as_deref(), first.line), (Some("in"), Some(5)));
    let begun = judge(&acked(0..10), &log(0..10)[3..]);
    assert_eq!(begun.tallies[&Kind::Missing].first.what, "is not in the log: the log begins at offset 3");
    let mut holed = log(0..10);
    holed.remove(4);
    let ledger = judge(&acked(0..10), &holed);
    let what = &ledger.tallies[&Kind::Missing].first.what;
    assert_eq!(what, "is not in the log: nothing stands there; the next record is at offset 5");
}

#[test]
fn the_brokers_own_timestamps_are_not_compared() {
    let mut log = log(0..10);
    for record in &mut log {
        record.stamp = Stamp::Appended { producer_id: 1 };
    }
    assert_eq!(found(&judge(&acked(0..10), &log)), []);
    assert_eq!(found(&judge(&[batch(0, 10)], &log)), []);
    log[3].digest = digest(-1);
    assert_eq!(found(&judge(&acked(0..10), &log)), [(Kind::Different, 1, Some(3), Some(3))]);
}

#[test]
fn records_of_others_may_lie_between() {
    let mixed: Vec<_> = (0..100).map(|at| stored(at, if at % 3 == 0 { at } else { -at })).collect();
    let claims: Vec<_> = (0..34).map(|at| claim(at * 3, Fate::Acked(Some(at * 3)))).collect();
    let ledger = judge(&claims, &mixed);
    assert_eq!(found(&ledger), []);
    assert_eq!((ledger.counts.unclaimed, ledger.first_unclaimed), (66, Some((0, 1))));
}

#[test]
fn a_record_whose_offset_was_not_told_stands_between_its_neighbours_or_is_missing() {
    let claims: Vec<_> = acked(0..10)
        .into_iter()
        .chain((10..15).map(|number| claim(number, Fate::Acked(None))))
        .chain(acked(15..20))
        .collect();
    let ledger = judge(&claims, &log(0..20));
    assert_eq!((found(&ledger), ledger.counts.proven), (vec![], 20));
    let mut holed = log(0..20);
    holed.remove(12);
    let ledger = judge(&claims, &holed);
    assert_eq!(found(&ledger), [(Kind::Missing, 1, None, None)]);
    assert_eq!(ledger.tallies[&Kind::Missing].first.line, Some(13));
    let swapped = log((0..12).chain([13, 12]).chain(14..20));
    assert_eq!(found(&judge(&claims, &swapped)), [(Kind::Order, 1, None, Some(13))]);
}

#[test]
fn a_record_of_unknown_fate_may_be_there_or_not_but_not_twice() {
    let claims: Vec<_> =
        acked(0..10).into_iter().chain((10..13).map(|number| claim(number, Fate::Unknown))).collect();
    for there in 0..3 {
        let ledger = judge(&claims, &log(0..10 + there));
        assert_eq!(found(&ledger), []);
        let counts = ledger.counts;
        assert_eq!(
            (counts.unknown_written, counts.unknown_absent),
            (there.unsigned_abs(), 3 - there.unsigned_abs())
        );
    }
    let ledger = judge(&claims, &log((0..11).chain([10])));
    assert_eq!(found(&ledger), [(Kind::Duplicate, 1, Some(10), Some(11))]);
}

#[test]
fn an_offset_is_acknowledged_once_and_offsets_rise() {
    let again = [acked(0..3), acked([1]), acked(3..5)].concat();
    let ledger = judge(&again, &log(0..5));
    assert_eq!(found(&ledger), [(Kind::Order, 1, Some(1), None)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is done to a log, it is not taken for the one that was acknowledged.
    #[test]
    fn no_change_goes_unseen(changes in prop::collection::vec((0..4_u8, 0..60_usize, 0..60_usize), 1..4)) {
        let mut numbers: Vec<i64> = (0..60).collect();
        for (change, at, to) in changes {
            let (at, to) = (at % numbers.len(), to % numbers.len());
            match change {
                0 => {
                    numbers.remove(at);
                }
                1 => numbers.insert(to, numbers[at]),
                2 => numbers.swap(at, to),
                _ => numbers[at] = -1 - i64::try_from(to).unwrap(),
            }
        }
        let changed = numbers != (0..60).collect::<Vec<_>>();
        let ledger = judge(&acked(0..60), &log(numbers.iter().copied()));
        prop_assert_eq!(ledger.is_clean(), !changed, "{:?}: {:?}", numbers, ledger.tallies);
        let batches: Vec<_> = (0..6).map(|at| batch(at * 10, 10)).collect();
        let ledger = judge(&batches, &log(numbers.iter().copied()));
        // What stands behind the last batch nobody claimed.
        let seen = !ledger.is_clean() || ledger.counts.unclaimed > 0;
        prop_assert_eq!(seen, changed, "{:?}: {:?}", numbers, ledger.tallies);
    }
}
