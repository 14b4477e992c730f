//! The sender's connection: opened when there is something to send, given up when it is dead.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use gapless_common::channel::{Channel, ChannelDeath, ChannelError};
use gapless_common::protocol::ApiKey;
use tokio::time::Instant;

use super::task::Sender;
use crate::error::Attempt;
use crate::observer::Event;
use crate::partition::ConnectionId;

/// An open connection.
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) id: ConnectionId,
    /// The newest of Produce that both ends know.
    pub(super) version: i16,
    pub(super) death: BoxFuture<'static, Arc<ChannelDeath>>,
    /// At least one request was answered on it.
    pub(super) proven: bool,
}

impl Sender {
    /// The connection is dead; all that was in flight on it has been told.
    pub(super) fn lose_line(&mut self, death: &Arc<ChannelDeath>) {
        let Some(line) = self.line.take() else { return };
        tracing::debug!(broker = self.link.broker, address = line.channel.address(), cause = %death, "connection lost");
        // Each pending answer fails with the channel; none can be left.
        while let Some(request) = self.in_flight.pop_front() {
            self.shared.metrics.requests_in_flight.decrement(1);
            self.lost(request.parts, death);
        }
        self.unfilled_in_flight = 0;
        self.throttled_until = None;
        self.link.disconnected();
        self.shared.tell(|| Event::Disconnected {
            broker: self.link.id(),
            address: line.channel.address().into(),
            cause: death.to_string().into(),
        });
        // One that worked is opened again at once; a broker that is down then refuses, and the next attempt waits.
        self.connect_at = (!line.proven)
            .then(|| Instant::now() + self.backoff.next_delay(self.shared.seams.random.bits64()));
        self.shared.refresh_metadata();
    }

    pub(super) fn wants_line(&self) -> bool {
        self.line.is_none()
            && self.connecting.is_none()
            && (!self.full.is_empty() || !self.unfilled.is_empty())
    }

    /// True if a connection is open now that was not before.
    pub(super) fn connect_if_needed(&mut self) -> bool {
        if !self.wants_line() || self.connect_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        let Some(address) = self.link.address() else { return false };
        self.connect_at = None;
        if let Some(channel) = self.shared.take_spare(&address) {
            self.connected(Ok(channel));
            return self.line.is_some();
        }
        let shared = Arc::clone(&self.shared);
        self.connecting = Some(Box::pin(async move {
            Channel::connect(&shared.seams, &address, &shared.channel_config()).await
        }));
        false
    }

    pub(super) fn connected(&mut self, result: Result<Channel, ChannelError>) {
        self.connecting = None;
        let address: Arc<str> = self.link.address().unwrap_or_else(|| "".into());
        let attempt = match result {
            Ok(channel) => match channel.version_of(ApiKey::Produce) {
                Some(version) => {
                    let again = self.link.connected(channel.clone());
                    if again {
                        self.shared.metrics.reconnects.increment(1);
                        self.shared.totals.reconnects.add(1);
                    }
                    self.shared.tell(|| Event::Connected {
                        broker: self.link.id(),
                        address: channel.address().into(),
                        again,
                    });
                    let death = Box::pin(channel.death());
                    let id = self.shared.next_connection();
                    self.line = Some(Line { channel, id, version, death, proven: false });
                    return;
                }
                None => Attempt::not_served(&address, ApiKey::Produce),
            },
            Err(error) => Attempt::failed(&address, &error),
        };
        tracing::debug!(broker = self.link.broker, stage = attempt.stage, cause = %attempt.cause, "cannot connect");
        self.shared.tell(|| Event::NotConnected { broker: self.link.id(), attempt: attempt.clone() });
        self.link.failed(attempt);
        self.connect_at = Some(Instant::now() + self.backoff.next_delay(self.shared.seams.random.bits64()));
        self.shared.refresh_metadata();
    }
}
