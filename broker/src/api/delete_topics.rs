//! DeleteTopics (20), versions 1–6.
//!
//! - 5: the response has a message.
//! - 6: topics may be given by id.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            DeleteTopicsRequest, DeleteTopicsResponse,
            delete_topics::{DeletableTopicResult, DeleteTopicState},
        },
    },
    types::TopicId,
};

use super::{ApiError, Incoming};
use crate::{api::reply::Reply, topics::TopicError};

pub(super) const ERRORS: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::UNKNOWN_TOPIC_ID,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

pub(super) async fn handle(request: &Incoming, body: DeleteTopicsRequest) -> Result<Reply, ApiError> {
    request.admit(body.topic_names.len() + body.topics.len())?;
    let by_name =
        body.topic_names.into_iter().map(|name| DeleteTopicState { name: Some(name), ..Default::default() });
    let mut responses = Vec::new();
    for DeleteTopicState { name, topic_id } in by_name.chain(body.topics) {
        let result = delete(request, name.as_ref(), topic_id).await;
        let (name, topic_id, error) = match result {
            Ok((name, id)) => (Some(name), id, None),
            Err(error) => (name, topic_id, Some(error)),
        };
        responses.push(DeletableTopicResult {
            name,
            topic_id,
            error_code: request.count(error.as_ref().map_or(ErrorCode::NONE, |error| error.code)),
            error_message: error.map(|error| Text::from(error.why)),
        });
    }
    request.answer(&DeleteTopicsResponse { responses, ..Default::default() })
}

async fn delete(request: &Incoming, name: Option<&Text>, id: TopicId) -> Result<(Text, TopicId), TopicError> {
    let catalogue = &request.broker.catalogue;
    let topic = match name {
        Some(_) if id != TopicId::ZERO => {
            return Err(TopicError::new(
                ErrorCode::INVALID_REQUEST,
                "give a topic's name or its id, not both",
            ));
        }
        Some(name) => catalogue.by_name(name).ok_or_else(|| {
            TopicError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}"))
        })?,
        None => catalogue.by_id(id).ok_or_else(|| {
            TopicError::new(ErrorCode::UNKNOWN_TOPIC_ID, format!("there is no topic with id {id}"))
        })?,
    };
    catalogue.delete(&topic).await?;
    Ok((topic.name.clone(), topic.id))
}
