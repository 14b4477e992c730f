//! Progress on standard error, only on a terminal: one line that fits it, above which everything else is written.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, interval};

use super::human;

/// A line that is longer than the terminal is wide cannot be taken back: what does not fit is left out, so what matters
/// comes first.
const WITH_TOTAL: &str = "{bar:10} {percent:>3}% {wide_msg}";
const WITHOUT_TOTAL: &str = "{spinner} {wide_msg}";
/// What takes no longer needs no word.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a line that only waits is drawn.
const WAITING_INTERVAL: Duration = Duration::from_millis(200);

/// The line that is on the terminal.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn drawn() -> MutexGuard<'static, Option<ProgressBar>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes something to standard error, above the line if there is one: else the line would be drawn over it.
pub fn above_the_line(write: impl FnOnce()) {
    let bar = drawn().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// The line, if anyone sees it; taken away when it is dropped.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    begin: Instant,
}

impl ProgressLine {
    /// `total`: where it ends, if that is known.
    pub fn start(quiet: bool, total: Option<u64>) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self { bar: None, total, begin: Instant::now() };
        }
        let line = Self::on(ProgressDrawTarget::stderr(), total);
        drawn().clone_from(&line.bar);
        line
    }

    fn on(target: ProgressDrawTarget, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        // A template that cannot be read would be a mistake above; the default one serves then.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.tick();
        Self { bar: Some(bar), total, begin: Instant::now() }
    }

    /// Draws it anew. What it says is made only if anyone sees it, and told how long it is still to take.
    pub fn update(&self, position: u64, message: impl FnOnce(Left) -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message(left(position, self.total, self.begin.elapsed())));
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            *drawn() = None;
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.finish();
    }
}

/// How long it is still to take, if that can be said.
pub type Left = Option<Duration>;

fn left(position: u64, total: Option<u64>, elapsed: Duration) -> Left {
    let rest = total?.checked_sub(position)?;
    (position > 0).then(|| elapsed.mul_f64(rest as f64 / position as f64))
}

/// `, 26 s left`, or nothing.
pub fn left_text(left: Left) -> String {
    left.map_or_else(String::new, |left| format!(", {} left", human::span(left)))
}

/// Waits for something that should not take long; when it does, a line says what it is.
pub async fn waiting<T>(quiet: bool, what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let begin = Instant::now();
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let line = ProgressLine::start(quiet, None);
    let mut tick = interval(WAITING_INTERVAL);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = tick.tick() => {
                let since = human::span(begin.elapsed());
                line.update(0, |_| format!("waiting for {what}, {since}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::TermLike;

    use super::*;

    /// A terminal of forty columns.
    #[derive(Debug, Clone, Default)]
    struct Narrow(Arc<Mutex<Vec<String>>>);

    impl Narrow {
        fn put(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }
    }

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            40
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        for total in [Some(200_000_000), None] {
            let paper = Narrow::default();
            let line = ProgressLine::on(ProgressDrawTarget::term_like(Box::new(paper.clone())), total);
            line.update(33_000_000, |_| {
                "485,777 acknowledged, 99,616/s, 1,873 in flight, 26 s left, 33.2 MiB of 207.5 MiB".to_owned()
            });
            let written = paper.0.lock().unwrap().clone();
            assert!(written.iter().any(|text| text.contains("485,777 acknowledged")), "{written:?}");
            for text in &written {
                assert!(text.chars().count() <= 40, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_left_is_told_once_something_is_done() {
        let second = Duration::from_secs(1);
        assert_eq!(left(25, Some(100), second), Some(3 * second));
        assert_eq!(left(100, Some(100), second), Some(Duration::ZERO));
        for (position, total) in [(0, Some(100)), (5, None), (101, Some(100))] {
            assert_eq!(left(position, total, second), None);
        }
        assert_eq!(left_text(Some(26 * second)), ", 26 s left");
        assert_eq!(left_text(None), "");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_gives_what_was_waited_for() {
        let work = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            7
        };
        assert_eq!(waiting(true, "a broker", work).await, 7);
    }
}
