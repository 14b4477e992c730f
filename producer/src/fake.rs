//! A cluster of brokers played in memory, for tests: speaks the protocol over duplex streams, keeps logs and sequences,
//! and misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use gapless_common::error_code::ErrorCode;
use gapless_common::frame::FrameReader;
use gapless_common::protocol::messages::api_versions::ApiVersion;
use gapless_common::protocol::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use gapless_common::protocol::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionResponse, TopicResponse,
};
use gapless_common::protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use gapless_common::protocol::{
    ApiKey, Decoder, Message, Part, RequestHeader, decode_request_header, encode_response_frame,
};
use gapless_common::records::{BatchHeader, iterate};
use gapless_common::seam::{
    BoxFuture, ConnectError, ConnectStage, Connection, Listener, Network, Random, RealSpawn, RealWallClock,
    Seams, Spawner, WriteHalf,
};
use gapless_common::types::TopicId;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::sync::watch;

/// What happens to the next Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is served.
    Serve,
    /// So much later, what comes next in the plan.
    Late(Duration),
    /// Every batch in it is refused.
    Refuse(ErrorCode),
    /// It is appended, and answered with this.
    AppendAnd(ErrorCode),
    /// It is appended, and the connection cut.
    AppendAndCut,
    /// The connection is cut.
    Cut,
    /// Nothing is ever answered on this connection again.
    Silence,
}

/// A Produce request as it came: topic, partition, sequence, records of each batch.
pub(crate) type Produced = Vec<(String, i32, i32, i32)>;

#[derive(Default)]
pub(crate) struct Cluster {
    /// Addresses by broker id, and whether it can be connected to.
    pub(crate) brokers: BTreeMap<i32, (String, bool)>,
    /// Another address that answers and names the brokers.
    pub(crate) bootstrap: Option<String>,
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Of topics that are created on first use; 0: they are not.
    pub(crate) default_partitions: usize,
    pub(crate) plan: VecDeque<Plan>,
    pub(crate) produced: Vec<Produced>,
    /// Answers to InitProducerId before it gives an id.
    pub(crate) identity_errors: VecDeque<ErrorCode>,
    /// What Metadata says of any topic.
    pub(crate) topic_error: Option<ErrorCode>,
    pub(crate) records_max: Option<i32>,
    /// The newest version of Produce, if it is not the newest known.
    pub(crate) produce_version_max: Option<i16>,
    /// Versions of Produce requests as they came.
    pub(crate) produce_versions: Vec<i16>,
    /// Who is asked instead of the leader says who that is (KIP-951).
    pub(crate) names_leaders: bool,
    pub(crate) connections: usize,
    /// The same by broker.
    pub(crate) connections_to: BTreeMap<i32, usize>,
    pub(crate) metadata_asked: usize,
    next_producer_id: i64,
}

pub(crate) struct Topic {
    pub(crate) id: u8,
    leaders: Vec<i32>,
    /// The generation of each leader.
    epochs: Vec<i32>,
    logs: Vec<Log>,
}

#[derive(Default)]
struct Log {
    values: Vec<Vec<u8>>,
    producers: BTreeMap<i64, Known>,
}

#[derive(Default)]
struct Known {
    epoch: i16,
    batches: VecDeque<(i32, i32, i64)>,
}

impl Topic {
    pub(crate) fn new(id: u8, leaders: Vec<i32>) -> Self {
        let logs = leaders.iter().map(|_| Log::default()).collect();
        let epochs = vec![0; leaders.len()];
        Self { id, leaders, epochs, logs }
    }

    /// Another broker leads a partition from now on.
    pub(crate) fn lead(&mut self, partition: usize, leader: i32) {
        self.leaders[partition] = leader;
        self.epochs[partition] += 1;
    }

    /// Adds a partition.
    pub(crate) fn grow(&mut self, leader: i32) {
        self.leaders.push(leader);
        self.epochs.push(0);
        self.logs.push(Log::default());
    }
}

