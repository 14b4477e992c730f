//! What the handles, the sending task and the receiving task of one channel share.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::ChannelConfig;
use super::encode::encode;
use super::error::{ChannelDeath, ChannelError, ProtocolError};
use super::handshake::{self, Agreement};
use super::pipeline::{Answer, Judgement, Lane, Pipeline, Until, Waiting};
use super::versions::Versions;
use super::write::Outlet;
use crate::protocol::{ApiKey, Request, Text, response_correlation_id};

/// A frame up to this size is written by whoever queues it, if the connection is idle, which spares a hand-off to the
/// sending task: a lone round trip took 29 µs instead of 37. A larger one would keep the caller from its next batch; with
/// batches of 1 MB neither way was faster.
const INLINE_WRITE_MAX: usize = 64 * 1024;

pub(super) struct Shared {
    pub(super) address: String,
    pub(super) versions: Versions,
    client_id: Text,
    heartbeat_timeout: Duration,
    pipeline: Mutex<Pipeline>,
    produce_slots: Semaphore,
    other_slots: Semaphore,
    /// Locked before `pipeline` where both are.
    sending: Mutex<Sending>,
    /// The sending task, when there is something to write.
    writer: AtomicWaker,
    /// Wakes the receiving task: a deadline before its alarm, a failed write, a death.
    pub(super) attention: Notify,
    death: OnceLock<Arc<ChannelDeath>>,
    died: Notify,
}

/// The sending half.
enum Sending {
    Open(Outlet),
    /// A write failed with this. Responses that are already here are still read; then the channel dies of it.
    Failed(io::Error),
    Closed,
}

impl Shared {
    pub(super) fn new(address: String, agreement: Agreement, config: &ChannelConfig, outlet: Outlet) -> Self {
        let Agreement { versions, next_correlation } = agreement;
        Self {
            address,
            versions,
            client_id: config.client_id.clone(),
            heartbeat_timeout: config.heartbeat_interval.min(config.request_timeout),
            pipeline: Mutex::new(Pipeline::new(next_correlation, Instant::now(), config.heartbeat_interval)),
            produce_slots: Semaphore::new(config.max_in_flight),
            other_slots: Semaphore::new(config.max_other_in_flight),
            sending: Mutex::new(Sending::Open(outlet)),
            writer: AtomicWaker::new(),
            attention: Notify::new(),
            death: OnceLock::new(),
            died: Notify::new(),
        }
    }

