//! Who leads a partition: what Produce and Fetch tell a client that asked the wrong broker (KIP-951).

use crate::protocol::Text;

message! {
    /// The leader of a partition.
    part LeaderIdAndEpoch {
        /// Its broker id; −1: not known.
        leader_id: i32 [0..] = -1,
        /// Its generation; −1: not known.
        leader_epoch: i32 [0..] = -1,
    }
}

message! {
    /// Where a leader is reached.
    part NodeEndpoint {
        /// Its broker id.
        node_id: i32 [0..],
        /// Name or address.
        host: Text [0..],
        /// Port.
        port: i32 [0..],
        /// Its rack, if it has one.
        rack: Option<Text> [0.., nullable 0..],
    }
}
