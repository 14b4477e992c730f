//! The wait for one response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::error::{ChannelDeath, ProtocolError};
use super::pipeline::Answer;
use super::shared::Shared;
use crate::protocol::{DecodeError, Request, decode_response};

/// Resolves to the response, or to the death of the channel. Dropping it withdraws nothing: the request stays under way,
/// holds its slot and its deadline, and its response is read and thrown away.
#[must_use = "the response, or why there is none, comes from here"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Answer>,
    version: i16,
    decode: fn(Bytes, i16) -> Result<T, DecodeError>,
    shared: Arc<Shared>,
}

impl<T> Pending<T> {
    pub(super) fn response<R: Request<Response = T>>(
        shared: Arc<Shared>,
        answer: oneshot::Receiver<Answer>,
        version: i16,
    ) -> Self {
        let decode = |frame, version| decode_response::<R>(frame, version).map(|(_, response)| response);
        Self { answer, version, decode, shared }
    }
}

impl Pending<()> {
    pub(super) fn written(shared: Arc<Shared>, answer: oneshot::Receiver<Answer>) -> Self {
        Self { answer, version: 0, decode: |_, _| Ok(()), shared }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Arc<ChannelDeath>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.answer).poll(cx)) {
            Ok(answer) => answer?,
            // Its other end is kept until it is answered; so this is the end of a runtime.
            Err(_) => return Poll::Ready(Err(this.shared.die(ChannelDeath::ClosedHere))),
        };
        // Decoded here, by the task that wants it, so that a large response does not hold up those behind it.
        Poll::Ready(
            (this.decode)(frame, this.version)
                .map_err(|error| this.shared.die(ProtocolError::Decode(error).into())),
        )
    }
}
