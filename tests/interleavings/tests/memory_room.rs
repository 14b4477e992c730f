//! The room that senders wait for under `loom`, which runs every interleaving of a few threads: whoever waits is served or told
//! that it is over, whatever moment room is given back at, and whoever goes away leaves nothing behind.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gapless_interleavings::model;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

/// What the room is built on, as `loom` provides it.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../../../producer/src/memory/room.rs"]
mod room;

use room::Room;

/// A room of which everything is taken.
fn full(amount: usize) -> Arc<Room> {
    let room = Arc::new(Room::new(amount));
    assert!(room.try_take(amount));
    room
}

#[test]
fn everyone_who_waits_is_served_and_nothing_is_lost() {
    model(|| {
        let room = full(3);
        let waiting: Vec<_> = [2, 1]
            .into_iter()
            .map(|amount| {
                let room = Arc::clone(&room);
                thread::spawn(move || {
                    assert!(block_on(room.take(amount)));
                    room.give(amount);
                })
            })
            .collect();
        room.give(1);
        room.give(2);
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(room.free(), 3);
    });
}

#[test]
fn whoever_goes_away_takes_nothing_and_lets_the_next_one_pass() {
    model(|| {
        let room = full(2);
        let leaving = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                let mut taking = pin!(room.take(2));
                // In line, or served; and dropped either way.
                if let Poll::Ready(taken) = taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    assert!(taken);
                    room.give(2);
                }
            })
        };
        let giving = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.give(2))
        };
        assert!(block_on(room.take(1)), "whether it stood behind the one that left or not");
        room.give(1);
        leaving.join().unwrap();
        giving.join().unwrap();
        assert_eq!(room.free(), 2);
    });
}

#[test]
fn closing_ends_every_wait() {
    model(|| {
        let room = full(1);
        let waiting = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                if block_on(room.take(1)) {
                    room.give(1);
                }
            })
        };
        let giving = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.give(1))
        };
        room.close();
        waiting.join().unwrap();
        giving.join().unwrap();
        assert_eq!(room.free(), 1);
        assert!(!block_on(room.take(1)) && !room.try_take(1), "closed");
    });
}

#[test]
fn nobody_passes_those_who_wait() {
    model(|| {
        let room = full(2);
        let large = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                assert!(block_on(room.take(2)));
                room.give(2);
            })
        };
        let small = {
            let room = Arc::clone(&room);
            // Takes one at a time for as long as it gets it: were it to pass, the large one would starve.
            thread::spawn(move || {
                let taken = room.try_take(1);
                if taken {
                    room.give(1);
                }
            })
        };
        room.give(1);
        room.give(1);
        large.join().unwrap();
        small.join().unwrap();
        assert_eq!(room.free(), 2);
    });
}
