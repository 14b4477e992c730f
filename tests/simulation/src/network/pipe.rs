//! One direction of a connection: bytes that arrive later, slowly, up to a cut, or never.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use gapless_common::seam::Random;
use tokio::time::Instant;

use crate::trace::{Trace, hash_of};

/// Bytes that are written and not yet read: the socket buffers of both ends.
const BUFFER_BYTES: usize = 64 * 1024;
/// One write in so many is taken in part only.
const SHORT_WRITE_ONE_IN: u64 = 16;

/// How long bytes take, in whole milliseconds: Tokio's timers know no less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The shortest delay.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// So many bytes arrive in a millisecond, if they trickle.
    pub trickle: Option<usize>,
}

impl Pace {
    /// At once.
    pub const FAST: Self = Self { min_ms: 0, max_ms: 0, trickle: None };

    pub(super) fn draw(&self, random: &Random) -> Duration {
        Duration::from_millis(self.min_ms + random.below(self.max_ms.saturating_sub(self.min_ms) + 1))
    }
}

/// How a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The writer closed: what it wrote arrives, then nothing more.
    Closed,
    /// The connection is gone: what did not arrive never will.
    Reset,
}

/// What a look at the reading end shows.
pub(super) enum Seen {
    /// Bytes; none at the end.
    Bytes(Bytes),
    /// Nothing yet. The next look is due then, or when woken.
    Nothing(Option<Instant>),
    /// The connection is gone.
    Reset,
}

/// What a write came to, besides its bytes.
pub(super) enum Written {
    Bytes(usize),
    /// The wire was cut at the byte that had been chosen for it.
    Cut(usize),
}

/// Both ends hold it; [`super::Wires`] meddles with it.
#[derive(Clone)]
pub(super) struct Pipe(Arc<Mutex<State>>);

pub(super) struct State {
    name: u64,
    pub pace: Pace,
    /// Nothing arrives; what was under way waits for the wire to be mended.
    pub stalled: bool,
    /// The host that read was switched off without a word; when it is back it answers with a reset.
    pub reader_is_ghost: bool,
    /// The reader is back from the dead and knows nothing of this.
    pub resets_writer: bool,
    /// The byte before which the wire is cut.
    pub cut_at: Option<u64>,
    flying: VecDeque<(Instant, Bytes)>,
    unread: usize,
    written: u64,
    last_arrival: Instant,
    end: Option<(Instant, End)>,
    writer_failed: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    random: Random,
    trace: Trace,
}

/// Wakes both after the lock is let go.
#[must_use]
pub(super) struct Wakers(Option<Waker>, Option<Waker>);

impl Wakers {
    pub fn wake(self) {
        for waker in [self.0, self.1].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl State {
    pub fn wakers(&mut self) -> Wakers {
        Wakers(self.reader.take(), self.writer.take())
    }

    /// Nothing that is under way arrives any more. The reader hears of it after `delay`, the writer at its next write.
    pub fn reset(&mut self, delay: Duration) {
        if !matches!(self.end, Some((_, End::Reset))) {
            self.end = Some((Instant::now() + delay, End::Reset));
        }
        self.flying.clear();
        self.unread = 0;
        self.stalled = false;
        self.writer_failed = true;
    }

    /// The wire is cut behind what is under way, which may still arrive, or may not.
    pub fn cut(&mut self, delay: Duration) {
        if self.random.below(2) == 0 {
            return self.reset(delay);
        }
        self.writer_failed = true;
        let at = self.last_arrival.max(Instant::now() + delay);
        self.end.get_or_insert((at, End::Reset));
    }

    /// Who writes notices nothing of the reset.
    pub fn forgive_writer(&mut self) {
        self.writer_failed = false;
        self.reader_is_ghost = true;
    }

    /// Every further write fails.
    pub fn fail_writer(&mut self) {
        self.writer_failed = true;
    }

    /// The writer's process ended: what it had written arrives, and then the end.
    pub fn close(&mut self) {
        if self.end.is_none() {
            let at = self.last_arrival.max(Instant::now() + self.pace.draw(&self.random));
            self.end = Some((at, End::Closed));
        }
    }

    /// Nobody reads any more.
    pub fn leave(&mut self) {
        self.reader_gone = true;
        self.flying.clear();
        self.unread = 0;
    }

    fn push(&mut self, bytes: Bytes) {
        let now = Instant::now();
        let mut at = self.last_arrival.max(now + self.pace.draw(&self.random));
        self.written += bytes.len() as u64;
        self.trace.note("net write", &[self.name, self.written, hash_of(&bytes)]);
        if self.reader_gone || self.reader_is_ghost {
            return;
        }
        self.unread += bytes.len();
        match self.pace.trickle {
            None => self.flying.push_back((at, bytes)),
            Some(step) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let part = rest.split_to(step.clamp(1, rest.len()));
                    at += Duration::from_millis(1);
                    self.flying.push_back((at, part));
                }
            }
        }
        self.last_arrival = at;
    }
}

