//! Topics, made and deleted by somebody who tries until it is done.

use std::time::Duration;

use gapless_common::{
    channel::Channel,
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
            create_topics::{CreatableTopic, CreatableTopicConfig},
            delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
            delete_topics::DeleteTopicState,
        },
    },
    seam::Seams,
};
use tokio::time::sleep;

use crate::consumer::channel_config;
use crate::ledger::{Ledger, Place};
use crate::plan::TopicPlan;
use crate::server::SERVER;

const PAUSE: Duration = Duration::from_millis(60);
const TIMEOUT_MS: i32 = 1_000;
/// Deleting records is given up after so many attempts: a partition that is quarantined refuses it for ever.
const DELETE_ATTEMPTS: u32 = 30;
/// Everything there is.
pub const HIGH_WATERMARK: i64 = -1;

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

/// Deletes the records below an offset, if that can be done; what was asked and answered is in the ledger.
pub async fn delete_records(seams: &Seams, ledger: &Ledger, place: &Place, before: i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: Text::from(place.topic),
            partitions: vec![DeleteRecordsPartition { partition_index: place.partition, offset: before }],
        }],
        timeout_ms: TIMEOUT_MS,
    };
    // Where the high watermark will be nobody knows.
    ledger.asked_below(place, if before == HIGH_WATERMARK { i64::MAX } else { before });
    for _ in 0..DELETE_ATTEMPTS {
        let answer = reach(seams).await.call(request.clone()).await;
        let result = answer.ok().and_then(|answer| answer.topics.into_iter().next());
        match result.and_then(|topic| topic.partitions.into_iter().next()) {
            Some(result) if result.error_code.is_ok() => {
                let start = result.low_watermark;
                if start < before {
                    ledger.fault(format!(
                        "{place}: records below {before} are deleted, and it starts at {start}"
                    ));
                }
                return ledger.starts_at(place, start);
            }
            Some(result) if result.error_code == ErrorCode::OFFSET_OUT_OF_RANGE => return,
            _ => sleep(PAUSE).await,
        }
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
