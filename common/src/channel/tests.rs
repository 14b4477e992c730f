//! The channel against a scripted peer over an in-memory stream, in paused time.

mod peer;

mod death;
mod flow;
mod handshake;
mod time;
