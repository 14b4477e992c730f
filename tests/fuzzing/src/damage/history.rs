//! What partitions went through, and what lay on the disk at the end of each life of their broker. Lives follow on one another
//! as a tree: two that follow on the same one are histories of which each has abandoned the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use gapless_broker::log::{
    Boot, CleanMark, Durability, FlushMarks, LogConfig,
    retention::RetentionLimits,
    tools::{Subject, Way, carry_out, examine, plan},
};
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE, LENGTH_PREFIX_SIZE},
    types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
};

use crate::{
    recovery::{
        files::{Kind, MARK_NEXT_OFFSET, MARK_SIZE, MARKS_HEADER},
        place::{Files, Place, config, in_a_process, send, site},
    },
    schema,
};

/// Idempotent producers there are.
const PRODUCERS: i64 = 3;
/// Batches of one life.
const BATCHES_MAX: usize = 14;

/// A disk, and what was written to it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// All files there are.
    pub files: Files,
    /// All that is in the log, from its start on: by base offset, as it lies there.
    pub batches: BTreeMap<i64, Bytes>,
    /// The first offset.
    pub start: i64,
    /// Everything below is known to have been flushed, by what the files say.
    pub flushed: i64,
    /// The leader epochs of all below are known by other files than the log.
    pub epochs_known: i64,
    /// Losses were accepted in it.
    pub has_holes: bool,
    /// Leader epoch of the last life.
    pub epoch: i32,
    /// What each producer sends next.
    sequences: BTreeMap<i64, i32>,
}

/// So many lives, of one seed.
///
/// # Panics
/// If one of them does not go as it must.
pub fn lives(seed: u64, count: usize) -> Vec<Moment> {
    let mut rng = Rng::with_seed(seed);
    let mut moments: Vec<Moment> = Vec::with_capacity(count);
    while moments.len() < count {
        let parent = match rng.u8(..8) {
            0 => None,
            1..3 => moments.get(rng.usize(..moments.len().max(1))),
            _ => moments.last(),
        };
        let next = if rng.u8(..8) == 0 { parent.and_then(repaired) } else { None };
        moments.push(next.unwrap_or_else(|| life(parent, &mut rng)));
    }
    moments
}

impl Moment {
    fn begin() -> Self {
        Self {
            files: Files::new(),
            batches: BTreeMap::new(),
            start: 0,
            flushed: 0,
            epochs_known: 0,
            has_holes: false,
            epoch: 0,
            sequences: BTreeMap::new(),
        }
    }

    /// The next batch of a producer, or of nobody.
    fn next_batch(&mut self, rng: &mut Rng) -> Vec<u8> {
        let batch = schema::batch(rng);
        let id = rng.i64(0..=PRODUCERS);
        if id == PRODUCERS {
            return batch;
        }
        let mut header = header_of(&batch);
        let sequence = self.sequences.entry(id).or_insert(0);
        header.producer_id = ProducerId(id);
        (header.producer_epoch, header.base_sequence) = (ProducerEpoch(0), *sequence);
        *sequence += header.record_count;
        let with_header = [&header.to_bytes()[..], &batch[HEADER_SIZE..]].concat();
        Kind::Log.sealed(with_header)
    }

    /// What the files hold, taken apart without the broker's help.
    fn take(&mut self, place: &Place, start: i64) {
        self.files = place.files();
        self.start = start;
        let known = std::mem::take(&mut self.batches);
        let all = batches_of(&self.files);
        let nexts = all.iter().map(|(base, batch)| base + records(batch));
        self.has_holes = all.keys().skip(1).zip(nexts).any(|(base, next)| *base != next)
            || all.keys().next().is_some_and(|first| *first > start);
        self.batches = all.into_iter().filter(|(base, batch)| base + records(batch) > start).collect();
        let end = self.end();
        let lost = known.iter().filter(|(base, _)| **base >= end);
        for header in lost.map(|(_, batch)| header_of(batch)).filter(|header| header.base_sequence >= 0) {
            let sequence = self.sequences.entry(header.producer_id.0).or_insert(0);
            *sequence = header.base_sequence.min(*sequence);
        }
        self.flushed = flushed(&self.files);
        self.epochs_known = epochs_known(&self.files);
    }

