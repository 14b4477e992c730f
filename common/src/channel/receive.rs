//! The receiving half: reads responses as they come, judges deadlines, keeps an idle channel alive.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::error::{ChannelDeath, ProtocolError};
use super::shared::Shared;
use crate::frame::{FrameReader, ReadError};
use crate::seam::ReadHalf;

pub(super) type Frames = FrameReader<Box<dyn ReadHalf>>;

/// The receiving task: runs until the channel is dead, and ends it if it is dropped before.
pub(super) async fn receive(shared: Arc<Shared>, mut frames: Frames) {
    let end = EndOnDrop(shared);
    let cause = read_until_death(&end.0, &mut frames).await;
    end.0.die(cause);
}

/// A runtime that goes drops its tasks: whoever waits must not wait for ever.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.die(ChannelDeath::ClosedHere);
    }
}

enum Event {
    Frame(Result<Option<bytes::Bytes>, ReadError>),
    Attention,
    Alarm,
}

async fn read_until_death(shared: &Shared, frames: &mut Frames) -> ChannelDeath {
    let first_look = match shared.judge() {
        Ok(at) => at,
        Err(death) => return death,
    };
    let mut alarm = std::pin::pin!(sleep_until(first_look));
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
