//! What one seed stands for: who sends what, on which disk and network, and what goes wrong when. Drawn once; kinds of
//! faults are drawn first and their times after, so that a run has some kinds and often, not all of them and seldom
//! (swarm testing).

mod profile;

use std::time::Duration;

use gapless_broker::log::Durability;
use gapless_common::seeded_bug::SeededBug;
use gapless_common::{records::Compression, seam::Random};
use gapless_producer::Acks;

use crate::network::{Pace, Weather};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Connections are cut, all at once.
    Cut,
    /// Connections are cut at some byte.
    CutAtByte,
    /// Bytes stand still in one direction, or in both, and come through later.
    OneWay,
    /// One end of a connection is gone, and the other does not hear of it.
    HalfOpen,
    /// Bytes are late; connections overtake each other.
    Delay,
    /// Bytes come a few at a time.
    Trickle,
    /// Attempts to connect are refused.
    Refuse,
    /// The broker stands still.
    FreezeBroker,
    /// A producer stands still.
    FreezeProducer,
    /// The broker's process is killed.
    Kill,
    /// The broker's machine loses power.
    PowerLoss,
    /// The broker is stopped and started.
    Restart,
    /// A producer's process is killed; another takes its place.
    CrashProducer,
    /// A wall clock jumps.
    ClockJump,
    /// A flush fails.
    FailFlush,
    /// The disk is full for a while.
    NoSpace,
    /// A bit flips at rest.
    Rot,
    /// Every operation of the disk takes long.
    SlowDisk,
    /// Reads fail, or return a flipped bit.
    BadReads,
    /// Writes are short.
    ShortWrites,
    /// Writes fail.
    BadWrites,
    /// Syncs of directories fail.
    FailDirSync,
    /// A topic is deleted and made anew.
    Recreate,
    /// Somebody deletes the oldest records of a partition, or all of them.
    DeleteRecords,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Cut,
        Self::CutAtByte,
        Self::OneWay,
        Self::HalfOpen,
        Self::Delay,
        Self::Trickle,
        Self::Refuse,
        Self::FreezeBroker,
        Self::FreezeProducer,
        Self::Kill,
        Self::PowerLoss,
        Self::Restart,
        Self::CrashProducer,
        Self::ClockJump,
        Self::FailFlush,
        Self::NoSpace,
        Self::Rot,
        Self::SlowDisk,
        Self::BadReads,
        Self::ShortWrites,
        Self::BadWrites,
        Self::FailDirSync,
        Self::Recreate,
        Self::DeleteRecords,
    ];

    /// Where it stands in [`Kind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A topic of the run.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// Settings of its own.
    pub settings: Vec<(&'static str, String)>,
    /// By these it does not keep everything.
    pub forgets: bool,
}

/// The topic setting that bounds a batch.
const BATCH_BYTES_MAX: &str = "max.message.bytes";

impl TopicPlan {
    /// Whether a batch may be too large for it.
    #[must_use]
    pub fn refuses_large(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == BATCH_BYTES_MAX)
    }
}

/// The topic that may be deleted and made anew.
pub const SHORT_LIVED: &str = "short-lived";

/// How one producer is set up, and how it sends.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// Records that it sends in all, over all its lives.
    pub records: u32,
    /// See the producer's settings.
    pub acks: Acks,
    /// See the producer's settings.
    pub idempotence: bool,
    /// It goes on by itself behind what failed.
    pub skips: bool,
    /// Else it first tries for so long to find out what became of what is in doubt.
    pub settles: Option<Duration>,
    /// Tasks that send at once.
    pub tasks: u32,
    /// The most records that go out without a pause.
    pub burst_max: u64,
    /// One record in so many goes to any partition, and the others to the one that a burst is for.
    pub strays_one_in: u64,
    /// The longest pause.
    pub pause_ms_max: u64,
    /// One record in so many has a timestamp of years ago, or ahead of the clock.
    pub odd_time_one_in: Option<u64>,
    /// See the producer's settings.
    pub delivery_timeout: Duration,
    /// See the producer's settings.
    pub request_timeout: Duration,
    /// See the producer's settings.
    pub batch_size: usize,
    /// See the producer's settings.
    pub buffer_memory: usize,
    /// See the producer's settings; `None` is `auto`.
    pub linger: Option<Duration>,
    /// See the producer's settings.
    pub max_in_flight: usize,
    /// See the producer's settings.
    pub compression: Compression,
}

