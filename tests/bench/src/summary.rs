//! Of several rounds: the least, the median, the most. Plain.

use std::fmt::{Display, Formatter};

/// Of at least one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub least: f64,
    pub median: f64,
    pub most: f64,
    /// Where the figures fall into two groups far apart, the medians of both: a machine may have a slow and a fast state, and an
    /// average of them is neither.
    pub modes: Option<(f64, f64)>,
}

/// Two groups are two when everything in one is so many times everything in the other, and each has been seen twice.
const MODES_APART: f64 = 1.5;
const MODE_SIZE_MIN: usize = 2;

impl Summary {
    /// `None` of nothing.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        Some(Self { least, median: median(&figures), most, modes: modes(&figures) })
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn modes(sorted: &[f64]) -> Option<(f64, f64)> {
    let gap = |at: usize| sorted[at] / sorted[at - 1];
    let last = sorted.len().checked_sub(MODE_SIZE_MIN)?;
    let widest = (MODE_SIZE_MIN..=last).max_by(|one, other| gap(*one).total_cmp(&gap(*other)))?;
    let (slow, fast) = sorted.split_at(widest);
    (gap(widest) >= MODES_APART).then(|| (median(slow), median(fast)))
}

/// `median (least–most)`, to three digits; behind it two modes, where there are; of one figure that alone.
impl Display for Summary {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        if self.least == self.most {
            return to.write_str(&figure(self.median));
        }
        write!(to, "{} ({}–{}", figure(self.median), figure(self.least), figure(self.most))?;
        if let Some((slow, fast)) = self.modes {
            write!(to, "; modes {}, {}", figure(slow), figure(fast))?;
        }
        to.write_str(")")
    }
}

/// To three digits; below a tenth to two.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.*}", (1.0 - size.log10().floor()) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let of = |figures: &[f64]| Summary::of(figures.iter().copied());
        assert_eq!(of(&[]), None);
        let expected = Summary { least: 1.0, median: 2.0, most: 3.0, modes: None };
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(expected));
        assert_eq!(of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(of(&[1.234, 10.0, 1234.5]).unwrap().to_string(), "10.0 (1.23–1234)");
    }

    #[test]
    fn two_states_of_a_machine_are_told_apart_and_one_outlier_is_none() {
        let of = |figures: &[f64]| Summary::of(figures.iter().copied()).unwrap();
        assert_eq!(of(&[4.0, 16.0, 4.2, 17.0, 4.1]).modes, Some((4.1, 16.5)));
        assert_eq!(of(&[4.0, 16.0, 4.2, 17.0, 4.1]).to_string(), "4.20 (4.00–17.0; modes 4.10, 16.5)");
        for one in
            [&[4.0, 4.1, 4.2, 4.3, 16.0][..], &[4.0, 16.0], &[1.0, 1.4, 1.9, 2.6], &[0.0, 0.0, 0.0, 0.0]]
        {
            assert_eq!(of(one).modes, None, "{one:?}");
        }
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (0.0, "0.00"),
            (0.0123, "0.012"),
            (0.000_187, "0.00019"),
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
