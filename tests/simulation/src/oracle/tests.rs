use std::time::Duration;

use gapless_producer::Acks;

use super::*;
use crate::ledger::{Ledger, Line};

const PLACE: Place = Place { topic: "events", partition: 0 };
const ACKED: Told = Told::Acked(None);

fn name(number: u32) -> Name {
    Name { producer: 0, number }
}

/// Records 0 to n with these fates; `None` where the caller resumed.
fn books(fates: &[Option<Told>]) -> Ledger {
    let ledger = Ledger::default();
    let mut number = 0;
    for fate in fates {
        match fate {
            None => ledger.resumed(PLACE, 0),
            Some(told) => {
                let line: Line = ledger.admitted(PLACE, name(number));
                number += 1;
                if *told != Told::Nothing {
                    ledger.told(&line, *told);
                }
            }
        }
    }
    ledger
}

fn log(numbers: &[u32]) -> Image {
    let records: Vec<_> = (0..).zip(numbers.iter().map(|number| Some(name(*number)))).collect();
    Image { start: 0, end: i64::try_from(records.len()).unwrap(), records, ..Image::default() }
}

fn judged(ledger: &Ledger, image: Image, leave: Leave) -> Vec<String> {
    judge(&ledger.copy(), &BTreeMap::from([(PLACE, image)]), &BTreeMap::from([(PLACE, leave)]))
}

#[track_caller]
fn wrong(ledger: &Ledger, image: Image, why: &str) {
    let faults = judged(ledger, image, Leave::default());
    assert!(faults.iter().any(|fault| fault.contains(why)), "{faults:?}");
}

#[track_caller]
fn right(ledger: &Ledger, image: Image) {
    assert_eq!(judged(ledger, image, Leave::default()), Vec::<String>::new());
}

#[test]
fn a_kept_promise_passes() {
    right(&books(&[Some(ACKED), Some(Told::Acked(Some(1))), Some(Told::Unknown)]), log(&[0, 1, 2]));
    right(&books(&[Some(ACKED), Some(Told::Unknown), Some(Told::NotWritten)]), log(&[0]));
    right(&books(&[Some(ACKED), Some(Told::NotWritten), None, Some(ACKED)]), log(&[0, 2]));
    right(&books(&[Some(ACKED), Some(Told::Nothing), Some(Told::Nothing)]), log(&[0, 1]));
}

#[test]
fn every_broken_promise_is_named() {
    wrong(&books(&[Some(ACKED), Some(ACKED)]), log(&[0]), "missing");
    wrong(&books(&[Some(ACKED), Some(ACKED)]), log(&[0, 1, 1]), "again");
    wrong(&books(&[Some(ACKED), Some(ACKED)]), log(&[1, 0]), "stands before");
    wrong(&books(&[Some(Told::Acked(Some(3)))]), log(&[0]), "was reported");
    wrong(&books(&[Some(Told::NotWritten)]), log(&[0]), "not written");
    wrong(&books(&[Some(Told::NotWritten), Some(ACKED)]), log(&[1]), "behind");
    wrong(&books(&[Some(Told::Unknown), Some(Told::Unknown)]), log(&[1]), "a gap");
    wrong(&books(&[Some(Told::Nothing), Some(Told::Nothing)]), log(&[1]), "a gap");
    let mut foreign = log(&[0]);
    foreign.records.push((1, None));
    foreign.end = 2;
    wrong(&books(&[Some(ACKED)]), foreign, "nobody sent");
    let mut holed = log(&[0, 1]);
    holed.records[1].0 = 5;
    wrong(&books(&[Some(ACKED), Some(ACKED)]), holed, "follows");
    let seen = books(&[Some(ACKED)]);
    seen.saw(&PLACE, 1, name(9));
    wrong(&seen, log(&[0]), "a consumer saw");
    let refused = Image { refused_from: Some(0), ..Image::default() };
    wrong(&books(&[]), refused, "refused");
}

#[test]
fn who_goes_on_by_itself_may_have_holes_where_something_failed() {
    let ledger = books(&[Some(Told::NotWritten), Some(ACKED)]);
    ledger.skips(0);
    right(&ledger, log(&[1]));
    wrong(&ledger, log(&[]), "missing");
}

