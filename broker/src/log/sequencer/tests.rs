use proptest::prelude::*;

use super::*;

const TTL_MS: i64 = 1_000;
const MAX: i32 = i32::MAX;

fn batch(id: i64, epoch: i16, first: i32, records: u32) -> BatchFacts {
    let stamp =
        Stamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), first: Sequence::new(first).unwrap() };
    BatchFacts { records, stamp: Some(stamp) }
}

fn plain(records: u32) -> BatchFacts {
    BatchFacts { records, stamp: None }
}

/// A partition that has held records of somebody else.
fn used() -> Sequencer {
    Sequencer::new(Offset(1000), 100)
}

fn fresh() -> Sequencer {
    Sequencer::new(Offset(0), 100)
}

/// Decides, and commits what may be appended.
fn send(sequencer: &mut Sequencer, facts: BatchFacts, now_ms: i64) -> Decision {
    let decision = sequencer.decide(&facts);
    match &decision {
        Decision::Append(append) => sequencer.commit(append.clone(), Some(now_ms), now_ms),
        Decision::Duplicate(_) => {}
        Decision::Refused(_) => sequencer.reject(&facts, now_ms),
    }
    decision
}

/// What came of it, in short: the base offset, `duplicate` with its offsets, or the code and the words of the refusal.
fn outcome(decision: &Decision) -> String {
    match decision {
        Decision::Append(append) => format!("{} to {}", append.base_offset, append.last_offset()),
        Decision::Duplicate(known) => format!("duplicate {} to {}", known.base_offset, known.last_offset),
        Decision::Refused(refusal) => format!("{}: {refusal}", refusal.error_code().0),
    }
}

