//! Requests as bytes.

use bytes::Bytes;

use super::error::ChannelError;
use crate::protocol::{Part, Request, Text, encode_request_frame};

/// A whole frame in pieces; large payloads are pieces of their own, not copied.
pub(super) fn encode<R: Request>(
    client_id: &Text,
    correlation_id: i32,
    request: &R,
    version: i16,
) -> Result<Vec<Bytes>, ChannelError> {
    encode_request_frame(correlation_id, Some(client_id), request, version)?
        .into_iter()
        .map(|part| match part {
            Part::Bytes(bytes) => Ok(bytes),
            Part::External { .. } => Err(ChannelError::NotInMemory { api: R::KEY }),
        })
        .collect()
}