#[test]
fn leave_goes_as_far_as_it_says() {
    let acked = books(&[Some(Told::Acked(Some(0))), Some(Told::Acked(Some(1)))]);
    let torn = |from| Leave { torn_from: Some(from), ..Leave::default() };
    assert!(judged(&acked, log(&[0]), torn(1)).is_empty());
    assert!(!judged(&acked, log(&[]), torn(1)).is_empty());
    let loss = Leave { loss: true, ..Leave::default() };
    assert!(judged(&acked, log(&[]), loss.clone()).is_empty());
    assert!(!judged(&acked, log(&[0, 0]), loss).is_empty());
    let damage = Leave { damage: true, ..Leave::default() };
    let refused = Image { refused_from: Some(1), ..log(&[0]) };
    assert!(judged(&acked, refused.clone(), damage.clone()).is_empty());
    let refused_later = Image { refused_from: Some(1), ..log(&[]) };
    assert!(!judged(&acked, refused_later, damage).is_empty());
    let later = Leave { made_anew: Some(Instant::now() + Duration::from_secs(1)), ..Leave::default() };
    assert!(judged(&acked, log(&[]), later).is_empty());
}

#[test]
fn what_was_deleted_is_not_missed() {
    let acked = books(&[Some(Told::Acked(Some(0))), Some(Told::Acked(Some(1))), Some(ACKED)]);
    let later = Image { start: 2, end: 3, records: vec![(2, Some(name(2)))], ..Image::default() };
    wrong(&acked, later.clone(), "nothing from 0 on was ever deleted");
    assert!(judged(&acked, later.clone(), Leave { retention: true, ..Leave::default() }).is_empty());
    acked.asked_below(&PLACE, 2);
    acked.asked_below(&PLACE, 1);
    acked.starts_at(&PLACE, 2);
    right(&acked, later.clone());
    acked.starts_at(&PLACE, 3);
    wrong(&acked, later.clone(), "started at 3 before");
    let all = Image { start: 3, end: 3, ..Image::default() };
    wrong(&acked, all.clone(), "nothing from 2 on");
    acked.asked_below(&PLACE, i64::MAX);
    right(&acked, all);
}

#[test]
fn what_stands_behind_something_that_is_there_was_not_deleted() {
    let from_5 = |numbers: &[u32]| {
        let records: Vec<_> = (5..).zip(numbers.iter().map(|number| Some(name(*number)))).collect();
        Image { start: 5, end: 5 + i64::try_from(records.len()).unwrap(), records, ..Image::default() }
    };
    let acked = books(&[Some(ACKED), Some(ACKED), Some(ACKED)]);
    let unknown = books(&[Some(Told::Unknown), Some(Told::Unknown), Some(Told::Unknown)]);
    for ledger in [&acked, &unknown] {
        ledger.asked_below(&PLACE, 5);
        for left in [&[0, 1, 2][..], &[1, 2], &[2]] {
            right(ledger, from_5(left));
        }
    }
    right(&acked, from_5(&[]));
    wrong(&acked, from_5(&[0, 2]), "missing");
    wrong(&unknown, from_5(&[0, 2]), "a gap");
    wrong(&books_asked(&[Some(Told::Acked(Some(6)))]), from_5(&[]), "missing");
}

fn books_asked(fates: &[Option<Told>]) -> Ledger {
    let ledger = books(fates);
    ledger.asked_below(&PLACE, 5);
    ledger
}

#[test]
fn weaker_settings_are_promised_less() {
    let at = |offset| Some(Told::Acked(Some(offset)));
    let weak = |acks, fates: &[Option<Told>]| {
        let ledger = books(fates);
        ledger.is_weak(0, acks);
        ledger
    };
    let unflushed = || Leave { unflushed: true, ..Leave::default() };
    let calm = || Leave { calm: true, ..Leave::default() };
    for acks in [Acks::All, Acks::Leader] {
        let ledger = weak(acks, &[at(0), at(1), Some(Told::Unknown)]);
        right(&ledger, log(&[0, 1, 0, 1]));
        right(&ledger, log(&[0, 1, 2, 1]));
        wrong(&ledger, log(&[0]), "is not there");
        wrong(&ledger, log(&[1, 0]), "is not there");
        assert!(!judged(&ledger, log(&[0, 1, 0]), calm()).is_empty());
        assert!(judged(&ledger, log(&[0, 1, 2]), calm()).is_empty());
        assert_eq!(judged(&ledger, log(&[0]), unflushed()).is_empty(), acks == Acks::Leader);
    }
    let ledger = weak(Acks::All, &[at(1), at(0)]);
    assert!(!judged(&ledger, log(&[1, 0]), calm()).is_empty());
    let splits = || Leave { splits: true, ..calm() };
    assert!(judged(&ledger, log(&[1, 0]), splits()).is_empty(), "halves come behind what was in flight");
    assert!(!judged(&ledger, log(&[1, 0, 1]), splits()).is_empty(), "what was refused is not there twice");
    let silent = weak(Acks::None, &[Some(ACKED), Some(ACKED), Some(Told::NotWritten)]);
    right(&silent, log(&[]));
    right(&silent, log(&[1, 0]));
    assert!(!judged(&silent, log(&[1, 0]), calm()).is_empty());
    wrong(&silent, log(&[0, 0]), "again");
    wrong(&silent, log(&[0, 2]), "not written");
}
