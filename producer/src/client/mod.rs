//! A small client for `read` and `topic`: brokers found through the bootstrap servers, one channel to each.
//!
//! - `mod.rs`: reaching brokers, and what is said when that fails.
//! - `topics`: which there are; create and delete.
//! - `offsets`: where partitions begin and end.
//! - `fetch`: records.

mod fetch;
mod offsets;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::backoff::Backoff;
use gapless_common::channel::{Channel, ChannelConfig, ChannelError, Stage};
use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use gapless_common::protocol::messages::{MetadataRequest, MetadataResponse};
use gapless_common::protocol::{ApiKey, Request, Text};
use gapless_common::seam::Seams;
use gapless_producer::Unreachable;
use gapless_producer::error::Attempt;
use tokio::time::{Instant, sleep};

use crate::cli::args::ConnectionSettings;
use crate::cli::exit::with_causes;

pub use fetch::{Fetched, Fetcher};
pub use offsets::When;
pub use topics::{NewTopic, Setting};

/// Brokers that cannot be reached for so long end the attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No broker answered in time.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// One that did before does not any more.
    #[error("{address}: {source}")]
    Lost { address: String, source: ChannelError },
    /// A broker refuses what is asked about a topic or a partition.
    #[error("{what}: {code}{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused { what: String, code: ErrorCode, message: Option<String> },
    /// A broker answers something else than what was asked.
    #[error("{address} gave no answer about {what}")]
    NoAnswer { address: String, what: String },
    /// Nobody leads the partition right now.
    #[error("{0} has no leader")]
    NoLeader(String),
}

impl ClientError {
    /// May go away by itself: a broker that restarts, a leader that moves.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Lost { source: ChannelError::Dead(_), .. } | Self::NoLeader(_) => true,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Lost { .. } | Self::Unreachable(_) | Self::NoAnswer { .. } => false,
        }
    }
}

/// A topic that cannot be used, and why.
pub fn refused_topic(name: &str, code: ErrorCode) -> ClientError {
    let missing = code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let message = missing.then(|| {
        "there is no such topic; `gapless-producer topic list` names those that there are".to_owned()
    });
    ClientError::Refused { what: format!("topic {name}"), code, message }
}

/// The message of an answer, if it has one.
fn said(message: Option<&Text>) -> Option<String> {
    message.map(|text| text.to_string()).filter(|text| !text.is_empty())
}

/// Channels to the brokers of one cluster.
pub struct Client {
    seams: Seams,
    settings: ConnectionSettings,
    config: ChannelConfig,
    /// Whoever answered first: asked about the cluster.
    bootstrap: Channel,
    /// By broker id.
    addresses: BTreeMap<i32, String>,
    controller: i32,
    channels: BTreeMap<i32, Channel>,
}

impl Client {
    /// Tries the bootstrap servers in turn, again and again, until one answers or patience ends.
    pub async fn connect(seams: Seams, settings: ConnectionSettings) -> Result<Self, ClientError> {
        let config = ChannelConfig {
            client_id: Text::from(&*settings.client_id),
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            ..ChannelConfig::default()
        };
        let servers = settings.bootstrap_servers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let bootstrap = reach(&seams, &config, &servers, None).await?;
        Ok(Self {
            seams,
            settings,
            config,
            bootstrap,
            addresses: BTreeMap::new(),
            controller: -1,
            channels: BTreeMap::new(),
        })
    }

