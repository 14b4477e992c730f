//! Durations and sizes as both command lines read and print them: `5ms`, `1.5s`, `10m`; `64KiB`, `1MiB`, plain bytes.

use std::fmt;
use std::time::Duration;

/// Why a word is no duration or no size; says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {}", match wanted {
    Wanted::Duration => "write a number and a unit: 500us, 5ms, 1.5s, 10m, 2h, 7d",
    Wanted::Size => "write a number of bytes, or one with KiB, MiB, GiB or TiB: 65536, 64KiB, 1.5MiB",
})]
pub struct UnitError {
    problem: Problem,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("no number")]
    NoNumber,
    #[error("no unit")]
    NoUnit,
    #[error("unknown unit '{0}'")]
    UnknownUnit(String),
    #[error("too large")]
    TooLarge,
    #[error("more digits than the unit has")]
    TooFine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Duration,
    Size,
}

/// Nanoseconds of each unit, largest first.
const DURATIONS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Bytes of each unit, largest first. Powers of 1000 are left out: `MB` means one thing to disks and another to Kafka.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration. A bare `0` needs no unit; anything else does, since Kafka's settings are in milliseconds and
/// people think in seconds.
///
/// # Errors
/// What is wrong with it and how it is written.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let failed = |problem| UnitError { problem, wanted: Wanted::Duration };
    let nanos = parse(text, &DURATIONS, if text == "0" { Some(1) } else { None }).map_err(failed)?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a size in bytes.
///
/// # Errors
/// What is wrong with it and how it is written.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZES, Some(1)).map_err(|problem| UnitError { problem, wanted: Wanted::Size })
}

/// `number[.fraction]unit` in multiples of the smallest unit, exactly.
fn parse(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Result<u64, Problem> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let scale = match (unit, bare) {
        ("", _) if number.is_empty() => return Err(Problem::NoNumber),
        ("", Some(scale)) => scale,
        ("", None) => return Err(Problem::NoUnit),
        _ => match units.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => *scale,
            None => return Err(Problem::UnknownUnit(unit.to_owned())),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| -> Result<u128, Problem> {
        if text.contains('.') {
            return Err(Problem::NoNumber);
        }
        text.parse().map_err(|_| if text.is_empty() { Problem::NoNumber } else { Problem::TooLarge })
    };
    let mut total = digits(whole)?.checked_mul(u128::from(scale)).ok_or(Problem::TooLarge)?;
    if number.contains('.') {
        // Eighteen decimal digits are finer than a nanosecond of a day and a byte of a TiB can need.
        if fraction.len() > 18 {
            return Err(Problem::TooFine);
        }
        let parts = digits(fraction)? * u128::from(scale);
        let ten_power = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(18));
        if !parts.is_multiple_of(ten_power) {
            return Err(Problem::TooFine);
        }
        total += parts / ten_power;
    }
    u64::try_from(total).map_err(|_| Problem::TooLarge)
}

/// Prints a duration in the largest unit that divides it, so that [`parse_duration`] reads the same back.
#[derive(Debug, Clone, Copy)]
pub struct DisplayDuration(pub Duration);

impl fmt::Display for DisplayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Past 584 years it prints what it can hold: no setting means more.
        print(u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX), &DURATIONS, "0s", f)
    }
}

/// Prints a size in the largest unit that divides it, so that [`parse_size`] reads the same back.
#[derive(Debug, Clone, Copy)]
pub struct DisplaySize(pub u64);

impl fmt::Display for DisplaySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_multiple_of(1 << 10) {
            return self.0.fmt(f);
        }
        print(self.0, &SIZES, "0", f)
    }
}

fn print(amount: u64, units: &[(&str, u64)], zero: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match units.iter().find(|(_, scale)| amount.is_multiple_of(*scale)) {
        Some((unit, scale)) if amount > 0 => write!(f, "{}{unit}", amount / scale),
        _ => f.write_str(zero),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        let ms = Duration::from_millis;
        let cases = [
            ("5ms", ms(5)),
            ("3s", ms(3_000)),
            ("1.5s", ms(1_500)),
            ("0.25ms", Duration::from_micros(250)),
            ("10m", ms(600_000)),
            ("2h", ms(7_200_000)),
            ("7d", ms(604_800_000)),
            ("500us", Duration::from_micros(500)),
            ("1 s", ms(1_000)),
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_take_a_unit() {
        let cases = [
            ("0", 0),
            ("1000000", 1_000_000),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("1.5MiB", 3 << 19),
            ("17B", 17),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_its_reason() {
        let cases = [
            ("", "no number"),
            ("s", "no number"),
            ("-5s", "unknown unit '-5s'"),
            ("5", "no unit"),
            ("5 parsecs", "unknown unit 'parsecs'"),
            ("1.2.3s", "no number"),
            (".5s", "no number"),
            ("5.s", "no number"),
            ("1.5ns", "more digits"),
            ("999999999999999d", "too large"),
            ("99999999999999999999999999999999999999999s", "too large"),
        ];
        for (text, expected) in cases {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("5ms"), "{text}: {error}");
        }
        for (text, expected) in
            [("5MB", "unknown unit 'MB'"), ("1.5", "more digits"), ("99999999TiB", "too large")]
        {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("64KiB"), "{text}: {error}");
        }
    }

    #[test]
    fn printed_in_the_largest_unit_that_divides() {
        let cases =
            [(5, "5ms"), (1_500, "1500ms"), (30_000, "30s"), (120_000, "2m"), (0, "0s"), (86_400_000, "1d")];
        for (ms, expected) in cases {
            assert_eq!(DisplayDuration(Duration::from_millis(ms)).to_string(), expected);
        }
        for (bytes, expected) in
            [(65_536, "64KiB"), (1_000_000, "1000000"), (0, "0"), (1 << 30, "1GiB"), (1535, "1535")]
        {
            assert_eq!(DisplaySize(bytes).to_string(), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_printed_is_read_back(nanos in any::<u64>(), bytes in any::<u64>(), round in 0u32..40) {
            let (nanos, bytes) = (nanos >> round << round, bytes >> round << round);
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&DisplayDuration(duration).to_string()), Ok(duration));
            prop_assert_eq!(parse_size(&DisplaySize(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
