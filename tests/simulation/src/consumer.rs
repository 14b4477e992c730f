//! A program that reads what is committed while everything goes wrong, and remembers what it saw.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gapless_common::{
    channel::{Channel, ChannelConfig},
    error_code::ErrorCode,
    seam::Seams,
};
use tokio::time::sleep;

use crate::ledger::{Ledger, Place};
use crate::reader::{Fetched, Position, fetch};

const PAUSE: Duration = Duration::from_millis(80);
const WAIT: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(1_500);
/// One round in so many it forgets where it was and reads from the start.
const REREADS_ONE_IN: u64 = 60;

/// A connection's settings, for programs that give up as fast as the producers do.
#[must_use]
pub fn channel_config() -> ChannelConfig {
    ChannelConfig {
        request_timeout: PATIENCE,
        connect_timeout: Duration::from_millis(700),
        heartbeat_interval: Duration::from_millis(800),
        ..ChannelConfig::default()
    }
}

/// What a consumer may see besides the promise.
#[derive(Clone)]
pub struct Leave {
    /// What was read may be gone later.
    pub loss: bool,
    /// Reading may be refused.
    pub damage: bool,
    /// A partition may open offline, and then serve only what is known to be durable.
    pub offline: bool,
    /// The start of the log may move.
    pub retention: bool,
}

/// A consumer of some partitions.
#[derive(Clone)]
pub struct Consumer {
    /// What was told.
    pub ledger: Ledger,
    /// The broker.
    pub server: &'static str,
    /// What it reads.
    pub places: Arc<[Place]>,
    /// What it may see.
    pub leave: Leave,
    /// It may stop.
    pub closing: Arc<AtomicBool>,
}

/// Where it stands in one partition.
#[derive(Clone, Copy)]
struct Standing {
    position: Position,
    /// The highest high watermark it was ever told.
    end: i64,
    /// The last start of the log it was told.
    start: i64,
}

impl Consumer {
    /// Reads until told to stop, or the host crashes.
    pub async fn live(self, seams: Seams) {
        let mut standings: BTreeMap<Place, Standing> = BTreeMap::new();
        while !self.closing.load(Ordering::Relaxed) {
            match Channel::connect(&seams, self.server, &channel_config()).await {
                Ok(channel) => self.read(&channel, &seams, &mut standings).await,
                Err(error) => tracing::debug!("consumer: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Reads over one connection until that fails.
    async fn read(&self, channel: &Channel, seams: &Seams, standings: &mut BTreeMap<Place, Standing>) {
        let mut topics: Vec<&'static str> = self.places.iter().map(|place| place.topic).collect();
        topics.dedup();
        while !self.closing.load(Ordering::Relaxed) {
            for topic in &topics {
                if seams.random.below(REREADS_ONE_IN) == 0 {
                    // What it has not seen to its end it would never see, if it forgot too often.
                    let may_forget = |standing: &&mut Standing| {
                        self.leave.loss || self.leave.damage || standing.position.offset >= standing.end
                    };
                    for standing in standings.values_mut().filter(may_forget) {
                        (standing.position.offset, standing.position.epoch) = (0, -1);
                    }
                }
                let mut positions = Vec::new();
                for place in self.places.iter().filter(|place| place.topic == *topic) {
                    let start = Position { partition: place.partition, offset: 0, epoch: -1 };
                    positions.push(
                        standings
                            .entry(place.clone())
                            .or_insert(Standing { position: start, end: 0, start: 0 })
                            .position,
                    );
                }
                let round = match fetch(channel, topic, &positions, WAIT, PATIENCE).await {
                    Ok(round) => round,
                    Err(error) => return tracing::debug!("consumer: {error}"),
                };
                // Errors are answered at once; whoever asks again at once asks for ever.
                if round.iter().any(|fetched| !fetched.error.is_ok()) {
                    sleep(PAUSE).await;
                }
                for fetched in round {
                    let place = Place { topic, partition: fetched.partition };
                    if let Some(standing) = standings.get_mut(&place) {
                        self.take(&place, fetched, standing);
                    }
                }
            }
        }
    }

    fn take(&self, place: &Place, fetched: Fetched, standing: &mut Standing) {
        if let Some(bad) = fetched.bad {
            // What the broker has written or checked itself it sends without looking again (durability.md 18).
            if !self.leave.damage {
                self.ledger.fault(format!("{place}: {bad}"));
            }
            (standing.position.offset, standing.position.epoch) = (0, -1);
            return;
        }
        if fetched.start >= 0 {
            if fetched.start < standing.start {
                let before = standing.start;
                self.ledger
                    .fault(format!("{place}: the log start went back from {before} to {}", fetched.start));
            }
            standing.start = fetched.start;
            self.ledger.starts_at(place, fetched.start);
        }
        match fetched.error {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE
                if self.leave.retention && fetched.start > standing.position.offset =>
            {
                (standing.position.offset, standing.position.epoch) = (fetched.start, -1);
                return;
            }
            ErrorCode::KAFKA_STORAGE_ERROR => return,
            // A partition that is offline has less for a while, and does not lose it.
            ErrorCode::OFFSET_OUT_OF_RANGE if self.leave.offline && !self.leave.loss => return,
            ErrorCode::OFFSET_OUT_OF_RANGE if self.leave.loss || self.leave.damage => {
                standing.position.offset = fetched.start.max(0);
                standing.position.epoch = -1;
                standing.end = 0;
                return;
            }
            code => {
                let offset = standing.position.offset;
                return self.ledger.fault(format!("{place}: a fetch at {offset} was answered with {code}"));
            }
        }
        if fetched.diverged {
            if !self.leave.loss {
                self.ledger
                    .fault(format!("{place}: what was read before {} is told to be gone", fetched.from));
            }
            (standing.position.offset, standing.position.epoch) = (0, -1);
            return;
        }
        let may_fall = self.leave.loss || self.leave.damage || self.leave.offline;
        if fetched.end < standing.end && !may_fall {
            let before = standing.end;
            self.ledger
                .fault(format!("{place}: the high watermark went back from {before} to {}", fetched.end));
        }
        standing.end = fetched.end;
        for (offset, name) in fetched.records {
            if offset != standing.position.offset {
                let expected = standing.position.offset;
                self.ledger.fault(format!("{place}: offset {offset} came where {expected} was due"));
            }
            match name {
                Some(name) if self.leave.loss => drop(self.ledger.saw_for_now(place, offset, name)),
                Some(name) => self.ledger.saw(place, offset, name),
                None => self.ledger.fault(format!("{place}: a record at {offset} that nobody sent")),
            }
            standing.position.offset = offset + 1;
        }
        if let Some(epoch) = fetched.epoch {
            standing.position.epoch = epoch;
        }
    }
}