/// Something that goes wrong at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Simulated milliseconds after everything runs.
    pub at_ms: u64,
    /// What.
    pub kind: Kind,
    /// For how long, where that means something.
    pub for_ms: u64,
}

/// How the run ends, before the last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The broker is stopped.
    Stop,
    /// Its process is killed.
    Kill,
    /// The power fails.
    PowerLoss,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// What acks=all waits for.
    pub durability: Durability,
    /// A topic's segments have so many bytes.
    pub segment_bytes: u32,
    /// A partition takes a checkpoint after so many bytes.
    pub checkpoint_bytes: u64,
    /// How often the broker looks for what it need not keep.
    pub retention_check: Duration,
    /// Bytes a second that the scrub reads; 0: there is none.
    pub scrub_bytes_per_second: u64,
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// The producers.
    pub producers: Vec<ProducerPlan>,
    /// How the network is from the beginning.
    pub weather: Weather,
    /// A flush takes up to so many milliseconds.
    pub flush_ms_max: u64,
    /// And one of a segment up to so many more.
    pub segment_flush_ms_max: u64,
    /// The disk can make all files durable with one call.
    pub whole_sync: bool,
    /// The kinds of faults.
    pub kinds: Vec<Kind>,
    /// In the order of their times.
    pub events: Vec<Event>,
    /// Rot strikes files with this extension only.
    pub rots: Option<&'static str>,
    /// When everything is set right again.
    pub right_at_ms: u64,
    /// How it ends.
    pub ending: Ending,
}

/// A kind of fault is in a run once in so many.
const KIND_ONE_IN: u64 = 5;
/// One run in so many has none of the kinds that make a producer send again.
const CALM_ONE_IN: u64 = 16;
/// One producer in so many has weaker settings than the promise takes.
const WEAK_ONE_IN: u64 = 5;
/// One topic in so many does not keep everything.
const FORGETS_ONE_IN: u64 = 4;
/// Events of one kind in one run.
const EVENTS_MAX: u64 = 4;
/// One world in so many has many partitions, with few records each.
const WIDE_ONE_IN: u64 = 12;
/// Partitions of the topic of such a world: more than the broker flushes one by one.
const WIDE_PARTITIONS: std::ops::Range<i32> = 12..21;

