//! ApiVersions (18), versions 0–4. Any other version is answered with a version-0 body, error 35 and this key's range
//! alone: franz-go and Kafka's own clients negotiate again from that.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        ApiKey,
        messages::{ApiVersionsResponse, api_versions::ApiVersion},
    },
};

use super::reply::Reply;
use super::{ApiError, Incoming};

pub(super) const ERRORS: &[ErrorCode] = &[ErrorCode::UNSUPPORTED_VERSION];

/// The response header of this API is version 0 whatever the version, so that a client that knows less can read it.
pub(super) fn handle(request: &Incoming) -> Result<Reply, ApiError> {
    let api_keys = ApiKey::ALL.iter().copied().map(advertised).collect();
    request.answer(&ApiVersionsResponse { api_keys, ..Default::default() })
}

pub(super) fn refuse_version(request: Incoming) -> Result<Reply, ApiError> {
    let body = ApiVersionsResponse {
        error_code: request.count(ErrorCode::UNSUPPORTED_VERSION),
        api_keys: vec![advertised(ApiKey::ApiVersions)],
        ..Default::default()
    };
    Incoming { version: 0, ..request }.answer(&body)
}

fn advertised(api: ApiKey) -> ApiVersion {
    let versions = api.versions();
    let min_version = match api {
        // Versions 0–2 are not served and close the connection, but librdkafka up to 2.11 turns gzip, snappy and lz4
        // off for a broker that does not advertise them (KAFKA-18659).
        ApiKey::Produce => 0,
        _ => *versions.start(),
    };
    ApiVersion { api_key: api.to_i16(), min_version, max_version: *versions.end() }
}