impl Pipe {
    pub fn new(name: u64, pace: Pace, random: Random, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            name,
            pace,
            stalled: false,
            reader_is_ghost: false,
            resets_writer: false,
            cut_at: None,
            flying: VecDeque::new(),
            unread: 0,
            written: 0,
            last_arrival: Instant::now(),
            end: None,
            writer_failed: false,
            reader_gone: false,
            reader: None,
            writer: None,
            random,
            trace,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes whoever may see it.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = state.wakers();
        drop(state);
        wakers.wake();
    }

    /// Takes up to `max` bytes.
    pub fn look(&self, cx: &Context<'_>, max: usize) -> Seen {
        let mut state = self.state();
        let now = Instant::now();
        if let Some((at, End::Reset)) = state.end
            && at <= now
        {
            return Seen::Reset;
        }
        let arrives = (!state.stalled).then(|| state.flying.front().map(|(at, _)| *at)).flatten();
        if arrives.is_some_and(|at| at <= now)
            && let Some((_, bytes)) = state.flying.front_mut()
        {
            let part = bytes.split_to(max.min(bytes.len()));
            if bytes.is_empty() {
                state.flying.pop_front();
            }
            state.unread -= part.len();
            let writer = state.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Seen::Bytes(part);
        }
        let end = match state.end {
            Some((at, End::Closed)) if !state.stalled && state.flying.is_empty() => Some(at),
            Some((at, End::Reset)) => Some(at),
            _ => None,
        };
        if end.is_some_and(|at| at <= now) {
            return Seen::Bytes(Bytes::new());
        }
        state.reader = Some(cx.waker().clone());
        Seen::Nothing(arrives.or(end))
    }

    /// Takes as much as there is room for.
    pub fn poll_write(&self, cx: &Context<'_>, mut bytes: Bytes) -> Poll<io::Result<Written>> {
        let mut state = self.state();
        if state.writer_failed || state.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.resets_writer {
            state.trace.note("net reset", &[state.name]);
            return Poll::Ready(Ok(Written::Cut(bytes.len())));
        }
        let mut room = BUFFER_BYTES.saturating_sub(state.unread);
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if bytes.len() > 1 && state.random.below(SHORT_WRITE_ONE_IN) == 0 {
            room = room.min(1 + usize::try_from(state.random.below(bytes.len() as u64)).unwrap_or(0));
        }
        bytes.truncate(room);
        let taken = bytes.len();
        let before_cut =
            state.cut_at.map(|at| usize::try_from(at.saturating_sub(state.written)).unwrap_or(usize::MAX));
        let cut = before_cut.is_some_and(|before| before <= taken);
        if let Some(before) = before_cut {
            bytes.truncate(before);
        }
        if bytes.has_remaining() {
            state.push(bytes);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(if cut { Written::Cut(taken) } else { Written::Bytes(taken) }))
    }
}