impl Plan {
    /// The run of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self::draw(seed, None)
    }

    /// A run that is likely to show a bug ([`profile`]).
    #[must_use]
    pub fn for_bug(seed: u64, bug: SeededBug) -> Self {
        Self::draw(seed, Some(bug))
    }

    fn draw(seed: u64, bug: Option<SeededBug>) -> Self {
        let random = Random::from_seed(seed ^ 0x6761_706c_6573_7331);
        let one_in = |chances: u64| random.below(chances) == 0;
        let profile = bug.map(profile::of);
        let wanted = profile.as_ref().map_or(&[][..], |profile| profile.kinds);
        let others_one_in = if bug.is_none() { KIND_ONE_IN } else { profile::OTHERS_ONE_IN };
        let mut kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| one_in(others_one_in) || wanted.contains(kind)).collect();
        let calm = bug.is_none() && one_in(CALM_ONE_IN);
        if calm {
            kinds.retain(|kind| CALM.contains(kind));
        }
        let has = |kind| kinds.contains(&kind);
        let durability = if bug.is_none() && one_in(8) { Durability::Os } else { Durability::Fsync };
        let right_at_ms = 2_000 + random.below(8_000);
        let mut events = Vec::new();
        for kind in &kinds {
            let at_least = if wanted.contains(kind) { EVENTS_MAX } else { 1 };
            let times = at_least + random.below(EVENTS_MAX);
            for _ in 0..times {
                let for_ms = [20, 300, 3_000][usize::try_from(random.below(3)).unwrap_or(0)];
                let for_ms = 1 + random.below(for_ms);
                events.push(Event { at_ms: random.below(right_at_ms), kind: *kind, for_ms });
            }
        }
        events.sort_by_key(|event| event.at_ms);
        // What is deleted hides what else is missing.
        let may_forget = bug.is_none();
        let mut topics = vec![draw_topic(&random, "events", may_forget)];
        if one_in(2) {
            topics.push(draw_topic(&random, "orders", may_forget));
        }
        let mut producers: Vec<_> =
            (0..1 + random.below(3)).map(|_| draw_producer(&random, right_at_ms)).collect();
        if one_in(WIDE_ONE_IN) {
            let more = random.below(WIDE_PARTITIONS.len() as u64);
            topics.truncate(1);
            for topic in &mut topics {
                topic.partitions = WIDE_PARTITIONS.start + i32::try_from(more).unwrap_or(0);
            }
            for producer in &mut producers {
                producer.strays_one_in = 1;
                producer.records /= 2;
            }
        }
        if has(Kind::Recreate) {
            topics.push(draw_topic(&random, SHORT_LIVED, may_forget));
        }
        for producer in &mut producers {
            if bug.is_none() && one_in(WEAK_ONE_IN) {
                weaken(producer, &random);
            }
        }
        let slow_ms =
            if has(Kind::Delay) { [5, 40, 200][usize::try_from(random.below(3)).unwrap_or(0)] } else { 2 };
        let weather = Weather {
            pace: Pace {
                min_ms: 0,
                max_ms: random.below(slow_ms),
                trickle: has(Kind::Trickle).then(|| 20 + usize::try_from(random.below(400)).unwrap_or(0)),
            },
            cut_one_in: has(Kind::CutAtByte).then(|| 1 + random.below(4)),
            refuse_one_in: has(Kind::Refuse).then(|| 2 + random.below(4)),
        };
        let ending = match random.below(3) {
            0 => Ending::Stop,
            1 => Ending::Kill,
            _ => Ending::PowerLoss,
        };
        let mut plan = Self {
            seed,
            durability,
            segment_bytes: 8_192 << random.below(5),
            checkpoint_bytes: 2_048 << random.below(8),
            retention_check: Duration::from_millis(100 + random.below(1_500)),
            scrub_bytes_per_second: [0, 32 << 10, 256 << 10, 4 << 20]
                [usize::try_from(random.below(4)).unwrap_or(0)],
            topics,
            producers,
            weather,
            flush_ms_max: random.below(8),
            segment_flush_ms_max: if one_in(4) && !calm { random.below(150) } else { 0 },
            whole_sync: !one_in(4),
            kinds,
            events,
            rots: None,
            right_at_ms,
            ending,
        };
        if let Some(profile) = profile {
            (profile.bend)(&mut plan, &random);
        }
        plan
    }

    /// Whether the disk's faults may leave partitions that are not whole.
    #[must_use]
    pub fn damages(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Kind::Rot | Kind::BadReads))
    }

    /// Whether a partition may be offline until the broker is started again.
    #[must_use]
    pub fn takes_offline(&self) -> bool {
        let offline = [
            Kind::FailFlush,
            Kind::BadWrites,
            Kind::FailDirSync,
            Kind::NoSpace,
            Kind::BadReads,
            Kind::ShortWrites,
        ];
        self.kinds.iter().any(|kind| offline.contains(kind))
    }

    /// Whether records that were written, and not flushed, may be lost.
    #[must_use]
    pub fn may_lose_unflushed(&self) -> bool {
        // The power may fail, too, once all records are deleted at the end.
        let loses_power = [Kind::PowerLoss, Kind::DeleteRecords].iter().any(|kind| self.kinds.contains(kind));
        loses_power || self.takes_offline() || self.damages() || self.may_lose()
    }

    /// Whether no producer has a reason to send anything again.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.segment_flush_ms_max == 0 && self.kinds.iter().all(|kind| CALM.contains(kind))
    }

    /// Whether records may be deleted from the start of a log.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.kinds.contains(&Kind::DeleteRecords) || self.topics.iter().any(|topic| topic.forgets)
    }

    /// Whether rot and a power loss together may look like a torn tail (durability.md 8).
    #[must_use]
    pub fn may_tear(&self) -> bool {
        self.kinds.contains(&Kind::Rot) && self.kinds.contains(&Kind::PowerLoss)
    }

    /// Whether acknowledged records may be lost.
    #[must_use]
    pub fn may_lose(&self) -> bool {
        let loses_power = self.kinds.contains(&Kind::PowerLoss) || self.ending == Ending::PowerLoss;
        let fails_flushes = self.kinds.contains(&Kind::FailFlush);
        self.durability == Durability::Os && (loses_power || fails_flushes)
    }
}

