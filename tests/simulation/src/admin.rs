//! Topics, made and deleted by somebody who tries until it is done.

use std::time::Duration;

use gapless_common::{
    channel::Channel,
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            CreateTopicsRequest, DeleteTopicsRequest,
            create_topics::{CreatableTopic, CreatableTopicConfig},
            delete_topics::DeleteTopicState,
        },
    },
    seam::Seams,
};
use tokio::time::sleep;

use crate::consumer::channel_config;
use crate::plan::TopicPlan;
use crate::server::SERVER;

const PAUSE: Duration = Duration::from_millis(60);
const TIMEOUT_MS: i32 = 1_000;

/// Makes a topic; done when it is there.
pub async fn create(seams: &Seams, topic: &TopicPlan) {
    let setting = |(name, value): &(&'static str, String)| CreatableTopicConfig {
        name: Text::from(*name),
        value: Some(Text::from(value.as_str())),
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: Text::from(topic.name),
            num_partitions: topic.partitions,
            replication_factor: 1,
            configs: topic.settings.iter().map(setting).collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: TIMEOUT_MS,
        ..CreateTopicsRequest::default()
    };
    loop {
        let answer = reach(seams).await.call(request.clone()).await;
        let code = answer.ok().and_then(|answer| answer.topics.first().map(|topic| topic.error_code));
        if code.is_some_and(|code| code.is_ok() || code == ErrorCode::TOPIC_ALREADY_EXISTS) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Deletes a topic; done when it is not there.
pub async fn delete(seams: &Seams, topic: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some(Text::from(topic)), ..DeleteTopicState::default() }],
        timeout_ms: TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    loop {
        let answer = reach(seams).await.call(request.clone()).await;
        let code = answer.ok().and_then(|answer| answer.responses.first().map(|topic| topic.error_code));
        if code.is_some_and(|code| code.is_ok() || code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn reach(seams: &Seams) -> Channel {
    loop {
        if let Ok(channel) = Channel::connect(seams, SERVER, &channel_config()).await {
            return channel;
        }
        sleep(PAUSE).await;
    }
}
