//! Ctrl-C, SIGTERM and a closed terminal: the first asks to finish, the second to stop at once.

use gapless_common::seam::Spawner;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Stop;

/// How often the program was asked to stop.
#[derive(Debug, Clone)]
pub struct Signals {
    count: watch::Receiver<u32>,
}

impl Signals {
    /// From now on signals no longer end the process by themselves.
    pub fn listen(spawner: &Spawner) -> Result<Self, Stop> {
        let open =
            |kind| signal(kind).map_err(|error| Stop::Failed(format!("signals cannot be caught: {error}")));
        let mut interrupt = open(SignalKind::interrupt())?;
        let mut terminate = open(SignalKind::terminate())?;
        let mut hang_up = open(SignalKind::hangup())?;
        let (sender, count) = watch::channel(0);
        spawner.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count })
    }

    /// So many times until now.
    pub fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Ready once it was asked so many times. A runtime that goes asks for nothing.
    pub async fn reach(&mut self, times: u32) {
        if self.count.wait_for(|count| *count >= times).await.is_err() {
            std::future::pending().await
        }
    }
}
