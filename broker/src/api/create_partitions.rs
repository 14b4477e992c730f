//! CreatePartitions (37), versions 0–3: a topic gets more partitions, never fewer. Records with a key go to other partitions
//! from then on, as with Apache Kafka.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            CreatePartitionsRequest, CreatePartitionsResponse,
            create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult},
        },
    },
};

use super::{ApiError, Incoming, repeated};
use crate::{api::reply::Reply, config::NODE_ID, topics::TopicError};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::INVALID_PARTITIONS,
    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

pub(super) async fn handle(request: &Incoming, body: CreatePartitionsRequest) -> Result<Reply, ApiError> {
    request.admit(body.topics.len())?;
    let repeated = repeated(body.topics.iter().map(|topic| &topic.name));
    let mut results = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let result = if repeated.contains(&topic.name) {
            let why = format!("the request names topic {} twice", topic.name);
            Err(TopicError::new(ErrorCode::INVALID_REQUEST, why))
        } else {
            grow(request, topic, body.validate_only).await
        };
        if let Err(TopicError { code: ErrorCode::KAFKA_STORAGE_ERROR, why }) = &result {
            request.broker.say_of_stranger(|| format!("topic {} gets no partitions: {why}", topic.name));
        }
        let error = result.err();
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: request.count(error.as_ref().map_or(ErrorCode::NONE, |error| error.code)),
            error_message: error.map(|error| Text::from(error.why)),
        });
    }
    request.answer(&CreatePartitionsResponse { results, ..Default::default() })
}

async fn grow(
    request: &Incoming,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), TopicError> {
    let catalogue = &request.broker.catalogue;
    let CreatePartitionsTopic { name, count, assignments } = asked;
    let topic = catalogue.by_name(name).ok_or_else(|| {
        TopicError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}"))
    })?;
    let more = catalogue.check_growth(&topic, *count)?;
    if let Some(assignments) = assignments {
        let all_here = assignments.iter().all(|assignment| assignment.broker_ids == [NODE_ID]);
        if assignments.len() != more || !all_here {
            return Err(TopicError::new(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!("each of the {more} new partitions must be assigned to broker {NODE_ID} alone"),
            ));
        }
    }
    if validate_only {
        return Ok(());
    }
    catalogue.grow(&topic, *count).await
}
