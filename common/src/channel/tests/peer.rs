//! The other end, played by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use crate::channel::{Channel, ChannelConfig, ChannelError};
use crate::frame::FrameReader;
use crate::protocol::messages::produce::{PartitionData, PartitionResponse, TopicData, TopicResponse};
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ProduceRequest, ProduceResponse, api_versions::ApiVersion,
};
use crate::protocol::{
    ApiKey, Decoder, Message, Part, RecordData, Request, RequestHeader, Text, decode_request_header,
    encode_response_frame,
};
use crate::seam::{Connection, Seams};

impl crate::seam::WriteHalf for WriteHalf<DuplexStream> {}

/// A flexible version, which calls topics by their names.
pub(super) const PRODUCE: i16 = 11;

/// A peer that has read and written nothing yet, and the connection that leads to it.
pub(super) fn connection(buffer: usize) -> (Connection, Peer) {
    let (here, there) = duplex(buffer);
    let (reader, writer) = split(here);
    (connection_of(reader, writer), Peer::new(there))
}

pub(super) fn connection_of(
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: WriteHalf<DuplexStream>,
) -> Connection {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
    Connection { reader: Box::new(reader), writer: Box::new(writer), peer }
}

/// A channel whose handshake is done, and its peer.
pub(super) async fn open(config: &ChannelConfig, buffer: usize) -> (Channel, Peer) {
    let (connection, mut peer) = connection(buffer);
    let seams = Seams::real();
    let opening = Channel::open(&seams, connection, "test:9092", config);
    let (channel, ()) = tokio::join!(opening, peer.shake_hands());
    (channel.unwrap(), peer)
}

pub(super) async fn open_error(
    config: &ChannelConfig,
    play: impl AsyncFnOnce(&mut Peer),
) -> (ChannelError, Peer) {
    let (connection, mut peer) = connection(1 << 16);
    let seams = Seams::real();
    let opening = Channel::open(&seams, connection, "test:9092", config);
    let (channel, ()) = tokio::join!(opening, play(&mut peer));
    (channel.unwrap_err(), peer)
}

pub(super) struct Peer {
    pub(super) frames: FrameReader<ReadHalf<DuplexStream>>,
    pub(super) writer: WriteHalf<DuplexStream>,
}

impl Peer {
    pub(super) fn new(stream: DuplexStream) -> Self {
        let (reader, writer) = split(stream);
        Self { frames: FrameReader::new(reader, 1 << 26), writer }
    }

    /// The next request's header.
    pub(super) async fn header(&mut self) -> RequestHeader {
        let mut input = Decoder::new(self.frames.next().await.unwrap().expect("a request"));
        decode_request_header(&mut input).unwrap()
    }

    /// The next request.
    pub(super) async fn request<R: Request>(&mut self) -> (RequestHeader, R) {
        let mut input = Decoder::new(self.frames.next().await.unwrap().expect("a request"));
        let header = decode_request_header(&mut input).unwrap();
        assert_eq!(header.api_key, R::KEY.to_i16());
        let request = R::decode(&mut input, header.api_version).unwrap();
        (header, request)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    pub(super) async fn answer<M: Message>(&mut self, header: &RequestHeader, body: &M) {
        let frame = response(header, body);
        self.write(&frame).await;
    }

    /// Answers the first request with everything that is known here.
    pub(super) async fn shake_hands(&mut self) {
        let (header, _) = self.request::<ApiVersionsRequest>().await;
        self.answer(&header, &offer(ApiKey::ALL)).await;
    }

    /// Reads a produce request, and answers that its batch is at `base_offset`.
    pub(super) async fn acknowledge(&mut self, base_offset: i64) -> RequestHeader {
        let (header, _) = self.request::<ProduceRequest>().await;
        self.answer(&header, &acknowledgement(base_offset)).await;
        header
    }

    /// Nothing more is to be read; true if the connection is over.
    pub(super) async fn is_closed(&mut self) -> bool {
        matches!(self.frames.next().await, Ok(None))
    }
}

pub(super) fn response<M: Message>(header: &RequestHeader, body: &M) -> Vec<u8> {
    let key = ApiKey::from_i16(header.api_key).unwrap();
    encode_response_frame(key, header.api_version, header.correlation_id, body)
        .unwrap()
        .iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::External { .. } => panic!("nothing external here"),
        })
        .collect()
}

pub(super) fn offer(keys: &[ApiKey]) -> ApiVersionsResponse {
    let range = |key: &ApiKey| ApiVersion {
        api_key: key.to_i16(),
        min_version: *key.versions().start(),
        max_version: *key.versions().end(),
    };
    ApiVersionsResponse { api_keys: keys.iter().map(range).collect(), ..Default::default() }
}

/// A produce request with so many bytes of "records".
pub(super) fn produce(size: usize) -> ProduceRequest {
    let records = Bytes::from((0..size).map(|at| (at % 253) as u8).collect::<Vec<u8>>());
    let partition = PartitionData { index: 0, records: Some(RecordData::Memory(records)) };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicData {
            name: Text::from_static("events"),
            partition_data: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) fn acknowledgement(base_offset: i64) -> ProduceResponse {
    let partition = PartitionResponse { base_offset, ..Default::default() };
    let topic = TopicResponse {
        name: Text::from_static("events"),
        partition_responses: vec![partition],
        ..Default::default()
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

pub(super) fn base_offset(response: &ProduceResponse) -> i64 {
    response.responses[0].partition_responses[0].base_offset
}

/// Whether a future is ready now.
pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
