//! Values that several flags take.

use gapless_common::units::parse_size;

/// One record in some three hours. What is slower is a job for a timer of the system.
const RATE_MIN: f64 = 0.0001;
/// More than any machine sends, and few enough to be counted in nanoseconds.
const RATE_MAX: f64 = 1e9;

/// A size that memory can have.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    usize::try_from(bytes).map_err(|_| "more than this machine can address".to_owned())
}

/// Records a second.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("expected records a second, between {RATE_MIN} and {RATE_MAX}")),
    }
}

/// `NAME=VALUE`; the value may be empty, and may hold further equals signs.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name, an equals sign and a value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_records_a_second() {
        for (text, expected) in [("1000", Some(1000.0)), ("0.5", Some(0.5)), ("1e9", Some(1e9))] {
            assert_eq!(parse_rate(text).ok(), expected, "{text}");
        }
        for text in ["0", "-1", "1e10", "1e-9", "NaN", "inf", "fast"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pair_has_a_name() {
        for (text, expected) in
            [("a=1", Some(("a", "1"))), ("a==", Some(("a", "="))), ("a=", Some(("a", "")))]
        {
            let pair = parse_pair(text).ok();
            assert_eq!(
                pair.as_ref().map(|(name, value)| (name.as_str(), value.as_str())),
                expected,
                "{text}"
            );
        }
        for text in ["", "a", "=1"] {
            assert!(parse_pair(text).is_err(), "{text}");
        }
    }
}
