//! DescribeLogDirs (35), versions 1–4: how much room each partition takes, and how much the device has. There is one log
//! directory, the data directory.
//!
//! - 3: an error for the whole request.
//! - 4: size and free room of the device.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            DescribeLogDirsRequest, DescribeLogDirsResponse,
            describe_log_dirs::{
                DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
            },
        },
    },
};

use super::{ApiError, Incoming};
use crate::{api::reply::Reply, topics::Topic};

pub(super) const ERRORS: &[ErrorCode] = &[ErrorCode::KAFKA_STORAGE_ERROR];

pub(super) async fn handle(request: &Incoming, body: DescribeLogDirsRequest) -> Result<Reply, ApiError> {
    let broker = &request.broker;
    let topics = match body.topics {
        None => broker.catalogue.all().iter().map(describe_all).collect(),
        Some(asked) => {
            request.admit(asked.len())?;
            request.admit(asked.iter().map(|topic| topic.partitions.len()).sum())?;
            // As Kafka does, what is not there is left out.
            (asked.iter().filter_map(|asked| of_asked(request, asked)))
                .filter(|topic| !topic.partitions.is_empty())
                .collect()
        }
    };
    let space = broker.files.space().await;
    if let Err(error) = &space {
        broker.say_of_stranger(|| format!("the room on the device cannot be told: {error}"));
    }
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (total_bytes, usable_bytes) =
        space.as_ref().map_or((-1, -1), |space| (bytes(space.size), bytes(space.available)));
    let code = if space.is_ok() { ErrorCode::NONE } else { ErrorCode::KAFKA_STORAGE_ERROR };
    let log_dir = Text::from(broker.files.root().unwrap_or(Path::new("data")).display().to_string());
    request.answer(&DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: request.count(code),
            log_dir,
            topics,
            total_bytes,
            usable_bytes,
        }],
        ..Default::default()
    })
}

fn describe_all(topic: &Arc<Topic>) -> DescribeLogDirsTopic {
    describe(topic, (0..).take(topic.partitions.len()))
}

fn of_asked(request: &Incoming, asked: &DescribableLogDirTopic) -> Option<DescribeLogDirsTopic> {
    let topic = request.broker.catalogue.by_name(&asked.topic)?;
    let wanted: BTreeSet<i32> = asked.partitions.iter().copied().collect();
    Some(describe(&topic, wanted))
}

/// Looks only at what is wanted: a request may name one topic again and again, and that may have ten thousand partitions.
fn describe(topic: &Topic, wanted: impl IntoIterator<Item = i32>) -> DescribeLogDirsTopic {
    let size_of = |partition_index| {
        let size = topic.partition(partition_index)?.size_bytes();
        let partition_size = i64::try_from(size).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() })
    };
    let partitions = wanted.into_iter().filter_map(size_of).collect();
    DescribeLogDirsTopic { name: topic.name.clone(), partitions }
}
