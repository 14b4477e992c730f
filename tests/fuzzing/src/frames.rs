//! A stream of bytes cut into frames: the same frames and the same end, however the bytes come, and as a reader says that has
//! all of them at once.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use gapless_common::frame::{FrameReader, LENGTH_SIZE, ReadError};
use tokio::io::{AsyncRead, ReadBuf};

use crate::Outcome;

/// The largest frame here.
const SIZE_MAX: usize = 4096;

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Whole,
    Cut,
    BadLength,
}

/// The first byte says how many bytes come at once, the rest is the stream.
///
/// # Panics
/// If frames or end are others than they should be.
pub fn stream(bytes: &[u8]) -> Outcome {
    let Some((step, stream)) = bytes.split_first() else { return Outcome::Refused };
    let (frames, end) = expected(stream);
    let mut reader = FrameReader::new(Steps { rest: stream, step: usize::from(*step).max(1) }, SIZE_MAX);
    for frame in &frames {
        match now(reader.next()) {
            Ok(Some(read)) => assert_eq!(read, *frame),
            other => panic!("{other:?} instead of a frame of {} bytes", frame.len()),
        }
    }
    let ended = match now(reader.next()) {
        Ok(None) => End::Whole,
        Err(ReadError::Truncated { .. }) => End::Cut,
        Err(ReadError::Frame(_)) => End::BadLength,
        other => panic!("{other:?} instead of {end:?}"),
    };
    assert_eq!(ended, end);
    if frames.is_empty() { Outcome::Refused } else { Outcome::Taken }
}

/// The frames by the definition of one, and why there is no further.
fn expected(mut rest: &[u8]) -> (Vec<Bytes>, End) {
    let mut frames = Vec::new();
    loop {
        let Some((length, after)) = rest.split_first_chunk::<LENGTH_SIZE>() else {
            return (frames, if rest.is_empty() { End::Whole } else { End::Cut });
        };
        let size = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(size) if (1..=SIZE_MAX).contains(&size) => size,
            _ => return (frames, End::BadLength),
        };
        let Some((frame, after)) = after.split_at_checked(size) else { return (frames, End::Cut) };
        frames.push(Bytes::copy_from_slice(frame));
        rest = after;
    }
}

/// What never waits is complete at the first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing is to be waited for"),
    }
}

/// Bytes that come a few at a time.
struct Steps<'a> {
    rest: &'a [u8],
    step: usize,
}

impl AsyncRead for Steps<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.step.min(self.rest.len()).min(buf.remaining());
        let (now, later) = self.rest.split_at(count);
        buf.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}
