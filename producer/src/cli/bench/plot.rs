//! The picture: latency by percentile, and the rate over time, as one SVG without scripts or fonts of its own.

use std::fmt::Write as _;

use super::flight::Measured;
use super::outcome::Outcome;
use crate::cli::human;
use crate::cli::result::seconds_text;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 720.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 928.0;
/// Steps of the percentile axis between two powers of ten.
const STEPS_PER_DECADE: u32 = 40;

/// Where a panel lies, from its top to its bottom.
struct Panel {
    top: f64,
    bottom: f64,
}

const LATENCY: Panel = Panel { top: 112.0, bottom: 388.0 };
const RATE: Panel = Panel { top: 478.0, bottom: 664.0 };

impl Panel {
    /// `share` of the height, from the bottom.
    fn y(&self, share: f64) -> f64 {
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }
}

fn x(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

/// The whole picture.
pub fn svg(outcome: &Outcome, measured: &Measured) -> String {
    let mut out = String::with_capacity(32 * 1024);
    // Writing to a String does not fail.
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">
<style>
.title {{ font-size: 20px; font-weight: 600; fill: #1b2733 }}
.sub {{ fill: #5b6b7a }}
.head {{ font-size: 14px; font-weight: 600; fill: #1b2733 }}
.tick {{ font-size: 12px; fill: #5b6b7a }}
.grid {{ stroke: #e3e8ed; stroke-width: 1 }}
.axis {{ stroke: #9aa7b3; stroke-width: 1 }}
.mark {{ font-size: 12px; font-weight: 600; fill: #0b6e8a }}
</style>
<rect width="100%" height="100%" fill="#ffffff"/>
"##
    );
    let seconds = seconds_text(outcome.seconds);
    let rate = human::count(outcome.records_per_second as u64);
    text(&mut out, LEFT, 36.0, "title", "start", &format!("{rate} records/s acknowledged over {seconds}"));
    text(&mut out, LEFT, 60.0, "sub", "start", &outcome.load_line());
    latency(&mut out, outcome, measured);
    rates(&mut out, outcome, measured);
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ =
        writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#);
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
}

/// A curve through these points, and what lies below it.
fn curve(out: &mut String, points: &[(f64, f64)], bottom: f64, color: &str) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let mut path = String::with_capacity(points.len() * 14);
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    let (from, to) = (first.0, last.0);
    let _ = writeln!(
        out,
        r#"<path d="{path}L{to:.1} {bottom:.1}L{from:.1} {bottom:.1}Z" fill="{color}" fill-opacity="0.12"/>"#
    );
    let _ = writeln!(
        out,
        r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round"/>"#
    );
}

/// Both axes are logarithmic: of the latency, and of the share of records that took longer.
fn latency(out: &mut String, outcome: &Outcome, measured: &Measured) {
    let panel = LATENCY;
    text(out, LEFT, panel.top - 18.0, "head", "start", "Latency by percentile, from due to acknowledged");
    let (Some(latency), histogram) = (outcome.latency_ms, measured.latencies.histogram()) else {
        text(out, LEFT, panel.y(0.5), "sub", "start", "nothing was acknowledged");
        return;
    };
    // As many nines as there are records for.
    let nines = (histogram.len() as f64).log10().ceil().clamp(1.0, 7.0);
    let lowest = (histogram.min().max(1) as f64).log10().floor();
    let highest = (histogram.max().max(1) as f64 * 1.02).log10().ceil().max(lowest + 1.0);
    let height = |micros: f64| panel.y((micros.max(1.0).log10() - lowest) / (highest - lowest));
    for decade in lowest as i32..=highest as i32 {
        let micros = 10_f64.powi(decade);
        line(out, (LEFT, height(micros)), (RIGHT, height(micros)), "grid");
        let label = seconds_text(micros / 1e6).replace(".00", "").replace(".0", "");
        text(out, LEFT - 10.0, height(micros) + 4.0, "tick", "end", &label);
    }
    let across = |nines_at: f64| x(nines_at / nines);
    let half = 2_f64.log10();
    for (at, label) in [(0.0, "0 %".to_owned()), (half, "50 %".to_owned())]
        .into_iter()
        .chain((1..=nines as i32).map(|nines| (f64::from(nines), percent(nines))))
    {
        line(out, (across(at), panel.top), (across(at), panel.bottom), "grid");
        text(out, across(at), panel.bottom + 20.0, "tick", "middle", &label);
    }
    let steps = nines as u32 * STEPS_PER_DECADE;
    let mut points = Vec::with_capacity(steps as usize + 1);
    for step in 0..=steps {
        let at = f64::from(step) / f64::from(STEPS_PER_DECADE);
        let quantile = 1.0 - 10_f64.powf(-at);
        points.push((across(at), height(histogram.value_at_quantile(quantile) as f64)));
    }
    curve(out, &points, panel.bottom, "#0b84a5");
    line(out, (LEFT, panel.bottom), (RIGHT, panel.bottom), "axis");
    for (at, name, ms) in [
        (half, "p50", latency.p50),
        (2.0, "p99", latency.p99),
        (3.0, "p99.9", latency.p999),
        (nines, "max", latency.max),
    ] {
        if at > nines || (name != "max" && at > nines - 0.5) {
            continue;
        }
        let (x, y) = (across(at), height(ms * 1000.0));
        let _ = writeln!(
            out,
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="#0b84a5" stroke="#ffffff" stroke-width="1.5"/>"##
        );
        // Below and to the right of it the curve never goes.
        let (anchor, x) = if name == "max" { ("end", x - 2.0) } else { ("start", x + 8.0) };
        let label = format!("{name} {}", seconds_text(ms / 1000.0));
        text(out, x, y + 18.0, "mark", anchor, &label);
    }
}

/// 90, 99, 99.9 … per cent.
fn percent(nines: i32) -> String {
    match nines {
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(usize::try_from(more - 2).unwrap_or(0))),
    }
}

fn rates(out: &mut String, outcome: &Outcome, measured: &Measured) {
    let panel = RATE;
    text(out, LEFT, panel.top - 18.0, "head", "start", "Records acknowledged a second, over time");
    let rates = measured.timeline.rates(measured.until);
    let due = outcome.load.rate;
    let highest = rates.iter().map(|(_, rate)| *rate).chain(due).fold(1.0, f64::max);
    let step = round_step(highest / 4.0);
    let most = (highest / step).ceil() * step;
    let height = |rate: f64| panel.y(rate / most);
    let mut rate = 0.0;
    while rate <= most + step / 2.0 {
        line(out, (LEFT, height(rate)), (RIGHT, height(rate)), if rate > 0.0 { "grid" } else { "axis" });
        text(out, LEFT - 10.0, height(rate) + 4.0, "tick", "end", &short(rate));
        rate += step;
    }
    let seconds = outcome.seconds.max(1e-3);
    let across = |at: f64| x(at / seconds);
    let step = round_step(seconds / 8.0);
    let mut at = 0.0;
    while at <= seconds + step / 1000.0 {
        text(out, across(at), panel.bottom + 20.0, "tick", "middle", &format!("{} s", short(at)));
        at += step;
    }
    let points: Vec<_> = rates.iter().map(|(at, rate)| (across(*at), height(*rate))).collect();
    curve(out, &points, panel.bottom, "#6f4e9c");
    if let Some(due) = due {
        let y = height(due);
        let _ = writeln!(
            out,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#d1495b" stroke-width="1.5" stroke-dasharray="6 4"/>"##
        );
        text(out, RIGHT, panel.top - 18.0, "sub", "end", &format!("dashed: {} due", short(due)));
    }
}

/// The next of 1, 2, 5, 10, 20 … that is not below.
fn round_step(at_least: f64) -> f64 {
    let power = 10_f64.powf(at_least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= at_least)
        .unwrap_or(10.0 * power)
}

/// 1.5M, 200k, 12, 0.25.
fn short(number: f64) -> String {
    let (number, unit) = match number {
        _ if number >= 1e6 => (number / 1e6, "M"),
        _ if number >= 1e4 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    // At most three decimals, and none that says nothing.
    let digits = format!("{number:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_numbers_are_round() {
        for (at_least, step) in [(0.03, 0.05), (1.0, 1.0), (1.1, 2.0), (23.0, 50.0), (60_000.0, 100_000.0)] {
            assert!((round_step(at_least) - step).abs() < step * 1e-9, "{at_least}");
        }
        for (number, text) in [(0.0, "0"), (0.25, "0.25"), (100.0, "100"), (2e5, "200k"), (1.5e6, "1.5M")] {
            assert_eq!(short(number), text);
        }
        assert_eq!([1, 2, 3, 5].map(percent), ["90 %", "99 %", "99.9 %", "99.999 %"]);
    }

    #[test]
    fn the_picture_shows_what_was_measured() {
        let (outcome, measured) = super::super::outcome::tests::outcome();
        let svg = svg(&outcome, &measured);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for words in ["1,000 records/s acknowledged over 2.00 s", "p50 1.50 ms", "99.9 %", "dashed: 1000 due"]
        {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let nothing = Measured::new(measured.until).unwrap();
        let run = Outcome { latency_ms: None, seconds: 0.0, ..outcome };
        let empty = super::svg(&run, &nothing);
        assert!(empty.contains("nothing was acknowledged") && !empty.contains("NaN"), "{empty}");
    }
}
