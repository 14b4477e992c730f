//! One cause, which every waiter learns once.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::peer::{PRODUCE, acknowledgement, base_offset, open, produce, response};
use crate::channel::{ChannelConfig, ChannelDeath, ChannelError, ProtocolError};
use crate::protocol::ApiKey;
use crate::protocol::messages::FindCoordinatorRequest;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn every_waiter_learns_the_same_death() {
    let config = ChannelConfig { max_in_flight: 3, ..Default::default() };
    let (channel, peer) = open(&config, 1 << 16).await;
    let mut pending = Vec::new();
    for size in 1..=3 {
        pending.push(channel.send(produce(size), PRODUCE, LIMIT).await.unwrap());
    }
    let (fourth, other, death, ()) = tokio::join!(
        channel.send(produce(4), PRODUCE, LIMIT),
        channel.call(FindCoordinatorRequest::default()),
        channel.death(),
        async { drop(peer) },
    );
    assert!(matches!(*death, ChannelDeath::ClosedByPeer), "{death}");
    let learnt = |error| match error {
        ChannelError::Dead(cause) => assert!(Arc::ptr_eq(&cause, &death)),
        other => panic!("{other}"),
    };
    learnt(fourth.err().unwrap());
    learnt(other.unwrap_err());
    for pending in pending {
        assert!(Arc::ptr_eq(&pending.await.unwrap_err(), &death));
    }
    assert!(channel.is_dead());
    learnt(channel.send(produce(5), PRODUCE, LIMIT).await.err().unwrap());
    learnt(channel.call(FindCoordinatorRequest::default()).await.unwrap_err());
    assert!(Arc::ptr_eq(&channel.death().await, &death));
    channel.close();
    assert!(Arc::ptr_eq(&channel.death().await, &death), "the first cause counts");
    assert_eq!(channel.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_cut_at_any_byte_is_no_response() {
    let whole = {
        let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
        let _pending = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
        response(&peer.header().await, &acknowledgement(42))
    };
    for cut in 0..=whole.len() {
        let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
        let first = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
        let second = channel.send(produce(2), PRODUCE, LIMIT).await.unwrap();
        peer.header().await;
        peer.write(&whole[..cut]).await;
        drop(peer);
        let first = first.await;
        assert_eq!(first.is_ok(), cut == whole.len(), "cut at {cut}");
        if let Ok(response) = &first {
            assert_eq!(base_offset(response), 42);
        }
        let death = second.await.unwrap_err();
        assert!(matches!(*death, ChannelDeath::ClosedByPeer), "cut at {cut}: {death}");
        assert!(first.err().is_none_or(|cause| Arc::ptr_eq(&cause, &death)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_comes_byte_by_byte_counts() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let pending = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
    let header = peer.header().await;
    for byte in response(&header, &acknowledgement(3)) {
        peer.write(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(base_offset(&pending.await.unwrap()), 3);
}

#[tokio::test(start_paused = true)]
async fn responses_out_of_order_or_never_asked_for_are_the_end() {
    for (shift, expected) in [(1, 1), (7, 1), (-5, 1)] {
        let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
        let first = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
        let second = channel.send(produce(2), PRODUCE, LIMIT).await.unwrap();
        let mut header = peer.header().await;
        header.correlation_id += shift;
        peer.answer(&header, &acknowledgement(0)).await;
        let death = first.await.unwrap_err();
        let ChannelDeath::Protocol(ProtocolError::Correlation { found, expected: oldest }) = &*death else {
            panic!("{death}");
        };
        assert_eq!((*found, *oldest), (Some(header.correlation_id), Some(expected)));
        assert!(Arc::ptr_eq(&second.await.unwrap_err(), &death));
        assert!(peer.is_closed().await || peer.is_closed().await, "the request still unread, then the end");
    }
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    peer.write(&[0, 0, 0, 2, 1, 1]).await;
    let death = channel.death().await;
    assert_eq!(
        death.to_string(),
        "a response for no request (it is too short), while the oldest request waiting is none"
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_is_named_and_kills_the_channel() {
    let config = ChannelConfig { response_size_max: 1000, ..Default::default() };
    for (bytes, expected) in [
        (&[0, 0, 0, 0][..], "a frame of 0 bytes"),
        (&[0xff; 4][..], "a frame of -1 bytes"),
        (&[0, 0, 4, 0][..], "a frame of 1024 bytes exceeds the limit of 1000"),
        (&b"HTTP/1.1 400 Bad Request"[..], "HTTP"),
    ] {
        let (channel, mut peer) = open(&config, 1 << 16).await;
        let pending = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
        peer.write(bytes).await;
        let death = pending.await.unwrap_err();
        assert!(matches!(*death, ChannelDeath::Protocol(ProtocolError::Frame(_))), "{death}");
        assert!(death.to_string().contains(expected), "{death}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_cannot_be_read_kills_the_channel() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let first = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
    let second = channel.send(produce(2), PRODUCE, LIMIT).await.unwrap();
    let header = peer.header().await;
    let mut bytes = response(&header, &acknowledgement(0));
    bytes.truncate(bytes.len() - 3);
    bytes[3] = u8::try_from(bytes.len() - 4).unwrap();
    peer.write(&bytes).await;
    let death = first.await.unwrap_err();
    assert!(matches!(*death, ChannelDeath::Protocol(ProtocolError::Decode(_))), "{death}");
    assert!(death.to_string().contains("ProduceResponse"), "{death}");
    assert!(Arc::ptr_eq(&second.await.unwrap_err(), &death));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_write_failed_counts() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 4096).await;
    let first = channel.send(produce(10), PRODUCE, LIMIT).await.unwrap();
    // The second does not fit the stream's buffer, so it is under way when the peer goes.
    let second = channel.send(produce(100_000), PRODUCE, LIMIT).await.unwrap();
    peer.acknowledge(8).await;
    peer.writer.shutdown().await.unwrap();
    drop(peer);
    assert_eq!(base_offset(&first.await.unwrap()), 8);
    let death = second.await.unwrap_err();
    assert!(matches!(*death, ChannelDeath::ClosedByPeer | ChannelDeath::Io(_)), "{death}");
}

#[test]
fn a_runtime_that_goes_takes_its_channels_with_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gone = runtime();
    let (channel, peer, pending) = gone.block_on(async {
        let (channel, peer) = open(&ChannelConfig::default(), 1 << 16).await;
        let pending = channel.send(produce(1), PRODUCE, LIMIT).await.unwrap();
        (channel, peer, pending)
    });
    drop(gone);
    let death = runtime().block_on(pending).unwrap_err();
    assert!(matches!(*death, ChannelDeath::ClosedHere), "{death}");
    assert!(channel.is_dead());
    assert_eq!(channel.version_of(ApiKey::Produce), Some(13));
    drop(peer);
}
