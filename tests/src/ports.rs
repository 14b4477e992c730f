//! Ports that a program may leave and take again.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux): nothing slips
/// into one of these while its broker is down, least of all a client that keeps trying to connect to it.
const FIRST: u16 = 12_000;
const COUNT: u16 = 16_000;

/// A port on 127.0.0.1 that is free now and is given out once by this process.
///
/// # Panics
/// If all of them are taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time start at different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
