use std::time::Duration;

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
