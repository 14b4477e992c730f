//! Of several rounds: the least, the median, the most. Plain.

use std::fmt::{Display, Formatter};

/// Of at least one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Summary {
    /// `None` of nothing.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => f64::midpoint(figures[middle - 1], figures[middle]),
            _ => figures[middle],
        };
        Some(Self { least, median, most })
    }
}

/// `median (least–most)`, to three digits.
impl Display for Summary {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} ({}–{})", figure(self.median), figure(self.least), figure(self.most))
    }
}

/// To three digits, as short as it goes.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let of = |figures: &[f64]| Summary::of(figures.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Summary { least: 1.0, median: 2.0, most: 3.0 }));
        assert_eq!(of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(of(&[1.234, 10.0, 1234.5]).unwrap().to_string(), "10.0 (1.23–1234)");
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (0.0, "0.00"),
            (0.0123, "0.012"),
            (0.5, "0.50"),
            (9.994, "9.99"),
            (42.0, "42.0"),
            (123.4, "123"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }
}