/// Kinds by which no connection ends and no request is refused retriably.
const CALM: [Kind; 4] = [Kind::Refuse, Kind::ClockJump, Kind::Recreate, Kind::DeleteRecords];

fn draw_topic(random: &Random, name: &'static str, may_forget: bool) -> TopicPlan {
    let mut settings = Vec::new();
    let forgets = may_forget && random.below(FORGETS_ONE_IN) == 0;
    if forgets {
        settings.push(("segment.bytes", (2_048 << random.below(4)).to_string()));
        let drawn = random.below(3);
        if drawn != 0 {
            settings.push(("retention.bytes", (4_096 << random.below(4)).to_string()));
        }
        if drawn != 1 {
            settings.push(("retention.ms", (300 + random.below(6_000)).to_string()));
        }
        if random.below(2) == 0 {
            settings.push(("segment.ms", (200 + random.below(3_000)).to_string()));
        }
    }
    if random.below(6) == 0 {
        // Smaller than some batches, so that they are split, and than some records, which are refused.
        settings.push((BATCH_BYTES_MAX, "2600".to_owned()));
    }
    if random.below(6) == 0 {
        settings.push(("message.timestamp.type", "LogAppendTime".to_owned()));
    }
    TopicPlan { name, partitions: 1 + i32::try_from(random.below(3)).unwrap_or(0), settings, forgets }
}

fn draw_producer(random: &Random, right_at_ms: u64) -> ProducerPlan {
    let ms = |from: u64, to: u64| Duration::from_millis(from + random.below(to - from));
    let request_timeout = ms(300, 2_000);
    let short = random.below(3) == 0;
    let delivery_timeout =
        if short { request_timeout + ms(50, 1_500) } else { request_timeout + ms(8_000, 60_000) };
    let records = 50 + u32::try_from(random.below(550)).unwrap_or(0);
    let burst_max = 1 + random.below(60);
    let bursts = u64::from(records) * 2 / (burst_max + 1) + 1;
    let codecs =
        [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip];
    let codec = usize::try_from(random.below(20)).ok().and_then(|at| codecs.get(at)).copied();
    ProducerPlan {
        records,
        acks: Acks::All,
        idempotence: true,
        skips: random.below(3) == 0,
        tasks: 1 + u32::try_from(random.below(2)).unwrap_or(0),
        burst_max,
        strays_one_in: 4,
        pause_ms_max: (right_at_ms * 2 / bursts).max(1),
        odd_time_one_in: (random.below(4) == 0).then(|| 40 + random.below(100)),
        delivery_timeout,
        request_timeout,
        batch_size: 4_096,
        buffer_memory: 8_192 << random.below(4),
        linger: (random.below(3) == 0).then(|| ms(0, 20)),
        max_in_flight: if random.below(4) == 0 {
            1 + usize::try_from(random.below(4)).unwrap_or(0)
        } else {
            5
        },
        compression: codec.unwrap_or(Compression::None),
        // Every other one, for some part of its own patience.
        settles: (records % 2 == 0).then(|| delivery_timeout / (1 + records % 8)),
    }
}

/// Settings that drop the promise: sequences, and perhaps more.
fn weaken(producer: &mut ProducerPlan, random: &Random) {
    producer.idempotence = false;
    // What is in doubt can be found out by its sequences alone.
    producer.settles = None;
    producer.acks = [Acks::All, Acks::Leader, Acks::None][usize::try_from(random.below(3)).unwrap_or(0)];
    producer.max_in_flight = 1 + usize::try_from(random.below(10)).unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan_and_every_kind_comes_up() {
        let plans: Vec<Plan> = (0..200).map(Plan::of).collect();
        assert_eq!(format!("{:?}", plans[7]), format!("{:?}", Plan::of(7)));
        for kind in Kind::ALL {
            assert_eq!(Kind::ALL[kind.index()], kind);
            let share = plans.iter().filter(|plan| plan.kinds.contains(&kind)).count();
            assert!((20..70).contains(&share), "{kind:?} is in {share} of 200 runs");
        }
        for bug in SeededBug::ALL {
            let plan = Plan::for_bug(1, bug);
            assert!(profile::of(bug).kinds.iter().all(|kind| plan.kinds.contains(kind)));
        }
    }
}
