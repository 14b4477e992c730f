//! The sending half: answers in the order of their requests, as many as are ready in one system call.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use gapless_common::{protocol::ApiKey, seam::WriteHalf};
use metrics::Gauge;
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout},
};

use super::send_file::{is_not_served, send_file};
use crate::{
    api::reply::{BodyPart, Reply},
    metrics::BrokerMetrics,
    storage::{FileRange, is_lost},
};

/// Parts handed to one vectored write; Linux takes up to 1,024.
const PARTS_PER_WRITE: usize = 64;
/// Bytes of a file held in memory at once while it is copied to a socket.
const COPY_STEP: usize = 256 << 10;
/// Bytes of a file that the kernel is asked to send at once: what it has to read from the disk for it, this thread waits for.
const SEND_STEP: usize = 1 << 20;

/// An answer on its way to the peer.
pub struct Answer {
    /// For the request's duration.
    pub api: ApiKey,
    /// When the request was complete.
    pub received: Instant,
    /// What to send.
    pub reply: Reply,
    /// Counted until it is written.
    pub in_flight: InFlight,
    /// Its share of the memory for answers, until it is written.
    pub room: Option<OwnedSemaphorePermit>,
}

/// One request in the gauge of those under way; leaves it on drop.
pub struct InFlight(Gauge);

impl InFlight {
    /// Enters the gauge.
    pub fn enter(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Why the sending half ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WriteEnd {
    /// The peer does not read its answers.
    #[error("the peer took no byte of its answers for {0:?} (--frame-timeout)")]
    Stalled(Duration),
    /// An answer that can only be told by closing.
    #[error("{0}")]
    Refused(String),
    /// The log could not be read while its bytes were going out; the frame cannot be finished.
    #[error("reading the log failed in the middle of an answer: {0}")]
    Log(Arc<io::Error>),
    /// The operating system's reason.
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
}

/// Writes answers until no more can come.
pub async fn write_answers(
    mut answers: mpsc::Receiver<Answer>,
    socket: Box<dyn WriteHalf>,
    stall_timeout: Duration,
    metrics: &BrokerMetrics,
) -> Result<(), WriteEnd> {
    let mut out = Output { socket, stall_timeout, queue: VecDeque::new() };
    let mut unwritten = Vec::new();
    while let Some(first) = answers.recv().await {
        let mut next = Some(first);
        while let Some(Answer { api, received, reply, in_flight, room }) = next {
            let parts = match reply {
                Reply::Nothing => Vec::new(),
                Reply::Ready(parts) => parts,
                Reply::Later(mut parts) => match futures_util::poll!(&mut parts) {
                    std::task::Poll::Ready(parts) => parts,
                    std::task::Poll::Pending => {
                        // Earlier answers must not wait for this one's condition.
                        out.flush().await?;
                        unwritten.clear();
                        parts.await
                    }
                },
                Reply::Close(why) => {
                    out.flush().await?;
                    return Err(WriteEnd::Refused(why));
                }
            };
            metrics.request_done(api, received.elapsed());
            unwritten.push((in_flight, room));
            for part in parts {
                match part {
                    BodyPart::Bytes(bytes) => out.push(bytes),
                    BodyPart::File(range) => {
                        out.flush().await?;
                        out.send(range).await?;
                    }
                }
            }
            next = if out.queue.len() < PARTS_PER_WRITE { answers.try_recv().ok() } else { None };
        }
        out.flush().await?;
        unwritten.clear();
    }
    Ok(())
}

struct Output {
    socket: Box<dyn WriteHalf>,
    stall_timeout: Duration,
    queue: VecDeque<Bytes>,
}

impl Output {
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
    }

    async fn flush(&mut self) -> Result<(), WriteEnd> {
        while !self.queue.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); PARTS_PER_WRITE];
                let mut count = 0;
                for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                    *slice = IoSlice::new(bytes);
                    count += 1;
                }
                let write = self.socket.write_vectored(slices.get(..count).unwrap_or_default());
                timeout(self.stall_timeout, write)
                    .await
                    .map_err(|_| WriteEnd::Stalled(self.stall_timeout))??
            };
            if written == 0 {
                return Err(WriteEnd::Io(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.queue.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }

    /// Sends a range of a file: by the kernel alone where socket and file are its own, else through memory.
    async fn send(&mut self, range: FileRange) -> Result<(), WriteEnd> {
        let mut position = range.position;
        let end = range.position + u64::from(range.len);
        let mut is_copied = self.socket.as_tcp().is_none() || range.file.as_fd().is_none();
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(usize::MAX);
            if is_copied {
                position += self.copy(&range, position, left.min(COPY_STEP)).await?;
                continue;
            }
            let (Some(socket), Some(file)) = (self.socket.as_tcp(), range.file.as_fd()) else {
                is_copied = true;
                continue;
            };
            let sent = send_file(socket, file, position, left.min(SEND_STEP));
            match timeout(self.stall_timeout, sent).await {
                Err(_) => return Err(WriteEnd::Stalled(self.stall_timeout)),
                Ok(Ok(0)) => {
                    return unreadable(&range, position, io::ErrorKind::UnexpectedEof.into()).await;
                }
                Ok(Ok(count)) => position += count as u64,
                Ok(Err(error)) if is_lost(&error) => return unreadable(&range, position, error).await,
                // Not every file system can do it.
                Ok(Err(error)) if is_not_served(&error) => is_copied = true,
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends bytes of a file through memory; how many.
    async fn copy(&mut self, range: &FileRange, position: u64, len: usize) -> Result<u64, WriteEnd> {
        let bytes = match range.file.read_at(position, len).await {
            Ok(bytes) if bytes.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        match bytes {
            Ok(bytes) => {
                let count = bytes.len() as u64;
                self.push(bytes);
                self.flush().await?;
                Ok(count)
            }
            Err(error) => unreadable(range, position, error).await,
        }
    }
}

/// The log does not give back what it holds at `position`.
async fn unreadable<T>(range: &FileRange, position: u64, error: io::Error) -> Result<T, WriteEnd> {
    let error = Arc::new(error);
    range.owner.unreadable(position, error.clone()).await;
    Err(WriteEnd::Log(error))
}