#[test]
fn a_producers_batches_are_decided_as_the_protocol_says() {
    struct Case {
        name: &'static str,
        sequencer: Sequencer,
        sent: Vec<(BatchFacts, &'static str)>,
    }
    let cases = [
        Case {
            name: "without idempotence everything is appended",
            sequencer: fresh(),
            sent: vec![(plain(3), "0 to 2"), (plain(1), "3 to 3")],
        },
        Case {
            name: "in order",
            sequencer: fresh(),
            sent: vec![
                (batch(7, 0, 0, 10), "0 to 9"),
                (batch(7, 0, 10, 5), "10 to 14"),
                (plain(2), "15 to 16"),
                (batch(7, 0, 15, 1), "17 to 17"),
            ],
        },
        Case {
            name: "each of the last five comes again with its own offset; the sixth is out of order",
            sequencer: fresh(),
            sent: vec![
                (batch(7, 0, 0, 2), "0 to 1"),
                (batch(7, 0, 2, 2), "2 to 3"),
                (batch(7, 0, 4, 2), "4 to 5"),
                (batch(7, 0, 6, 2), "6 to 7"),
                (batch(7, 0, 8, 2), "8 to 9"),
                (batch(7, 0, 0, 2), "duplicate 0 to 1"),
                (batch(7, 0, 10, 2), "10 to 11"),
                (batch(7, 0, 2, 2), "duplicate 2 to 3"),
                (batch(7, 0, 10, 2), "duplicate 10 to 11"),
                (
                    batch(7, 0, 0, 2),
                    "45: producer 7 epoch 0 sent sequences 0 to 1, but 12 follows its last record here, at offset 11",
                ),
            ],
        },
        Case {
            name: "gaps and overlaps are refused, and nothing moves",
            sequencer: fresh(),
            sent: vec![
                (batch(7, 0, 0, 10), "0 to 9"),
                (
                    batch(7, 0, 11, 1),
                    "45: producer 7 epoch 0 sent sequences 11 to 11, but 10 follows its last record here, at offset 9",
                ),
                (
                    batch(7, 0, 5, 10),
                    "45: producer 7 epoch 0 sent sequences 5 to 14, but 10 follows its last record here, at offset 9",
                ),
                (
                    batch(7, 0, 0, 9),
                    "45: producer 7 epoch 0 sent sequences 0 to 8, but 10 follows its last record here, at offset 9",
                ),
                (batch(7, 0, 10, 1), "10 to 10"),
            ],
        },
        Case {
            name: "a higher epoch starts at 0 and forgets the old one; a lower one is fenced",
            sequencer: fresh(),
            sent: vec![
                (batch(7, 0, 0, 10), "0 to 9"),
                (
                    batch(7, 2, 10, 1),
                    "45: producer 7 epoch 2 sent sequences 10 to 10, but an epoch that follows 0 starts at 0",
                ),
                (batch(7, 2, 0, 1), "10 to 10"),
                (
                    batch(7, 0, 0, 10),
                    "47: producer 7 epoch 0 sent sequences 0 to 9, but epoch 2 has taken its place",
                ),
                (
                    batch(7, 1, 0, 1),
                    "47: producer 7 epoch 1 sent sequences 0 to 0, but epoch 2 has taken its place",
                ),
                (batch(7, 2, 0, 1), "duplicate 10 to 10"),
                (batch(7, 2, 1, 1), "11 to 11"),
            ],
        },
        Case {
            name: "sequences wrap between batches",
            sequencer: used(),
            sent: vec![
                (batch(7, 0, MAX - 1, 2), "1000 to 1001"),
                (batch(7, 0, 0, 3), "1002 to 1004"),
                (batch(7, 0, MAX - 1, 2), "duplicate 1000 to 1001"),
                (batch(7, 0, 0, 3), "duplicate 1002 to 1004"),
                (
                    batch(7, 0, 4, 1),
                    "45: producer 7 epoch 0 sent sequences 4 to 4, but 3 follows its last record here, at offset 1004",
                ),
            ],
        },
        Case {
            name: "sequences wrap inside a batch",
            sequencer: used(),
            sent: vec![
                (batch(7, 0, MAX - 1, 5), "1000 to 1004"),
                (batch(7, 0, MAX - 1, 5), "duplicate 1000 to 1004"),
                (
                    batch(7, 0, 0, 1),
                    "45: producer 7 epoch 0 sent sequences 0 to 0, but 3 follows its last record here, at offset 1004",
                ),
                (batch(7, 0, 3, 1), "1005 to 1005"),
            ],
        },
        Case {
            name: "a partition that never held a record accepts only 0",
            sequencer: fresh(),
            sent: vec![
                (
                    batch(7, 0, 5, 1),
                    "45: producer 7 epoch 0 sent sequences 5 to 5, but this partition never held a record, so the first sequence is 0",
                ),
                (plain(1), "0 to 0"),
                (
                    batch(7, 0, 5, 1),
                    "45: producer 7 epoch 0 sent sequences 5 to 5, but its batch that starts at 0 was refused here and has to come first",
                ),
                (batch(8, 3, 5, 1), "1 to 1"),
                (batch(7, 0, 0, 5), "2 to 6"),
                (batch(7, 0, 5, 1), "7 to 7"),
            ],
        },
    ];
    for Case { name, mut sequencer, sent } in cases {
        for (at, (facts, expected)) in sent.iter().enumerate() {
            assert_eq!(outcome(&send(&mut sequencer, *facts, 0)), *expected, "{name}: batch {at}");
        }
    }
}

#[test]
fn a_decision_that_is_not_committed_leaves_no_trace() {
    let mut sequencer = fresh();
    let first = batch(7, 0, 0, 10);
    for _ in 0..2 {
        assert_eq!(outcome(&sequencer.decide(&first)), "0 to 9");
    }
    assert_eq!(sequencer.producers(), 0);
    assert_eq!(sequencer.next_offset(), Offset(0));
    // The write failed; the batch is sent again and is no duplicate.
    sequencer.reject(&first, 0);
    assert_eq!(outcome(&send(&mut sequencer, first, 0)), "0 to 9");
    assert_eq!(outcome(&send(&mut sequencer, first, 0)), "duplicate 0 to 9");
}

#[test]
fn who_was_refused_may_not_start_behind_it() {
    let mut sequencer = used();
    // First batch refused (no space, say): the next one in the pipeline must not become the start.
    sequencer.reject(&batch(7, 0, 0, 10), 0);
    assert_eq!(
        outcome(&send(&mut sequencer, batch(7, 0, 10, 1), 0)),
        "45: producer 7 epoch 0 sent sequences 10 to 10, but its batch that starts at 0 was refused here and has to come first"
    );
    assert_eq!(outcome(&send(&mut sequencer, batch(7, 0, 0, 10), 0)), "1000 to 1009");
    assert_eq!(outcome(&send(&mut sequencer, batch(7, 0, 10, 1), 0)), "1010 to 1010");

    // The same around the wrap, and for a producer that starts in the middle.
    sequencer.reject(&batch(8, 0, MAX, 1), 0);
    assert!(matches!(sequencer.decide(&batch(8, 0, 0, 1)), Decision::Refused(Refusal::BehindRefused { .. })));
    assert!(matches!(sequencer.decide(&batch(8, 0, MAX - 5, 5)), Decision::Append(_)), "before it is no gap");

    // Of several refused the earliest counts, whichever came first.
    for order in [[20, 30], [30, 20]] {
        let mut sequencer = used();
        for first in order {
            sequencer.reject(&batch(9, 1, first, 10), 0);
        }
        assert!(matches!(
            sequencer.decide(&batch(9, 1, 30, 10)),
            Decision::Refused(Refusal::BehindRefused { .. })
        ));
        assert!(matches!(sequencer.decide(&batch(9, 1, 20, 10)), Decision::Append(_)));
    }

    // A newer epoch starts at 0; an older one was never superseded in the log.
    sequencer.reject(&batch(10, 4, 50, 1), 0);
    assert!(matches!(
        sequencer.decide(&batch(10, 5, 50, 1)),
        Decision::Refused(Refusal::EpochNotAtZero { .. })
    ));
    assert!(matches!(sequencer.decide(&batch(10, 5, 0, 1)), Decision::Append(_)));
    assert!(matches!(sequencer.decide(&batch(10, 3, 60, 1)), Decision::Append(_)));
}

#[test]
fn when_refused_starts_overflow_new_producers_start_at_zero_until_that_expires() {
    let mut sequencer = used();
    for id in 0..=REFUSED_STARTS_MAX as i64 {
        sequencer.reject(&batch(id, 0, 5, 1), 10);
    }
    let unknown = batch(1_000_000, 0, 5, 1);
    assert_eq!(
        outcome(&sequencer.decide(&unknown)),
        "45: producer 1000000 epoch 0 sent sequences 5 to 5, but first batches of more than 10000 producers were refused here, so one that is not known starts at 0"
    );
    assert!(matches!(sequencer.decide(&batch(1_000_000, 0, 0, 1)), Decision::Append(_)));
    assert!(
        matches!(sequencer.decide(&batch(3, 0, 5, 1)), Decision::Append(_)),
        "it is remembered by itself"
    );
    sequencer.expire(10 + TTL_MS - 1, TTL_MS);
    assert!(matches!(sequencer.decide(&unknown), Decision::Refused(_)));
    sequencer.expire(10 + TTL_MS, TTL_MS);
    assert!(matches!(sequencer.decide(&unknown), Decision::Append(_)));
}

#[test]
fn a_full_table_refuses_new_producers_and_forgets_nobody() {
    let mut sequencer = Sequencer::new(Offset(0), 2);
    assert_eq!(outcome(&send(&mut sequencer, batch(1, 0, 0, 1), 0)), "0 to 0");
    assert_eq!(outcome(&send(&mut sequencer, batch(2, 0, 0, 1), 500)), "1 to 1");
    let third = batch(3, 0, 0, 1);
    assert_eq!(
        outcome(&send(&mut sequencer, third, 600)),
        "56: producer 3 epoch 0 sent sequences 0 to 0, but the partition remembers 2 producers already and takes no new one until one of them has expired (producer.id.expiration.ms); try again later"
    );
    assert_eq!(outcome(&send(&mut sequencer, batch(1, 0, 0, 1), 600)), "duplicate 0 to 0");
    assert_eq!(
        outcome(&send(&mut sequencer, plain(1), 600)),
        "2 to 2",
        "without idempotence there is no table"
    );
    sequencer.expire(TTL_MS, TTL_MS);
    assert_eq!(sequencer.producers(), 1);
    assert!(
        matches!(send(&mut sequencer, batch(3, 0, 1, 1), TTL_MS), Decision::Refused(_)),
        "behind the refused"
    );
    assert_eq!(outcome(&send(&mut sequencer, third, TTL_MS)), "3 to 3");
}

#[test]
fn a_hundred_thousand_producers_fill_the_table_and_expire() {
    let limit = crate::log::PRODUCERS_MAX_DEFAULT;
    let mut sequencer = Sequencer::new(Offset(0), limit);
    for id in 0..limit as i64 {
        assert!(matches!(send(&mut sequencer, batch(id, 0, 0, 1), id / 1000), Decision::Append(_)));
    }
    for id in limit as i64..limit as i64 * 2 {
        assert!(matches!(
            send(&mut sequencer, batch(id, 0, 0, 1), 100),
            Decision::Refused(Refusal::TableFull { .. })
        ));
    }
    assert_eq!(sequencer.producers(), limit);
    assert!(matches!(sequencer.decide(&batch(0, 0, 0, 1)), Decision::Duplicate(_)), "nobody was forgotten");
    sequencer.expire(TTL_MS + 49, TTL_MS);
    assert_eq!(sequencer.producers(), limit / 2);
    sequencer.expire(TTL_MS + 100, TTL_MS);
    assert_eq!(sequencer.producers(), 0);
}

#[test]
fn a_producer_expires_by_its_last_batch_here_and_then_may_start_anywhere() {
    let mut sequencer = fresh();
    send(&mut sequencer, batch(7, 5, 0, 1), 0);
    send(&mut sequencer, batch(7, 5, 1, 1), 400);
    sequencer.expire(400 + TTL_MS - 1, TTL_MS);
    assert_eq!(outcome(&sequencer.decide(&batch(7, 5, 1, 1))), "duplicate 1 to 1");
    // A clock that went back expires nobody.
    sequencer.expire(-1_000_000, TTL_MS);
    assert_eq!(sequencer.producers(), 1);
    sequencer.expire(400 + TTL_MS, TTL_MS);
    assert_eq!(sequencer.producers(), 0);
    assert_eq!(outcome(&send(&mut sequencer, batch(7, 4, 300, 1), 2_000)), "2 to 2");
}

#[test]
fn a_refused_batch_keeps_its_producer_from_expiring_before_the_retry() {
    let mut sequencer = fresh();
    send(&mut sequencer, batch(7, 0, 0, 1), 0);
    sequencer.reject(&batch(7, 0, 1, 1), TTL_MS - 1);
    sequencer.expire(TTL_MS, TTL_MS);
    assert!(matches!(sequencer.decide(&batch(7, 0, 2, 1)), Decision::Refused(Refusal::OutOfOrder { .. })));
}

#[test]
fn replay_remembers_as_the_appends_did() {
    let (mut lived, mut replayed) = (used(), used());
    for (at, facts) in
        [batch(1, 0, 0, 3), plain(2), batch(1, 0, 3, 1), batch(2, 7, MAX, 2), batch(1, 1, 0, 4)]
            .iter()
            .enumerate()
    {
        let base_offset = lived.next_offset();
        assert!(matches!(send(&mut lived, *facts, at as i64), Decision::Append(_)));
        replayed.replay(facts, base_offset, Some(at as i64), 99);
    }
    assert_eq!(replayed.next_offset(), lived.next_offset());
    for probe in
        [batch(1, 1, 0, 4), batch(1, 0, 3, 1), batch(2, 7, MAX, 2), batch(2, 7, 1, 1), batch(3, 0, 9, 9)]
    {
        assert_eq!(replayed.decide(&probe), lived.decide(&probe));
    }
}

/// The rules said again, as slowly as possible: all batches ever appended are kept and searched.
#[derive(Default)]
struct Model {
    next_offset: i64,
    appended: Vec<Row>,
    refused: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    id: i64,
    epoch: i16,
    first: i64,
    records: i64,
    base_offset: i64,
    seen_ms: i64,
}

const CIRCLE: i64 = 1 << 31;

impl Model {
    fn known(&self, id: i64) -> Vec<Row> {
        let mine: Vec<Row> = self.appended.iter().filter(|row| row.id == id).copied().collect();
        let Some(newest) = mine.last() else { return mine };
        let of_epoch: Vec<Row> = mine.iter().filter(|row| row.epoch == newest.epoch).copied().collect();
        of_epoch[of_epoch.len().saturating_sub(5)..].to_vec()
    }

    fn decide(&self, row: &Row) -> String {
        let append = format!("{} to {}", self.next_offset, self.next_offset + row.records - 1);
        let known = self.known(row.id);
        if let Some(newest) = known.last() {
            if row.epoch < newest.epoch {
                return "47".to_owned();
            }
            if row.epoch > newest.epoch {
                return if row.first == 0 { append } else { "45".to_owned() };
            }
            if let Some(same) = known.iter().find(|k| k.first == row.first && k.records == row.records) {
                let last = same.base_offset + same.records - 1;
                return format!("duplicate {} to {last}", same.base_offset);
            }
            let follows = (newest.first + newest.records) % CIRCLE == row.first;
            return if follows { append } else { "45".to_owned() };
        }
        if self.next_offset == 0 && row.first != 0 {
            return "45".to_owned();
        }
        let newest_refused = self.refused.iter().filter(|r| r.id == row.id).map(|r| r.epoch).max();
        if newest_refused.is_some_and(|epoch| row.epoch > epoch) && row.first != 0 {
            return "45".to_owned();
        }
        let behind = |refused: &Row| {
            let distance = (row.first - refused.first).rem_euclid(CIRCLE);
            distance > 0 && distance < CIRCLE / 2
        };
        let newest_only =
            |r: &&Row| r.id == row.id && r.epoch == row.epoch && newest_refused == Some(r.epoch);
        if self.refused.iter().filter(newest_only).any(behind) { "45".to_owned() } else { append }
    }

    fn append(&mut self, mut row: Row) {
        row.base_offset = self.next_offset;
        self.next_offset += row.records;
        self.refused.retain(|refused| refused.id != row.id);
        self.appended.push(row);
    }

    fn reject(&mut self, mut row: Row) {
        let known = self.known(row.id);
        if let Some(newest) = known.last() {
            // Kept alive: as if its last batch had come just now.
            let mine = self
                .appended
                .iter_mut()
                .rev()
                .find(|a| a.id == row.id && a.base_offset == newest.base_offset);
            mine.unwrap().seen_ms = row.seen_ms;
            return;
        }
        let newest_refused = self.refused.iter().filter(|r| r.id == row.id).map(|r| r.epoch).max();
        if self.next_offset == 0 || newest_refused.is_some_and(|epoch| row.epoch > epoch) {
            row.first = 0;
        }
        for refused in self.refused.iter_mut().filter(|r| r.id == row.id) {
            refused.seen_ms = row.seen_ms;
        }
        self.refused.push(row);
    }

    fn expire(&mut self, now_ms: i64) {
        let gone = |rows: &[Row], id: i64| {
            rows.iter().rev().find(|row| row.id == id).is_some_and(|row| now_ms - row.seen_ms >= TTL_MS)
        };
        for id in 0..IDS {
            if gone(&self.appended, id) {
                self.appended.retain(|row| row.id != id);
            }
            if gone(&self.refused, id) {
                self.refused.retain(|row| row.id != id);
            }
        }
    }
}

const IDS: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A batch whose first sequence lies `from_next` from the next one; the write of it may fail.
    Send {
        id: i64,
        epoch: i16,
        from_next: i64,
        records: u32,
        write_fails: bool,
    },
    /// One of this producer's last seven comes again.
    Again {
        id: i64,
        back: usize,
    },
    Wait {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // Never half a circle apart, where before and behind lose their meaning.
    let from_next = prop_oneof![6 => Just(0), 1 => -3..4_i64, 1 => -CIRCLE / 8..CIRCLE / 8];
    prop_oneof![
        6 => (0..IDS, prop_oneof![8 => Just(0_i16), 1 => 0..3_i16], from_next, 1..4_u32, prop::bool::weighted(0.15))
            .prop_map(|(id, epoch, from_next, records, write_fails)| Step::Send { id, epoch, from_next, records, write_fails }),
        2 => (0..IDS, 0..7_usize).prop_map(|(id, back)| Step::Again { id, back }),
        1 => (0..TTL_MS).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sequencer_decides_as_a_search_of_everything_would(
        start in prop_oneof![Just(0_i64), Just(50)],
        origin in prop_oneof![Just(0_i64), CIRCLE - 8..CIRCLE],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut sequencer = Sequencer::new(Offset(start), 1_000);
        let mut model = Model { next_offset: start, ..Model::default() };
        let mut everything: Vec<Row> = Vec::new();
        let mut now_ms = 0;
        for step in steps {
            let (row, write_fails) = match step {
                Step::Wait { ms } => {
                    now_ms += ms;
                    sequencer.expire(now_ms, TTL_MS);
                    model.expire(now_ms);
                    continue;
                }
                Step::Again { id, back } => {
                    let mut mine = everything.iter().rev().filter(|row| row.id == id);
                    let Some(row) = mine.nth(back) else { continue };
                    (Row { seen_ms: now_ms, ..*row }, false)
                }
                Step::Send { id, epoch, from_next, records, write_fails } => {
                    let next = match model.known(id).last() {
                        Some(newest) if newest.epoch == epoch => newest.first + newest.records,
                        Some(_) => 0,
                        None => origin,
                    };
                    let first = (next + from_next).rem_euclid(CIRCLE);
                    let row = Row { id, epoch, first, records: i64::from(records), base_offset: -1, seen_ms: now_ms };
                    (row, write_fails)
                }
            };
            let facts = batch(row.id, row.epoch, row.first as i32, row.records as u32);
            let decision = sequencer.decide(&facts);
            let expected = model.decide(&row);
            let decided = outcome(&decision);
            let decided = if matches!(decision, Decision::Refused(_)) { &decided[..2] } else { &decided[..] };
            prop_assert_eq!(decided, &expected[..]);
            match decision {
                Decision::Append(append) if !write_fails => {
                    sequencer.commit(append, None, now_ms);
                    model.append(row);
                    everything.push(row);
                }
                Decision::Duplicate(_) => {}
                Decision::Append(_) | Decision::Refused(_) => {
                    sequencer.reject(&facts, now_ms);
                    model.reject(row);
                }
            }
            prop_assert_eq!(sequencer.next_offset(), Offset(model.next_offset));
        }
    }
}
