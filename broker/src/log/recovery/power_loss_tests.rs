//! The promise of the log, under crashes at random: what was acknowledged is there exactly once, in order, whatever became
//! of the rest; and producers that send again what was not go on without a gap.

use std::collections::BTreeMap;

use gapless_common::types::Offset;
use proptest::prelude::*;

use super::verdict::Boot;
use crate::log::sequencer::REMEMBERED_BATCHES;
use crate::log::testing::{Rig, Sent, append, batch, read_all};
use crate::log::{Durability, State};
use crate::storage::faulty::Faults;

const PRODUCERS: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A producer sends its next batch of so many records, unless it has five in flight.
    Send {
        producer: i64,
        records: usize,
    },
    /// It sends one of its last five again.
    Again {
        producer: i64,
        back: usize,
    },
    /// The disk confirms nothing until the next `Settle`, or confirms.
    HoldFlushes,
    Settle,
    /// The process is killed in the middle of a write: the last batch is cut anywhere.
    Kill {
        torn: prop::sample::Index,
    },
    /// The power fails: of what was not flushed some survives, in whatever state.
    PowerLoss {
        keep: prop::sample::Index,
        garbage: Vec<u8>,
        hole: prop::sample::Index,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        10 => (0..PRODUCERS, 1..4_usize).prop_map(|(producer, records)| Step::Send { producer, records }),
        3 => (0..PRODUCERS, 0..5_usize).prop_map(|(producer, back)| Step::Again { producer, back }),
        2 => Just(Step::HoldFlushes),
        2 => Just(Step::Settle),
        1 => index().prop_map(|torn| Step::Kill { torn }),
        1 => (index(), prop::collection::vec(any::<u8>(), 0..100), index())
            .prop_map(|(keep, garbage, hole)| Step::PowerLoss { keep, garbage, hole }),
    ]
}

/// What one producer has sent since its first record, and how much of that it knows to be in the log.
#[derive(Default)]
struct Producer {
    sent: Vec<Sent>,
    values: Vec<Vec<String>>,
    /// The first batch that was not acknowledged.
    unacknowledged: usize,
}

impl Producer {
    fn next(&mut self, id: i64, records: usize) {
        let first: usize = self.values.iter().map(Vec::len).sum();
        let values: Vec<String> = (first..first + records).map(|record| format!("{id}:{record}")).collect();
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        self.sent.push(batch(Some((id, first as i32)), 0, &texts));
        self.values.push(values);
    }
}

async fn run(steps: Vec<Step>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    let mut log = rig.create().await;
    let mut producers: BTreeMap<i64, Producer> = (0..PRODUCERS).map(|id| (id, Producer::default())).collect();
    for step in steps {
        match step {
            Step::Send { producer: id, records } => {
                let producer = producers.get_mut(&id).unwrap();
                if producer.sent.len() - producer.unacknowledged == REMEMBERED_BATCHES {
                    continue;
                }
                producer.next(id, records);
                let appended = append(&log, producer.sent.last().unwrap()).await.unwrap();
                assert!(!appended.duplicate);
            }
            Step::Again { producer: id, back } => {
                let producer = &producers[&id];
                if let Some(sent) = producer.sent.iter().rev().nth(back) {
                    assert!(append(&log, sent).await.unwrap().duplicate);
                }
            }
            Step::HoldFlushes => Faults::set(&rig.faults.flush_held, true),
            Step::Settle => {
                rig.faults.release_flushes();
                log.wait_durable(log.end_offset()).await.unwrap();
                acknowledge_all(&mut producers);
            }
            Step::Kill { torn } => {
                let mut bytes = rig.segment_bytes(0).await;
                let written = log.size_bytes() as usize;
                // A write that was under way: some of the next batch behind the last.
                let mut next = Producer::default();
                next.next(PRODUCERS, 3);
                let mut head = next.sent[0].bytes.to_vec();
                head[..8].copy_from_slice(&log.end_offset().0.to_be_bytes());
                head[12..16].copy_from_slice(&log.leader_epoch().0.to_be_bytes());
                bytes.truncate(written);
                bytes.extend_from_slice(&head[..torn.index(head.len())]);
                rig.set_segment(0, &bytes).await;
                log = crash(&mut rig, Boot::Same, log.end_offset()).await;
                resend(&log, &mut producers).await;
            }
            Step::PowerLoss { keep, garbage, hole } => {
                // Both of one moment: a flush may end at any `await`.
                let acknowledged = log.high_watermark();
                let durable = (log.size_bytes() - log.unflushed_bytes()) as usize;
                let mut bytes = rig.segment_bytes(0).await;
                let survives = durable + keep.index(bytes.len() - durable + 1);
                bytes.truncate(survives);
                if survives > durable {
                    let hole = durable + hole.index(survives - durable);
                    let end = (hole + 20).min(survives);
                    bytes[hole..end].fill(0);
                }
                bytes.extend_from_slice(&garbage);
                rig.set_segment(0, &bytes).await;
                log = crash(&mut rig, Boot::Other, acknowledged).await;
                resend(&log, &mut producers).await;
            }
        }
    }
    rig.faults.release_flushes();
    log.wait_durable(log.end_offset()).await.unwrap();
    let read = read_all(&log, 0).await;
    for (at, (offset, _)) in read.iter().enumerate() {
        assert_eq!(*offset, at as i64, "offsets are contiguous");
    }
    for (id, producer) in &producers {
        let mine: Vec<&String> = read
            .iter()
            .map(|(_, value)| value)
            .filter(|value| value.starts_with(&format!("{id}:")))
            .collect();
        let expected: Vec<&String> = producer.values.iter().flatten().collect();
        assert_eq!(mine, expected, "producer {id}: every record once, in order");
    }
}

fn acknowledge_all(producers: &mut BTreeMap<i64, Producer>) {
    for producer in producers.values_mut() {
        producer.unacknowledged = producer.sent.len();
    }
}

async fn crash(rig: &mut Rig, boot: Boot, at_least: Offset) -> std::sync::Arc<crate::log::PartitionLog> {
    rig.faults.release_flushes();
    let (log, _) = rig.reopen(boot).await;
    assert_eq!(log.state(), State::Online, "a crash corrupts nothing");
    assert!(log.high_watermark() >= at_least, "{boot:?}: {} of {at_least}", log.high_watermark());
    assert_eq!(log.high_watermark(), log.end_offset());
    log
}

/// As clients do after a disconnect: everything unanswered again, each producer's oldest first.
async fn resend(log: &std::sync::Arc<crate::log::PartitionLog>, producers: &mut BTreeMap<i64, Producer>) {
    for producer in producers.values() {
        for sent in &producer.sent[producer.unacknowledged..] {
            append(log, sent).await.unwrap();
        }
    }
    log.wait_durable(log.end_offset()).await.unwrap();
    acknowledge_all(producers);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_survive_kills_and_power_losses(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}
