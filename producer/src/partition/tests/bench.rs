//! A machine under single steps.

use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::{Offset, TopicId};

use super::*;
use crate::resume::{SettledBatch, SettledFate};

pub(super) const A: ConnectionId = ConnectionId(1);
pub(super) const B: ConnectionId = ConnectionId(2);

/// Records and fate of each batch, and the generation of another halt.
pub(super) type Settling = (Vec<(u32, String)>, Option<u64>);

/// A machine, a clock, and what came out so far.
pub(super) struct Bench {
    pub(super) machine: Machine<Numbers>,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) next_record: u32,
    /// What is admitted from now on cannot be kept.
    pub(super) bulky: bool,
    pub(super) fates: Vec<(Vec<u32>, String)>,
    pub(super) halted: Option<(u64, FirstFailed)>,
    pub(super) refresh: bool,
    pub(super) retries: Vec<Retry>,
    /// What a settle came to: each batch, and the generation in which it is halted again.
    pub(super) settled: Option<Settling>,
}

impl Bench {
    pub(super) fn new(rules: Rules) -> Self {
        let mut machine = Machine::new(rules);
        machine.identify(identity(7, 0));
        let now = Instant::now();
        Self {
            machine,
            start: now,
            now,
            next_record: 0,
            bulky: false,
            fates: vec![],
            halted: None,
            refresh: false,
            retries: vec![],
            settled: None,
        }
    }

    pub(super) fn halting() -> Self {
        Self::new(rules(OnFailure::Halt))
    }

    /// A machine that has had one batch of one record acknowledged at offset 100, and flows.
    pub(super) fn flowing() -> Self {
        let mut bench = Self::halting();
        let ticket = bench.send_new(A, 1);
        bench.ack(ticket, 100);
        bench.fates.clear();
        bench
    }

    pub(super) fn next(&self, connection: ConnectionId) -> Next {
        self.machine.next(connection, self.now)
    }

    /// Admits a batch of so many records now, without sending it.
    pub(super) fn push(&mut self, records: u32) {
        let first = self.next_record;
        self.next_record += records;
        self.machine.push(Numbers {
            records: (first..first + records).collect(),
            admitted: self.now,
            stamp: None,
            bulky: self.bulky,
        });
    }

    pub(super) fn send_new(&mut self, connection: ConnectionId, records: u32) -> Ticket {
        assert_eq!(self.next(connection), Next::New);
        self.push(records);
        self.send(connection).0
    }

    /// Sends what the machine holds; the ticket, the epoch and first sequence, and how many records.
    pub(super) fn send(&mut self, connection: ConnectionId) -> (Ticket, (i16, i32), u32) {
        let sending = self.machine.send(connection).unwrap();
        let stamp = sending.batch.stamp.unwrap();
        (sending.ticket, (stamp.identity.epoch.0, stamp.first.get()), sending.batch.records())
    }

    pub(super) fn resend(&mut self, connection: ConnectionId) -> (Ticket, (i16, i32), u32) {
        assert_eq!(self.next(connection), Next::Held);
        self.send(connection)
    }

    pub(super) fn event(&mut self, event: impl FnOnce(&mut Machine<Numbers>, Moment, &mut Effects<Numbers>)) {
        let mut effects = Effects::default();
        event(&mut self.machine, Moment { now: self.now, random_bits: 200 }, &mut effects);
        for (batch, fate) in effects.resolved {
            let fate = match fate {
                Fate::Acked { base, .. } => format!("acked {}", base.map_or(-1, |base| base.0)),
                Fate::NotWritten(cause) => format!("not written: {}", cause.label()),
                Fate::Unknown(cause) => format!("unknown: {}", cause.label()),
            };
            self.fates.push((batch.records, fate));
        }
        self.halted = effects.halted.or(self.halted.take());
        self.refresh |= effects.refresh_metadata;
        self.retries.extend(effects.retries);
        if let Some(Settlement { batches, halted, .. }) = effects.settled {
            let told = |batch: SettledBatch| (batch.records, settled_fate(&batch.fate));
            self.settled = Some((batches.into_iter().map(told).collect(), halted.map(|(number, _)| number)));
        }
    }

    pub(super) fn settle(&mut self, generation: u64, within: Duration) -> Result<(), CannotResume> {
        let mut result = Ok(());
        self.event(|machine, moment, effects| result = machine.settle(generation, within, moment, effects));
        result
    }

    /// What the settle came to.
    pub(super) fn settled(&self) -> (Vec<(u32, &str)>, Option<u64>) {
        let (batches, halted) = self.settled.as_ref().expect("the settle is over");
        (batches.iter().map(|(records, fate)| (*records, fate.as_str())).collect(), *halted)
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.event(|machine, moment, effects| machine.answer(ticket, answer, moment, effects));
    }

    pub(super) fn ack(&mut self, ticket: Ticket, base: i64) {
        self.answer(ticket, Answer::Acked { base: Some(Offset(base)), append_time_ms: None });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, code: ErrorCode) {
        self.refuse_at(ticket, code, None);
    }

    pub(super) fn refuse_at(&mut self, ticket: Ticket, code: ErrorCode, log_start: Option<i64>) {
        let log_start = log_start.map(Offset);
        let refusal = Refusal { code, message: None, log_start, led_elsewhere: false };
        self.answer(ticket, Answer::Refused(refusal));
    }

    /// Refused by a broker that names another one as the leader.
    pub(super) fn refer(&mut self, ticket: Ticket) {
        let code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
        let refusal = Refusal { code, message: None, log_start: None, led_elsewhere: true };
        self.answer(ticket, Answer::Refused(refusal));
    }

    pub(super) fn lose(&mut self, ticket: Ticket) {
        self.answer(ticket, Answer::Lost("the peer closed the connection".into()));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(|machine, moment, effects| machine.tick(moment, None, effects));
    }

    pub(super) fn topic(&mut self, id: u8) {
        self.event(|machine, moment, effects| machine.topic_seen(TopicId([id; 16]), moment, effects));
    }

    pub(super) fn fates(&self) -> Vec<&str> {
        self.fates.iter().map(|(_, fate)| fate.as_str()).collect()
    }

    pub(super) fn generation(&self) -> Option<u64> {
        self.halted.as_ref().map(|(generation, _)| *generation)
    }
}

/// The first wait after a retriable refusal is shorter.
pub(super) const BACKOFF: Duration = Duration::from_millis(60);

fn settled_fate(fate: &SettledFate) -> String {
    match fate {
        SettledFate::Acked { base, .. } => format!("acked {}", base.map_or(-1, |base| base.0)),
        SettledFate::NotWritten => "not written".to_owned(),
        SettledFate::Unknown(why) => format!("unknown: {why}"),
    }
}
