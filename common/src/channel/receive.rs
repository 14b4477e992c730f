//! The receiving half: reads responses as they come, judges deadlines, keeps an idle channel alive.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::error::{ChannelDeath, ProtocolError};
use super::shared::Shared;
use crate::frame::{FrameReader, ReadError};
use crate::seam::ReadHalf;

pub(super) type Frames = FrameReader<Box<dyn ReadHalf>>;

/// The receiving task: runs until the channel is dead, and ends it if it is dropped before, even unstarted: whoever
/// waits must not wait for ever for a runtime that is gone.
pub(super) struct Receiving {
    shared: Arc<Shared>,
    frames: Frames,
}

impl Receiving {
    pub(super) const fn new(shared: Arc<Shared>, frames: Frames) -> Self {
        Self { shared, frames }
    }

    pub(super) async fn run(mut self) {
        let cause = read_until_death(&self.shared, &mut self.frames).await;
        self.shared.die(cause);
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.shared.die(ChannelDeath::ClosedHere);
    }
}

enum Event {
    Frame(Result<Option<bytes::Bytes>, ReadError>),
    Attention,
    Alarm,
}

async fn read_until_death(shared: &Shared, frames: &mut Frames) -> ChannelDeath {
    // The first alarm is at once: this task may have started late.
    let mut alarm = std::pin::pin!(sleep_until(Instant::now()));
    loop {
        // Frames first: what was answered never expires.
        let event = tokio::select! {
            biased;
            frame = frames.next() => Event::Frame(frame),
            () = shared.attention.notified() => Event::Attention,
            () = &mut alarm => Event::Alarm,
        };
        if let Event::Frame(frame) = event {
            if let Err(death) = take(shared, frame) {
                return death;
            }
            continue;
        }
        if shared.death().is_some() {
            return ChannelDeath::ClosedHere;
        }
        if let Err(death) = take_what_is_here(shared, frames).await {
            return death;
        }
        if let Some(error) = shared.take_write_error() {
            return ChannelDeath::Io(error);
        }
        match shared.judge() {
            Ok(at) => alarm.as_mut().reset(at),
            Err(death) => return death,
        }
    }
}

/// Reads all that has arrived. A process that stood still (stopped, or starved) finds its timers run out before the
/// runtime has looked at its sockets: so the runtime gets a turn to look, and then everything is read.
async fn take_what_is_here(shared: &Shared, frames: &mut Frames) -> Result<(), ChannelDeath> {
    tokio::task::yield_now().await;
    loop {
        let frame = tokio::select! {
            biased;
            frame = frames.next() => frame,
            () = std::future::ready(()) => return Ok(()),
        };
        take(shared, frame)?;
    }
}

fn take(shared: &Shared, frame: Result<Option<bytes::Bytes>, ReadError>) -> Result<(), ChannelDeath> {
    match frame {
        Ok(Some(frame)) => Ok(shared.answered(frame)?),
        Ok(None) => Err(ChannelDeath::ClosedByPeer),
        Err(error) => Err(death_of(error)),
    }
}

pub(super) fn death_of(error: ReadError) -> ChannelDeath {
    match error {
        ReadError::Truncated { .. } => ChannelDeath::ClosedByPeer,
        ReadError::Frame(error) => ProtocolError::Frame(error).into(),
        ReadError::Io(error) => ChannelDeath::Io(error),
    }
}
