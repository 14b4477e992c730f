//! How far a run is, while it runs.

use std::time::Duration;

use tokio::time::Instant;

use super::tracker::Counts;
use crate::cli::human;
use crate::cli::progress::{ProgressLine, left_text};

/// How often the line is drawn anew.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// So long without an acknowledgement, while records wait for one, is worth a word.
const SILENCE: Duration = Duration::from_secs(2);

/// The line, and since when records go.
pub struct Progress {
    line: ProgressLine,
    total: Option<u64>,
    begin: Instant,
    /// How many were acknowledged, and when that number rose last or nothing was under way.
    heard: (u64, Instant),
}

impl Progress {
    /// `total`: bytes of all input, if that is known.
    pub fn start(quiet: bool, total: Option<u64>) -> Self {
        let begin = Instant::now();
        Self { line: ProgressLine::start(quiet, total), total, begin, heard: (0, begin) }
    }

    pub fn update(&mut self, bytes_read: u64, counts: &Counts) {
        let now = Instant::now();
        if counts.acked > self.heard.0 || under_way(counts) == 0 {
            self.heard = (counts.acked, now);
        }
        let silence = now.duration_since(self.heard.1);
        let elapsed = now.duration_since(self.begin);
        self.line.update(bytes_read, |left| {
            let size = match self.total {
                Some(total) => format!("{} of {}", human::size(bytes_read), human::size(total)),
                None => human::size(bytes_read),
            };
            format!("{}{}, {size}", message(counts, elapsed, silence), left_text(left))
        });
    }

    pub fn finish(&self) {
        self.line.finish();
    }
}

const fn under_way(counts: &Counts) -> u64 {
    counts.admitted.saturating_sub(counts.acked + counts.failed())
}

/// How far the records are.
fn message(counts: &Counts, elapsed: Duration, silence: Duration) -> String {
    let pace = if silence >= SILENCE {
        format!("none for {}", human::span(silence))
    } else {
        format!("{}/s", human::rate(counts.acked as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)))
    };
    let failed = match counts.failed() {
        0 => String::new(),
        failed => format!(", {} failed", human::count(failed)),
    };
    format!(
        "{} acknowledged, {pace}, {} in flight{failed}",
        human::count(counts.acked),
        human::count(under_way(counts))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_records_are() {
        let counts = Counts { admitted: 5300, acked: 5000, ..Counts::default() };
        let (second, none) = (Duration::from_secs(1), Duration::ZERO);
        assert_eq!(message(&counts, 2 * second, none), "5,000 acknowledged, 2,500/s, 300 in flight");
        let text = message(&counts, 9 * second, 6 * second);
        assert_eq!(text, "5,000 acknowledged, none for 6 s, 300 in flight");
        let counts = Counts { not_written: 1, unknown: 2, ..counts };
        let text = message(&counts, 2 * second, none);
        assert_eq!(text, "5,000 acknowledged, 2,500/s, 297 in flight, 3 failed");
        assert_eq!(message(&Counts::default(), none, none), "0 acknowledged, 0/s, 0 in flight");
    }
}
