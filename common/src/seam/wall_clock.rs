//! Time of day. It jumps; so only timestamps come from it, never a duration.

/// A clock as people read it.
pub trait WallClock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC, the unit of Kafka's timestamps.
    fn now_ms(&self) -> i64;
}

/// The system's clock.
pub struct RealWallClock;

impl WallClock for RealWallClock {
    #[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the real side of the seam")]
    fn now_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A clock set before 1970 reads as negative time, as Kafka's would.
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}
