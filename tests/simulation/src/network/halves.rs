//! The two halves of one end of a connection, as the pair holds them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gapless_common::seam::WriteHalf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pipe::{Pipe, Seen, Written};
use crate::host::Life;

pub(super) struct Reader {
    pipe: Pipe,
    life: Life,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    pub fn new(pipe: Pipe, life: Life) -> Self {
        Self { pipe, life, alarm: None }
    }

    fn set_alarm(&mut self, at: Instant) -> Pin<&mut Sleep> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        alarm.as_mut()
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.pipe.look(cx, buf.remaining()) {
                Seen::Bytes(bytes) => {
                    buf.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Seen::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Seen::Nothing(None) => return Poll::Pending,
                Seen::Nothing(Some(at)) => ready!(this.set_alarm(at).poll(cx)),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.life.goes_on() {
            self.pipe.change(super::pipe::State::leave);
        }
    }
}

pub(super) struct Writer {
    pipe: Pipe,
    /// The other direction, which ends with a cut of this one.
    back: Pipe,
    life: Life,
}

impl Writer {
    pub fn new(pipe: Pipe, back: Pipe, life: Life) -> Self {
        Self { pipe, back, life }
    }

    fn write(&self, cx: &Context<'_>, bytes: Bytes) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(self.pipe.poll_write(cx, bytes))? {
            Written::Bytes(count) => Poll::Ready(Ok(count)),
            Written::Cut(count) => {
                // What was before the cut may still arrive; behind it nothing does, and both ends hear of it.
                let delay = Duration::from_millis(1);
                self.pipe.change(|pipe| pipe.cut(delay));
                self.back.change(|pipe| pipe.reset(delay));
                Poll::Ready(Ok(count))
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, Bytes::copy_from_slice(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        self.write(cx, bytes.freeze())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.change(super::pipe::State::close);
        Poll::Ready(Ok(()))
    }
}

impl WriteHalf for Writer {}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.life.goes_on() {
            self.pipe.change(super::pipe::State::close);
        }
    }
}
