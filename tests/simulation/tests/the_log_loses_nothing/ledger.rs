//! What was sent, what of it was promised, and whether it is there: each record once, in its producer's order, without a
//! gap, at the offset that was told.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gapless_broker::Broker;
use gapless_broker::log::{AppendPolicy, Appended, PartitionLog, Refusal, State};
use gapless_broker::storage::read_exact_at;
use gapless_common::records::{self, BatchHeader, BatchLimits, Compression, OpenBatch, RecordRef};
use gapless_common::types::{Offset, ProducerEpoch, ProducerId, Sequence};

/// The wall clock of these tests. Every record of a producer has a timestamp one later than the one before.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// Batches of one producer that may be under way at once.
pub const IN_FLIGHT_MAX: usize = 5;

/// A topic and the number of a partition.
pub type Place = (&'static str, i32);

#[derive(Clone, Default)]
pub struct Ledger {
    pub topics: BTreeMap<&'static str, Topic>,
    logs: BTreeMap<Place, LogBook>,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Creating or deleting it was begun, and not answered.
    Unknown,
    Exists,
    Deleted,
}

#[derive(Clone, Default)]
struct LogBook {
    /// By offset: acknowledged, or read by a consumer.
    promised: BTreeMap<i64, String>,
    producers: BTreeMap<i64, Producer>,
}

#[derive(Clone, Default)]
struct Producer {
    sent: Vec<Sent>,
    /// So many of them were acknowledged.
    acknowledged: usize,
}

#[derive(Clone)]
struct Sent {
    bytes: Bytes,
    header: BatchHeader,
    values: Vec<String>,
}

impl Producer {
    fn values(&self) -> impl Iterator<Item = &String> {
        self.sent.iter().flat_map(|sent| &sent.values)
    }

    /// The next batch of so many records with values of some length.
    fn make(&mut self, id: i64, records: usize, length: usize) -> Sent {
        let first = self.values().count();
        let values: Vec<String> =
            (first..first + records).map(|number| format!("{id}:{number}:{}", "x".repeat(length))).collect();
        let first_timestamp = NOW_MS + first as i64;
        let mut open = OpenBatch::new(first_timestamp, 256);
        for (value, timestamp_ms) in values.iter().zip(first_timestamp..) {
            let record = RecordRef { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] };
            let _ = open.try_push(&record, 1 << 20);
        }
        let mut closed = open.close(Compression::None, None);
        let sequence = Sequence::new(i32::try_from(first).unwrap()).unwrap();
        closed.stamp(ProducerId(id), ProducerEpoch(0), sequence);
        let bytes = closed.bytes();
        let header = records::validate_from_client(&bytes, &BatchLimits::default()).unwrap();
        let sent = Sent { bytes, header, values };
        self.sent.push(sent.clone());
        sent
    }
}

fn accept(_: &BatchHeader) -> Result<(), Refusal> {
    Ok(())
}

async fn append(log: &Arc<PartitionLog>, sent: &Sent) -> Result<Appended, Refusal> {
    let policy = AppendPolicy { now_ms: NOW_MS, log_append_time: false, check: &accept };
    log.append(sent.bytes.clone(), &sent.header, &policy).await
}

pub fn log_of(broker: &Broker, (topic, partition): Place) -> Arc<PartitionLog> {
    let log = broker.catalogue().partition(topic, partition);
    log.unwrap_or_else(|| panic!("{topic}-{partition} is gone"))
}

impl Ledger {
    pub async fn create(
        &mut self,
        broker: &Broker,
        topic: &'static str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) {
        self.topics.insert(topic, Topic::Unknown);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(own).collect();
        broker.catalogue().create(topic, partitions, settings).await.unwrap();
        self.topics.insert(topic, Topic::Exists);
    }

    pub async fn delete(&mut self, broker: &Broker, topic: &'static str) {
        self.topics.insert(topic, Topic::Unknown);
        let found = broker.catalogue().by_name(topic).unwrap();
        broker.catalogue().delete(&found).await.unwrap();
        self.topics.insert(topic, Topic::Deleted);
        self.logs.retain(|(of, _), _| *of != topic);
    }

    fn producer(&mut self, place: Place, id: i64) -> &mut Producer {
        self.logs.entry(place).or_default().producers.entry(id).or_default()
    }

    /// A producer sends its next batch. It must be taken; the answer is not waited for.
    pub async fn send(&mut self, broker: &Broker, place: Place, id: i64, records: usize, length: usize) {
        let sent = self.producer(place, id).make(id, records, length);
        let appended = append(&log_of(broker, place), &sent).await.unwrap();
        assert!(!appended.duplicate, "{place:?}: a new batch of {id}");
    }

