//! A network that never waits: what is written is there at once, and there is room for all of it. So the number of calls is
//! what our code makes of it, and not what a kernel's buffers do.
//!
//! A call here is a system call on the real network as Tokio makes them: a write that is taken; a read that returns something,
//! or that comes back empty-handed behind one that was filled to the brim (one that left room needs no second look). `epoll`
//! itself shows in the wake-ups.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use gapless_common::seam::{BoxFuture, ConnectError, Connection, Listener, Network, WriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::counts::{AtWork, Side, note_moved, note_system_call};

/// Where the broker listens.
pub const ADDRESS: &str = "10.0.0.1:9092";
/// Five requests of the largest batch, and their answers, with room to spare.
const PIPE_BYTES: usize = 8 << 20;
const BACKLOG: usize = 16;

/// One direction.
#[derive(Clone)]
struct Pipe(Arc<Mutex<State>>);

struct State {
    bytes: VecDeque<u8>,
    is_closed: bool,
    reader: Option<Waker>,
}

impl Pipe {
    fn new() -> Self {
        let bytes = VecDeque::with_capacity(PIPE_BYTES);
        Self(Arc::new(Mutex::new(State { bytes, is_closed: false, reader: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }
}

struct ReadEnd {
    pipe: Pipe,
    side: Side,
    /// The last read was filled to the brim, so that there may be more.
    looks_again: bool,
}

impl AsyncRead for ReadEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let pipe = self.pipe.clone();
        let mut state = pipe.state();
        let count = state.bytes.len().min(buf.remaining());
        if count == 0 && !state.is_closed {
            if std::mem::take(&mut self.looks_again) {
                note_system_call(self.side);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (first, second) = state.bytes.as_slices();
        let of_first = count.min(first.len());
        buf.put_slice(&first[..of_first]);
        buf.put_slice(&second[..count - of_first]);
        state.bytes.drain(..count);
        self.looks_again = buf.remaining() == 0;
        note_system_call(self.side);
        note_moved(self.side, count);
        Poll::Ready(Ok(()))
    }
}

struct WriteEnd {
    pipe: Pipe,
    side: Side,
}

impl AsyncWrite for WriteEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = parts.iter().map(|part| part.len()).sum();
        note_system_call(self.side);
        note_moved(self.side, count);
        self.pipe.change(|state| {
            assert!(state.bytes.len() + count <= PIPE_BYTES, "the pipe has no room for {count} bytes more");
            for part in parts {
                state.bytes.extend(part.iter());
            }
        });
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.change(|state| state.is_closed = true);
        Poll::Ready(Ok(()))
    }
}

impl WriteHalf for WriteEnd {}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.pipe.change(|state| state.is_closed = true);
    }
}

fn end(reads: &Pipe, writes: &Pipe, side: Side) -> Connection {
    Connection {
        reader: Box::new(ReadEnd { pipe: reads.clone(), side, looks_again: false }),
        writer: Box::new(WriteEnd { pipe: writes.clone(), side }),
        peer: SocketAddr::from(([10, 0, 0, 2], 50_000)),
    }
}

/// A connection between a producer and a broker.
pub fn connection() -> [Connection; 2] {
    let (there, back) = (Pipe::new(), Pipe::new());
    [end(&back, &there, Side::Producer), end(&there, &back, Side::Broker)]
}

/// A network of one broker; clones are the same.
#[derive(Clone)]
pub struct Wires {
    arriving: mpsc::Sender<Connection>,
    backlog: Arc<Mutex<Option<mpsc::Receiver<Connection>>>>,
}

impl Wires {
    pub fn new() -> Self {
        let (arriving, backlog) = mpsc::channel(BACKLOG);
        Self { arriving, backlog: Arc::new(Mutex::new(Some(backlog))) }
    }
}

impl Network for Wires {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            assert_eq!(address, ADDRESS, "there is one broker");
            let [near, far] = {
                let _nobody = AtWork::of(None);
                connection()
            };
            assert!(self.arriving.send(far).await.is_ok(), "it listens");
            Ok(near)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        let backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let backlog = backlog.ok_or(io::ErrorKind::AddrInUse)?;
            let local = address.parse().map_err(io::Error::other)?;
            Ok(Box::new(Backlog { backlog, local }) as Box<dyn Listener>)
        })
    }
}

struct Backlog {
    backlog: mpsc::Receiver<Connection>,
    local: SocketAddr,
}

impl Listener for Backlog {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move { self.backlog.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into()) })
    }
}
