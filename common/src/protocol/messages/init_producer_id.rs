//! InitProducerId (key 22), versions 0 to 5.
//!
//! - 2: flexible.
//! - 3: the request has the producer's id and epoch, to go on with after a fatal error (KIP-360).
//! - 4: error 90 (PRODUCER_FENCED).
//! - 5: error 120 (TRANSACTION_ABORTABLE).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks for a producer id.
    request InitProducerIdRequest (InitProducerId, answered by InitProducerIdResponse) {
        /// Null: an idempotent producer without transactions.
        transactional_id: Option<Text> [0.., nullable 0..] = Some(Text::default()),
        /// How long a transaction may be idle, in milliseconds.
        transaction_timeout_ms: i32 [0..],
        /// The id that the producer had; −1: none.
        producer_id: i64 [3..] = -1,
        /// Its epoch; −1: none.
        producer_epoch: i16 [3..] = -1,
    }
}

message! {
    /// A producer id.
    response InitProducerIdResponse (InitProducerId) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0.., ignorable],
        /// 0, or why there is none.
        error_code: ErrorCode [0..],
        /// The id; −1: none.
        producer_id: i64 [0..] = -1,
        /// Its epoch.
        producer_epoch: i16 [0..],
    }
}
