//! The Single-Socket Channel with its Request Pipeline: one connection to a peer carries all requests, in order.
//!
//! - [`Channel::connect`] opens the connection and agrees on versions (`handshake`).
//! - [`Channel::send`] waits for a free slot, gives the request its correlation id and queues it (`pipeline`); the next
//!   request goes out before the last response is in. Requests in flight are bounded.
//! - The sending task writes everything queued at once (`write`). The receiving task (`receive`) reads all the time,
//!   gives each response to the request that waits the longest, judges deadlines, and sends a heartbeat when idle.
//! - Whatever goes wrong kills the channel: all who wait learn one cause ([`ChannelDeath`]). It never sends anything
//!   twice; who needs a request carried out sends it again on a new channel, knowing that it may have been already.

mod encode;
mod error;
mod handshake;
mod pending;
mod pipeline;
mod receive;
mod shared;
#[cfg(test)]
mod tests;
mod versions;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

pub use error::{ChannelDeath, ChannelError, ProtocolError, Stage, TrySendError};
pub use pending::Pending;

use crate::frame::FrameReader;
use crate::protocol::{ApiKey, Request, Text};
use crate::seam::{Connection, Seams};
use pipeline::{Lane, Until};
use receive::Receiving;
use shared::Shared;
use write::Outlet;

/// How a channel behaves. The defaults are the producer's.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// How this side names itself in each request; brokers log it.
    pub client_id: Text,
    /// Produce requests under way at once. More than five drop the order that idempotence keeps through retries
    /// (Kafka remembers five batches of a producer).
    pub max_in_flight: usize,
    /// Other requests under way at once: so a full pipeline of records holds up neither metadata nor offsets.
    pub max_other_in_flight: usize,
    /// How long [`Channel::call`] waits for a response.
    pub request_timeout: Duration,
    /// After so long without a sign of life from the peer, and nothing asked, it is asked for one. It has as long to
    /// answer, or the request timeout if that is shorter.
    pub heartbeat_interval: Duration,
    /// How long opening the connection may take, and once more the first exchange on it.
    pub connect_timeout: Duration,
    /// The largest response taken, in bytes.
    pub response_size_max: usize,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            client_id: Text::from_static("gapless"),
            max_in_flight: 5,
            max_other_in_flight: 8,
            request_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            // librdkafka's `receive.message.max.bytes`.
            response_size_max: 100_000_000,
        }
    }
}

/// A handle to one open channel; clones share it. When the last one is dropped the channel closes, and what is still
/// unanswered learns [`ChannelDeath::ClosedHere`].
#[derive(Clone)]
pub struct Channel {
    shared: Arc<CloseOnDrop>,
    request_timeout: Duration,
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.die(ChannelDeath::ClosedHere);
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("address", &self.address())
            .field("death", &self.inner().death())
            .finish()
    }
}

impl Channel {
    /// Connects to `address` (`HOST:PORT`) and agrees on the protocol's versions.
    ///
    /// # Errors
    /// [`ChannelError`] with a [`Stage`].
    pub async fn connect(seams: &Seams, address: &str, config: &ChannelConfig) -> Result<Self, ChannelError> {
        let Ok(connected) = timeout(config.connect_timeout, seams.network.connect(address)).await else {
            return Err(ChannelError::ConnectTimeout {
                address: address.to_owned(),
                after: config.connect_timeout,
            });
        };
        Self::open(seams, connected?, address, config).await
    }

    /// Agrees on the protocol's versions over a connection that is open; `address` is for messages.
    ///
    /// # Errors
    /// [`ChannelError::Handshake`].
    pub async fn open(
        seams: &Seams,
        connection: Connection,
        address: &str,
        config: &ChannelConfig,
    ) -> Result<Self, ChannelError> {
        let Connection { reader, mut writer, .. } = connection;
        let mut frames = FrameReader::new(reader, config.response_size_max);
        let negotiating = handshake::negotiate(&mut frames, &mut *writer, &config.client_id);
        let agreement = match timeout(config.connect_timeout, negotiating).await {
            Ok(agreed) => agreed,
            Err(_) => Err(ChannelDeath::Timeout { api: ApiKey::ApiVersions, after: config.connect_timeout }),
        };
        let agreement = agreement.map_err(|death| ChannelError::Handshake {
            address: address.to_owned(),
            source: Arc::new(death),
        })?;
        let shared = Arc::new(Shared::new(address.to_owned(), agreement, config, Outlet::new(writer)));
        let sending = Arc::clone(&shared);
        seams.spawner.spawn(async move { std::future::poll_fn(|cx| sending.poll_sending(cx)).await });
        seams.spawner.spawn(Receiving::new(Arc::clone(&shared), frames).run());
        Ok(Self { shared: Arc::new(CloseOnDrop(shared)), request_timeout: config.request_timeout })
    }

