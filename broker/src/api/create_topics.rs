//! CreateTopics (19), versions 2–7.
//!
//! - 4: −1 partitions or replicas stand for the broker's default.
//! - 5: the response tells partitions, replicas and configuration.
//! - 7: the response has the topic's id.

use std::collections::BTreeMap;

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            CreateTopicsRequest, CreateTopicsResponse,
            create_topics::{CreatableTopic, CreatableTopicConfigs, CreatableTopicResult},
        },
    },
};

use super::{ApiError, Incoming, repeated};
use crate::{
    api::reply::Reply,
    config::NODE_ID,
    topics::{CONFIG_KEYS, TopicConfig, TopicError},
};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::INVALID_TOPIC_EXCEPTION,
    ErrorCode::TOPIC_ALREADY_EXISTS,
    ErrorCode::INVALID_PARTITIONS,
    ErrorCode::INVALID_REPLICATION_FACTOR,
    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
    ErrorCode::INVALID_CONFIG,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

/// Kafka's `DescribeConfigs` source of a value set for the topic, and of a default.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

pub(super) async fn handle(request: &Incoming, body: CreateTopicsRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    let repeated = repeated(body.topics.iter().map(|topic| &topic.name));
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let name = topic.name.clone();
        let result = if repeated.contains(&name) {
            Err(TopicError::new(ErrorCode::INVALID_REQUEST, format!("the request names topic {name} twice")))
        } else {
            create(request, topic, body.validate_only).await
        };
        if let Err(TopicError { code: ErrorCode::KAFKA_STORAGE_ERROR, why }) = &result {
            request.broker.say_of_stranger(|| format!("topic {name} cannot be created: {why}"));
        }
        topics.push(result.unwrap_or_else(|error| CreatableTopicResult {
            name,
            error_code: request.count(error.code),
            error_message: Some(Text::from(error.why)),
            topic_config_error_code: ErrorCode::NONE,
            num_partitions: -1,
            replication_factor: -1,
            configs: None,
            ..Default::default()
        }));
    }
    request.answer(&CreateTopicsResponse { topics, ..Default::default() })
}

async fn create(
    request: &Incoming,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, TopicError> {
    let partitions = partition_count(request, &topic)?;
    let mut overrides = BTreeMap::new();
    for config in &topic.configs {
        let value = config.value.as_ref().ok_or_else(|| {
            TopicError::new(
                ErrorCode::INVALID_CONFIG,
                format!("the topic setting {} has no value", config.name),
            )
        })?;
        overrides.insert(config.name.to_string(), value.to_string());
    }
    let catalogue = &request.broker.catalogue;
    catalogue.check(&topic.name, partitions, &overrides)?;
    let settings = TopicConfig::with_overrides(&request.broker.config, &overrides)
        .map_err(|why| TopicError::new(ErrorCode::INVALID_CONFIG, why))?;
    let configs = CONFIG_KEYS
        .iter()
        .map(|key| CreatableTopicConfigs {
            name: Text::from_static(key.name),
            value: Some(Text::from(settings.value_of(key))),
            config_source: if overrides.contains_key(key.name) { SOURCE_TOPIC } else { SOURCE_DEFAULT },
            ..Default::default()
        })
        .collect();
    let topic_id = if validate_only {
        Default::default()
    } else {
        catalogue.create(&topic.name, partitions, overrides).await?.id
    };
    Ok(CreatableTopicResult {
        name: topic.name,
        topic_id,
        num_partitions: partitions,
        replication_factor: 1,
        configs: Some(configs),
        ..Default::default()
    })
}

/// How many partitions the request means, by number or by an assignment of replicas to brokers (of which this is the
/// only one).
fn partition_count(request: &Incoming, topic: &CreatableTopic) -> Result<i32, TopicError> {
    if !topic.assignments.is_empty() {
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            return Err(TopicError::new(
                ErrorCode::INVALID_REQUEST,
                "give either numbers of partitions and replicas or an assignment, not both",
            ));
        }
        let mut indexes: Vec<i32> =
            topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
        indexes.sort_unstable();
        let consecutive = indexes.iter().zip(0..).all(|(index, expected)| *index == expected);
        let all_here = topic.assignments.iter().all(|assignment| assignment.broker_ids == [NODE_ID]);
        if !consecutive || !all_here {
            return Err(TopicError::new(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!("partitions must be numbered from 0 and each be assigned to broker {NODE_ID} alone"),
            ));
        }
        return Ok(i32::try_from(indexes.len()).unwrap_or(i32::MAX));
    }
    if topic.replication_factor != -1 && topic.replication_factor != 1 {
        return Err(TopicError::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!(
                "replication factor {} is not possible with one broker; use 1, or -1 for the default",
                topic.replication_factor
            ),
        ));
    }
    match topic.num_partitions {
        -1 => Ok(request.broker.config.partitions),
        count if count < 1 => Err(TopicError::new(
            ErrorCode::INVALID_PARTITIONS,
            format!("{count} partitions are not possible; use at least 1, or -1 for the default"),
        )),
        count => Ok(count),
    }
}