    /// Asks about topics (`None`: all), and learns where the brokers are. Does not create topics.
    pub async fn metadata(
        &mut self,
        topics: Option<&[String]>,
    ) -> Result<Vec<MetadataResponseTopic>, ClientError> {
        if self.bootstrap.is_dead() {
            let servers = self.settings.bootstrap_servers.iter().map(ToString::to_string);
            let known: Vec<String> = servers.chain(self.addresses.values().cloned()).collect();
            self.bootstrap = reach(&self.seams, &self.config, &known, None).await?;
        }
        let topics = topics.map(|names| {
            let named = |name: &String| MetadataRequestTopic {
                name: Some(Text::from(name.as_str())),
                ..MetadataRequestTopic::default()
            };
            names.iter().map(named).collect()
        });
        let request =
            MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        let answer: MetadataResponse = ask(&self.bootstrap, request).await?;
        self.addresses = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)))
            .collect();
        self.controller = answer.controller_id;
        Ok(answer.topics)
    }

    /// One topic, if it can be used.
    pub async fn topic(&mut self, name: &str) -> Result<MetadataResponseTopic, ClientError> {
        let answer = self.metadata(Some(&[name.to_owned()])).await?;
        let topic =
            answer.into_iter().find(|topic| topic.name.as_deref() == Some(name)).ok_or_else(|| {
                ClientError::NoAnswer {
                    address: self.bootstrap.address().to_owned(),
                    what: format!("topic {name}"),
                }
            })?;
        if !topic.error_code.is_ok() {
            return Err(refused_topic(name, topic.error_code));
        }
        Ok(topic)
    }

    /// The broker with this id, connected.
    async fn broker(&mut self, id: i32) -> Result<Channel, ClientError> {
        if let Some(channel) = self.channels.get(&id).filter(|channel| !channel.is_dead()) {
            return Ok(channel.clone());
        }
        let Some(address) = self.addresses.get(&id) else {
            return Err(ClientError::NoLeader(format!("broker {id}, which is not in the cluster's answer,")));
        };
        // The commonest trouble: the bootstrap address answers, and the one it names does not.
        let named_by = self.bootstrap.address();
        let channel = if address == named_by && !self.bootstrap.is_dead() {
            self.bootstrap.clone()
        } else {
            reach(&self.seams, &self.config, std::slice::from_ref(address), Some(named_by)).await?
        };
        self.channels.insert(id, channel.clone());
        Ok(channel)
    }

    /// The broker that administration goes to.
    async fn controller(&mut self) -> Result<Channel, ClientError> {
        self.metadata(Some(&[])).await?;
        if self.controller < 0 {
            return Err(ClientError::NoLeader("the cluster".to_owned()));
        }
        self.broker(self.controller).await
    }
}

/// Connects to the first of these addresses that answers. Tries again with growing pauses until patience ends.
async fn reach(
    seams: &Seams,
    config: &ChannelConfig,
    addresses: &[String],
    named_by: Option<&str>,
) -> Result<Channel, ClientError> {
    let begin = Instant::now();
    let mut backoff = Backoff::default();
    let mut attempts: Vec<Attempt> = Vec::new();
    loop {
        for address in addresses {
            let patience = ChannelConfig {
                connect_timeout: config.connect_timeout.min(PATIENCE.saturating_sub(begin.elapsed())),
                ..config.clone()
            };
            match Channel::connect(seams, address, &patience).await {
                Ok(channel) => return Ok(channel),
                Err(error) => {
                    attempts.retain(|attempt| *attempt.address != **address);
                    attempts.push(Attempt {
                        address: address.as_str().into(),
                        stage: error.stage().map_or("protocol", Stage::name),
                        cause: with_causes(&error).into(),
                    });
                }
            }
        }
        let pause = backoff.next_delay(seams.random.bits64());
        if begin.elapsed() + pause >= PATIENCE {
            return Err(Unreachable { after: PATIENCE, attempts, named_by: named_by.map(Arc::from) }.into());
        }
        sleep(pause).await;
    }
}

/// Asks in the newest common version.
async fn ask<R: Request>(channel: &Channel, request: R) -> Result<R::Response, ClientError> {
    channel
        .call(request)
        .await
        .map_err(|source| ClientError::Lost { address: channel.address().to_owned(), source })
}

/// The newest common version of an API.
fn version(channel: &Channel, api: ApiKey) -> Result<i16, ClientError> {
    channel.version_of(api).ok_or_else(|| {
        let address = channel.address().to_owned();
        ClientError::Lost { address: address.clone(), source: ChannelError::NotServed { address, api } }
    })
}
