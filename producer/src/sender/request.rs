//! A Produce request: put together from batches of several partitions, and taken apart again when its answer comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use gapless_common::channel::{ChannelDeath, Pending};
use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::RecordData;
use gapless_common::protocol::messages::produce::{
    LeaderIdAndEpoch, PartitionData, PartitionResponse, TopicData, TopicResponse,
};
use gapless_common::protocol::messages::{ProduceRequest, ProduceResponse};
use gapless_common::types::{Offset, PartitionId, TopicId};
use tokio::time::Instant;

use crate::accumulator::Partition;
use crate::config::Acks;
use crate::fate::PartitionName;
use crate::metadata::Hint;
use crate::partition::{Answer, Refusal, Ticket};
use crate::shared::Shared;

/// Bytes of batches after which no further one joins a request: larger requests are no cheaper by the byte, and their
/// last batch would wait for the first. One batch may be larger.
pub(super) const REQUEST_SIZE: usize = 4 * 1024 * 1024;

/// Topics are given by id from this version on (KIP-516): then what was meant for a topic never lands in another that has
/// its name now.
const TOPIC_ID_VERSION: i16 = 13;

/// One batch in a request.
pub(super) struct Part {
    pub(super) partition: Arc<Partition>,
    pub(super) ticket: Ticket,
    /// What the topic's id was when the batch was picked; zero: not known.
    pub(super) topic_id: TopicId,
}

impl Part {
    fn key(&self) -> (&Arc<str>, TopicId, PartitionId) {
        (&self.partition.name.topic, self.topic_id, self.partition.name.partition)
    }
}

/// Batches that go out together.
#[derive(Default)]
pub(super) struct Draft {
    parts: Vec<(Part, Bytes)>,
    pub(super) size: usize,
    /// At least one batch is full or was sent before.
    pub(super) has_full: bool,
    pub(super) has_retry: bool,
}

impl Draft {
    pub(super) fn add(&mut self, part: Part, bytes: Bytes) {
        self.size += bytes.len();
        self.parts.push((part, bytes));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The version to send it in, of those up to `newest`: one that names topics, if an id is not known.
    pub(super) fn version(&self, newest: i16) -> i16 {
        let all_known = self.parts.iter().all(|(part, _)| part.topic_id != TopicId::ZERO);
        if all_known { newest } else { newest.min(TOPIC_ID_VERSION - 1) }
    }

    /// The request, and the parts in its order.
    pub(super) fn finish(mut self, acks: Acks, timeout: Duration) -> (ProduceRequest, Vec<Part>) {
        // A request names each topic once; while its id changes, some partitions may know of it and others not.
        self.parts.sort_by(|(a, _), (b, _)| a.key().cmp(&b.key()));
        let mut topic_data: Vec<TopicData> = Vec::new();
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut topic: Option<(Arc<str>, TopicId)> = None;
        for (part, bytes) in self.parts {
            let name = &part.partition.name;
            let data = PartitionData { index: name.partition.0, records: Some(RecordData::Memory(bytes)) };
            let same = topic.as_ref().is_some_and(|(known, id)| *known == name.topic && *id == part.topic_id);
            match topic_data.last_mut() {
                Some(last) if same => last.partition_data.push(data),
                _ => {
                    topic = Some((Arc::clone(&name.topic), part.topic_id));
                    topic_data.push(TopicData {
                        name: name.topic.as_ref().into(),
                        topic_id: part.topic_id,
                        partition_data: vec![data],
                    });
                }
            }
            parts.push(part);
        }
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        (ProduceRequest { transactional_id: None, acks: acks.wire(), timeout_ms, topic_data }, parts)
    }
}

/// What an attempt waits for.
pub(super) enum Wait {
    Response(Pending<ProduceResponse>),
    /// With `acks` 0: that it was written to the connection.
    Written(Pending<()>),
}

/// An answer, or what the connection died of. `None`: there is no response, the request was written.
pub(super) type Answered = Result<Option<ProduceResponse>, Arc<ChannelDeath>>;

/// A request under way.
pub(super) struct InFlight {
    pub(super) wait: Wait,
    pub(super) answer: Option<Answered>,
    pub(super) parts: Vec<Part>,
    pub(super) sent: Instant,
    /// Made only of unfilled batches.
    pub(super) unfilled: bool,
    pub(super) has_retry: bool,
}

impl InFlight {
    /// Ready when [`InFlight::take_answer`] has something to give.
    pub(super) fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.answer.is_none() {
            self.answer = Some(std::task::ready!(match &mut self.wait {
                Wait::Response(pending) => Pin::new(pending).poll(cx).map_ok(Some),
                Wait::Written(pending) => Pin::new(pending).poll(cx).map_ok(|()| None),
            }));
        }
        Poll::Ready(())
    }