    /// The offset behind the last record.
    pub fn end(&self) -> i64 {
        let last = self.batches.last_key_value();
        last.map_or(self.start, |(base, batch)| base + records(batch))
    }

    /// The last batch of each producer, as it would be sent again, and where it is.
    pub fn retries(&self) -> BTreeMap<i64, (i64, Vec<u8>)> {
        let mut last = BTreeMap::new();
        for (base, batch) in &self.batches {
            let header = header_of(batch);
            if header.producer_id != ProducerId::NONE {
                let sent = BatchHeader { base_offset: Offset(0), leader_epoch: LeaderEpoch(-1), ..header };
                let sent = [&sent.to_bytes()[..], &batch[HEADER_SIZE..]].concat();
                last.insert(header.producer_id.0, (*base, sent));
            }
        }
        last
    }
}

pub(super) fn header_of(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).expect("a batch that was written")
}

/// The batches in a segment, as far as one follows the other.
pub(super) fn frames(content: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (content, Vec::new());
    while let Some(length) = rest.get(LENGTH_PREFIX_SIZE - 4..LENGTH_PREFIX_SIZE) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(LENGTH_PREFIX_SIZE);
        let Some((batch, after)) = rest.split_at_checked(size).filter(|_| size > HEADER_SIZE) else { break };
        found.push(batch);
        rest = after;
    }
    found
}

fn batches_of(files: &Files) -> BTreeMap<i64, Bytes> {
    let logs = files.iter().filter(|(path, _)| matches!(Kind::of(path), Some((Kind::Log, _))));
    let batches = logs.flat_map(|(_, content)| frames(content));
    batches.map(|batch| (header_of(batch).base_offset.0, Bytes::copy_from_slice(batch))).collect()
}

pub(super) fn records(batch: &[u8]) -> i64 {
    header_of(batch).record_count.into()
}

/// How far checkpoints tell of leader epochs. The state file may tell more; that is not asked for here.
fn epochs_known(files: &Files) -> i64 {
    let checkpoints = files.keys().filter_map(|path| match Kind::of(path) {
        Some((Kind::Producers, offset)) => Some(offset),
        _ => None,
    });
    checkpoints.max().unwrap_or(0)
}

/// How far the files say that the log was flushed: the highest flush mark, or the newest checkpoint.
fn flushed(files: &Files) -> i64 {
    let checkpoints = files.keys().filter_map(|path| match Kind::of(path) {
        Some((Kind::Producers, offset)) => Some(offset),
        _ => None,
    });
    let marks = files.get(&Kind::Marks.path(0)).and_then(|marks| marks.get(MARKS_HEADER..));
    let marks = marks.unwrap_or_default().chunks_exact(MARK_SIZE).filter_map(|mark| {
        let next = mark.get(MARK_NEXT_OFFSET..)?.first_chunk()?;
        Some(i64::from_be_bytes(*next))
    });
    checkpoints.chain(marks).max().unwrap_or(0)
}