impl Log {
    /// Kafka's rules, as far as a producer can tell.
    fn append(&mut self, batch: &Bytes, records_max: Option<i32>) -> Result<i64, ErrorCode> {
        let header = BatchHeader::parse(batch).unwrap();
        let (first, last) = (header.base_sequence, header.base_sequence + header.record_count - 1);
        let (id, epoch) = (header.producer_id.0, header.producer_epoch.0);
        let base = i64::try_from(self.values.len()).unwrap();
        if id >= 0 {
            let known = self.producers.get(&id);
            match known {
                Some(known) if known.epoch > epoch => return Err(ErrorCode::INVALID_PRODUCER_EPOCH),
                Some(known) if known.epoch == epoch => {
                    if let Some((_, _, base)) =
                        known.batches.iter().find(|(f, l, _)| (*f, *l) == (first, last))
                    {
                        return Ok(*base);
                    }
                    if known.batches.back().is_some_and(|(_, last, _)| last + 1 != first) {
                        return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                    }
                }
                _ if first != 0 => return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
                _ => {}
            }
        }
        if records_max.is_some_and(|max| header.record_count > max) {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        for record in iterate(batch.clone(), 1 << 26).unwrap() {
            self.values.push(record.unwrap().value.map(|value| value.to_vec()).unwrap_or_default());
        }
        if id >= 0 {
            let known = self.producers.entry(id).or_default();
            if known.epoch != epoch {
                *known = Known { epoch, batches: VecDeque::new() };
            }
            known.batches.push_back((first, last, base));
            if known.batches.len() > 5 {
                known.batches.pop_front();
            }
        }
        Ok(base)
    }
}

/// A handle to the cluster; also its network.
#[derive(Clone)]
pub(crate) struct Fake {
    cluster: Arc<Mutex<Cluster>>,
    /// Changes when connections are cut.
    cuts: watch::Sender<Cut>,
}

/// Whose connections were cut last: of one broker, or of all.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    broker: Option<i32>,
}

impl Fake {
    /// One broker with id 1 at `fake:1`, that creates topics with so many partitions.
    pub(crate) fn new(default_partitions: usize) -> Self {
        let cluster = Cluster {
            brokers: BTreeMap::from([(1, ("fake:1".to_owned(), true))]),
            default_partitions,
            next_producer_id: 1000,
            ..Cluster::default()
        };
        Self { cluster: Arc::new(Mutex::new(cluster)), cuts: watch::Sender::new(Cut::default()) }
    }