    /// The answer, if it is here.
    pub(super) fn take_answer(&mut self) -> Option<Answered> {
        // Without regard to the task's budget: what is here must not look as if it were not.
        let look = std::future::poll_fn(|cx| self.poll_answered(cx));
        tokio::task::coop::unconstrained(look).now_or_never()?;
        self.answer.take()
    }
}

/// Gives each part what `answer` says of it. When a deadline came closer, the closest.
pub(super) fn answer_all(
    parts: Vec<Part>,
    mut answer: impl FnMut(usize, &Part) -> Answer,
    shared: &Shared,
) -> Option<Instant> {
    let mut closest: Option<Instant> = None;
    for (at, part) in parts.into_iter().enumerate() {
        let answer = answer(at, &part);
        if let Some(deadline) = part.partition.answer(part.ticket, answer, shared) {
            closest = Some(closest.map_or(deadline, |closest| closest.min(deadline)));
        }
    }
    closest
}

/// The parts of a response, by the order of their request.
pub(super) struct Responses<'a>(Vec<(&'a TopicResponse, &'a PartitionResponse)>);

impl<'a> Responses<'a> {
    pub(super) fn of(response: &'a ProduceResponse) -> Self {
        let of_topic = |topic: &'a TopicResponse| {
            topic.partition_responses.iter().map(move |partition| (topic, partition))
        };
        Self(response.responses.iter().flat_map(of_topic).collect())
    }

    /// The answer to the part at this position of the request: brokers keep the order, as a rule.
    pub(super) fn find(&self, at: usize, part: &Part) -> Option<&'a PartitionResponse> {
        let name = &part.partition.name;
        let fits = |candidate: &&(&TopicResponse, &PartitionResponse)| {
            let (topic, partition) = candidate;
            let by_id = topic.topic_id != TopicId::ZERO && topic.topic_id == part.topic_id;
            (by_id || topic.name.as_str() == &*name.topic) && partition.index == name.partition.0
        };
        self.0.get(at).filter(fits).or_else(|| self.0.iter().find(fits)).map(|(_, found)| *found)
    }
}

/// The leader that an answer names, where it is the answer of a broker that does not lead the partition.
pub(super) fn hint<'a>(
    response: &PartitionResponse,
    part: &'a Part,
    said_by: Option<i32>,
) -> Option<Hint<'a>> {
    let named =
        matches!(response.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
    let LeaderIdAndEpoch { leader_id: leader, leader_epoch: epoch } = response.current_leader;
    let PartitionName { topic, partition } = &*part.partition.name;
    named.then_some(Hint { topic, topic_id: part.topic_id, partition: *partition, said_by, leader, epoch })
}

/// What the broker says, in the machine's words. `led_elsewhere`: another broker is known to lead the partition.
pub(super) fn translate(response: &PartitionResponse, led_elsewhere: bool) -> Answer {
    let known = |value: i64| (value >= 0).then_some(value);
    if response.error_code.is_ok() {
        return Answer::Acked {
            base: known(response.base_offset).map(Offset),
            append_time_ms: known(response.log_append_time_ms),
        };
    }
    let spoilt = response.record_errors.iter().find_map(|error| {
        let text = error.batch_index_error_message.as_ref()?;
        Some(format!("record {} of the batch: {text}", error.batch_index))
    });
    let message = response.error_message.as_ref().filter(|text| !text.is_empty()).map(ToString::to_string);
    let message = match (message, spoilt) {
        (Some(message), Some(spoilt)) => Some(format!("{message} ({spoilt})")),
        (message, spoilt) => message.or(spoilt),
    };
    Answer::Refused(Refusal {
        code: response.error_code,
        message: message.map(Into::into),
        log_start: known(response.log_start_offset).map(Offset),
        led_elsewhere,
    })
}
