//! Profiles: worlds in which one seeded bug shows soon, whatever else a seed draws. A bug that shows in one run of ten at the
//! least is found for certain within some hundred seeds, and no change of anybody's timing turns its test red by luck.

use std::ops::Range;
use std::time::Duration;

use gapless_common::seam::Random;
use gapless_common::seeded_bug::SeededBug;

use super::{Ending, Event, Kind, Plan};

/// What a bug needs to show.
pub(super) struct Profile {
    /// Kinds of faults that are always there.
    pub kinds: &'static [Kind],
    /// Bends a plan once it is drawn.
    pub bend: fn(&mut Plan, &Random),
}

/// Kinds that a profile does not ask for are in a run once in so many: they hide more than they show.
pub(super) const OTHERS_ONE_IN: u64 = 12;

/// The profile of a bug.
pub(super) fn of(bug: SeededBug) -> Profile {
    use Kind::{
        Cut, Delay, FailFlush, FreezeBroker, Kill, NoSpace, OneWay, PowerLoss, Restart, Rot, SlowDisk,
    };
    let (kinds, bend): (&'static [Kind], fn(&mut Plan, &Random)) = match bug {
        SeededBug::NoFlush | SeededBug::NoDirectorySync => (&[PowerLoss], as_drawn),
        SeededBug::AcknowledgeBeforeFlush => (&[PowerLoss, SlowDisk], slow_segments),
        SeededBug::AnswerDuplicateBeforeFlush => (&[Cut], |plan, random| {
            patient(plan, random);
            slow_segments(plan, random);
            // The connection is made anew, and what was on its way sent again, within some tens of milliseconds.
            follow(plan, random, Cut, PowerLoss, 20..200);
        }),
        SeededBug::BelieveSecondFlush => (&[FailFlush], |plan, random| {
            patient(plan, random);
            follow(plan, random, FailFlush, PowerLoss, 50..600);
        }),
        SeededBug::RememberFourBatches => (&[Cut], |plan, random| {
            patient(plan, random);
            pipelined(plan, random);
        }),
        SeededBug::KeepDecisionOfFailedWrite => (&[NoSpace], as_drawn),
        SeededBug::RetryOutOfOrder => (&[Cut, Delay], as_drawn),
        SeededBug::DropTimedOutBatch => (&[FreezeBroker, OneWay], hasty),
        SeededBug::TrustCorruptIndex => (&[Rot, Kill, Restart], |plan, _| plan.rots = Some("index")),
        SeededBug::TrustAbandonedSnapshot => (&[PowerLoss], |plan, random| {
            patient(plan, random);
            slow_segments(plan, random);
            plan.checkpoint_bytes = 1_024;
        }),
        SeededBug::TrustStaleCleanMark => (&[Restart], |plan, random| {
            patient(plan, random);
            follow(plan, random, Restart, PowerLoss, 300..1_500);
        }),
        SeededBug::TruncateWithoutFlush => (&[PowerLoss], |plan, random| {
            slow_segments(plan, random);
            // Before what is written anew has covered what was left.
            follow(plan, random, PowerLoss, Kill, 100..1_200);
            plan.ending = Ending::Kill;
        }),
        SeededBug::ServeBeforeDurable => (&[Kill], |plan, random| {
            slow_segments(plan, random);
            follow(plan, random, Kill, PowerLoss, 100..1_200);
        }),
    };
    Profile { kinds, bend }
}

fn as_drawn(_: &mut Plan, _: &Random) {}

/// Where one kind strikes another one strikes soon after.
fn follow(plan: &mut Plan, random: &Random, first: Kind, then: Kind, after_ms: Range<u64>) {
    let followers: Vec<Event> = (plan.events.iter().filter(|event| event.kind == first))
        .map(|event| Event {
            at_ms: event.at_ms + after_ms.start + random.below(after_ms.end - after_ms.start),
            kind: then,
            for_ms: 1 + random.below(300),
        })
        .collect();
    if !plan.kinds.contains(&then) {
        plan.kinds.push(then);
        plan.kinds.sort();
    }
    plan.events.extend(followers);
    plan.events.sort_by_key(|event| event.at_ms);
}

/// Segments take long to flush, unlike the small files: much of them is written and not flushed at any time.
fn slow_segments(plan: &mut Plan, random: &Random) {
    plan.segment_flush_ms_max = 40 + random.below(260);
}

/// Producers try for as long as it takes, and are not told that something failed.
fn patient(plan: &mut Plan, _: &Random) {
    for producer in &mut plan.producers {
        producer.delivery_timeout = Duration::from_secs(60);
        producer.request_timeout = Duration::from_secs(2);
    }
}

/// Producers give up soon, and time is long.
fn hasty(plan: &mut Plan, random: &Random) {
    for producer in &mut plan.producers {
        producer.request_timeout = Duration::from_millis(300 + random.below(200));
        producer.delivery_timeout = producer.request_timeout + Duration::from_millis(50);
    }
}

/// Many small batches to one partition, as many on their way as may be, all of them written long before they are answered.
fn pipelined(plan: &mut Plan, random: &Random) {
    slow_segments(plan, random);
    plan.topics.truncate(1);
    for topic in &mut plan.topics {
        topic.partitions = 1;
    }
    for producer in &mut plan.producers {
        producer.batch_size = 1_024;
        producer.linger = Some(Duration::ZERO);
        producer.max_in_flight = 5;
        producer.burst_max = 60;
    }
}
