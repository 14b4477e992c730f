//! A sender of numbered records that outlives halts: it finds out what became of what was in doubt, sends again what was
//! certainly not written, and so leaves a log without a hole, however often the broker stands still.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use gapless_producer::{Delivery, DeliveryError, Halt, Producer, Record, Rejection, Resume, SettledFate};

use crate::oracle::value_of;

/// How long one settle may take before it is begun again.
const SETTLE_FOR: Duration = Duration::from_secs(10);
/// Records in a burst, with a pause after it: some ten thousand a second, so that a log stays small while a broker stands.
const BURST: u64 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// What a sender shares with who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Nothing new is sent any more.
    pub enough: AtomicBool,
    /// Records known to be in the log, in order, without a hole.
    pub written: AtomicU64,
    /// Halts so far.
    pub halts: AtomicU64,
}

/// What a sender was told over its life.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Records that are in the log.
    pub written: u64,
    /// How often the partition halted.
    pub halts: u64,
    /// Records that settles were asked about, each time.
    pub in_doubt: u64,
    /// Records that settles found in the log.
    pub found: u64,
    /// How often a record was sent again because it was certainly not written.
    pub sent_again: u64,
}

struct Sender<'a> {
    producer: &'a Producer,
    topic: &'a str,
    progress: &'a Progress,
    /// Those under way, oldest first; the first one's number is what is written so far.
    window: VecDeque<Delivery>,
    tally: Tally,
}

/// What is known of a record after a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    InDoubt,
    Written(Option<i64>),
    NotWritten,
}

/// Sends records 0, 1, … to partition 0 of a topic until there are enough. What is written in the end is in the log without a hole:
/// a number that was certainly not written is sent again before any behind it.
///
/// # Panics
/// If a record's fate contradicts those before it.
pub async fn send_without_a_hole(producer: &Producer, topic: &str, progress: &Progress) -> Tally {
    let mut sender = Sender { producer, topic, progress, window: VecDeque::new(), tally: Tally::default() };
    while !progress.enough.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            if let Some(halt) = sender.send_next().await {
                sender.go_on(&halt).await;
            }
        }
        sender.take_acked();
        tokio::time::sleep(PAUSE).await;
    }
    while !sender.window.is_empty() {
        // In time or not, and halted or not, is seen in the window.
        let _flushed = producer.flush(SETTLE_FOR).await;
        sender.take_acked();
        for halt in producer.halts() {
            sender.go_on(&halt).await;
        }
    }
    sender.tally
}

impl Sender<'_> {
    async fn send_next(&mut self) -> Option<Halt> {
        let number = self.tally.written + self.window.len() as u64;
        let record = Record::new(self.topic).partition(0).value(value_of(number));
        match self.producer.send(record).await {
            Ok(delivery) => self.window.push_back(delivery),
            Err(refused) => match refused.reason {
                Rejection::Halted(halt) => return Some(Halt::clone(&halt)),
                other => panic!("nothing but a halt is in the way: {other}"),
            },
        }
        None
    }

    fn take_acked(&mut self) {
        while let Some(Ok(ack)) = self.window.front().and_then(Delivery::try_result) {
            self.written(ack.offset.map(|offset| offset.0));
            self.window.pop_front();
        }
    }

    /// The oldest record is in the log.
    fn written(&mut self, offset: Option<i64>) {
        let expected = i64::try_from(self.tally.written).expect("far below");
        assert!(
            offset.is_none_or(|offset| offset == expected),
            "record {expected} is said to be at {offset:?}"
        );
        self.tally.written += 1;
        self.progress.written.store(self.tally.written, Ordering::Relaxed);
    }

    /// Finds out what became of everything, and goes on behind what is written.
    async fn go_on(&mut self, halt: &Halt) {
        self.tally.halts += 1;
        self.take_acked();
        let mut known = Vec::new();
        for delivery in self.window.drain(..) {
            known.push(match delivery.await {
                Err(DeliveryError::Unknown(_)) => Known::InDoubt,
                Err(DeliveryError::NotWritten(_)) => Known::NotWritten,
                Ok(ack) => panic!("the record at {:?} is acknowledged behind one that failed", ack.offset),
            });
        }
        self.progress.halts.fetch_add(1, Ordering::Relaxed);
        self.settle(halt.generation, &mut known).await;
        let mut hole = false;
        for known in known {
            if let Known::Written(offset) = known {
                assert!(!hole, "a record is in the log behind one that is not");
                self.written(offset);
            } else {
                hole = true;
                self.tally.sent_again += 1;
            }
        }
    }

    /// Settles until nothing is in doubt, and sees to it that the partition goes on.
    async fn settle(&mut self, mut generation: u64, known: &mut [Known]) {
        while known.contains(&Known::InDoubt) {
            let how = Resume::Settle(SETTLE_FOR);
            let settled = self.producer.resume(self.topic, 0, generation, how).await.expect("it is halted");
            let mut in_doubt = known.iter_mut().filter(|known| **known == Known::InDoubt);
            for fate in settled.records() {
                let known = in_doubt.next().expect("no more fates than records in doubt");
                self.tally.in_doubt += 1;
                *known = match fate {
                    SettledFate::Acked { base, .. } => Known::Written(base.map(|base| base.0)),
                    SettledFate::NotWritten => Known::NotWritten,
                    _ => Known::InDoubt,
                };
                self.tally.found += u64::from(matches!(known, Known::Written(_)));
            }
            assert!(in_doubt.next().is_none(), "every record in doubt is told of");
            match settled.halt {
                Some(again) => generation = again.generation,
                None => return,
            }
        }
        self.producer.resume(self.topic, 0, generation, Resume::Skip).await.expect("it is halted");
    }
}