    fn pipeline(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slots that requests of this lane share. A heartbeat takes none.
    pub(super) const fn slots(&self, lane: Lane) -> &Semaphore {
        match lane {
            Lane::Produce => &self.produce_slots,
            Lane::Other | Lane::Heartbeat => &self.other_slots,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pipeline().in_flight()
    }

    /// Queues a request whose slot is taken, and writes it at once if the connection is idle.
    pub(super) fn submit<R: Request>(
        &self,
        lane: Lane,
        request: &R,
        version: i16,
        timeout: Duration,
        until: Until,
    ) -> Result<(), ChannelError> {
        let (sooner, size) = {
            let mut pipeline = self.pipeline();
            if let Some(death) = self.death.get() {
                return Err(Arc::clone(death).into());
            }
            // Encoded under the lock, so that correlation ids go out in their order; payloads are not copied.
            let frame = encode(&self.client_id, pipeline.next_correlation(), request, version)?;
            let size = frame.iter().map(Bytes::len).sum::<usize>();
            (pipeline.push(R::KEY, lane, timeout, Instant::now(), frame, until), size)
        };
        if sooner {
            self.attention.notify_one();
        }
        if size > INLINE_WRITE_MAX || !self.write_if_idle() {
            self.writer.wake();
        }
        Ok(())
    }

    /// Writes what is queued unless that is being done already, or is waiting for the connection. False if the sending
    /// task has to go on with it.
    fn write_if_idle(&self) -> bool {
        let Ok(mut sending) = self.sending.try_lock() else { return false };
        // The sending task has left no waker with the connection if nothing waits to be written.
        let idle = matches!(&*sending, Sending::Open(outlet) if outlet.is_idle());
        idle && self.write(&mut sending, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// The sending task: ready when there is no more sending.
    pub(super) fn poll_sending(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.writer.register(cx.waker());
        let mut sending = self.sending();
        match self.write(&mut sending, cx) {
            Poll::Ready(()) if !matches!(&*sending, Sending::Open(_)) => Poll::Ready(()),
            // Nothing is left, and whoever queues more wakes this task; or the connection does.
            _ => Poll::Pending,
        }
    }

    /// Writes until nothing is queued, or the connection takes no more.
    fn write(&self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Sending::Open(outlet) = sending else { return Poll::Ready(()) };
            outlet.extend(self.pipeline().queue.drain(..));
            if outlet.is_idle() {
                return Poll::Ready(());
            }
            // What is queued meanwhile is written in the next turn.
            if let Err(error) = ready!(outlet.poll_write(cx, |correlation| self.written(correlation))) {
                *sending = Sending::Failed(error);
                self.attention.notify_one();
            }
        }
    }

    fn written(&self, correlation: i32) {
        let request = self.pipeline().written(correlation);
        if let Some(request) = request {
            self.conclude(request, Ok(Bytes::new()));
        }
    }

    /// A response is in.
    pub(super) fn answered(&self, frame: Bytes) -> Result<(), ProtocolError> {
        let correlation = response_correlation_id(&frame);
        let request = self.pipeline().answered(correlation, Instant::now())?;
        self.conclude(request, Ok(frame));
        Ok(())
    }

    /// The request's slot is free, and its waiter learns its end; one that went away does not need it.
    fn conclude(&self, request: Waiting, answer: Answer) {
        if request.lane != Lane::Heartbeat {
            self.slots(request.lane).add_permits(1);
        }
        if let Until::Answered(waiter) | Until::Written(waiter) = request.until {
            let _ = waiter.send(answer);
        }
    }

    /// Judges the deadlines and keeps an idle channel alive; answers when to look again.
    pub(super) fn judge(&self) -> Result<Instant, ChannelDeath> {
        loop {
            let judgement = self.pipeline().judge(Instant::now());
            match judgement {
                Judgement::LookAgain(at) => return Ok(at),
                Judgement::Dead(death) => return Err(death),
                Judgement::HeartbeatDue => self.send_heartbeat()?,
            }
        }
    }

    fn send_heartbeat(&self) -> Result<(), ChannelDeath> {
        let version = self.versions.of(ApiKey::ApiVersions).unwrap_or(0);
        let request = handshake::request();
        self.submit(Lane::Heartbeat, &request, version, self.heartbeat_timeout, Until::Heartbeat)
            .map_err(handshake::own_request)
    }

    /// The error of a write that failed, once.
    pub(super) fn take_write_error(&self) -> Option<io::Error> {
        let mut sending = self.sending();
        match std::mem::replace(&mut *sending, Sending::Closed) {
            Sending::Failed(error) => Some(error),
            other => {
                *sending = other;
                None
            }
        }
    }

    pub(super) fn death(&self) -> Option<&Arc<ChannelDeath>> {
        self.death.get()
    }

    /// The cause for a caller who finds the slots closed.
    pub(super) fn death_or_closed(&self) -> Arc<ChannelDeath> {
        self.die(ChannelDeath::ClosedHere)
    }

    /// Ends the channel: all waiters learn why. Only the first cause counts; it is returned.
    pub(super) fn die(&self, cause: ChannelDeath) -> Arc<ChannelDeath> {
        let mut pipeline = self.pipeline();
        let mut first = false;
        let death = Arc::clone(self.death.get_or_init(|| {
            first = true;
            Arc::new(cause)
        }));
        if !first {
            return death;
        }
        let orphans = pipeline.take_all();
        drop(pipeline);
        self.produce_slots.close();
        self.other_slots.close();
        // Closes our direction of the connection; the receiving task closes the other.
        *self.sending() = Sending::Closed;
        for request in orphans {
            self.conclude(request, Err(Arc::clone(&death)));
        }
        self.writer.wake();
        self.attention.notify_one();
        self.died.notify_waiters();
        death
    }

    pub(super) async fn wait_for_death(&self) -> Arc<ChannelDeath> {
        let mut died = std::pin::pin!(self.died.notified());
        loop {
            died.as_mut().enable();
            if let Some(death) = self.death.get() {
                return Arc::clone(death);
            }
            died.as_mut().await;
            died.set(self.died.notified());
        }
    }
}
