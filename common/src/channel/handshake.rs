//! The first exchange on a connection: which versions does the peer serve?

use tokio::io::AsyncWriteExt as _;

use super::encode::encode;
use super::error::{ChannelDeath, ChannelError, ProtocolError};
use super::receive::{Frames, death_of};
use super::versions::Versions;
use crate::error_code::ErrorCode;
use crate::protocol::messages::ApiVersionsRequest;
use crate::protocol::{ApiKey, Text, decode_response};
use crate::seam::WriteHalf;

/// What both ends agreed on.
pub(super) struct Agreement {
    pub(super) versions: Versions,
    /// The correlation id of the first request after the handshake.
    pub(super) next_correlation: i32,
}

/// Asks in the newest version known here; a peer that does not serve it says so in version 0 (KIP-511), and is asked
/// again in one that it does.
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
        let refused = error_of(&frame) == Some(ErrorCode::UNSUPPORTED_VERSION);
        let answer_version = if refused { 0 } else { version };
        let (found, offer) =
            decode_response::<ApiVersionsRequest>(frame, answer_version).map_err(ProtocolError::Decode)?;
        if found != correlation {
            let (found, expected) = (Some(found), Some(correlation));
            return Err(ProtocolError::Correlation { found, expected }.into());
        }
        correlation += 1;
        if refused && version > 0 {
            let key = ApiKey::ApiVersions.to_i16();
            let theirs =
                offer.api_keys.iter().find(|range| range.api_key == key).map_or(0, |range| range.max_version);
            version = theirs.clamp(0, version - 1);
            continue;
        }
        if !offer.error_code.is_ok() {
            return Err(ProtocolError::Refused(offer.error_code).into());
        }
        return Ok(Agreement { versions: Versions::from_offer(&offer), next_correlation: correlation });
    }
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
