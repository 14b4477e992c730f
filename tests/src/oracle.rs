//! What must be in a log: every acknowledged record exactly once, in order.

use crate::librdkafka::Record;

/// A numbered record's value: the number, then filling of a length that varies, so that batches differ in size.
pub fn value_of(number: u64) -> Vec<u8> {
    let filling = usize::try_from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58).unwrap_or(0);
    let mut value = format!("record-{number:012}-").into_bytes();
    value.resize(value.len() + filling, b'a' + (number % 26) as u8);
    value
}

/// The number in a value that [`value_of`] made; `None` if a single byte differs.
pub fn number_of(value: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.strip_prefix("record-")?.get(..12)?.parse().ok()?;
    (value_of(number) == value).then_some(number)
}

/// Checks a topic that one producer wrote with numbered records: `read` as it came from the log, `sent` records in
/// all, of which those that `acked` names were acknowledged. Within each partition the numbers must rise.
///
/// # Errors
/// Says what is missing, repeated, out of order or changed, with numbers and offsets.
pub fn check(read: &[Record], sent: u64, acked: impl Fn(u64) -> bool) -> Result<(), String> {
    let mut seen = vec![None; usize::try_from(sent).map_err(|error| error.to_string())?];
    let mut last: Vec<(i32, i64, u64)> = Vec::new();
    let mut faults = Vec::new();
    for record in read {
        let at = format!("partition {} offset {}", record.partition, record.offset);
        let Some(number) = record.value.as_deref().and_then(number_of).filter(|number| *number < sent) else {
            faults.push(format!("{at} holds a record that was never sent"));
            continue;
        };
        match &mut seen[usize::try_from(number).map_err(|error| error.to_string())?] {
            Some(first) => faults.push(format!("record {number} is at {first} and again at {at}")),
            empty => *empty = Some(at.clone()),
        }
        match last.iter_mut().find(|(partition, ..)| *partition == record.partition) {
            None => {
                if record.offset != 0 {
                    faults.push(format!(
                        "the first record of partition {} is at {}",
                        record.partition, record.offset
                    ));
                }
                last.push((record.partition, record.offset, number));
            }
            Some((_, offset, before)) => {
                if record.offset != *offset + 1 {
                    faults.push(format!("{at} follows offset {offset}"));
                }
                if number <= *before {
                    faults.push(format!("{at} holds record {number} behind record {before}"));
                }
                (*offset, *before) = (record.offset, number);
            }
        }
    }
    let missing: Vec<u64> = (0..sent)
        .zip(&seen)
        .filter(|(number, at)| at.is_none() && acked(*number))
        .map(|(number, _)| number)
        .collect();
    if let Some(first) = missing.first() {
        faults.push(format!("{} acknowledged records are missing, the first is {first}", missing.len()));
    }
    if faults.is_empty() { Ok(()) } else { Err(summary(&faults)) }
}

/// Checks a topic to which `sent` records were sent, all of which must have been acknowledged, against the offsets that
/// were `told`. A line for people, and whether everything is as it must be.
#[must_use]
pub fn verdict(topic: &str, read: &[Record], sent: u64, told: &[Option<i64>]) -> (String, bool) {
    let offset_of = |number| told.get(usize::try_from(number).ok()?).copied().flatten();
    let acknowledged = told.iter().flatten().count() as u64;
    let found =
        check(read, sent, |number| offset_of(number).is_some()).and_then(|()| check_places(read, offset_of));
    let in_words = match &found {
        Ok(()) => "every acknowledged record is there exactly once, in order, where it was told to be",
        Err(faults) => faults,
    };
    let line = format!(
        "{topic}: {sent} records, {acknowledged} acknowledged, {} in the log: {in_words}",
        read.len()
    );
    (line, found.is_ok() && acknowledged == sent)
}

/// Checks that records are where their sender was told: `told` names the offset of a record, −1 or `None` where nothing was said.
///
/// # Errors
/// Says which record was told to be at one place and is at another.
pub fn check_places(read: &[Record], told: impl Fn(u64) -> Option<i64>) -> Result<(), String> {
    let faults: Vec<_> = read
        .iter()
        .filter_map(|record| {
            let number = record.value.as_deref().and_then(number_of)?;
            let offset = told(number).filter(|offset| *offset >= 0 && *offset != record.offset)?;
            let (partition, at) = (record.partition, record.offset);
            Some(format!(
                "record {number} of partition {partition} was told to be at {offset} and is at {at}"
            ))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(summary(&faults)) }
}

fn summary(faults: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = faults.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    if faults.len() > SHOWN {
        text.push_str(&format!("\n… and {} more", faults.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(numbers: &[(i32, u64)]) -> Vec<Record> {
        let mut next = [0, 0];
        numbers
            .iter()
            .map(|(partition, number)| {
                let offset = &mut next[usize::try_from(*partition).unwrap()];
                *offset += 1;
                Record {
                    partition: *partition,
                    offset: *offset - 1,
                    value: Some(value_of(*number)),
                    ..Record::default()
                }
            })
            .collect()
    }

    #[test]
    fn numbers_survive_the_way_into_a_value_and_out() {
        for number in [0, 1, 25, 26, 999_999] {
            assert_eq!(number_of(&value_of(number)), Some(number));
        }
        let mut changed = value_of(7);
        changed.push(b'x');
        assert_eq!(number_of(&changed), None);
    }

    #[test]
    fn a_whole_log_passes_and_every_fault_is_named() {
        let all = |_| true;
        assert_eq!(check(&log(&[(0, 0), (1, 1), (0, 2), (1, 3)]), 4, all), Ok(()));
        assert_eq!(check(&log(&[(0, 0), (0, 2)]), 4, |number| number % 2 == 0), Ok(()));
        for (numbers, fault) in [
            (vec![(0, 0), (0, 1), (0, 1)], "again"),
            (vec![(0, 1), (0, 0)], "behind"),
            (vec![(0, 0)], "missing"),
            (vec![(0, 0), (0, 1), (0, 9)], "never sent"),
        ] {
            let said = check(&log(&numbers), 2, all).unwrap_err();
            assert!(said.contains(fault), "{said}");
        }
        assert_eq!(
            check_places(&log(&[(0, 0), (1, 1), (0, 2)]), |number| [Some(0), None, Some(-1)]
                [number as usize]),
            Ok(())
        );
        assert!(
            check_places(&log(&[(0, 0)]), |_| Some(3)).unwrap_err().contains("told to be at 3 and is at 0")
        );
        let mut holed = log(&[(0, 0), (0, 1)]);
        holed[1].offset = 5;
        assert!(check(&holed, 2, all).unwrap_err().contains("follows offset 0"));
    }
}
