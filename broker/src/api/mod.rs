//! What is done for each request: one file per API, each opening with the versions it serves.
//!
//! A handler gets a decoded request and gives a [`Reply`]. Requests of a connection are handled one after the other,
//! so what a handler does before it returns is in the order in which requests arrived; what must wait (for a flush, for
//! data) goes into [`Reply::Later`].

mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod fetch;
mod find_coordinator;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
pub mod reply;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{self, ApiKey, DecodeError, Decoder, EncodeError, Message, Text},
    types::LeaderEpoch,
};
use tokio::time::Instant;

use self::reply::{Reply, in_memory};
use crate::{
    config::PARTITIONS_MAX,
    log::PartitionLog,
    request_memory::Charge,
    shared::{Endpoint, Shared},
};

/// One request's surroundings.
pub struct Incoming {
    /// The broker it came to.
    pub broker: Arc<Shared>,
    /// What clients of this listener are told to connect to.
    pub endpoint: Arc<Endpoint>,
    /// What it asks for.
    pub api: ApiKey,
    /// In which version; the response is in the same.
    pub version: i16,
    /// Returned in the answer.
    pub correlation_id: i32,
    /// When it was complete.
    pub received: Instant,
    /// The memory it takes.
    pub charge: Charge,
}

/// A request that cannot be answered: the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Bytes that are no such request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A response that this version cannot say: a bug here.
    #[error("the answer cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// More topics, partitions or resources than there can be: what is little to ask can be much to answer.
    #[error("{} names {count} topics, partitions or resources, and there can be no more than {PARTITIONS_MAX}", api.name())]
    TooMany {
        /// What was asked for.
        api: ApiKey,
        /// How many.
        count: usize,
    },
    /// A version that is not served.
    #[error("{} version {version} is not served (versions {} to {} are)", api.name(), api.versions().start(), api.versions().end())]
    Version {
        /// What was asked for.
        api: ApiKey,
        /// In which version.
        version: i16,
    },
}

/// Decodes a request, has it handled, and encodes the answer.
pub async fn dispatch(request: Incoming, mut body: Decoder) -> Result<Reply, ApiError> {
    if !request.api.versions().contains(&request.version) {
        if request.api == ApiKey::ApiVersions {
            return api_versions::refuse_version(request);
        }
        return Err(ApiError::Version { api: request.api, version: request.version });
    }
    let (input, version) = (&mut body, request.version);
    match request.api {
        ApiKey::Produce => produce::handle(request, Message::decode(input, version)?).await,
        ApiKey::Fetch => fetch::handle(request, Message::decode(input, version)?).await,
        ApiKey::ListOffsets => list_offsets::handle(&request, Message::decode(input, version)?).await,
        ApiKey::Metadata => metadata::handle(&request, Message::decode(input, version)?).await,
        ApiKey::FindCoordinator => find_coordinator::handle(&request, &Message::decode(input, version)?),
        ApiKey::ApiVersions => {
            let _: protocol::messages::ApiVersionsRequest = Message::decode(input, version)?;
            api_versions::handle(&request)
        }
        ApiKey::CreateTopics => create_topics::handle(&request, Message::decode(input, version)?).await,
        ApiKey::DeleteTopics => delete_topics::handle(&request, Message::decode(input, version)?).await,
        ApiKey::DeleteRecords => delete_records::handle(&request, Message::decode(input, version)?).await,
        ApiKey::InitProducerId => init_producer_id::handle(&request, &Message::decode(input, version)?).await,
        ApiKey::OffsetForLeaderEpoch => {
            offset_for_leader_epoch::handle(&request, Message::decode(input, version)?)
        }
        ApiKey::DescribeConfigs => describe_configs::handle(&request, Message::decode(input, version)?),
        ApiKey::DescribeLogDirs => {
            describe_log_dirs::handle(&request, Message::decode(input, version)?).await
        }
        ApiKey::CreatePartitions => {
            create_partitions::handle(&request, Message::decode(input, version)?).await
        }
        ApiKey::DescribeCluster => describe_cluster::handle(&request, &Message::decode(input, version)?),
    }
}

/// The error codes that an API answers here: the closed set of its metric's labels.
pub fn errors_of(api: ApiKey) -> &'static [ErrorCode] {
    match api {
        ApiKey::Produce => produce::ERRORS,
        ApiKey::Fetch => fetch::ERRORS,
        ApiKey::ListOffsets => list_offsets::ERRORS,
        ApiKey::Metadata => metadata::ERRORS,
        ApiKey::FindCoordinator => find_coordinator::ERRORS,
        ApiKey::ApiVersions => api_versions::ERRORS,
        ApiKey::CreateTopics => create_topics::ERRORS,
        ApiKey::DeleteTopics => delete_topics::ERRORS,
        ApiKey::DeleteRecords => delete_records::ERRORS,
        ApiKey::InitProducerId => init_producer_id::ERRORS,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::ERRORS,
        ApiKey::DescribeConfigs => describe_configs::ERRORS,
        ApiKey::DescribeLogDirs => describe_log_dirs::ERRORS,
        ApiKey::CreatePartitions => create_partitions::ERRORS,
        ApiKey::DescribeCluster => describe_cluster::ERRORS,
    }
}

impl Incoming {
    /// An answer that is complete now.
    fn answer<M: Message>(&self, body: &M) -> Result<Reply, ApiError> {
        let parts = protocol::encode_response_frame(self.api, self.version, self.correlation_id, body)?;
        Ok(Reply::Ready(in_memory(parts)))
    }

    /// Bounds what is asked for in one request, and so what its answer takes.
    fn admit(&self, count: usize) -> Result<(), ApiError> {
        if count > PARTITIONS_MAX {
            return Err(ApiError::TooMany { api: self.api, count });
        }
        Ok(())
    }

    /// Counts an error that is part of the answer, and passes it on.
    fn count(&self, code: ErrorCode) -> ErrorCode {
        self.broker.metrics.request_error(self.api, code);
        code
    }
}

/// The names that come more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a Text>) -> BTreeSet<Text> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).cloned().collect()
}

/// Whether a client's idea of a partition's leader epoch is ours (KIP-320): an older one is fenced, a newer one is not
/// known yet. −1 does not ask.
fn check_leader_epoch(log: &PartitionLog, asked: i32) -> Result<(), ErrorCode> {
    let LeaderEpoch(ours) = log.leader_epoch();
    match asked {
        epoch if epoch < 0 || epoch == ours => Ok(()),
        epoch if epoch < ours => Err(ErrorCode::FENCED_LEADER_EPOCH),
        _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    }
}
