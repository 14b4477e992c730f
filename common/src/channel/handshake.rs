//! The first exchange on a connection: which versions does the peer serve?

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::encode::encode;
use super::error::{ChannelDeath, ChannelError, ProtocolError};
use super::receive::{Frames, death_of};
use super::versions::Versions;
use crate::error_code::ErrorCode;
use crate::protocol::messages::ApiVersionsRequest;
use crate::protocol::{ApiKey, Text, decode_response, response_correlation_id};
use crate::seam::WriteHalf;

/// What both ends agreed on.
pub(super) struct Agreement {
    pub(super) versions: Versions,
    /// The correlation id of the first request after the handshake.
    pub(super) next_correlation: i32,
}

/// Asks in the newest version known here; a peer that does not serve it says so in version 0 (KIP-511), and is asked
/// again in one that it does; or in version 0, if it says so without saying which (librdkafka's mock broker).
pub(super) async fn negotiate(
    frames: &mut Frames,
    writer: &mut dyn WriteHalf,
    client_id: &Text,
) -> Result<Agreement, ChannelDeath> {
    let mut version = *ApiKey::ApiVersions.versions().end();
    let mut correlation = 0;
    loop {
        for piece in encode(client_id, correlation, &request(), version).map_err(own_request)? {
            writer.write_all(&piece).await.map_err(ChannelDeath::Io)?;
        }
        writer.flush().await.map_err(ChannelDeath::Io)?;
        let frame = frames.next().await.map_err(death_of)?.ok_or(ChannelDeath::ClosedByPeer)?;
        // A frame too short for an id is no response at all, which decoding says.
        if let found @ Some(id) = response_correlation_id(&frame)
            && id != correlation
        {
            return Err(ProtocolError::Correlation { found, expected: Some(correlation) }.into());
        }
        correlation += 1;
        if version > 0 && error_of(&frame) == Some(ErrorCode::UNSUPPORTED_VERSION) {
            version = served_instead(frame).clamp(0, version - 1);
            continue;
        }
        let (_, offer) =
            decode_response::<ApiVersionsRequest>(frame, version).map_err(ProtocolError::Decode)?;
        if !offer.error_code.is_ok() {
            return Err(ProtocolError::Refused(offer.error_code).into());
        }
        return Ok(Agreement { versions: Versions::from_offer(&offer), next_correlation: correlation });
    }
}

/// The newest version of ApiVersions that a refusal offers; 0 if it cannot be read.
fn served_instead(refusal: Bytes) -> i16 {
    let key = ApiKey::ApiVersions.to_i16();
    decode_response::<ApiVersionsRequest>(refusal, 0)
        .ok()
        .and_then(|(_, offer)| offer.api_keys.into_iter().find(|range| range.api_key == key))
        .map_or(0, |range| range.max_version)
}

/// ApiVersions: the first request of a channel, and its heartbeat.
pub(super) fn request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: Text::from_static("gapless"),
        client_software_version: Text::from_static(env!("CARGO_PKG_VERSION")),
    }
}

/// Why the channel's own request could not be sent, as a cause of death.
pub(super) fn own_request(error: ChannelError) -> ChannelDeath {
    match error {
        ChannelError::Encode(error) => ProtocolError::Encode(error).into(),
        // Whatever else there is to say is said by the cause that the channel already has.
        _ => ChannelDeath::ClosedHere,
    }
}

/// The error code of an ApiVersions response: right behind the correlation id in every version, since its header never
/// has tagged fields.
fn error_of(frame: &[u8]) -> Option<ErrorCode> {
    frame.get(4..)?.first_chunk().map(|code| ErrorCode(i16::from_be_bytes(*code)))
}
