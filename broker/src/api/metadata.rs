//! Metadata (3), versions 0–12.
//!
//! - 0: an empty array asks for all topics; from 1 null does, and an empty array asks for none.
//! - below 4 topics are always created when missing; from 4 the request says.
//! - 10: topic ids in the response; those in the request count from 12 on, where a topic may be asked for by id alone.

use std::{collections::BTreeSet, sync::Arc};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            MetadataRequest, MetadataResponse,
            metadata::{
                MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition,
                MetadataResponseTopic,
            },
        },
    },
    types::TopicId,
};

use super::{ApiError, Incoming};
use crate::{
    api::reply::Reply,
    config::NODE_ID,
    topics::{Topic, names},
};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::INVALID_TOPIC_EXCEPTION,
    ErrorCode::INVALID_PARTITIONS,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::UNKNOWN_TOPIC_ID,
    ErrorCode::TOPIC_ALREADY_EXISTS,
];

/// Topics may be asked for by id from this version on.
const TOPIC_ID_VERSION: i16 = 12;

pub(super) async fn handle(request: &Incoming, body: MetadataRequest) -> Result<Reply, ApiError> {
    let asked = body.topics.filter(|topics| request.version > 0 || !topics.is_empty());
    let topics = match asked {
        None => request.broker.catalogue.all().iter().map(describe).collect(),
        Some(asked) => {
            let may_create = request.broker.config.auto_create_topics
                && (request.version < 4 || body.allow_auto_topic_creation);
            request.admit(asked.len())?;
            let mut topics = Vec::with_capacity(asked.len());
            let mut seen = BTreeSet::new();
            for topic in asked {
                // Told once, however often it is asked for: a topic can have ten thousand partitions.
                if seen.insert((topic.topic_id, topic.name.clone())) {
                    topics.push(one_topic(request, topic, may_create).await);
                }
            }
            topics
        }
    };
    request.answer(&MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NODE_ID,
            host: Text::from(request.endpoint.host.as_str()),
            port: i32::from(request.endpoint.port),
            rack: None,
        }],
        cluster_id: Some(Text::from(request.broker.meta.cluster_id())),
        // librdkafka's admin client waits for a controller, and KafkaJS sends InitProducerId to it.
        controller_id: NODE_ID,
        topics,
        ..Default::default()
    })
}

async fn one_topic(
    request: &Incoming,
    asked: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let by_id = request.version >= TOPIC_ID_VERSION;
    let MetadataRequestTopic { topic_id, name } = asked;
    let topic_id = if by_id { topic_id } else { TopicId::ZERO };
    let unknown = |error_code, name| MetadataResponseTopic {
        error_code: request.count(error_code),
        name,
        topic_id,
        ..Default::default()
    };
    let catalogue = &request.broker.catalogue;
    let Some(name) = name else {
        if !by_id {
            return unknown(ErrorCode::INVALID_REQUEST, Some(Text::default()));
        }
        return match catalogue.by_id(topic_id) {
            Some(topic) => describe(&topic),
            None => unknown(ErrorCode::UNKNOWN_TOPIC_ID, None),
        };
    };
    if topic_id != TopicId::ZERO {
        return unknown(ErrorCode::INVALID_REQUEST, Some(name));
    }
    if let Some(topic) = catalogue.by_name(&name) {
        return describe(&topic);
    }
    if names::refusal(&name).is_some() {
        return unknown(ErrorCode::INVALID_TOPIC_EXCEPTION, Some(name));
    }
    if !may_create {
        return unknown(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(name));
    }
    match catalogue.create(&name, request.broker.config.partitions, Default::default()).await {
        Ok(topic) => describe(&topic),
        // Two clients that ask at once: the second finds what the first made.
        Err(error) => match catalogue.by_name(&name) {
            Some(topic) => describe(&topic),
            None => {
                request.broker.say_of_stranger(|| format!("topic {name} cannot be created: {error}"));
                unknown(error.code, Some(name))
            }
        },
    }
}

fn describe(topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .zip(0..)
        .map(|(log, partition_index)| MetadataResponsePartition {
            partition_index,
            leader_id: NODE_ID,
            leader_epoch: log.leader_epoch().0,
            replica_nodes: vec![NODE_ID],
            isr_nodes: vec![NODE_ID],
            ..Default::default()
        })
        .collect();
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        partitions,
        ..Default::default()
    }
}
