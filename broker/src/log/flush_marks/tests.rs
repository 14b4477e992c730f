use std::path::Path;

use gapless_common::types::{LeaderEpoch, Offset};
use proptest::prelude::*;

use super::*;
use crate::log::summary::Ends;
use crate::log::testing::Rig;
use crate::log::{Durability, testing};
use crate::storage::{Files, write_all_at};

fn key(topic: u8, partition: i32) -> MarkKey {
    MarkKey { topic: TopicId([topic; 16]), partition: PartitionId(partition) }
}

fn mark(base: i64, next: i64) -> Summary {
    let ends = Ends {
        first_epoch: LeaderEpoch(1),
        last_epoch: LeaderEpoch(2),
        last_position: 100 * (next - base) as u64 - 100,
        last_crc: next as u32,
    };
    let size = 100 * (next - base) as u64;
    Summary { size, next_offset: Offset(next), batches: Some(ends), ..Summary::empty(Offset(base)) }
}

/// The file as the writes leave it.
#[derive(Default)]
struct Disk(Vec<u8>);

impl Disk {
    fn write(&mut self, write: &Write) {
        match write {
            Write::Rewrite { file } => self.0 = file.to_vec(),
            Write::Append { position, entries } => {
                assert_eq!(*position, self.0.len() as u64, "behind what is there");
                self.0.extend_from_slice(entries);
            }
        }
    }

    fn read(&self) -> FlushMarks {
        FlushMarks::decode(&Bytes::copy_from_slice(&self.0)).unwrap().0
    }
}