    pub(crate) fn seams(&self, seed: u64) -> Seams {
        Seams {
            spawner: Spawner::new(RealSpawn),
            network: Arc::new(self.clone()),
            wall_clock: Arc::new(RealWallClock),
            random: Random::from_seed(seed),
        }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    pub(crate) fn plan(&self, plan: impl IntoIterator<Item = Plan>) {
        self.cluster().plan.extend(plan);
    }

    /// Cuts all connections; with `up` false, none is accepted any more.
    pub(crate) fn cut(&self, up: bool) {
        for broker in self.cluster().brokers.values_mut() {
            broker.1 = up;
        }
        self.cuts.send_replace(Cut { broker: None });
    }

    /// Cuts the connections to one broker; with `up` false, it accepts none any more.
    pub(crate) fn cut_one(&self, broker: i32, up: bool) {
        self.cluster().brokers.get_mut(&broker).unwrap().1 = up;
        self.cuts.send_replace(Cut { broker: Some(broker) });
    }

    /// The values in a partition's log.
    pub(crate) fn log(&self, topic: &str, partition: usize) -> Vec<String> {
        let cluster = self.cluster();
        let Some(topic) = cluster.topics.get(topic) else { return vec![] };
        topic.logs[partition].values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub(crate) fn produced(&self) -> Vec<Produced> {
        self.cluster().produced.clone()
    }

    async fn serve(self, broker: i32, stream: DuplexStream) {
        let mut cuts = self.cuts.subscribe();
        let cut = async {
            while cuts.changed().await.is_ok() {
                let Cut { broker: whose } = *cuts.borrow_and_update();
                if whose.is_none_or(|whose| whose == broker) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = cut => {}
            () = self.answer_all(broker, stream) => {}
        }
    }

    async fn answer_all(&self, broker: i32, stream: DuplexStream) {
        let (reader, mut writer) = split(stream);
        let mut frames = FrameReader::new(reader, 1 << 26);
        while let Ok(Some(frame)) = frames.next().await {
            let mut input = Decoder::new(frame);
            let header = decode_request_header(&mut input).unwrap();
            let Some(answer) = self.answer(broker, &header, &mut input).await else { return };
            if writer.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, broker: i32, header: &RequestHeader, input: &mut Decoder) -> Option<Vec<u8>> {
        let version = header.api_version;
        match ApiKey::from_i16(header.api_key).unwrap() {
            ApiKey::ApiVersions => {
                let produce_max = self.cluster().produce_version_max;
                let range = |key: &ApiKey| {
                    let limit = produce_max.filter(|_| *key == ApiKey::Produce);
                    ApiVersion {
                        api_key: key.to_i16(),
                        min_version: *key.versions().start(),
                        max_version: limit.unwrap_or(*key.versions().end()),
                    }
                };
                let api_keys = ApiKey::ALL.iter().map(range).collect();
                Some(response(header, &ApiVersionsResponse { api_keys, ..Default::default() }))
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(input, version).unwrap();
                Some(response(header, &self.cluster().metadata(&request)))
            }
            ApiKey::InitProducerId => Some(response(header, &self.cluster().identify())),
            ApiKey::Produce => {
                let request = ProduceRequest::decode(input, version).unwrap();
                self.cluster().produce_versions.push(version);
                let plan = loop {
                    let plan = self.cluster().plan.pop_front().unwrap_or(Plan::Serve);
                    match plan {
                        Plan::Cut => return None,
                        Plan::Silence => std::future::pending().await,
                        Plan::Late(time) => tokio::time::sleep(time).await,
                        plan => break plan,
                    }
                };
                let answer = self.cluster().produce(broker, &request, plan);
                if plan == Plan::AppendAndCut {
                    return None;
                }
                Some(if request.acks == 0 { vec![] } else { response(header, &answer) })
            }
            other => panic!("a producer does not ask {other:?}"),
        }
    }
}

impl Cluster {
    fn metadata(&mut self, request: &MetadataRequest) -> MetadataResponse {
        self.metadata_asked += 1;
        let topics = request.topics.iter().flatten().map(|asked| {
            let name = asked.name.clone().unwrap();
            let create = request.allow_auto_topic_creation && self.default_partitions > 0;
            if create && self.topic_error.is_none() && !self.topics.contains_key(name.as_str()) {
                let id = u8::try_from(self.topics.len() + 1).unwrap();
                self.topics.insert(name.to_string(), Topic::new(id, vec![1; self.default_partitions]));
            }
            let known = self.topics.get(name.as_str());
            let error_code = match (self.topic_error, known) {
                (Some(code), _) => code,
                (None, None) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (None, Some(_)) => ErrorCode::NONE,
            };
            let partitions = known.filter(|_| error_code.is_ok()).map_or(vec![], |topic| {
                (0..)
                    .zip(topic.leaders.iter().zip(&topic.epochs))
                    .map(|(partition_index, (leader_id, leader_epoch))| MetadataResponsePartition {
                        partition_index,
                        leader_id: *leader_id,
                        leader_epoch: *leader_epoch,
                        ..Default::default()
                    })
                    .collect()
            });
            let topic_id = TopicId([known.map_or(0, |topic| topic.id); 16]);
            MetadataResponseTopic { error_code, name: Some(name), topic_id, partitions, ..Default::default() }
        });
        let topics = topics.collect();
        let brokers = self.brokers.iter().map(|(id, (address, _))| {
            let (host, port) = address.rsplit_once(':').unwrap();
            MetadataResponseBroker {
                node_id: *id,
                host: host.into(),
                port: port.parse().unwrap(),
                ..Default::default()
            }
        });
        MetadataResponse { brokers: brokers.collect(), topics, ..Default::default() }
    }

    fn identify(&mut self) -> InitProducerIdResponse {
        if let Some(error_code) = self.identity_errors.pop_front() {
            return InitProducerIdResponse { error_code, ..Default::default() };
        }
        self.next_producer_id += 1;
        InitProducerIdResponse { producer_id: self.next_producer_id, producer_epoch: 0, ..Default::default() }
    }

    fn produce(&mut self, broker: i32, request: &ProduceRequest, plan: Plan) -> ProduceResponse {
        let mut seen = vec![];
        let names_leaders = self.names_leaders;
        let responses = request.topic_data.iter().map(|topic| {
            // Version 13 has no name, and the others no id.
            let by_id = topic.topic_id != TopicId::ZERO;
            let is_meant = |(name, known): &(&String, &mut Topic)| {
                if by_id {
                    TopicId([known.id; 16]) == topic.topic_id
                } else {
                    name.as_str() == topic.name.as_str()
                }
            };
            let (name, mut known) = match self.topics.iter_mut().find(is_meant) {
                Some((name, known)) => (name.clone(), Some(known)),
                None => (topic.name.to_string(), None),
            };
            let missing =
                if by_id { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            let records_max = self.records_max;
            let partition_responses = topic.partition_data.iter().map(|partition| {
                let batch = partition.records.as_ref().unwrap().memory().unwrap();
                let header = BatchHeader::parse(batch).unwrap();
                seen.push((name.clone(), partition.index, header.base_sequence, header.record_count));
                let at = usize::try_from(partition.index).unwrap();
                let result = match (plan, &mut known) {
                    (Plan::Refuse(code), _) => Err(code),
                    (_, None) => Err(missing),
                    (_, Some(topic)) if topic.leaders.get(at) != Some(&broker) => {
                        Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
                    }
                    (_, Some(topic)) => topic.logs[at].append(batch, records_max),
                };
                let result = match (plan, result) {
                    (Plan::AppendAnd(code), Ok(_)) => Err(code),
                    (_, result) => result,
                };
                let leader = |topic: &&mut Topic| LeaderIdAndEpoch {
                    leader_id: topic.leaders[at],
                    leader_epoch: topic.epochs[at],
                };
                let refers = names_leaders && result == Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
                let current_leader = known.as_ref().filter(|_| refers).map(leader).unwrap_or_default();
                PartitionResponse {
                    index: partition.index,
                    current_leader,
                    error_code: result.err().unwrap_or(ErrorCode::NONE),
                    base_offset: result.unwrap_or(-1),
                    log_start_offset: 0,
                    ..Default::default()
                }
            });
            TopicResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: partition_responses.collect(),
            }
        });
        let responses: Vec<TopicResponse> = responses.collect();
        self.produced.push(seen);
        let all = responses.iter().flat_map(|topic| &topic.partition_responses);
        let named = all.map(|partition| partition.current_leader.leader_id);
        let node_endpoints = named.filter_map(|node_id| {
            let (host, port) = self.brokers.get(&node_id)?.0.rsplit_once(':')?;
            Some(NodeEndpoint { node_id, host: host.into(), port: port.parse().ok()?, ..Default::default() })
        });
        ProduceResponse { node_endpoints: node_endpoints.collect(), responses, ..Default::default() }
    }
}

fn response<M: Message>(header: &RequestHeader, body: &M) -> Vec<u8> {
    let key = ApiKey::from_i16(header.api_key).unwrap();
    let parts = encode_response_frame(key, header.api_version, header.correlation_id, body).unwrap();
    let bytes = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::External { .. } => panic!("nothing external here"),
    };
    parts.iter().flat_map(bytes).collect()
}

/// Half of a stream; the trait needs a type of this crate.
struct Writer(tokio::io::WriteHalf<DuplexStream>);

impl tokio::io::AsyncWrite for Writer {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl WriteHalf for Writer {}

impl Network for Fake {
    #[expect(clippy::disallowed_methods, reason = "the other side of the seam")]
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let failed = |stage, kind| ConnectError {
                address: address.to_owned(),
                stage,
                source: std::io::Error::from(kind),
            };
            let broker = {
                let mut cluster = self.cluster();
                let known = cluster
                    .brokers
                    .iter()
                    .find(|(_, (known, _))| known == address)
                    .map(|(id, (_, up))| (*id, *up));
                match known {
                    Some((id, true)) => {
                        cluster.connections += 1;
                        *cluster.connections_to.entry(id).or_default() += 1;
                        id
                    }
                    Some((_, false)) => {
                        return Err(failed(ConnectStage::Connect, std::io::ErrorKind::ConnectionRefused));
                    }
                    None if cluster.bootstrap.as_deref() == Some(address) => 0,
                    None => return Err(failed(ConnectStage::Name, std::io::ErrorKind::NotFound)),
                }
            };
            let (here, there) = duplex(1 << 20);
            tokio::spawn(self.clone().serve(broker, there));
            let (reader, writer) = split(here);
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            Ok(Connection { reader: Box::new(reader), writer: Box::new(Writer(writer)), peer })
        })
    }

    fn listen<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}
