//! The promise, against a model broker: whatever is lost, delayed, refused or cut, what was acknowledged is in the log
//! exactly once, in order, without a gap; what is called not written is not there; what is unknown is there at most once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::Offset;
use proptest::prelude::*;

use super::*;
use crate::resume::SettledFate;

/// One step of a world that goes wrong.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of so many records is admitted.
    Admit(u32),
    /// The sender sends what it may, at most so many.
    Send(u8),
    /// The broker reads and answers a request of the newest connection.
    Serve,
    /// The same, but answers with an error. `bool`: after the append.
    Refuse(i16, bool),
    /// The broker gets to a request of a connection that is long gone.
    ServeZombie,
    /// An answer reaches the sender.
    Hear,
    /// The connection breaks; the sender opens another.
    Cut,
    /// What a dead connection still held is lost.
    Forget,
    /// Time passes.
    Pass(u16),
    /// The caller resumes, if the partition is halted.
    Resume,
    /// The caller settles for so many milliseconds, if the partition is halted.
    Settle(u16),
    /// The caller waits no longer for a settle.
    StopSettling,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5u32).prop_map(Step::Admit),
        6 => (1..4u8).prop_map(Step::Send),
        6 => Just(Step::Serve),
        2 => (prop::sample::select(vec![2i16, 3, 6, 19]), Just(false)).prop_map(|(code, after)| Step::Refuse(code, after)),
        2 => (prop::sample::select(vec![7i16, 20, 56, -1]), any::<bool>()).prop_map(|(code, after)| Step::Refuse(code, after)),
        1 => prop::sample::select(vec![32i16, 87, 47]).prop_map(|code| Step::Refuse(code, false)),
        3 => Just(Step::ServeZombie),
        6 => Just(Step::Hear),
        2 => Just(Step::Cut),
        1 => Just(Step::Forget),
        4 => (1..200u16).prop_map(Step::Pass),
        1 => (1000..3000u16).prop_map(Step::Pass),
        1 => Just(Step::Resume),
        3 => (1..3000u16).prop_map(Step::Settle),
        1 => Just(Step::StopSettling),
    ]
}

/// A partition as Kafka keeps it.
struct Broker {
    log: Vec<u32>,
    producers: BTreeMap<i64, Known>,
    /// Lets an empty partition begin at any sequence (KAFKA-15591).
    lenient: bool,
    /// More records than this in a batch: 10.
    records_max: usize,
}

/// What is known of a producer.
struct Known {
    epoch: i16,
    /// First and last sequence, and base offset, of the last five batches.
    batches: VecDeque<(i32, i32, i64)>,
}

