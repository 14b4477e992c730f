//! Frames out of a byte stream: a length, then so many bytes, paid for from the memory budget as they come.

use std::{io, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gapless_common::{
    frame::{FrameError, LENGTH_SIZE, frame_size},
    seam::ReadHalf,
};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout_at},
};

use crate::request_memory::{BudgetAccount, Size};

/// Read at once while nothing tells how much will come: an idle connection holds no more than this.
const READ_IDLE: usize = 4 << 10;
/// Read at once from a peer that sends small requests back to back.
const READ_BUSY: usize = 64 << 10;
/// Within a large frame as much is charged, and made room for, at once as has come already, within these bounds: so
/// whoever announces much and sends little holds little.
const FRAME_STEP: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 20);

/// Why no further frame will come.
#[derive(Debug, thiserror::Error)]
pub enum FrameEnd {
    /// Between two frames: the ordinary end.
    #[error("closed by the peer")]
    Closed,
    /// In the middle of a frame.
    #[error("closed by the peer after {received} bytes of a frame of {announced}")]
    Cut {
        /// Bytes that came, the length's own included.
        received: usize,
        /// Bytes of the whole frame, or 4 while not even the length has come.
        announced: usize,
    },
    /// A length that no request has; most often another protocol (HTTP, TLS) on this port.
    #[error("{0}; a request has 1 byte to --max-request-bytes")]
    BadLength(#[from] FrameError),
    /// Silence.
    #[error("idle for {after:?} (--idle-timeout)")]
    Idle {
        /// The limit.
        after: Duration,
    },
    /// A frame that does not come to its end.
    #[error("{received} bytes of a frame of {announced} came within {after:?} (--frame-timeout)")]
    TooSlow {
        /// Bytes that came.
        received: usize,
        /// Bytes of the whole frame.
        announced: usize,
        /// The limit.
        after: Duration,
    },
    /// The operating system's reason.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads the frames of one connection.
pub struct FrameReader {
    reader: Box<dyn ReadHalf>,
    buffer: BytesMut,
    /// How much the next read outside a large frame asks for.
    read_size: usize,
    frame_max: usize,
    idle_timeout: Duration,
    frame_timeout: Duration,
}

impl FrameReader {
    /// Frames of at most `frame_max` bytes.
    pub fn new(
        reader: Box<dyn ReadHalf>,
        frame_max: usize,
        idle_timeout: Duration,
        frame_timeout: Duration,
    ) -> Self {
        Self { reader, buffer: BytesMut::new(), read_size: READ_IDLE, frame_max, idle_timeout, frame_timeout }
    }

    /// The next frame, without its length. Its bytes stay charged to `account` until they are taken from it. Not to be polled
    /// again after it was dropped half-way: a connection reads until its end.
    pub async fn next(&mut self, account: &BudgetAccount) -> Result<Bytes, FrameEnd> {
        let mut deadline =
            Instant::now() + if self.buffer.is_empty() { self.idle_timeout } else { self.frame_timeout };
        while self.buffer.len() < LENGTH_SIZE {
            let was_empty = self.buffer.is_empty();
            self.buffer.reserve(self.read_size);
            let read = timeout_at(deadline, self.reader.read_buf(&mut self.buffer)).await;
            match read {
                Err(_) if was_empty => return Err(FrameEnd::Idle { after: self.idle_timeout }),
                Err(_) => return Err(self.too_slow(LENGTH_SIZE)),
                Ok(Ok(0)) if was_empty => return Err(FrameEnd::Closed),
                Ok(Ok(0)) => return Err(self.cut(LENGTH_SIZE)),
                Ok(Ok(count)) => self.read_size = if count >= self.read_size { READ_BUSY } else { READ_IDLE },
                Ok(Err(error)) => return Err(error.into()),
            }
            if was_empty {
                deadline = Instant::now() + self.frame_timeout;
            }
        }
        let Some(length) = self.buffer.first_chunk() else { return Err(self.cut(LENGTH_SIZE)) };
        let whole = LENGTH_SIZE + frame_size(*length, self.frame_max)?;
        let size = if whole <= *FRAME_STEP.start() { Size::Small } else { Size::Large };
        let mut charged = 0;
        loop {
            let received = self.buffer.len().min(whole);
            // What has come is paid for first, then room for the next step.
            let step = (received + received.clamp(*FRAME_STEP.start(), *FRAME_STEP.end())).min(whole);
            if step > charged {
                let before = Instant::now();
                account.charge(step - charged, size).await;
                charged = step;
                // Waiting for memory is not the peer's slowness.
                deadline += before.elapsed();
            }
            if received == whole {
                break;
            }
            self.buffer.reserve(step - received);
            let mut room = (&mut self.buffer).limit(step - received);
            match timeout_at(deadline, self.reader.read_buf(&mut room)).await {
                Err(_) => return Err(self.too_slow(whole)),
                Ok(Ok(0)) => return Err(self.cut(whole)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        account.settle();
        let mut frame = self.buffer.split_to(whole);
        frame.advance(LENGTH_SIZE);
        Ok(frame.freeze())
    }

    fn too_slow(&self, announced: usize) -> FrameEnd {
        FrameEnd::TooSlow { received: self.buffer.len(), announced, after: self.frame_timeout }
    }

    fn cut(&self, announced: usize) -> FrameEnd {
        FrameEnd::Cut { received: self.buffer.len(), announced }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::request_memory::MemoryBudget;

    const FRAME_MAX: usize = 8 << 20;

    fn reader(stream: tokio::io::DuplexStream) -> FrameReader {
        FrameReader::new(Box::new(stream), FRAME_MAX, Duration::from_secs(600), Duration::from_secs(30))
    }

    fn frame(len: usize) -> Vec<u8> {
        let mut bytes = i32::try_from(len).unwrap().to_be_bytes().to_vec();
        bytes.extend((0..len).map(|at| at as u8));
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_every_size_come_whole_and_in_order_and_are_paid_for() {
        let sizes = [1, 5, 4091, 4092, 4093, 70_000, 3 << 20, 2, FRAME_MAX];
        let (mut peer, stream) = tokio::io::duplex(10_000);
        let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
        let account = budget.open();
        let mut frames = reader(stream);
        let send = async {
            for size in sizes {
                peer.write_all(&frame(size)).await.unwrap();
            }
            drop(peer);
        };
        let receive = async {
            for size in sizes {
                let received = frames.next(&account).await.unwrap();
                assert_eq!(received, frame(size).split_off(4));
                assert_eq!(budget.used(), size + 4);
                drop(account.take());
            }
            assert!(matches!(frames.next(&account).await, Err(FrameEnd::Closed)));
        };
        tokio::join!(send, receive);
    }

    #[tokio::test(start_paused = true)]
    async fn lengths_no_request_has_are_refused_before_anything_is_charged() {
        for length in [0, -1, i32::MIN, i32::try_from(FRAME_MAX).unwrap() + 1, i32::from_be_bytes(*b"GET ")] {
            let (mut peer, stream) = tokio::io::duplex(100);
            peer.write_all(&length.to_be_bytes()).await.unwrap();
            let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
            let end = reader(stream).next(&budget.open()).await.unwrap_err();
            let FrameEnd::BadLength(FrameError::NotPositive(size) | FrameError::TooLarge { size, .. }) = end
            else {
                panic!("{end}");
            };
            assert_eq!(size, length);
            assert_eq!(budget.used(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_frame_costs_only_what_came_and_must_come_to_its_end() {
        let (mut peer, stream) = tokio::io::duplex(100);
        peer.write_all(&i32::try_from(FRAME_MAX).unwrap().to_be_bytes()).await.unwrap();
        peer.write_all(&[0; 10]).await.unwrap();
        let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
        let account = budget.open();
        let mut frames = reader(stream);
        let end = frames.next(&account).await.unwrap_err();
        assert!(matches!(end, FrameEnd::TooSlow { received: 14, .. }), "{end}");
        assert!(budget.used() <= FRAME_STEP.start() + 14, "{} bytes charged for 14", budget.used());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_goes_in_the_middle_is_told_from_one_that_ends() {
        for cut in 1..12 {
            let (mut peer, stream) = tokio::io::duplex(100);
            peer.write_all(&frame(8)[..cut]).await.unwrap();
            drop(peer);
            let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
            let end = reader(stream).next(&budget.open()).await.unwrap_err();
            assert!(matches!(end, FrameEnd::Cut { received, .. } if received == cut), "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_at_a_time_works() {
        let (mut peer, stream) = tokio::io::duplex(1);
        let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
        let account = budget.open();
        let mut frames = reader(stream);
        let bytes = frame(300);
        let send = async {
            for byte in bytes {
                tokio::time::sleep(Duration::from_millis(20)).await;
                peer.write_all(&[byte]).await.unwrap();
            }
        };
        let (_, received) = tokio::join!(send, frames.next(&account));
        assert_eq!(received.unwrap().len(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_ended() {
        let (_peer, stream) = tokio::io::duplex(1);
        let budget = MemoryBudget::new(3 * FRAME_MAX, FRAME_MAX);
        let end = reader(stream).next(&budget.open()).await.unwrap_err();
        assert!(matches!(end, FrameEnd::Idle { .. }), "{end}");
    }
}
