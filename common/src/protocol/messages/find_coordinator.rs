//! FindCoordinator (key 10), versions 0 to 6.
//!
//! - 1: the key's type; the response has a message and the throttle time.
//! - 3: flexible.
//! - 4: several keys at once (KIP-699).
//! - 5: error 120 (TRANSACTION_ABORTABLE).
//! - 6: share groups (KIP-932).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks which broker coordinates a group or a transaction.
    request FindCoordinatorRequest (FindCoordinator, answered by FindCoordinatorResponse) {
        /// The group or the transactional id.
        key: Text [0..=3],
        /// 0: a group, 1: a transaction, 2: a share group.
        key_type: i8 [1..],
        /// The groups or transactional ids.
        coordinator_keys: Vec<Text> [4..],
    }
}

message! {
    /// The coordinators.
    response FindCoordinatorResponse (FindCoordinator) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [1.., ignorable],
        /// 0, or why there is no coordinator.
        error_code: ErrorCode [0..=3],
        /// The same in words.
        error_message: Option<Text> [1..=3, nullable 1..=3, ignorable] = Some(Text::default()),
        /// The coordinator's broker id.
        node_id: i32 [0..=3],
        /// Its name or address.
        host: Text [0..=3],
        /// Its port.
        port: i32 [0..=3],
        /// By key.
        coordinators: Vec<Coordinator> [4..],
    }
}

message! {
    /// The answer for a key.
    part Coordinator {
        /// The group or the transactional id.
        key: Text [4..],
        /// The coordinator's broker id.
        node_id: i32 [4..],
        /// Its name or address.
        host: Text [4..],
        /// Its port.
        port: i32 [4..],
        /// 0, or why there is no coordinator.
        error_code: ErrorCode [4..],
        /// The same in words.
        error_message: Option<Text> [4.., nullable 4.., ignorable] = Some(Text::default()),
    }
}