#[tokio::test(start_paused = true)]
async fn marks_are_written_at_once_when_idle_and_now_and_then_while_busy() {
    let mut book = MarkBook::new(FlushMarks::default());
    let start = Instant::now();
    assert_eq!((book.due(start), book.take(start)), (None, None));
    assert!(book.flushed(key(1, 0), mark(0, 10)), "the first to wait");
    assert_eq!(book.due(start), Some(start));
    assert!(matches!(book.take(start), Some(Write::Rewrite { .. })));
    assert!(book.flushed(key(1, 0), mark(0, 20)));
    assert!(!book.flushed(key(1, 1), mark(0, 5)));
    book.written(true, start);
    assert_eq!(book.due(start), Some(start + WRITE_INTERVAL));
    let later = start + WRITE_INTERVAL;
    let Some(Write::Append { position, entries }) = book.take(later) else { panic!("appended") };
    assert_eq!((position, entries.len()), ((HEADER_SIZE + ENTRY_SIZE) as u64, 2 * ENTRY_SIZE));
    assert_eq!(book.due(later), None);
    assert!(!book.flushed(key(1, 0), mark(0, 20)), "nothing new");
    assert_eq!(book.due(later), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_a_new_file_with_everything_is_written_a_while_later() {
    let mut book = MarkBook::new(FlushMarks::default());
    let start = Instant::now();
    book.flushed(key(1, 0), mark(0, 10));
    book.flushed(key(2, 0), mark(0, 7));
    book.take(start);
    book.written(false, start);
    assert_eq!(book.due(start), Some(start + RETRY_INTERVAL));
    let mut disk = Disk::default();
    let write = book.take(start + RETRY_INTERVAL).unwrap();
    assert!(matches!(write, Write::Rewrite { .. }));
    disk.write(&write);
    assert_eq!(disk.read().of(key(1, 0)), Some(mark(0, 10)));
    assert_eq!(disk.read().of(key(2, 0)), Some(mark(0, 7)));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_written_anew_when_it_has_grown_and_those_that_are_gone_go() {
    let mut book = MarkBook::new(FlushMarks::default());
    let mut disk = Disk::default();
    let (mut rewrites, mut largest) = (0, 0);
    for end in 1..5000 {
        let now = Instant::now();
        book.flushed(key(1, 0), mark(0, end));
        if end == 2000 {
            book.flushed(key(2, 0), mark(0, 1));
        }
        if end == 4000 {
            book.forget(key(2, 0));
        }
        let write = book.take(now).unwrap();
        rewrites += u32::from(matches!(write, Write::Rewrite { .. }));
        disk.write(&write);
        book.written(true, now);
        largest = largest.max(disk.0.len());
        assert_eq!(disk.read().of(key(1, 0)), Some(mark(0, end)));
    }
    assert!((9..=11).contains(&rewrites), "{rewrites}");
    assert!(largest <= HEADER_SIZE + REWRITE_MIN as usize * ENTRY_SIZE);
    assert_eq!(disk.read().of(key(2, 0)), None);
}

#[test]
fn the_highest_counts_wherever_it_stands() {
    let mut bytes = BytesMut::from(&FlushMarks::default().encode()[..]);
    for (base, next) in [(0, 10), (10, 30), (10, 20), (30, 30)] {
        encode_entry(key(1, 0), &mark(base, next.max(base + 1)), &mut bytes);
    }
    encode_entry(key(1, 0), &Summary::empty(Offset(31)), &mut bytes);
    let (marks, bad) = FlushMarks::decode(&bytes.freeze()).unwrap();
    assert_eq!((marks.of(key(1, 0)), bad), (Some(Summary::empty(Offset(31))), 0));
}

#[test]
fn every_flipped_bit_costs_one_entry_and_every_cut_the_last() {
    let mut book = MarkBook::new(FlushMarks::default());
    for partition in 0..3 {
        book.flushed(key(1, partition), mark(0, 10 + i64::from(partition)));
    }
    let bytes = book.latest.encode();
    assert_eq!(FlushMarks::decode(&bytes), Some((book.latest.clone(), 0)));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            let found = FlushMarks::decode(&flipped.into());
            if at < HEADER_SIZE {
                assert_eq!(found, None);
            } else {
                let (marks, bad) = found.unwrap();
                assert_eq!((marks.0.len(), bad), (2, 1), "byte {at} bit {bit}");
            }
        }
        let found = FlushMarks::decode(&bytes.slice(..at));
        let whole = at.checked_sub(HEADER_SIZE).map(|entries| entries / ENTRY_SIZE);
        assert_eq!(found.map(|(marks, _)| marks.0.len()), whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is flushed and written in whatever order, some writes failing: what the file says was flushed, and what
    /// was written successfully it says.
    #[test]
    fn the_file_says_what_was_flushed_and_never_more(
        steps in prop::collection::vec((0..4_u8, 1..200_i64, 0..4_u8), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut book = MarkBook::new(FlushMarks::default());
            let mut disk = Disk::default();
            let (mut flushed, mut written) = (FlushMarks::default(), FlushMarks::default());
            for (partition, end, action) in steps {
                let key = key(partition, 0);
                book.flushed(key, mark(0, end));
                flushed.raise(key, mark(0, end));
                if action > 1 {
                    let now = Instant::now();
                    let Some(write) = book.take(now) else { continue };
                    let done = action == 2;
                    if done {
                        disk.write(&write);
                        written = flushed.clone();
                    }
                    book.written(done, now);
                }
                if !disk.0.is_empty() {
                    assert_eq!(disk.read(), written);
                }
            }
        });
    }
}

async fn marks_on_disk(rig: &Rig) -> FlushMarks {
    FlushMarks::read(&rig.plain()).await
}

#[tokio::test]
async fn what_is_flushed_is_noted_soon_and_at_the_stop_at_once() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let key = Rig::site().mark_key();
    for sent in testing::numbered_batches(0, 20, 2) {
        testing::append_durably(&log, &sent).await;
    }
    rig.environment.flusher.stop();
    let size = log.size_bytes();
    while marks_on_disk(&rig).await.of(key).is_none_or(|mark| mark.size < size) {
        tokio::task::yield_now().await;
    }
    let noted = marks_on_disk(&rig).await.of(key).unwrap();
    assert_eq!((noted.next_offset, noted.base_offset), (Offset(40), Offset(0)));
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_as_good_as_none() {
    let rig = Rig::new(Durability::Fsync).await;
    assert_eq!(marks_on_disk(&rig).await, FlushMarks::default());
    let file = rig.plain().create(Path::new("flush-marks")).await.unwrap();
    write_all_at(&*file, 0, &[Bytes::from_static(b"something else, longer than a header")]).await.unwrap();
    assert_eq!(marks_on_disk(&rig).await, FlushMarks::default());
}
