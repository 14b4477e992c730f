//! Room that many wait for, in line: whoever came first is served first, and nobody passes those who wait.
//!
//! Compiled twice: in the library, and by `tests/interleavings` against `loom`, which tries every interleaving.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// An amount of something, of which parts are taken and given back.
pub(crate) struct Room {
    state: Mutex<State>,
}

struct State {
    free: usize,
    closed: bool,
    /// Those who wait, by rising number. Whoever is served is taken out; whoever has gone away was, too.
    line: VecDeque<Place>,
    next_number: u64,
}

struct Place {
    number: u64,
    needs: usize,
    waker: Waker,
}

/// Wakes when it is dropped, which is to be outside of the lock: a waker runs code of strangers.
#[derive(Default)]
struct Served(Vec<Waker>);

impl Drop for Served {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }
}

impl State {
    /// Serves those in front for whom there is room.
    fn serve(&mut self) -> Served {
        let mut served = Served::default();
        while !self.closed
            && self.line.front().is_some_and(|place| place.needs <= self.free)
            && let Some(place) = self.line.pop_front()
        {
            self.free -= place.needs;
            served.0.push(place.waker);
        }
        served
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.line.binary_search_by_key(&number, |place| place.number).ok()
    }
}

impl Room {
    pub(crate) fn new(free: usize) -> Self {
        Self { state: Mutex::new(State { free, closed: false, line: VecDeque::new(), next_number: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is free now, whoever waits for it.
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }

    /// Takes `amount` if it is free and nobody waits.
    pub(crate) fn try_take(&self, amount: usize) -> bool {
        let mut state = self.state();
        if state.closed || !state.line.is_empty() || state.free < amount {
            return false;
        }
        state.free -= amount;
        true
    }

    /// Waits in line for `amount`; false when the room is closed. Dropped before it is ready, nothing is taken.
    pub(crate) const fn take(&self, amount: usize) -> Taking<'_> {
        Taking { room: self, amount, stage: Stage::New }
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, amount: usize) {
        let mut state = self.state();
        state.free += amount;
        let served = state.serve();
        drop(state);
        drop(served);
    }

    /// Nobody waits any more, now or later.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        // They leave the line themselves: so whoever is not in it was served.
        let all = Served(state.line.iter().map(|place| place.waker.clone()).collect());
        drop(state);
        drop(all);
    }
}

/// See [`Room::take`].
pub(crate) struct Taking<'a> {
    room: &'a Room,
    amount: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// In line under this number, unless it was served or the room closed.
    InLine(u64),
    Done,
}

impl Future for Taking<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.room.state();
        let taken = match self.stage {
            Stage::Done => false,
            Stage::New if state.closed => false,
            Stage::New if state.line.is_empty() && state.free >= self.amount => {
                state.free -= self.amount;
                true
            }
            Stage::New => {
                let number = state.next_number;
                state.next_number += 1;
                let place = Place { number, needs: self.amount, waker: cx.waker().clone() };
                state.line.push_back(place);
                drop(state);
                self.stage = Stage::InLine(number);
                return Poll::Pending;
            }
            Stage::InLine(number) => match state.position(number) {
                Some(at) if state.closed => {
                    state.line.remove(at);
                    false
                }
                Some(at) => {
                    if let Some(place) = state.line.get_mut(at) {
                        place.waker.clone_from(cx.waker());
                    }
                    return Poll::Pending;
                }
                None => true,
            },
        };
        drop(state);
        self.stage = Stage::Done;
        Poll::Ready(taken)
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let Stage::InLine(number) = self.stage else { return };
        let mut state = self.room.state();
        match state.position(number) {
            Some(at) => {
                state.line.remove(at);
            }
            // It was served and never heard of it.
            None => state.free += self.amount,
        }
        // Who stood behind may be next.
        let served = state.serve();
        drop(state);
        drop(served);
    }
}