impl Broker {
    fn append(&mut self, batch: &Numbers) -> Result<i64, ErrorCode> {
        let stamp = batch.stamp.unwrap();
        let epoch = stamp.identity.epoch.0;
        let (first, last) = (stamp.first.get(), stamp.first.plus(batch.records() - 1).get());
        match self.producers.get(&stamp.identity.id.0) {
            Some(known) if known.epoch > epoch => return Err(ErrorCode::INVALID_PRODUCER_EPOCH),
            Some(known) if known.epoch == epoch => {
                if let Some((_, _, base)) = known.batches.iter().find(|(f, l, _)| (*f, *l) == (first, last)) {
                    return Ok(*base);
                }
                if known.batches.back().is_some_and(|(_, last, _)| first != last + 1) {
                    return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                }
            }
            Some(_) if first != 0 => return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            None if first != 0 && self.log.is_empty() && !self.lenient => {
                return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            }
            _ => {}
        }
        if batch.records.len() > self.records_max {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let base = i64::try_from(self.log.len()).unwrap();
        self.log.extend(&batch.records);
        let fresh = Known { epoch, batches: VecDeque::new() };
        let known = self.producers.entry(stamp.identity.id.0).or_insert(fresh);
        if known.epoch != epoch {
            *known = Known { epoch, batches: VecDeque::new() };
        }
        known.batches.push_back((first, last, base));
        if known.batches.len() > 5 {
            known.batches.pop_front();
        }
        Ok(base)
    }
}

/// A connection: requests not yet served, answers not yet heard.
#[derive(Default)]
struct Wire {
    requests: VecDeque<(Ticket, Numbers)>,
    answers: VecDeque<(Ticket, Answer)>,
}

struct World {
    machine: Machine<Numbers>,
    broker: Broker,
    now: Instant,
    connection: u64,
    wires: BTreeMap<u64, Wire>,
    waiting: VecDeque<Numbers>,
    next_record: u32,
    next_id: i64,
    fates: Vec<(u32, Fate)>,
    halted: Option<u64>,
    /// It is being settled.
    settling: bool,
    /// What cannot be kept: every batch with a record whose number this divides.
    bulky_every: u32,
    /// Of each record, the number of resumes before its admission.
    stretch: Vec<u32>,
    resumes: u32,
}

impl World {
    fn new(rules: Rules, lenient: bool) -> Self {
        let broker = Broker { log: vec![], producers: BTreeMap::new(), lenient, records_max: 3 };
        Self {
            machine: Machine::new(rules),
            broker,
            now: Instant::now(),
            connection: 0,
            wires: BTreeMap::from([(0, Wire::default())]),
            waiting: VecDeque::new(),
            next_record: 0,
            next_id: 1,
            fates: vec![],
            halted: None,
            settling: false,
            bulky_every: 17,
            stretch: vec![],
            resumes: 0,
        }
    }

    fn event(&mut self, event: impl FnOnce(&mut Machine<Numbers>, Moment, &mut Effects<Numbers>)) {
        let mut effects = Effects::default();
        event(&mut self.machine, Moment { now: self.now, random_bits: 7 }, &mut effects);
        for (batch, fate) in effects.resolved {
            let mut base = match fate {
                Fate::Acked { base, .. } => base,
                _ => None,
            };
            for record in batch.records {
                let own = match &fate {
                    Fate::Acked { .. } => Fate::Acked { base, append_time_ms: None },
                    other => other.clone(),
                };
                base = base.map(|offset| offset.plus(1));
                self.fates.push((record, own));
            }
        }
        if let Some(settlement) = effects.settled {
            self.settled(settlement);
        }
        if let Some((generation, first)) = effects.halted {
            self.halted = Some(generation);
            // What was never handed to the machine fails behind the first.
            let cause = Arc::new(Cause::Behind(first));
            for batch in self.waiting.drain(..) {
                self.fates.extend(
                    batch.records.into_iter().map(|record| (record, Fate::NotWritten(cause.clone()))),
                );
            }
        }
    }

