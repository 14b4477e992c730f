//! What can go wrong on a channel: it does not come about, or it dies. Either has one cause.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error_code::ErrorCode;
use crate::frame::FrameError;
use crate::protocol::{ApiKey, DecodeError, EncodeError};
use crate::seam::{ConnectError, ConnectStage};
use crate::units::DisplayDuration;

/// Why a channel ended. Every request that was under way learns the same one.
#[derive(Debug, thiserror::Error)]
pub enum ChannelDeath {
    /// A request was not answered in its time. It may have been carried out all the same.
    #[error("no answer to {} within {}", api.name(), DisplayDuration(*after))]
    Timeout {
        /// What was asked.
        api: ApiKey,
        /// How long was waited.
        after: Duration,
    },
    /// The channel was idle, and a heartbeat was not answered in its time.
    #[error("no answer to a heartbeat within {}", DisplayDuration(*after))]
    HeartbeatMissed {
        /// How long was waited.
        after: Duration,
    },
    /// The peer ended the connection: it stops, it was idle too long, or it refused what it was sent.
    #[error("the peer closed the connection")]
    ClosedByPeer,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    /// The peer does not speak as it should.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// This side closed it, or dropped its last handle, or its runtime ended.
    #[error("the connection was closed here")]
    ClosedHere,
}

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The length before a response makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A response cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Responses must come in the order of the requests (Kafka's guarantee for one connection).
    #[error(
        "a response for {}, while the oldest request waiting is {}",
        correlation(*found, "no request (it is too short)"),
        correlation(*expected, "none")
    )]
    Correlation {
        /// What the response carries; `None`: it is too short to carry one.
        found: Option<i32>,
        /// What it should carry; `None`: nothing was asked.
        expected: Option<i32>,
    },
    /// The first request of a connection was refused.
    #[error("ApiVersions was refused with {0}")]
    Refused(ErrorCode),
    /// The channel's own request (the first, or a heartbeat) could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

fn correlation(id: Option<i32>, none: &str) -> String {
    id.map_or_else(|| none.to_owned(), |id| format!("correlation id {id}"))
}

/// How far an attempt to open a channel came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Turning the host's name into addresses.
    Name,
    /// Opening the connection.
    Connect,
    /// Agreeing on the protocol's versions.
    Protocol,
}

impl Stage {
    /// One word, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Connect => "connect",
            Self::Protocol => "protocol",
        }
    }
}

/// Why a channel was not opened, or a request not sent or not answered.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The name does not resolve or the connection is refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Neither accepted nor refused.
    #[error("cannot connect to {address}: no answer within {}", DisplayDuration(*after))]
    ConnectTimeout {
        /// What was tried, as it was given.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection is open, but the first exchange (ApiVersions) failed.
    #[error("{address} accepts connections but does not answer as a Kafka broker")]
    Handshake {
        /// What was tried, as it was given.
        address: String,
        /// What became of the first request.
        source: Arc<ChannelDeath>,
    },
    /// The peer serves no version of this API that is known here.
    #[error("{address} does not serve {} in a version known here", api.name())]
    NotServed {
        /// The peer.
        address: String,
        /// What was to be asked.
        api: ApiKey,
    },
    /// The request does not fit the protocol (a string past its length, a field the version lacks). Nothing was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A record batch that is a range of a file: a channel sends what is in memory. Nothing was sent.
    #[error("{} holds records that are not in memory", api.name())]
    NotInMemory {
        /// What was to be sent.
        api: ApiKey,
    },
    /// The channel died, before the request was sent or after.
    #[error(transparent)]
    Dead(#[from] Arc<ChannelDeath>),
}

impl ChannelError {
    /// How far opening came; `None` if it is not opening that failed.
    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        match self {
            Self::Connect(ConnectError { stage: ConnectStage::Name, .. }) => Some(Stage::Name),
            Self::Connect(_) | Self::ConnectTimeout { .. } => Some(Stage::Connect),
            Self::Handshake { .. } => Some(Stage::Protocol),
            Self::NotServed { .. } | Self::Encode(_) | Self::NotInMemory { .. } | Self::Dead(_) => None,
        }
    }
}

/// Why [`Channel::try_send`](super::Channel::try_send) did not send.
#[derive(Debug)]
pub enum TrySendError<R> {
    /// No slot is free; here is the request back.
    Full(R),
    /// It cannot be sent, now or later.
    Failed(ChannelError),
}
