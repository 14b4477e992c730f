//! Opening: which versions, and what is said when it fails.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::peer::{offer, open, open_error};
use crate::channel::{Channel, ChannelConfig, ChannelDeath, ChannelError, ProtocolError, Stage};
use crate::error_code::ErrorCode;
use crate::protocol::ApiKey;
use crate::protocol::messages::api_versions::ApiVersion;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest};
use crate::seam::{BoxFuture, ConnectError, ConnectStage, Connection, Listener, Network, Seams};

fn range(key: ApiKey, min_version: i16, max_version: i16) -> ApiVersion {
    ApiVersion { api_key: key.to_i16(), min_version, max_version }
}

#[tokio::test(start_paused = true)]
async fn the_newest_common_version_is_used() {
    let (connection, mut peer) = super::peer::connection(1 << 16);
    let seams = Seams::real();
    let config = ChannelConfig::default();
    let opening = Channel::open(&seams, connection, "test:9092", &config);
    let play = async {
        let (header, request) = peer.request::<ApiVersionsRequest>().await;
        assert_eq!(header.api_version, 4);
        assert_eq!(request.client_software_name, "gapless");
        let api_keys = vec![
            range(ApiKey::Produce, 0, 9),
            range(ApiKey::Fetch, 4, 99),
            range(ApiKey::CreateTopics, 0, 1),
            range(ApiKey::ApiVersions, 0, 4),
            ApiVersion { api_key: 9999, min_version: 0, max_version: 3 },
        ];
        peer.answer(&header, &ApiVersionsResponse { api_keys, ..Default::default() }).await;
    };
    let (channel, ()) = tokio::join!(opening, play);
    let channel = channel.unwrap();
    for (key, expected) in [
        (ApiKey::Produce, Some(9)),
        (ApiKey::Fetch, Some(17)),
        (ApiKey::CreateTopics, None),
        (ApiKey::FindCoordinator, None),
        (ApiKey::ApiVersions, Some(4)),
    ] {
        assert_eq!(channel.version_of(key), expected, "{}", key.name());
    }
    let error = channel.call(FindCoordinatorRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "test:9092 does not serve FindCoordinator in a version known here");
}

#[tokio::test(start_paused = true)]
async fn an_older_broker_is_asked_again_in_its_own_version() {
    for (served, expected) in [(Some(3), 3), (Some(0), 0), (None, 0), (Some(99), 3)] {
        let (connection, mut peer) = super::peer::connection(1 << 16);
        let seams = Seams::real();
        let config = ChannelConfig::default();
        let opening = Channel::open(&seams, connection, "test:9092", &config);
        let play = async {
            let mut header = peer.header().await;
            header.api_version = 0;
            let api_keys = served.map(|max| range(ApiKey::ApiVersions, 0, max)).into_iter().collect();
            let error_code = ErrorCode::UNSUPPORTED_VERSION;
            peer.answer(&header, &ApiVersionsResponse { error_code, api_keys, ..Default::default() }).await;
            let header = peer.header().await;
            assert_eq!(header.api_version, expected);
            peer.answer(&header, &offer(ApiKey::ALL)).await;
        };
        let (channel, ()) = tokio::join!(opening, play);
        assert_eq!(channel.unwrap().version_of(ApiKey::Produce), Some(13));
    }
}

/// librdkafka's mock broker counts the APIs in one byte, where version 0 has four.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_cannot_be_read_is_taken_for_version_0() {
    let (connection, mut peer) = super::peer::connection(1 << 16);
    let seams = Seams::real();
    let config = ChannelConfig::default();
    let opening = Channel::open(&seams, connection, "test:9092", &config);
    let play = async {
        peer.header().await;
        peer.write(b"\0\0\0\x11\0\0\0\0\0\x23\x01\0\x12\0\0\0\x02\0\0\0\0").await;
        let header = peer.header().await;
        assert_eq!((header.api_version, header.correlation_id), (0, 1));
        peer.answer(&header, &offer(ApiKey::ALL)).await;
    };
    let (channel, ()) = tokio::join!(opening, play);
    assert_eq!(channel.unwrap().version_of(ApiKey::Produce), Some(13));
}

#[tokio::test(start_paused = true)]
async fn who_is_no_broker_is_told_so_with_the_reason() {
    let config = ChannelConfig::default();
    let cases: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (&[0, 0, 0, 1, 7], "ApiVersionsResponse"),
        (&[0, 0, 0, 0], "a frame of 0 bytes"),
        (&[21, 3, 1, 0, 2], "TLS"),
    ];
    for (bytes, expected) in cases {
        let (error, _) = open_error(&config, async |peer| {
            peer.header().await;
            peer.write(bytes).await;
        })
        .await;
        assert_eq!(error.stage(), Some(Stage::Protocol));
        assert_eq!(error.to_string(), "test:9092 accepts connections but does not answer as a Kafka broker");
        let ChannelError::Handshake { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains(expected), "{source}");
    }
    let (error, _) = open_error(&config, async |peer| {
        let (header, _) = peer.request::<ApiVersionsRequest>().await;
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        peer.answer(&header, &ApiVersionsResponse { error_code, ..Default::default() }).await;
    })
    .await;
    let ChannelError::Handshake { source, .. } = error else { panic!("{error}") };
    assert!(matches!(&*source, ChannelDeath::Protocol(ProtocolError::Refused(_))), "{source}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_ends_the_attempt_in_time() {
    let config = ChannelConfig::default();
    let begin = tokio::time::Instant::now();
    let (error, _peer) = open_error(&config, async |peer| {
        peer.header().await;
    })
    .await;
    assert_eq!(begin.elapsed().as_secs(), 5);
    let ChannelError::Handshake { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "no answer to ApiVersions within 5s");
}

/// A network on which nothing is reached.
enum Nowhere {
    Unresolved,
    Refused,
    Silent,
}

impl Network for Nowhere {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        let failed = |stage, kind: io::ErrorKind| ConnectError {
            address: address.to_owned(),
            stage,
            source: kind.into(),
        };
        Box::pin(async move {
            match self {
                Self::Unresolved => Err(failed(ConnectStage::Name, io::ErrorKind::NotFound)),
                Self::Refused => Err(failed(ConnectStage::Connect, io::ErrorKind::ConnectionRefused)),
                Self::Silent => std::future::pending().await,
            }
        })
    }

    fn listen<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_reached_is_named_with_its_stage() {
    for (network, stage, expected) in [
        (Nowhere::Unresolved, Stage::Name, "cannot resolve the host name of nowhere:1"),
        (Nowhere::Refused, Stage::Connect, "cannot connect to nowhere:1"),
        (Nowhere::Silent, Stage::Connect, "cannot connect to nowhere:1: no answer within 2s"),
    ] {
        let config = ChannelConfig { connect_timeout: Duration::from_secs(2), ..Default::default() };
        let seams = Seams { network: Arc::new(network), ..Seams::real() };
        let error = Channel::connect(&seams, "nowhere:1", &config).await.unwrap_err();
        assert_eq!(error.stage(), Some(stage));
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn correlation_ids_go_on_after_the_handshake() {
    let (channel, mut peer) = open(&ChannelConfig::default(), 1 << 16).await;
    let _pending = channel.send(FindCoordinatorRequest::default(), 4, Duration::from_secs(1)).await.unwrap();
    assert_eq!(peer.header().await.correlation_id, 1);
}
