//! Progress on standard error, only on a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::tracker::Counts;
use crate::cli::human;

/// How often the line is drawn anew.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The line, if anyone sees it.
pub struct Progress {
    bar: Option<ProgressBar>,
    begin: Instant,
}

impl Progress {
    /// `total`: bytes of all input, if that is known.
    pub fn start(quiet: bool, total: Option<u64>) -> Self {
        let begin = Instant::now();
        if quiet || !io::stderr().is_terminal() {
            return Self { bar: None, begin };
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{bar:20} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left: {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec}: {msg}",
        };
        // A template that cannot be read would be a mistake in the two lines above; the default one serves then.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.tick();
        Self { bar: Some(bar), begin }
    }

    pub fn update(&self, bytes_read: u64, counts: &Counts) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes_read);
            bar.set_message(message(counts, self.begin.elapsed()));
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far the records are.
fn message(counts: &Counts, elapsed: Duration) -> String {
    let under_way = counts.admitted.saturating_sub(counts.acked + counts.failed());
    let rate = counts.acked as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let failed = match counts.failed() {
        0 => String::new(),
        failed => format!(", {} failed", human::count(failed)),
    };
    format!(
        "{} acknowledged, {}/s, {} in flight{failed}",
        human::count(counts.acked),
        human::count(rate as u64),
        human::count(under_way)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_records_are() {
        let counts = Counts { admitted: 5300, acked: 5000, ..Counts::default() };
        let text = message(&counts, Duration::from_secs(2));
        assert_eq!(text, "5,000 acknowledged, 2,500/s, 300 in flight");
        let counts = Counts { not_written: 1, unknown: 2, ..counts };
        let text = message(&counts, Duration::from_secs(2));
        assert_eq!(text, "5,000 acknowledged, 2,500/s, 297 in flight, 3 failed");
        assert_eq!(message(&Counts::default(), Duration::ZERO), "0 acknowledged, 0/s, 0 in flight");
    }
}
