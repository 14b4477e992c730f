//! DescribeConfigs (32), versions 1–4, for topics and for this broker.
//!
//! - 1: where a value comes from, and what it falls back to.
//! - 3: types and documentation.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            DescribeConfigsRequest, DescribeConfigsResponse,
            describe_configs::{
                DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
                DescribeConfigsSynonym,
            },
        },
    },
};

use super::{ApiError, Incoming};
use crate::{
    api::reply::Reply,
    config::{Config, NODE_ID},
    topics::{CONFIG_KEYS, ConfigType, TopicConfig},
};

pub(super) const ERRORS: &[ErrorCode] = &[ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_REQUEST];

/// Kafka's `ConfigResource.Type`.
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// Kafka's `DescribeConfigsResponse.ConfigSource`.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// A value in force, before it is cut to what the request asks for.
struct Entry {
    name: &'static str,
    value: String,
    source: i8,
    read_only: bool,
    kind: ConfigType,
    documentation: &'static str,
    /// The broker's setting that it falls back to, if there is one.
    fallback: Option<(&'static str, String)>,
}

pub(super) fn handle(request: &Incoming, body: DescribeConfigsRequest) -> Result<Reply, ApiError> {
    request.admit(body.resources.len())?;
    let (synonyms, documentation) = (body.include_synonyms, body.include_documentation);
    let results =
        body.resources
            .into_iter()
            .map(|resource| match entries(request, &resource) {
                Ok(entries) => DescribeConfigsResult {
                    error_message: None,
                    configs: entries
                        .into_iter()
                        .filter(|entry| {
                            resource.configuration_keys.as_ref().is_none_or(|keys| {
                                keys.is_empty() || keys.iter().any(|key| *key == entry.name)
                            })
                        })
                        .map(|entry| entry.into_result(synonyms, documentation))
                        .collect(),
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name,
                    ..Default::default()
                },
                Err((code, why)) => DescribeConfigsResult {
                    error_code: request.count(code),
                    error_message: Some(Text::from(why)),
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name,
                    ..Default::default()
                },
            })
            .collect();
    request.answer(&DescribeConfigsResponse { results, ..Default::default() })
}

fn entries(
    request: &Incoming,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let broker = &request.broker;
    let name = &resource.resource_name;
    match resource.resource_type {
        RESOURCE_TOPIC => {
            let topic = broker.catalogue.by_name(name).ok_or_else(|| {
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}"))
            })?;
            let defaults = TopicConfig::defaults(&broker.config);
            Ok(CONFIG_KEYS
                .iter()
                .map(|key| Entry {
                    name: key.name,
                    value: topic.config.value_of(key),
                    source: if topic.overrides.contains_key(key.name) {
                        SOURCE_TOPIC
                    } else {
                        SOURCE_DEFAULT
                    },
                    read_only: false,
                    kind: key.kind,
                    documentation: key.documentation,
                    fallback: Some((key.name, defaults.value_of(key))),
                })
                .collect())
        }
        RESOURCE_BROKER if name.is_empty() || **name == *NODE_ID.to_string() => Ok(of_broker(&broker.config)),
        RESOURCE_BROKER => {
            Err((ErrorCode::INVALID_REQUEST, format!("there is no broker {name}; this one is {NODE_ID}")))
        }
        other => Err((
            ErrorCode::INVALID_REQUEST,
            format!("resources of type {other} have no configuration here; topics (2) and brokers (4) have"),
        )),
    }
}

/// What was set by flags, under Kafka's names where Kafka has one; all of it needs a restart to change.
fn of_broker(config: &Config) -> Vec<Entry> {
    let entry = |name, value: String, kind, documentation| Entry {
        name,
        value,
        source: SOURCE_STATIC_BROKER,
        read_only: true,
        kind,
        documentation,
        fallback: None,
    };
    vec![
        entry("broker.id", NODE_ID.to_string(), ConfigType::Int, "The only broker."),
        entry(
            "auto.create.topics.enable",
            config.auto_create_topics.to_string(),
            ConfigType::Boolean,
            "Whether a topic is created when a client first asks for it (--auto-create-topics).",
        ),
        entry(
            "num.partitions",
            config.partitions.to_string(),
            ConfigType::Int,
            "Partitions of a topic that is created without a number of its own (--partitions).",
        ),
        entry("default.replication.factor", "1".into(), ConfigType::Int, "This broker stands alone."),
        entry(
            "message.max.bytes",
            config.max_message_bytes.to_string(),
            ConfigType::Int,
            "The largest record batch, in bytes (--max-message-bytes).",
        ),
        entry(
            "log.segment.bytes",
            config.segment_bytes.to_string(),
            ConfigType::Int,
            "Bytes after which a new segment is begun (--segment-bytes).",
        ),
        entry(
            "log.retention.ms",
            config.retention_ms.to_string(),
            ConfigType::Long,
            "How long records are kept, by their timestamps, in milliseconds; -1 keeps them for ever (--retention-ms).",
        ),
        entry(
            "log.retention.bytes",
            config.retention_bytes.to_string(),
            ConfigType::Long,
            "Bytes of each partition that are kept; -1 keeps all (--retention-bytes).",
        ),
        entry(
            "log.retention.check.interval.ms",
            config.retention_check_interval.as_millis().to_string(),
            ConfigType::Long,
            "How often what is no longer kept is looked for, in milliseconds.",
        ),
        entry(
            "producer.id.expiration.ms",
            config.producer_id_expiration_ms.to_string(),
            ConfigType::Int,
            "How long the sequences of a silent producer are remembered, in milliseconds (--producer-id-expiration).",
        ),
    ]
}

impl Entry {
    fn into_result(self, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
        let mut known_as = Vec::new();
        if synonyms {
            let value = Some(Text::from(self.value.as_str()));
            if self.source != SOURCE_DEFAULT {
                known_as.push(DescribeConfigsSynonym {
                    name: Text::from_static(self.name),
                    value,
                    source: self.source,
                });
            }
            if let Some((name, value)) = self.fallback {
                known_as.push(DescribeConfigsSynonym {
                    name: Text::from_static(name),
                    value: Some(Text::from(value)),
                    source: SOURCE_DEFAULT,
                });
            }
        }
        DescribeConfigsResourceResult {
            name: Text::from_static(self.name),
            value: Some(Text::from(self.value)),
            read_only: self.read_only,
            config_source: self.source,
            is_sensitive: false,
            synonyms: known_as,
            config_type: self.kind as i8,
            documentation: documentation.then(|| Text::from_static(self.documentation)),
        }
    }
}