/// One more life, after another or from the beginning.
fn life(before: Option<&Moment>, rng: &mut Rng) -> Moment {
    let place = Place::new();
    let mut moment = before.cloned().unwrap_or_else(Moment::begin);
    if before.is_some() {
        place.lay(&moment.files);
    }
    moment.epoch += rng.i32(1..3);
    let is_lazy = rng.u8(..5) == 0;
    let config = LogConfig {
        segment_bytes: *rng.choice(&[300, 900, 3000, 1 << 20]).expect("some"),
        checkpoint_interval_bytes: *rng.choice(&[200, 1500, 1 << 30]).expect("some"),
        durability: if is_lazy { Durability::Os } else { Durability::Fsync },
        ..config()
    };
    let boot = if rng.bool() { Boot::Same } else { Boot::Other };
    let (start, is_killed) = in_a_process(async {
        let process = place.start(boot, moment.epoch, config).await;
        let log = &process.log;
        for _ in 0..rng.usize(..=BATCHES_MAX) {
            let batch = moment.next_batch(rng);
            let appended = send(log, &batch).await.expect("it is the next one");
            moment.batches.insert(appended.base_offset.0, Bytes::from(batch));
            if !is_lazy {
                log.wait_durable(appended.durable_when).await.expect("it becomes durable");
            }
            match rng.u8(..12) {
                0 => pause(200).await,
                1 => log.note_all().await,
                2 if rng.bool() => {
                    let to = rng.i64(0..=log.high_watermark().0);
                    log.delete_records(Some(Offset(to))).await.expect("it is there");
                }
                3 => {
                    let limits = RetentionLimits { ms: None, bytes: Some(2000), segment_ms: i64::MAX };
                    log.retain(&limits, 0).await.expect("the disk is sound");
                }
                _ => {}
            }
        }
        let is_killed = rng.bool();
        if !is_killed {
            log.flush_and_close().await.expect("the disk is sound");
            log.note_all().await;
            process.flusher.stop();
            process.flusher.ended().await;
            CleanMark::write(&*process.files, std::slice::from_ref(log)).await.expect("the disk is sound");
        }
        (log.log_start_offset().0, is_killed)
    });
    if is_lazy && is_killed {
        lose_the_tail(&place, rng);
    }
    moment.take(&place, start);
    moment
}

async fn pause(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}

/// The power fails: the end of the last segment was not flushed and is gone.
fn lose_the_tail(place: &Place, rng: &mut Rng) {
    let mut files = place.files();
    let flushed = flushed(&files);
    let Some((_, content)) =
        files.iter_mut().rfind(|(path, _)| matches!(Kind::of(path), Some((Kind::Log, _))))
    else {
        return;
    };
    let below = frames(content).into_iter().filter(|batch| header_of(batch).base_offset.0 < flushed);
    let kept: usize = below.map(<[u8]>::len).sum();
    content.truncate(rng.usize(kept..=content.len()));
    place.lay(&files);
}

/// A batch of it is lost, and the operator goes on without; `None` if there is none that could be.
fn repaired(before: &Moment) -> Option<Moment> {
    let place = Place::new();
    let mut moment = before.clone();
    // Not the last one of its producer, who would be told of the loss by a gap.
    let may_go = |batch: &[u8]| {
        let header = header_of(batch);
        let is_of_it = |later: &Bytes| header_of(later).producer_id == header.producer_id;
        header.producer_id == ProducerId::NONE
            || before.batches.range(header.next_offset().0..).any(|(_, later)| is_of_it(later))
    };
    let (path, content) = moment.files.iter_mut().find(|(path, content)| {
        let is_segment = matches!(Kind::of(path), Some((Kind::Log, _)));
        is_segment && frames(content).len() > 2 && may_go(frames(content)[1])
    })?;
    let first = frames(content)[0].len();
    content[first + HEADER_SIZE] ^= 1;
    let (_, segment) = Kind::of(path)?;
    place.lay(&moment.files);
    let is_repaired = in_a_process(async {
        let process = place.start(Boot::Same, moment.epoch, config()).await;
        let _ = place.look(&process.log).await;
        process.log.flush_and_close().await.ok()?;
        let files = &*process.files;
        let marks = FlushMarks::read(files).await;
        let epoch_max = LeaderEpoch(moment.epoch);
        let subject = Subject { site: site(), epoch_max, clean: false, boot: Boot::Same };
        let examined = examine(files, &subject, &marks, &mut ()).await.ok()?;
        let plan = plan(&subject, &examined, Way::SetAside).ok()?;
        carry_out(files, &subject, &examined, &plan).await.ok()
    });
    is_repaired?;
    let start = before.start.max(segment.min(before.start));
    moment.take(&place, start);
    Some(moment)
}
