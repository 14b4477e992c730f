//! Progress on standard error, only on a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line, if anyone sees it.
pub struct ProgressLine(Option<ProgressBar>);

impl ProgressLine {
    /// `total`: where it ends, if that is known; then it is drawn as `known`, else as `open`.
    pub fn start(quiet: bool, total: Option<u64>, known: &str, open: &str) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { known } else { open };
        // A template that cannot be read would be a mistake in the caller's line; the default one serves then.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.tick();
        Self(Some(bar))
    }

    /// Draws it anew. What it says is made only if anyone sees it.
    pub fn update(&self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
            bar.set_message(message());
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
