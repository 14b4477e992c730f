//! What metadata says about leaders, and what of it to believe. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_common::protocol::messages::MetadataResponse;
use gapless_common::protocol::messages::metadata::MetadataResponseTopic;
use gapless_common::types::TopicId;

/// The generations of leadership seen so far.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    topics: BTreeMap<Arc<str>, Epochs>,
}

#[derive(Debug, Default)]
struct Epochs {
    id: TopicId,
    /// Of each partition; −1: none seen.
    seen: Vec<i32>,
}

/// One partition's leader as metadata has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leader {
    /// A broker.
    Broker(i32),
    /// No broker at present.
    Nobody,
    /// Older than what is known: no news.
    Outdated,
}

impl Leaders {
    /// The leaders of partitions 0, 1, …; empty if the topic has none (yet). An answer of an earlier generation than one seen before
    /// comes from a broker that has not heard the news (KIP-320); but a topic with another id starts over.
    pub(super) fn learn(&mut self, name: &Arc<str>, topic: &MetadataResponseTopic) -> Vec<Leader> {
        let epochs = self.topics.entry(Arc::clone(name)).or_default();
        if topic.topic_id != TopicId::ZERO && topic.topic_id != epochs.id {
            *epochs = Epochs { id: topic.topic_id, seen: Vec::new() };
        }
        // Brokers number the partitions of a topic from 0 without a gap, and list them in any order.
        let count = topic.partitions.len();
        epochs.seen.resize(count.max(epochs.seen.len()), -1);
        let mut leaders = vec![Leader::Nobody; count];
        for partition in &topic.partitions {
            let Ok(at) = usize::try_from(partition.partition_index) else { continue };
            let (Some(leader), Some(seen)) = (leaders.get_mut(at), epochs.seen.get_mut(at)) else { continue };
            let epoch = partition.leader_epoch;
            *leader = if epoch >= 0 && epoch < *seen {
                Leader::Outdated
            } else if partition.leader_id >= 0 {
                Leader::Broker(partition.leader_id)
            } else {
                Leader::Nobody
            };
            *seen = epoch.max(*seen);
        }
        leaders
    }
}

/// Where each broker is reached, as `HOST:PORT`.
pub(super) fn addresses(response: &MetadataResponse) -> BTreeMap<i32, Arc<str>> {
    let address = |host: &str, port: i32| -> Arc<str> {
        // An IPv6 address needs brackets beside a port.
        if host.contains(':') { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
    };
    response
        .brokers
        .iter()
        .map(|broker| (broker.node_id, address(broker.host.as_str(), broker.port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use gapless_common::protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    use super::*;

    fn topic(id: u8, partitions: &[(i32, i32, i32)]) -> MetadataResponseTopic {
        let partitions = partitions
            .iter()
            .map(|(partition_index, leader_id, leader_epoch)| MetadataResponsePartition {
                partition_index: *partition_index,
                leader_id: *leader_id,
                leader_epoch: *leader_epoch,
                ..Default::default()
            })
            .collect();
        MetadataResponseTopic { topic_id: TopicId([id; 16]), partitions, ..Default::default() }
    }

    #[test]
    fn leaders_come_in_the_order_of_partitions_and_old_news_is_none() {
        let name: Arc<str> = "t".into();
        let mut leaders = Leaders::default();
        assert_eq!(
            leaders.learn(&name, &topic(1, &[(1, 7, 3), (0, 5, 2), (2, -1, 2)])),
            [Leader::Broker(5), Leader::Broker(7), Leader::Nobody]
        );
        assert_eq!(
            leaders.learn(&name, &topic(1, &[(0, 6, 1), (1, 8, 3), (2, 6, -1)])),
            [Leader::Outdated, Leader::Broker(8), Leader::Broker(6)]
        );
        assert_eq!(leaders.learn(&name, &topic(2, &[(0, 6, 0)])), [Leader::Broker(6)], "another topic");
        assert_eq!(leaders.learn(&name, &topic(2, &[])), []);
        assert_eq!(
            leaders.learn(&name, &topic(2, &[(9, 1, 0), (-4, 1, 0)])),
            [Leader::Nobody, Leader::Nobody]
        );
    }

    #[test]
    fn addresses_can_be_connected_to() {
        let broker = |node_id, host: &str| MetadataResponseBroker {
            node_id,
            host: host.into(),
            port: 9092,
            ..Default::default()
        };
        let response = MetadataResponse {
            brokers: vec![broker(1, "kafka.example"), broker(2, "::1")],
            ..Default::default()
        };
        let found: Vec<_> = addresses(&response).into_values().collect();
        assert_eq!(found, ["kafka.example:9092".into(), Arc::<str>::from("[::1]:9092")]);
    }
}