    /// What was found out replaces what was told: of the records of which that was unknown, in order.
    fn settled(&mut self, settlement: Settlement) {
        let found = settlement
            .batches
            .iter()
            .flat_map(|batch| (0..i64::from(batch.records)).map(|at| (at, &batch.fate)));
        let stretch = self.resumes;
        let told = self.fates.iter_mut().filter(|(record, fate)| {
            self.stretch[*record as usize] == stretch && matches!(fate, Fate::Unknown(_))
        });
        let (mut found, mut told) = (found, told);
        loop {
            match (found.next(), told.next()) {
                (None, None) => break,
                (Some((at, fate)), Some((_, told))) => match fate {
                    SettledFate::Acked { base, .. } => {
                        *told = Fate::Acked { base: base.map(|base| base.plus(at)), append_time_ms: None };
                    }
                    SettledFate::NotWritten => *told = Fate::NotWritten(Arc::new(Cause::Closed)),
                    SettledFate::Unknown(_) => {}
                },
                _ => panic!("the settle tells of other records than were unknown"),
            }
        }
        self.settling = false;
        self.halted = settlement.halted.map(|(generation, _)| generation);
        if self.halted.is_none() {
            self.resumes += 1;
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Admit(records) => {
                if self.halted.is_some() {
                    return;
                }
                let first = self.next_record;
                self.next_record += records;
                self.stretch.extend((0..*records).map(|_| self.resumes));
                let records: Vec<u32> = (first..self.next_record).collect();
                let bulky = records.iter().any(|record| record % self.bulky_every == 0);
                self.waiting.push_back(Numbers { records, admitted: self.now, stamp: None, bulky });
            }
            Step::Send(most) => (0..*most).for_each(|_| self.send()),
            Step::Serve => self.serve(self.connection, |broker, batch| answer(broker.append(batch))),
            Step::Refuse(code, after) => {
                let (code, after) = (ErrorCode(*code), *after);
                self.serve(self.connection, |broker, batch| {
                    if after && let Err(code) = broker.append(batch) {
                        return answer(Err(code));
                    }
                    answer(Err(code))
                });
            }
            Step::ServeZombie => {
                let zombie =
                    self.wires.iter().find(|(id, wire)| **id != self.connection && !wire.requests.is_empty());
                if let Some(id) = zombie.map(|(id, _)| *id) {
                    self.serve(id, |broker, batch| answer(broker.append(batch)));
                }
            }
            Step::Hear => {
                let heard = self.wires.get_mut(&self.connection).and_then(|wire| wire.answers.pop_front());
                if let Some((ticket, answer)) = heard {
                    self.event(|machine, moment, effects| machine.answer(ticket, answer, moment, effects));
                }
            }
            Step::Cut => {
                let Some(wire) = self.wires.get_mut(&self.connection) else { return };
                // Answers on their way are lost with it; requests on their way may still be served.
                let answers = wire.answers.drain(..).map(|(ticket, _)| ticket);
                let lost: Vec<Ticket> =
                    answers.chain(wire.requests.iter().map(|(ticket, _)| *ticket)).collect();
                self.connection += 1;
                self.wires.insert(self.connection, Wire::default());
                for ticket in lost {
                    let answer = Answer::Lost("cut".into());
                    self.event(|machine, moment, effects| machine.answer(ticket, answer, moment, effects));
                }
            }
            Step::Forget => self.wires.retain(|id, _| *id == self.connection),
            Step::Pass(ms) => {
                self.now += Duration::from_millis(u64::from(*ms));
                // An expired batch that was never handed over is handed over to expire.
                if self.machine.is_empty()
                    && let Some(batch) = self.waiting.pop_front()
                {
                    self.machine.push(batch);
                }
                self.event(|machine, moment, effects| machine.tick(moment, None, effects));
            }
            Step::Resume => {
                if !self.settling
                    && let Some(generation) = self.halted.take()
                {
                    self.machine.skip(generation).unwrap();
                    self.resumes += 1;
                }
            }
            Step::Settle(ms) => {
                if !self.settling
                    && let Some(generation) = self.halted
                {
                    self.settling = true;
                    let within = Duration::from_millis(u64::from(*ms));
                    self.event(|machine, moment, effects| {
                        machine.settle(generation, within, moment, effects).unwrap();
                    });
                }
            }
            Step::StopSettling => {
                if let Some(generation) = self.halted.filter(|_| std::mem::take(&mut self.settling)) {
                    self.machine.stop_settling(generation);
                }
            }
        }
    }

    fn send(&mut self) {
        let connection = ConnectionId(self.connection);
        let mut next = self.machine.next(connection, self.now);
        if let Next::Identity { .. } = next {
            self.machine.identify(identity(self.next_id, 0));
            self.next_id += 1;
            next = self.machine.next(connection, self.now);
        }
        match next {
            Next::Held => {}
            Next::New => match self.waiting.pop_front() {
                Some(batch) => self.machine.push(batch),
                None => return,
            },
            _ => return,
        }
        let sending = self.machine.send(connection).unwrap();
        let (ticket, batch) = (sending.ticket, sending.batch.clone());
        self.wires.entry(self.connection).or_default().requests.push_back((ticket, batch));
    }