    /// Like [`Ledger::send`], on a disk that may refuse it.
    pub async fn try_send(
        &mut self,
        broker: &Broker,
        place: Place,
        id: i64,
        records: usize,
        length: usize,
    ) -> Result<Appended, Refusal> {
        let sent = self.producer(place, id).make(id, records, length);
        append(&log_of(broker, place), &sent).await
    }

    /// Every producer of a log sends everything again that it has no answer for, and waits for the answers.
    pub async fn settle(&mut self, broker: &Broker, place: Place) {
        self.try_settle(broker, place).await.unwrap_or_else(|why| panic!("{place:?}: {why}"));
    }

    /// Like [`Ledger::settle`], on a disk that may refuse it.
    pub async fn try_settle(&mut self, broker: &Broker, place: Place) -> Result<(), String> {
        let log = log_of(broker, place);
        let book = self.logs.entry(place).or_default();
        for (id, producer) in &mut book.producers {
            let waiting = &producer.sent[producer.acknowledged..];
            assert!(waiting.len() <= IN_FLIGHT_MAX, "{place:?}: {id} has more under way than it may");
            let mut answers = Vec::new();
            for sent in waiting {
                answers.push(append(&log, sent).await.map_err(|refusal| refusal.to_string())?);
            }
            for appended in answers {
                log.wait_durable(appended.durable_when).await.map_err(|error| error.to_string())?;
                let sent = &producer.sent[producer.acknowledged];
                for (offset, value) in (appended.base_offset.0..).zip(&sent.values) {
                    promise(&mut book.promised, place, offset, value);
                }
                producer.acknowledged += 1;
            }
        }
        Ok(())
    }

    /// Sends something again that was acknowledged before: it is answered as it was then.
    pub async fn repeat(&mut self, broker: &Broker, place: Place, id: i64) {
        let producer = self.producer(place, id);
        let Some(sent) = producer.acknowledged.checked_sub(1).map(|last| producer.sent[last].clone()) else {
            return;
        };
        let appended = append(&log_of(broker, place), &sent).await.unwrap();
        assert!(appended.duplicate, "{place:?}: {id} sends its last acknowledged batch again");
        let promised = &self.logs[&place].promised[&appended.base_offset.0];
        assert_eq!(*promised, sent.values[0], "{place:?}: a repeat is told the offset of the original");
    }

    /// Whether everything that was promised is there and everything that is there was sent. What is served from now on
    /// is promised too.
    pub async fn check(&mut self, broker: &Broker) {
        for (topic, fate) in &self.topics {
            let exists = broker.catalogue().by_name(topic).is_some();
            match fate {
                Topic::Unknown => {}
                Topic::Exists => assert!(exists, "topic {topic} is gone"),
                Topic::Deleted => assert!(!exists, "topic {topic} is back"),
            }
        }
        for (topic, fate) in &mut self.topics {
            let exists = broker.catalogue().by_name(topic).is_some();
            *fate = if exists { Topic::Exists } else { Topic::Deleted };
        }
        self.logs.retain(|(topic, _), _| self.topics[topic] == Topic::Exists);
        for (place, book) in &mut self.logs {
            let log = log_of(broker, *place);
            assert_eq!(log.state(), State::Online, "{place:?}: a crash corrupts nothing");
            book.check(*place, &log).await;
        }
    }

    /// Like [`Ledger::check`] for one log of which something may be lost: what is served is what was sent, there, and in
    /// its place. How many of the promised records are served.
    pub async fn check_what_is_served(&mut self, broker: &Broker, place: Place) -> (usize, usize) {
        let log = log_of(broker, place);
        let book = self.logs.entry(place).or_default();
        let served = read_all(&log, &place).await;
        for (offset, value) in &served {
            if let Some(promised) = book.promised.get(offset) {
                assert_eq!(value, promised, "{place:?} at {offset}");
            }
        }
        book.check_order(place, &served);
        let kept = served.iter().filter(|(offset, _)| book.promised.contains_key(offset)).count();
        (kept, book.promised.len())
    }

    pub fn places(&self) -> Vec<Place> {
        self.logs.keys().copied().collect()
    }

    /// Batches of a producer that have no answer yet.
    pub fn under_way(&mut self, place: Place, id: i64) -> usize {
        let producer = self.producer(place, id);
        producer.sent.len() - producer.acknowledged
    }
}

