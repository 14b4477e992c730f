//! What brokers say about leaders, and what of it to believe. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_common::protocol::messages::MetadataResponse;
use gapless_common::protocol::messages::metadata::MetadataResponseTopic;
use gapless_common::types::{PartitionId, TopicId};

/// The generations of leadership seen so far.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    topics: BTreeMap<Arc<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    id: TopicId,
    /// Of each partition.
    partitions: Vec<Reign>,
}

/// The newest generation of a partition's leadership that was seen.
#[derive(Debug, Clone, Copy)]
struct Reign {
    /// −1: none that has a number.
    epoch: i32,
    /// Who led when the partition was last heard of; −1: nobody.
    leader: i32,
}

impl Reign {
    const NONE: Self = Self { epoch: -1, leader: -1 };
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

/// A leader named by a broker that refused a batch because it does not lead the partition (KIP-951).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint<'a> {
    pub(crate) topic: &'a Arc<str>,
    /// Of the topic that the batch was meant for; zero: not known.
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    /// The broker that said it; `None`: not known.
    pub(crate) said_by: Option<i32>,
    /// −1: none is named.
    pub(crate) leader: i32,
    /// Its generation; −1: not known.
    pub(crate) epoch: i32,
}

impl Leaders {
    /// The leaders of partitions 0, 1, …; empty if the topic has none (yet). An answer of an earlier generation than one seen before
    /// comes from a broker that has not heard the news (KIP-320); but a topic with another id starts over.
    pub(super) fn learn(&mut self, name: &Arc<str>, topic: &MetadataResponseTopic) -> Vec<Leader> {
        let known = self.topics.entry(Arc::clone(name)).or_default();
        if topic.topic_id != TopicId::ZERO && topic.topic_id != known.id {
            *known = Known { id: topic.topic_id, partitions: Vec::new() };
        }
        // Brokers number the partitions of a topic from 0 without a gap, and list them in any order.
        let count = topic.partitions.len();
        known.partitions.resize(count.max(known.partitions.len()), Reign::NONE);
        let mut leaders = vec![Leader::Nobody; count];
        for partition in &topic.partitions {
            let Ok(at) = usize::try_from(partition.partition_index) else { continue };
            let (Some(leader), Some(reign)) = (leaders.get_mut(at), known.partitions.get_mut(at)) else {
                continue;
            };
            let (epoch, id) = (partition.leader_epoch, partition.leader_id);
            if epoch >= 0 && epoch < reign.epoch {
                *leader = Leader::Outdated;
                continue;
            }
            *leader = if id >= 0 { Leader::Broker(id) } else { Leader::Nobody };
            *reign = Reign { epoch: epoch.max(reign.epoch), leader: id };
        }
        leaders
    }

    /// The broker to turn to after this hint, if it is to be believed: another one than who gave it, that can be reached at
    /// one of these `addresses`, of a later generation than any seen before; or of that generation and known to lead, as
    /// the second batch that was on its way is told the same as the first. A partition that metadata never named, and one of a
    /// topic with another id, is not for a hint to tell of.
    pub(super) fn believe(&mut self, hint: &Hint<'_>, addresses: &BTreeMap<i32, Arc<str>>) -> Option<i32> {
        let Hint { leader, epoch, .. } = *hint;
        if leader < 0 || epoch < 0 || hint.said_by == Some(leader) || !addresses.contains_key(&leader) {
            return None;
        }
        let known = self.topics.get_mut(hint.topic)?;
        if hint.topic_id != TopicId::ZERO && known.id != hint.topic_id {
            return None;
        }
        let reign = known.partitions.get_mut(usize::try_from(hint.partition.0).ok()?)?;
        if epoch > reign.epoch {
            *reign = Reign { epoch, leader };
        }
        (reign.epoch == epoch && reign.leader == leader).then_some(leader)
    }
}

