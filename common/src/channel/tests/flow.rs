//! Requests and responses as they should flow: in order, bounded, byte for byte.

use std::task::Poll;
use std::time::Duration;

use super::peer::{PRODUCE, acknowledgement, base_offset, open, poll_once, produce};
use crate::channel::{Channel, ChannelConfig, ChannelDeath, ChannelError, Pending, TrySendError};
use crate::protocol::ApiKey;
use crate::protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, ProduceRequest, ProduceResponse,
};

const LIMIT: Duration = Duration::from_secs(30);

async fn send(channel: &Channel, size: usize) -> Pending<ProduceResponse> {
    channel.send(produce(size), PRODUCE, LIMIT).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_go_out_before_responses_come_in_and_each_gets_its_own() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let mut pending = Vec::new();
    for size in 1..=5 {
        pending.push(send(&channel, size).await);
    }
    assert_eq!(channel.in_flight(), 5);
    let mut headers = Vec::new();
    for size in 1..=5 {
        let (header, request) = peer.request::<ProduceRequest>().await;
        assert_eq!(request, produce(size));
        assert_eq!(header.client_id, Some("gapless".into()));
        headers.push(header);
    }
    assert!(headers.windows(2).all(|pair| pair[1].correlation_id == pair[0].correlation_id + 1));
    for (offset, header) in (100..).zip(&headers) {
        peer.answer(header, &acknowledgement(offset)).await;
    }
    // Whichever is asked first, each response belongs to its request.
    for (offset, pending) in (100..105i32).zip(pending).rev() {
        assert_eq!(base_offset(&pending.await.unwrap()), i64::from(offset));
    }
    assert_eq!(channel.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_five_produce_requests_are_under_way_and_others_pass_them() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let mut pending = Vec::new();
    for size in 1..=5 {
        pending.push(send(&channel, size).await);
    }
    assert_eq!(channel.free_slots(ApiKey::Produce), 0);
    let Err(TrySendError::Full(request)) = channel.try_send(produce(6), PRODUCE, LIMIT) else {
        panic!("the pipeline is full");
    };
    assert_eq!(request, produce(6), "the request comes back");
    let mut sixth = Box::pin(channel.send(request, PRODUCE, LIMIT));
    assert!(poll_once(&mut sixth).await.is_pending());

    let coordinator = channel.call(FindCoordinatorRequest::default());
    let play = async {
        let first = peer.header().await;
        for _ in 0..4 {
            peer.header().await;
        }
        let other = peer.header().await;
        assert_eq!(other.api_key, ApiKey::FindCoordinator.to_i16());
        peer.answer(&first, &acknowledgement(0)).await;
        (first, other)
    };
    // The response to the other request can only come behind those to the five.
    let mut coordinator = Box::pin(coordinator);
    assert!(poll_once(&mut coordinator).await.is_pending());
    let (first, other) = play.await;
    assert_eq!(base_offset(&pending.remove(0).await.unwrap()), 0);
    let sixth = sixth.await.unwrap();
    assert_eq!(channel.in_flight(), 6);
    for offset in 1..5 {
        let mut header = first.clone();
        header.correlation_id += offset;
        peer.answer(&header, &acknowledgement(i64::from(offset))).await;
    }
    peer.answer(&other, &FindCoordinatorResponse::default()).await;
    assert_eq!(coordinator.await.unwrap(), FindCoordinatorResponse::default());
    peer.acknowledge(5).await;
    assert_eq!(base_offset(&sixth.await.unwrap()), 5);
    assert_eq!(channel.free_slots(ApiKey::Produce), 5);
}

#[tokio::test(start_paused = true)]
async fn a_megabyte_passes_through_any_buffer_byte_for_byte() {
    for buffer in [1, 7, 4096, 1 << 22] {
        let (channel, mut peer) = open(&ChannelConfig::default(), buffer).await;
        let size = if buffer == 1 { 50_000 } else { 1_000_000 };
        let (first, second) = (send(&channel, size).await, send(&channel, 10).await);
        let (_, request) = peer.request::<ProduceRequest>().await;
        assert!(request == produce(size), "through {buffer} bytes");
        let header = peer.header().await;
        let mut oldest = header.clone();
        oldest.correlation_id -= 1;
        peer.answer(&oldest, &acknowledgement(1)).await;
        peer.answer(&header, &acknowledgement(2)).await;
        assert_eq!(base_offset(&first.await.unwrap()), 1);
        assert_eq!(base_offset(&second.await.unwrap()), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_response_is_done_when_it_is_written() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1000).await;
    let small = channel.send_without_response(produce(10), PRODUCE, LIMIT).await.unwrap();
    small.await.unwrap();
    assert_eq!(channel.in_flight(), 0);
    let large = channel.send_without_response(produce(5000), PRODUCE, LIMIT).await.unwrap();
    let answered = send(&channel, 20).await;
    let mut large = Box::pin(large);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(poll_once(&mut large).await.is_pending(), "the peer has not read it");
    assert_eq!(channel.in_flight(), 2);
    peer.header().await;
    peer.header().await;
    large.await.unwrap();
    // The response is that of the request which waits for one.
    peer.acknowledge(7).await;
    assert_eq!(base_offset(&answered.await.unwrap()), 7);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_changes_nothing_for_the_others() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    drop(send(&channel, 1).await);
    let second = send(&channel, 2).await;
    assert_eq!(channel.in_flight(), 2, "the first is still under way");
    peer.acknowledge(1).await;
    peer.acknowledge(2).await;
    assert_eq!(base_offset(&second.await.unwrap()), 2);
    assert_eq!(channel.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_send_dropped_before_it_is_ready_sends_nothing() {
    let config = ChannelConfig { max_in_flight: 1, ..Default::default() };
    let (channel, mut peer) = open(&config, 1 << 16).await;
    let first = send(&channel, 1).await;
    let mut waiting = Box::pin(channel.send(produce(2), PRODUCE, LIMIT));
    assert!(poll_once(&mut waiting).await.is_pending());
    drop(waiting);
    peer.acknowledge(1).await;
    first.await.unwrap();
    let third = send(&channel, 3).await;
    let (header, request) = peer.request::<ProduceRequest>().await;
    assert_eq!(request, produce(3));
    peer.answer(&header, &acknowledgement(3)).await;
    third.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_encoded_takes_no_slot_and_kills_nothing() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    for _ in 0..10 {
        let error = channel.send(produce(1), 99, LIMIT).await.err().expect("no such version");
        assert!(matches!(error, ChannelError::Encode(_)), "{error}");
    }
    let pending = send(&channel, 1).await;
    peer.acknowledge(1).await;
    pending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_channel() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let other = channel.clone();
    let pending = send(&channel, 1).await;
    drop(channel);
    assert!(!other.is_dead());
    let death = other.death();
    drop(other);
    assert!(matches!(*pending.await.unwrap_err(), ChannelDeath::ClosedHere));
    assert!(matches!(*death.await, ChannelDeath::ClosedHere));
    peer.header().await;
    assert!(peer.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waiting_for_a_slot_learns_of_the_death() {
    let config = ChannelConfig { max_in_flight: 1, ..Default::default() };
    let (channel, _peer) = open(&config, 1 << 16).await;
    let _first = send(&channel, 1).await;
    let mut waiting = Box::pin(channel.send(produce(2), PRODUCE, LIMIT));
    assert!(poll_once(&mut waiting).await.is_pending());
    channel.close();
    let Poll::Ready(Err(ChannelError::Dead(death))) = poll_once(&mut waiting).await else {
        panic!("it is dead")
    };
    assert!(matches!(*death, ChannelDeath::ClosedHere));
}
