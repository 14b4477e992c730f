//! The partitions of a topic that are read: who leads each, where reading stands, where it ends.

use std::collections::{BTreeMap, BTreeSet};

use gapless_common::protocol::messages::metadata::MetadataResponseTopic;
use gapless_common::types::TopicId;

use crate::cli::args::{ReadArgs, StartOffset};
use crate::cli::exit::Stop;
use crate::client::{Client, ClientError, When};

/// Where reading stands in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    leader: i32,
    /// The next record to print.
    pub offset: i64,
    /// Stop before this one; `None`: never.
    pub end: Option<i64>,
}

impl Position {
    /// Whether a record at this offset is to be printed: batches begin before it, and end behind the end.
    pub fn wants(&self, offset: i64) -> bool {
        offset >= self.offset && self.end.is_none_or(|end| offset < end)
    }

    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }
}

/// All partitions that are read.
#[derive(Debug)]
pub struct Partitions {
    topic_id: TopicId,
    positions: BTreeMap<i32, Position>,
}

impl Partitions {
    /// Settles where each partition begins and ends.
    pub async fn find(
        client: &mut Client,
        topic: &MetadataResponseTopic,
        args: &ReadArgs,
    ) -> Result<Self, super::Trouble> {
        let mut positions = BTreeMap::new();
        for (partition, leader) in chosen(topic, args)? {
            let name = &args.topic;
            let latest = client.offset(name, partition, leader, When::Latest).await?.unwrap_or(0);
            let earliest = client.offset(name, partition, leader, When::Earliest).await?.unwrap_or(0);
            let offset = match args.offset {
                StartOffset::Time(ms) => {
                    client.offset(name, partition, leader, When::Time(ms)).await?.unwrap_or(latest)
                }
                other => start(other, earliest, latest).map_err(|why| {
                    super::Trouble::Final(Stop::Failed(format!("{name}-{partition}: {why}")))
                })?,
            };
            positions.insert(partition, Position { leader, offset, end: (!args.follow).then_some(latest) });
        }
        Ok(Self { topic_id: topic.topic_id, positions })
    }

    /// Leadership may have moved; the topic must be the same.
    pub fn update_leaders(&mut self, topic: &MetadataResponseTopic) -> Result<(), Stop> {
        if topic.topic_id != self.topic_id {
            let name = topic.name.as_deref().unwrap_or_default();
            return Err(Stop::Failed(format!(
                "topic {name} was deleted and created again while it was read"
            )));
        }
        for partition in &topic.partitions {
            if let Some(position) = self.positions.get_mut(&partition.partition_index) {
                position.leader = partition.leader_id;
            }
        }
        Ok(())
    }

    /// Leaders of partitions that are not read to their end.
    pub fn leaders(&self) -> BTreeSet<i32> {
        self.positions
            .values()
            .filter(|position| !position.is_done())
            .map(|position| position.leader)
            .collect()
    }

    /// Where to fetch from this leader.
    pub fn positions(&self, leader: i32) -> Vec<(i32, i64)> {
        self.positions
            .iter()
            .filter(|(_, position)| position.leader == leader && !position.is_done())
            .map(|(partition, position)| (*partition, position.offset))
            .collect()
    }

    pub fn position(&mut self, partition: i32) -> Option<&mut Position> {
        self.positions.get_mut(&partition)
    }
}

/// Numbers and leaders of the partitions asked for.
fn chosen(topic: &MetadataResponseTopic, args: &ReadArgs) -> Result<Vec<(i32, i32)>, super::Trouble> {
    let all = &topic.partitions;
    if let Some(missing) =
        args.partition.iter().find(|wanted| all.iter().all(|partition| partition.partition_index != **wanted))
    {
        let count = all.len();
        let why = format!("topic {} has no partition {missing}: it has {count}, numbered from 0", args.topic);
        return Err(super::Trouble::Final(Stop::Failed(why)));
    }
    let wanted = all
        .iter()
        .filter(|partition| args.partition.is_empty() || args.partition.contains(&partition.partition_index))
        .map(|partition| (partition.partition_index, partition.leader_id));
    let wanted: Vec<_> = wanted.collect();
    match wanted.iter().find(|(_, leader)| *leader < 0) {
        Some((partition, _)) => Err(ClientError::NoLeader(format!("{}-{partition}", args.topic)).into()),
        None => Ok(wanted),
    }
}

/// The first offset to read; an offset that is not there is an error, not another offset.
fn start(wanted: StartOffset, earliest: i64, latest: i64) -> Result<i64, String> {
    match wanted {
        StartOffset::Earliest => Ok(earliest),
        StartOffset::Latest | StartOffset::Time(_) => Ok(latest),
        StartOffset::FromEnd(count) => Ok(latest.saturating_sub(count).max(earliest)),
        StartOffset::At(offset) if (earliest..=latest).contains(&offset) => Ok(offset),
        StartOffset::At(offset) => Err(format!(
            "there is no offset {offset}: the records there are from {earliest}, and the next one will be {latest}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_begins_where_it_was_asked_to_or_not_at_all() {
        for (wanted, expected) in [
            (StartOffset::Earliest, Ok(10)),
            (StartOffset::Latest, Ok(20)),
            (StartOffset::FromEnd(3), Ok(17)),
            (StartOffset::FromEnd(100), Ok(10)),
            (StartOffset::At(10), Ok(10)),
            (StartOffset::At(20), Ok(20)),
            (StartOffset::At(9), Err("no offset 9")),
            (StartOffset::At(21), Err("no offset 21")),
        ] {
            match (start(wanted, 10, 20), expected) {
                (Ok(offset), Ok(expected)) => assert_eq!(offset, expected, "{wanted:?}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (got, _) => panic!("{wanted:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_partition_is_done_at_its_end_and_never_when_it_is_followed() {
        let mut partitions = Partitions {
            topic_id: TopicId::ZERO,
            positions: BTreeMap::from([
                (0, Position { leader: 1, offset: 5, end: Some(5) }),
                (1, Position { leader: 1, offset: 4, end: Some(5) }),
                (2, Position { leader: 2, offset: 5, end: None }),
            ]),
        };
        assert_eq!(partitions.leaders(), BTreeSet::from([1, 2]));
        assert_eq!(partitions.positions(1), [(1, 4)]);
        partitions.position(1).unwrap().offset = 5;
        assert_eq!(partitions.leaders(), BTreeSet::from([2]));
        let other = MetadataResponseTopic { topic_id: TopicId([1; 16]), ..MetadataResponseTopic::default() };
        assert!(partitions.update_leaders(&other).is_err());
    }
}
