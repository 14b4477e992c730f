//! Time limits, heartbeats, and processes that stood still.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, ReadBuf, split};
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep, timeout};

use super::peer::{PRODUCE, Peer, acknowledgement, base_offset, connection_of, offer, open, produce};
use crate::channel::{Channel, ChannelConfig, ChannelDeath};
use crate::protocol::ApiKey;
use crate::protocol::messages::ApiVersionsRequest;
use crate::seam::Seams;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_request_without_answer_ends_the_channel_in_its_own_time() {
    for limit in [3, 30, 300] {
        let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
        let begin = Instant::now();
        let first = channel.send(produce(1), PRODUCE, limit * SECOND).await.unwrap();
        let second = channel.send(produce(2), PRODUCE, 2 * limit * SECOND).await.unwrap();
        let death = second.await.unwrap_err();
        let ChannelDeath::Timeout { api, after } = &*death else { panic!("{death}") };
        assert_eq!((*api, *after), (ApiKey::Produce, limit * SECOND));
        assert!(begin.elapsed() >= limit * SECOND && begin.elapsed() < limit * SECOND + SECOND / 10);
        assert!(first.await.is_err());
        peer.header().await;
        peer.header().await;
        assert!(peer.is_closed().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_request_with_less_time_is_judged_in_its_time() {
    let (channel, _peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let begin = Instant::now();
    let _first = channel.send(produce(1), PRODUCE, 60 * SECOND).await.unwrap();
    sleep(SECOND / 10).await;
    let second = channel.send(produce(2), PRODUCE, 2 * SECOND).await.unwrap();
    second.await.unwrap_err();
    assert!(begin.elapsed() < 3 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_found_by_the_time_limit() {
    let (channel, peer) = open(&ChannelConfig::default(), 100).await;
    let blocked = channel.send_without_response(produce(1000), PRODUCE, 5 * SECOND).await.unwrap();
    let death = timeout(6 * SECOND, blocked).await.unwrap().unwrap_err();
    assert!(matches!(*death, ChannelDeath::Timeout { .. }), "{death}");
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_asks_for_a_sign_of_life() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    for _ in 0..3 {
        let begin = Instant::now();
        let (header, _) = peer.request::<ApiVersionsRequest>().await;
        assert_eq!(begin.elapsed().as_secs(), 10);
        peer.answer(&header, &offer(ApiKey::ALL)).await;
    }
    sleep(9 * SECOND).await;
    assert!(!channel.is_dead());
    assert_eq!(channel.in_flight(), 0);
    // No answer to the fourth.
    let begin = Instant::now();
    let death = channel.death().await;
    assert!(matches!(*death, ChannelDeath::HeartbeatMissed { .. }), "{death}");
    assert!(begin.elapsed() <= 12 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_busy_channel_sends_no_heartbeat() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    for offset in 0..20 {
        let pending = channel.send(produce(1), PRODUCE, 30 * SECOND).await.unwrap();
        sleep(9 * SECOND).await;
        // Fails if anything else than a produce request comes.
        peer.acknowledge(offset).await;
        assert_eq!(base_offset(&pending.await.unwrap()), offset);
    }
    let slow = channel.send(produce(1), PRODUCE, 300 * SECOND).await.unwrap();
    sleep(200 * SECOND).await;
    peer.acknowledge(1).await;
    slow.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_only_sends_still_wants_a_sign_of_life() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    for _ in 0..10 {
        let written = channel.send_without_response(produce(1), PRODUCE, 30 * SECOND).await.unwrap();
        written.await.unwrap();
        peer.header().await;
        sleep(SECOND).await;
    }
    peer.request::<ApiVersionsRequest>().await;
    assert!(timeout(11 * SECOND, channel.death()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_does_not_expire_however_late_it_is_read() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let mut pending = Vec::new();
    for size in 1..=5 {
        pending.push(channel.send(produce(size), PRODUCE, 30 * SECOND).await.unwrap());
    }
    for offset in 0..5 {
        // None of this yields to the receiving task: the bytes lie in the stream.
        peer.acknowledge(offset).await;
    }
    advance(1000 * SECOND).await;
    for (offset, pending) in (0..).zip(pending) {
        assert_eq!(base_offset(&pending.await.unwrap()), offset);
    }
    assert!(!channel.is_dead());
}

/// Whether a reactor has looked at its sockets since it was last asked to.
#[derive(Default)]
struct Reactor {
    asked: Notify,
    reader: AtomicWaker,
    looked: AtomicBool,
}

impl Reactor {
    async fn run(&self) {
        loop {
            self.asked.notified().await;
            self.looked.store(true, Relaxed);
            self.reader.wake();
        }
    }
}

/// Shows what has arrived only after the reactor has had its turn, as a socket does.
struct Socket<R> {
    source: R,
    reactor: Arc<Reactor>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Socket<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reactor.reader.register(cx.waker());
        if !self.reactor.looked.swap(false, Relaxed) {
            self.reactor.asked.notify_one();
            return Poll::Pending;
        }
        Pin::new(&mut self.source).poll_read(cx, buf)
    }
}

#[tokio::test(start_paused = true)]
async fn the_reactor_gets_its_turn_before_deadlines_are_judged() {
    let (here, there) = tokio::io::duplex(1 << 16);
    let (reader, writer) = split(here);
    let reactor = Arc::new(Reactor::default());
    let running = Arc::clone(&reactor);
    let connection = connection_of(Socket { source: reader, reactor }, writer);
    let mut peer = Peer::new(there);
    let (seams, config) = (Seams::real(), ChannelConfig::default());
    seams.spawner.spawn(async move { running.run().await });
    let opening = Channel::open(&seams, connection, "test:9092", &config);
    let (channel, ()) = tokio::join!(opening, peer.shake_hands());
    let channel = channel.unwrap();
    for offset in 0..10 {
        let pending = channel.send(produce(1), PRODUCE, 30 * SECOND).await.unwrap();
        let header = peer.header().await;
        peer.answer(&header, &acknowledgement(offset)).await;
        advance(100 * SECOND).await;
        assert_eq!(base_offset(&pending.await.unwrap()), offset);
    }
}
