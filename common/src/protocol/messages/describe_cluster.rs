//! DescribeCluster (key 60), versions 0 to 2, all flexible.
//!
//! - 1: brokers or controllers (KIP-919).
//! - 2: brokers that are fenced off (KIP-1073).

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks about the cluster.
    request DescribeClusterRequest (DescribeCluster, answered by DescribeClusterResponse) {
        /// Whether to say what the client may do with the cluster.
        include_cluster_authorized_operations: bool [0..],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1..] = 1,
        /// Whether to name the brokers that are fenced off, too.
        include_fenced_brokers: bool [2..],
    }
}

message! {
    /// The cluster.
    response DescribeClusterResponse (DescribeCluster) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0..],
        /// 0, or why it cannot be told about.
        error_code: ErrorCode [0..],
        /// The same in words.
        error_message: Option<Text> [0.., nullable 0..],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1..] = 1,
        /// The cluster.
        cluster_id: Text [0..],
        /// The broker that administration goes to; −1: none.
        controller_id: i32 [0..] = -1,
        /// The brokers.
        brokers: Vec<DescribeClusterBroker> [0..],
        /// What the client may do with the cluster, a bit each; the smallest number: not asked for.
        cluster_authorized_operations: i32 [0..] = i32::MIN,
    }
}

message! {
    /// A broker.
    part DescribeClusterBroker {
        /// Its id.
        broker_id: i32 [0..],
        /// Name or address.
        host: Text [0..],
        /// Port.
        port: i32 [0..],
        /// Its rack, if it has one.
        rack: Option<Text> [0.., nullable 0..],
        /// Whether it is fenced off.
        is_fenced: bool [2..],
    }
}