    fn inner(&self) -> &Arc<Shared> {
        &self.shared.0
    }

    /// Whom it leads to, as it was given to [`Channel::connect`].
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner().address
    }

    /// The newest version of an API that both ends serve.
    #[must_use]
    pub fn version_of(&self, key: ApiKey) -> Option<i16> {
        self.inner().versions.of(key)
    }

    /// Waits for a free slot, then queues the request behind all queued before it. The returned future waits for the
    /// response; dropping it changes nothing for the others. One caller that awaits its sends one by one is served in
    /// that order. Dropped before it is ready, nothing was sent.
    ///
    /// The time limit counts from queueing; when it passes the channel dies, since later answers can only come behind
    /// this one.
    ///
    /// # Errors
    /// The channel is dead, or the request cannot be encoded in this version.
    pub async fn send<R: Request>(
        &self,
        request: R,
        version: i16,
        time_limit: Duration,
    ) -> Result<Pending<R::Response>, ChannelError> {
        let (waiter, answer) = oneshot::channel();
        self.queue(&request, version, time_limit, Until::Answered(waiter)).await?;
        Ok(Pending::response::<R>(Arc::clone(self.inner()), answer, version))
    }

    async fn queue<R: Request>(
        &self,
        request: &R,
        version: i16,
        time_limit: Duration,
        until: Until,
    ) -> Result<(), ChannelError> {
        let (shared, lane) = (self.inner(), Lane::of(R::KEY));
        let Ok(slot) = shared.slots(lane).acquire().await else {
            return Err(shared.death_or_closed().into());
        };
        shared.submit(lane, request, version, time_limit, until)?;
        // The slot belongs to the request now; its end gives it back.
        slot.forget();
        Ok(())
    }

    /// [`Channel::send`] if a slot is free at once; else the request comes back.
    ///
    /// # Errors
    /// No slot is free, the channel is dead, or the request cannot be encoded in this version.
    pub fn try_send<R: Request>(
        &self,
        request: R,
        version: i16,
        time_limit: Duration,
    ) -> Result<Pending<R::Response>, TrySendError<R>> {
        let lane = Lane::of(R::KEY);
        let shared = self.inner();
        let slot = match shared.slots(lane).try_acquire() {
            Ok(slot) => slot,
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(TrySendError::Full(request)),
            Err(tokio::sync::TryAcquireError::Closed) => {
                return Err(TrySendError::Failed(shared.death_or_closed().into()));
            }
        };
        let (waiter, answer) = oneshot::channel();
        shared
            .submit(lane, &request, version, time_limit, Until::Answered(waiter))
            .map_err(TrySendError::Failed)?;
        slot.forget();
        Ok(Pending::response::<R>(Arc::clone(shared), answer, version))
    }

    /// [`Channel::send`] for a request that gets no response (Produce with acks = 0): the returned future waits until
    /// its last byte is handed to the connection, and so long it holds its slot.
    ///
    /// # Errors
    /// The channel is dead, or the request cannot be encoded in this version.
    pub async fn send_without_response<R: Request>(
        &self,
        request: R,
        version: i16,
        time_limit: Duration,
    ) -> Result<Pending<()>, ChannelError> {
        let (waiter, answer) = oneshot::channel();
        self.queue(&request, version, time_limit, Until::Written(waiter)).await?;
        Ok(Pending::written(Arc::clone(self.inner()), answer))
    }

    /// Asks in the newest common version and waits for the response within the channel's request timeout.
    ///
    /// # Errors
    /// The peer does not serve this API, the request cannot be encoded, or the channel is dead.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Response, ChannelError> {
        let Some(version) = self.version_of(R::KEY) else {
            return Err(ChannelError::NotServed { address: self.address().to_owned(), api: R::KEY });
        };
        Ok(self.send(request, version, self.request_timeout).await?.await?)
    }

    /// Requests under way, of all kinds, heartbeats apart.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner().in_flight()
    }

    /// Slots that requests of this kind could take at once. On a dead channel the number means nothing.
    #[must_use]
    pub fn free_slots(&self, key: ApiKey) -> usize {
        self.inner().slots(Lane::of(key)).available_permits()
    }

    /// Waits until the channel is dead, and says why. Does not keep it open.
    pub fn death(&self) -> impl Future<Output = Arc<ChannelDeath>> + Send + 'static {
        let shared = Arc::clone(self.inner());
        async move { shared.wait_for_death().await }
    }

    /// True once nothing can be sent any more.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.inner().death().is_some()
    }

    /// Ends the channel now. What is unanswered learns [`ChannelDeath::ClosedHere`].
    pub fn close(&self) {
        self.inner().die(ChannelDeath::ClosedHere);
    }
}
