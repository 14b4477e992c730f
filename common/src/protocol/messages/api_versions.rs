//! ApiVersions (key 18), versions 0 to 4: the first request on most connections.
//!
//! - 1: the response has the throttle time.
//! - 3: flexible; the request names the client's software, the response the cluster's features (KIP-511, KIP-584). The
//!   response's header stays at version 0.
//! - 4: a feature's smallest version may be 0 (KAFKA-17011).
//!
//! A version not served is answered in version 0 with error 35.

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks what the broker serves.
    request ApiVersionsRequest (ApiVersions, answered by ApiVersionsResponse) {
        /// The client's software.
        client_software_name: Text [3.., ignorable],
        /// Its version.
        client_software_version: Text [3.., ignorable],
    }
}

message! {
    /// What the broker serves.
    response ApiVersionsResponse (ApiVersions) {
        /// 0, or 35 if the version of the request is not served.
        error_code: ErrorCode [0..],
        /// The APIs served.
        api_keys: Vec<ApiVersion> [0..],
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [1.., ignorable],
        /// Features that the broker could have.
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0, ignorable],
        /// Generation of the finalized features; −1: not known.
        finalized_features_epoch: i64 [3.., tag 1, ignorable] = -1,
        /// Features that the whole cluster has.
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2, ignorable],
        /// Of Kafka's move away from ZooKeeper.
        zk_migration_ready: bool [3.., tag 3, ignorable],
    }
}

message! {
    /// An API served.
    part ApiVersion {
        /// Its key.
        api_key: i16 [0..],
        /// The oldest version.
        min_version: i16 [0..],
        /// The newest version.
        max_version: i16 [0..],
    }
}

message! {
    /// A feature that the broker could have.
    part SupportedFeatureKey {
        /// Its name.
        name: Text [3..],
        /// The lowest level.
        min_version: i16 [3..],
        /// The highest level.
        max_version: i16 [3..],
    }
}

message! {
    /// A feature that the whole cluster has.
    part FinalizedFeatureKey {
        /// Its name.
        name: Text [3..],
        /// The highest level.
        max_version_level: i16 [3..],
        /// The lowest level.
        min_version_level: i16 [3..],
    }
}
