//! The messages, one file per API; each opens with the versions served and what changed in them.
//!
//! Fields are named as in Kafka's schemas (`clients/src/main/resources/common/message` in apache/kafka), in snake case,
//! and have the schemas' defaults. Structures that an API shares with no other live in its module.

pub mod api_versions;
pub mod init_producer_id;
pub mod leader;
pub mod metadata;
pub mod produce;

pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use produce::{ProduceRequest, ProduceResponse};
