//! How far a run is, while it runs.

use std::time::Duration;

use tokio::time::Instant;

use super::tracker::Counts;
use crate::cli::human;
use crate::cli::progress::ProgressLine;

/// How often the line is drawn anew.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The line, and since when records go.
pub struct Progress {
    line: ProgressLine,
    begin: Instant,
}

impl Progress {
    /// `total`: bytes of all input, if that is known.
    pub fn start(quiet: bool, total: Option<u64>) -> Self {
        let known = "{bar:20} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left: {msg}";
        let open = "{spinner} {bytes} {binary_bytes_per_sec}: {msg}";
        Self { line: ProgressLine::start(quiet, total, known, open), begin: Instant::now() }
    }

    pub fn update(&self, bytes_read: u64, counts: &Counts) {
        self.line.update(bytes_read, || message(counts, self.begin.elapsed()));
    }

    pub fn finish(&self) {
        self.line.finish();
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