fn promise(promised: &mut BTreeMap<i64, String>, place: Place, offset: i64, value: &str) {
    let before = promised.entry(offset).or_insert_with(|| value.to_owned());
    assert_eq!(before, value, "{place:?}: offset {offset} was promised for something else");
}

impl LogBook {
    async fn check(&mut self, place: Place, log: &Arc<PartitionLog>) {
        let served = read_all(log, &place).await;
        check_times(log, place, &served).await;
        let start = log.log_start_offset().0;
        assert_eq!(log.high_watermark(), log.end_offset(), "{place:?}: everything recovered is durable");
        assert_eq!(served.len() as i64, log.end_offset().0 - start, "{place:?}: all offsets have a record");
        let by_offset: BTreeMap<i64, &String> =
            served.iter().map(|(offset, value)| (*offset, value)).collect();
        for (offset, value) in self.promised.range(start..) {
            let found = by_offset.get(offset).copied();
            assert_eq!(
                found,
                Some(value),
                "{place:?}: what was promised at {offset}, of {}",
                log.end_offset()
            );
        }
        self.check_order(place, &served);
        for (id, producer) in &self.producers {
            let acknowledged: usize =
                producer.sent[..producer.acknowledged].iter().map(|sent| sent.values.len()).sum();
            let found = of_producer(&served, *id).count();
            assert!(start > 0 || found >= acknowledged, "{place:?}: {found} of {acknowledged} of {id}");
        }
        for (offset, value) in &served {
            promise(&mut self.promised, place, *offset, value);
        }
    }

    fn check_order(&self, place: Place, served: &[(i64, String)]) {
        for (id, producer) in &self.producers {
            let mut found = of_producer(served, *id);
            let Some(first) = found.next() else { continue };
            let expected: Vec<&String> =
                producer.values().skip_while(|value| *value != first).skip(1).collect();
            for (at, value) in found.enumerate() {
                assert_eq!(Some(&value), expected.get(at), "{place:?}: producer {id}: each once, in order");
            }
        }
        let known = |value: &String| {
            let id: i64 = value.split(':').next().unwrap().parse().unwrap();
            self.producers[&id].values().any(|sent| sent == value)
        };
        assert!(served.iter().all(|(_, value)| known(value)), "{place:?}: something that nobody sent");
    }
}

fn of_producer(served: &[(i64, String)], id: i64) -> impl Iterator<Item = &String> {
    let prefix = format!("{id}:");
    served.iter().map(|(_, value)| value).filter(move |value| value.starts_with(&prefix))
}

/// What is found by a timestamp is what reading everything would find.
async fn check_times(log: &Arc<PartitionLog>, place: Place, served: &[(i64, String)]) {
    let timestamps = served.iter().map(|(offset, value)| {
        let number: i64 = value.split(':').nth(1).unwrap().parse().unwrap();
        (*offset, NOW_MS + number)
    });
    for asked in [NOW_MS, NOW_MS + 3, NOW_MS + 1000] {
        let expected = timestamps.clone().find(|(_, timestamp)| *timestamp >= asked);
        let found = log.offset_for_timestamp(asked).await.unwrap();
        assert_eq!(found.map(|(offset, timestamp)| (offset.0, timestamp)), expected, "{place:?}: {asked}");
    }
}

/// The offset that a read from `offset` finds there.
pub async fn read_at(broker: &Broker, place: Place, offset: i64) -> i64 {
    let range = log_of(broker, place).read(Offset(offset), 1, true).await.unwrap().unwrap();
    let bytes = read_exact_at(&*range.file, range.position, range.len as usize).await.unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    let holds = (header.base_offset..=header.last_offset()).contains(&Offset(offset));
    if holds { offset } else { header.base_offset.0 }
}

/// Everything that a consumer can read of a log, with contiguous offsets.
pub async fn read_all(log: &Arc<PartitionLog>, place: &Place) -> Vec<(i64, String)> {
    let mut served: Vec<(i64, String)> = Vec::new();
    let mut at = log.log_start_offset();
    while at < log.high_watermark() {
        let range = match log.read(at, 1 << 20, true).await {
            Ok(Some(range)) => range,
            Ok(None) | Err(_) => break,
        };
        let bytes = read_exact_at(&*range.file, range.position, range.len as usize).await.unwrap();
        for batch in records::batches(bytes) {
            let (_, batch) = batch.unwrap();
            assert!(records::check_crc(&batch), "{place:?}: a bad batch is served at {at}");
            for record in records::iterate(batch, 1 << 20).unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset, at, "{place:?}: offsets are contiguous");
                served.push((record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                at = Offset(record.offset.0 + 1);
            }
        }
    }
    served
}
