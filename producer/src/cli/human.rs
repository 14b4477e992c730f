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

/// A long time in one number: `26 s`, `58 min`, `5 h`, `3 days`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", count(seconds / 86_400)),
    }
}

/// So many of a thing in a second: whole, or with a digit behind the point where whole ones would say too little.
pub fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
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
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (3_500, "58 min"), (18_100, "5 h"), (200_000, "2 days")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        for (per_second, text) in [(0.0, "0"), (0.96, "1.0"), (2.04, "2.0"), (9.99, "10"), (1234.5, "1,235")]
        {
            assert_eq!(rate(per_second), text);
        }
        assert_eq!(
            (plural(1, "record").as_str(), plural(2000, "record").as_str()),
            ("1 record", "2,000 records")
        );
    }
}