/// As `HOST:PORT`.
pub(super) fn address(host: &str, port: i32) -> Arc<str> {
    // An IPv6 address needs brackets beside a port.
    if host.contains(':') { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
}

/// Where each broker is reached.
pub(super) fn addresses(response: &MetadataResponse) -> BTreeMap<i32, Arc<str>> {
    let brokers = response.brokers.iter();
    brokers.map(|broker| (broker.node_id, address(broker.host.as_str(), broker.port))).collect()
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
    fn a_hint_is_believed_if_it_is_news_and_leads_somewhere() {
        let name: Arc<str> = "t".into();
        let addresses: BTreeMap<i32, Arc<str>> = [1, 2, 3].map(|id| (id, format!("b:{id}").into())).into();
        let hint = |leader, epoch| Hint {
            topic: &name,
            topic_id: TopicId([1; 16]),
            partition: PartitionId(0),
            said_by: Some(1),
            leader,
            epoch,
        };
        // Partition 0 of generation 5 is led by broker 1, which says the following.
        for (why, hint, expected) in [
            ("a later generation", hint(2, 6), Some(2)),
            ("much later", hint(3, 90), Some(3)),
            ("by name", Hint { topic_id: TopicId::ZERO, ..hint(2, 6) }, Some(2)),
            ("whoever says it", Hint { said_by: None, ..hint(2, 6) }, Some(2)),
            ("the same generation, and another leader", hint(2, 5), None),
            ("an earlier one", hint(2, 4), None),
            ("no generation", hint(2, -1), None),
            ("nobody", hint(-1, 6), None),
            ("the one that refused", hint(1, 6), None),
            ("a broker without an address", hint(4, 6), None),
            ("another topic of that name", Hint { topic_id: TopicId([2; 16]), ..hint(2, 6) }, None),
            ("a partition that is not known", Hint { partition: PartitionId(2), ..hint(2, 6) }, None),
            ("no partition at all", Hint { partition: PartitionId(-1), ..hint(2, 6) }, None),
            ("a topic that is not known", Hint { topic: &"u".into(), ..hint(2, 6) }, None),
        ] {
            let mut leaders = Leaders::default();
            leaders.learn(&name, &topic(1, &[(0, 1, 5), (1, 2, 5)]));
            assert_eq!(leaders.believe(&hint, &addresses), expected, "{why}");
        }
    }

    #[test]
    fn hints_and_metadata_know_of_each_other() {
        let name: Arc<str> = "t".into();
        let addresses: BTreeMap<i32, Arc<str>> = [1, 2].map(|id| (id, format!("b:{id}").into())).into();
        let hint = |said_by, leader, epoch| Hint {
            topic: &name,
            topic_id: TopicId([1; 16]),
            partition: PartitionId(0),
            said_by: Some(said_by),
            leader,
            epoch,
        };
        let mut leaders = Leaders::default();
        leaders.learn(&name, &topic(1, &[(0, 1, 5)]));
        assert_eq!(leaders.believe(&hint(1, 2, 6), &addresses), Some(2));
        assert_eq!(leaders.believe(&hint(1, 2, 6), &addresses), Some(2), "the next batch is told the same");
        assert_eq!(leaders.believe(&hint(2, 1, 6), &addresses), None, "not both can lead generation 6");
        assert_eq!(leaders.learn(&name, &topic(1, &[(0, 1, 5)])), [Leader::Outdated]);
        assert_eq!(leaders.learn(&name, &topic(1, &[(0, 2, 6)])), [Leader::Broker(2)]);
        assert_eq!(leaders.learn(&name, &topic(1, &[(0, 1, 7)])), [Leader::Broker(1)]);
        assert_eq!(leaders.believe(&hint(1, 2, 6), &addresses), None, "an answer that took its time");
        assert_eq!(leaders.learn(&name, &topic(2, &[(0, 1, 0)])), [Leader::Broker(1)]);
        assert_eq!(leaders.believe(&hint(1, 2, 8), &addresses), None, "of what was deleted");
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
