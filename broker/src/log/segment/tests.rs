use std::path::Path;

use super::*;
use crate::log::Durability;
use crate::log::testing::{PARTITION, Rig, append_durably, numbered_batches, read_all, segment};
use crate::storage::write_all_at;

#[test]
fn segments_are_named_by_their_first_offset() {
    assert_eq!(Segment::file_name(Offset(42)), "00000000000000000042.log");
    assert_eq!(Segment::parse_name("00000000000000000042.log"), Some(Offset(42)));
    assert_eq!(Segment::parse_name("09223372036854775807.log"), Some(Offset(i64::MAX)));
    for other in
        ["42.log", "00000000000000000042.index", "+0000000000000000042.log", "99999999999999999999.log", ""]
    {
        assert_eq!(Segment::parse_name(other), None, "{other}");
    }
}

/// A log of several small segments; their first offsets.
async fn segments(rig: &mut Rig) -> Vec<Offset> {
    rig.config.segment_bytes = 1000;
    rig.config.index_interval_bytes = 100;
    let log = rig.create().await;
    for sent in numbered_batches(0, 40, 3) {
        append_durably(&log, &sent).await;
    }
    log.notes_written().await;
    let entries = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    entries.iter().filter_map(|entry| Segment::parse_name(&entry.name)).collect()
}

async fn open_sealed(rig: &Rig, base: Offset) -> Option<(Segment, Summary)> {
    let sealed = SealedFiles::new(&rig.environment.open_files);
    Segment::open_sealed(&*rig.environment.files, &sealed, Path::new(PARTITION), base).await.unwrap()
}

#[tokio::test]
async fn a_sealed_segment_is_opened_by_its_index_file() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let bases = segments(&mut rig).await;
    for (base, next) in bases.iter().zip(&bases[1..]) {
        let (opened, summary) = open_sealed(&rig, *base).await.unwrap();
        assert_eq!(summary.size, rig.segment_bytes(base.0).await.len() as u64);
        assert_eq!((summary.base_offset, summary.next_offset), (*base, *next));
        assert_eq!((opened.size(), opened.max_timestamp()), (summary.size, next.0 / 3 * 30 - 28));
        for offset in base.0..next.0 {
            let (found, _) = opened.find(Offset(offset), rig.epoch).await.unwrap().unwrap();
            assert_eq!(found.header.base_offset, Offset(offset / 3 * 3));
        }
    }
    assert!(open_sealed(&rig, *bases.last().unwrap()).await.is_none(), "the active one has no index file");
}

#[tokio::test]
async fn an_index_file_that_does_not_fit_its_segment_opens_none() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let bases = segments(&mut rig).await;
    let base = bases[1];
    let index = format!("{:020}.index", base.0);
    let good = rig.read_file(&Path::new(PARTITION).join(&index)).await;
    let other = rig.read_file(&Path::new(PARTITION).join(format!("{:020}.index", bases[2].0))).await;
    let log = rig.segment_bytes(base.0).await;
    let set_index = async |bytes: &[u8]| {
        let file = rig.file(&index).await;
        file.truncate(0).await.unwrap();
        write_all_at(&*file, 0, &[Bytes::copy_from_slice(bytes)]).await.unwrap();
    };

    set_index(&other).await;
    assert!(open_sealed(&rig, base).await.is_none(), "that of another segment");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    set_index(&flipped).await;
    assert!(open_sealed(&rig, base).await.is_none(), "a flipped bit");
    set_index(&good).await;
    assert!(open_sealed(&rig, base).await.is_some());
    for (what, bytes) in [("longer", [&log[..], b"x"].concat()), ("shorter", log[..log.len() - 1].to_vec())] {
        rig.set_segment(base.0, &bytes).await;
        assert!(open_sealed(&rig, base).await.is_none(), "a segment that is {what}");
    }
    // As long, with another batch at its end.
    let mut rewritten = log.clone();
    let (_, summary) = {
        rig.set_segment(base.0, &log).await;
        open_sealed(&rig, base).await.unwrap()
    };
    rewritten[summary.batches.unwrap().last_position as usize + 17] ^= 1;
    rig.set_segment(base.0, &rewritten).await;
    assert!(open_sealed(&rig, base).await.is_none(), "another last batch");
}

#[tokio::test]
async fn an_active_segment_goes_on_behind_what_was_noted_of_it() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let (files, directory) = (&*rig.environment.files, Path::new(PARTITION));
    let mut all = numbered_batches(0, 30, 3);
    let rest = all.split_off(20);
    for sent in &all {
        append_durably(&log, sent).await;
    }
    let active = log.appender.lock().await.active.clone();
    let noted = active.contents().unwrap();
    noted.write(files, directory).await.unwrap();
    for sent in &rest {
        append_durably(&log, sent).await;
    }
    let file = rig.file(&segment(0)).await;
    let loaded = Contents::of_beginning(files, directory, Offset(0), &*file).await.unwrap().unwrap();
    assert_eq!(loaded, noted);
    assert_eq!(loaded.summary.next_offset, Offset(60));

    let mut gone_on = loaded;
    for sent in &rest {
        let base_offset = gone_on.summary.next_offset;
        gone_on.add(&BatchHeader { base_offset, leader_epoch: rig.epoch, ..sent.header }, 4096);
    }
    assert_eq!(gone_on, active.contents().unwrap());

    // Cut off in the middle of it, what was noted is of no use.
    file.truncate(noted.summary.size - 1).await.unwrap();
    assert_eq!(Contents::of_beginning(files, directory, Offset(0), &*file).await.unwrap(), None);
}

#[tokio::test]
async fn a_crash_while_an_index_file_is_written_leaves_the_older_one() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let bases = segments(&mut rig).await;
    let (files, directory) = (&*rig.environment.files, Path::new(PARTITION));
    let temporary = directory.join(format!("{:020}.index.tmp", bases[0].0));
    let left = rig.plain().create(&temporary).await.unwrap();
    write_all_at(&*left, 0, &[Bytes::from_static(b"half")]).await.unwrap();
    let log = rig.file(&segment(bases[0].0)).await;
    let contents = Contents::of_beginning(files, directory, bases[0], &*log).await.unwrap().unwrap();
    contents.write(files, directory).await.unwrap();
    let again = Contents::of_beginning(files, directory, bases[0], &*log).await.unwrap();
    assert_eq!(again, Some(contents));
    let (log, _) = rig.reopen(crate::log::Boot::Same).await;
    assert_eq!(read_all(&log, 0).await.len(), 120);
}
