//! Numbers as people read them.

use std::time::Duration;

/// 1234567 as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with one decimal in the unit that fits: `52.1 MiB`.
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "bytes";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{amount:.1} {unit}") }
}

/// A duration with three digits: `1.23 ms`, `45.6 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (amount, unit) = match seconds {
        _ if seconds >= 1.0 => (seconds, "s"),
        _ if seconds >= 1e-3 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    let decimals = match amount {
        _ if amount >= 100.0 => 0,
        _ if amount >= 10.0 => 1,
        _ => 2,
    };
    format!("{amount:.decimals$} {unit}")
}

/// `1 record`, `2 records`.
pub fn plural(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_units_fit() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (bytes, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")] {
            assert_eq!(size(bytes), text);
        }
        for (micros, text) in
            [(0, "0.00 µs"), (85, "85.0 µs"), (1230, "1.23 ms"), (456_000, "456 ms"), (12_340_000, "12.3 s")]
        {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
        assert_eq!(
            (plural(1, "record").as_str(), plural(2000, "record").as_str()),
            ("1 record", "2,000 records")
        );
    }
}
