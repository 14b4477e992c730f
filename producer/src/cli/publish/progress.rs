//! Progress on standard error, only on a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tracker::Counts;
use crate::cli::human;

/// How often the line is drawn anew.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The line, if anyone sees it.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// `total`: bytes of all input, if that is known.
    pub fn start(quiet: bool, total: Option<u64>) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
        };
        // A template that cannot be read would be a mistake in the two lines above; the default one serves then.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.tick();
        Self(Some(bar))
    }

    pub fn update(&self, bytes_read: u64, counts: &Counts) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes_read);
            let under_way = counts.admitted.saturating_sub(counts.acked + counts.failed());
            bar.set_message(format!(
                "{} acknowledged, {} under way",
                human::count(counts.acked),
                human::count(under_way)
            ));
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