    fn serve(&mut self, connection: u64, how: impl FnOnce(&mut Broker, &Numbers) -> Answer) {
        let Some(wire) = self.wires.get_mut(&connection) else { return };
        let Some((ticket, batch)) = wire.requests.pop_front() else { return };
        let answer = how(&mut self.broker, &batch);
        if connection == self.connection {
            wire.answers.push_back((ticket, answer));
        }
    }

    /// Everything heals: zombies are served, and the sender goes on until nothing is left or it halts.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.step(&Step::ServeZombie);
            self.step(&Step::Send(5));
            self.step(&Step::Serve);
            self.step(&Step::Hear);
            self.step(&Step::Pass(1));
        }
    }

    fn check(&self, skip: bool) {
        // Each record has one fate, in the order of admission.
        let order: Vec<u32> = self.fates.iter().map(|(record, _)| *record).collect();
        assert_eq!(order, (0..self.next_record).collect::<Vec<_>>(), "one fate each, in order");
        let mut places: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for (offset, record) in (0..).zip(&self.broker.log) {
            places.entry(*record).or_default().push(offset);
        }
        let mut last = -1;
        let mut failed_in = None;
        for (record, fate) in &self.fates {
            let found = places.get(record).map_or(&[][..], Vec::as_slice);
            match fate {
                Fate::Acked { base, .. } => {
                    assert_eq!(found.len(), 1, "record {record} was acknowledged, and stands at {found:?}");
                    assert!(
                        base.is_none_or(|base| base == Offset(found[0])),
                        "record {record}: {base:?} {found:?}"
                    );
                    assert!(found[0] > last, "record {record} is out of order");
                    last = found[0];
                    let stretch = self.stretch[*record as usize];
                    assert!(
                        skip || failed_in != Some(stretch),
                        "record {record} was acknowledged behind a failed one"
                    );
                }
                Fate::NotWritten(cause) => {
                    assert_eq!(found, &[] as &[i64], "record {record} was called not written ({cause})");
                    failed_in = Some(self.stretch[*record as usize]);
                }
                Fate::Unknown(cause) => {
                    assert!(found.len() <= 1, "record {record}, unknown ({cause}), stands at {found:?}");
                    failed_in = Some(self.stretch[*record as usize]);
                }
            }
        }
    }
}

fn answer(result: Result<i64, ErrorCode>) -> Answer {
    match result {
        Ok(base) => Answer::Acked { base: Some(Offset(base)), append_time_ms: None },
        Err(code) => {
            let log_start = Some(Offset(0));
            Answer::Refused(Refusal { code, message: None, log_start, led_elsewhere: false })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_once_in_order_without_a_gap(
        steps in prop::collection::vec(step(), 1..120),
        lenient in any::<bool>(),
        closed in any::<bool>(),
        skip in any::<bool>(),
    ) {
        let rules = Rules {
            delivery_timeout: Duration::from_secs(2),
            drain_limit: Duration::from_secs(1),
            ..rules(if skip { OnFailure::Skip } else { OnFailure::Halt })
        };
        let mut world = World::new(rules, lenient);
        for step in &steps {
            world.step(step);
        }
        if closed {
            let cause = Arc::new(Cause::Closed);
            let mut waiting = std::mem::take(&mut world.waiting);
            world.event(|machine, _, effects| machine.close(&cause, effects));
            for batch in waiting.drain(..) {
                world.fates.extend(batch.records.into_iter().map(|record| (record, Fate::NotWritten(cause.clone()))));
            }
            (0..1000).for_each(|_| { world.step(&Step::Serve); world.step(&Step::ServeZombie); });
        } else {
            world.settle();
        }
        world.check(skip);
    }
}
