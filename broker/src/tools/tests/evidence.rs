//! What the tools take for known to have been flushed, and what they say of a tail: as the next start would have it.

use super::*;

async fn bytes_of_last(rig: &Rig, bases: &[i64]) -> (PathBuf, Vec<u8>, usize) {
    let last = *bases.last().unwrap();
    let bytes = bytes_of(&files(rig), &segment(last)).await;
    let batch = bytes.len() / (RECORDS - last) as usize;
    (segment(last), bytes, batch)
}

async fn remove(files: &RealFiles, names: &[&str]) {
    for name in names {
        files.remove(Path::new(name)).await.unwrap();
    }
}

async fn append_to(files: &RealFiles, path: &Path, bytes: &[u8]) {
    let file = match files.open(path).await {
        Ok(file) => file,
        Err(_) => files.create(path).await.unwrap(),
    };
    let end = file.size().await.unwrap();
    file.write_at(end, &[bytes.to_vec().into()]).await.unwrap();
}

/// The checkpoint alone knows of more.
#[tokio::test]
async fn a_log_that_ends_before_its_checkpoint_can_be_repaired() {
    for truncate in [false, true] {
        let (rig, bases) = stopped().await;
        let files = files(&rig);
        let (last, bytes, batch) = bytes_of_last(&rig, &bases).await;
        remove(&files, &["clean", "flush-marks"]).await;
        files.open(&last).await.unwrap().truncate((bytes.len() - batch) as u64).await.unwrap();
        let broker = rig.start(BOOT).await;
        let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
        assert!(matches!(log.state(), State::Quarantined { .. }), "{:?}", log.state());
        broker.stop().await;
        drop(log);
        let (_, text) = check(&files).await;
        assert!(text.contains("the log ends at offset 10, and went to 11"), "{text}");
        let text = repair(&files, truncate).await.unwrap();
        assert_served(&rig, numbered(0..RECORDS - 1), RECORDS - 1, &text).await;
    }
}

/// As a power loss in the middle of a repair may leave it: the marks are gone, a checkpoint is back.
#[tokio::test]
async fn a_quarantine_without_anything_bad_is_lifted_for_good() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    let names = files.list(&directory()).await.unwrap();
    let newest = names.iter().map(|entry| &entry.name).filter(|name| name.ends_with(".producers")).max();
    let checkpoint = directory().join(newest.unwrap());
    let content = bytes_of(&files, &checkpoint).await;
    let (last, bytes, batch) = bytes_of_last(&rig, &bases).await;
    files.open(&last).await.unwrap().truncate((bytes.len() - batch) as u64).await.unwrap();
    repair(&files, true).await.unwrap();
    append_to(&files, &checkpoint, &content).await;
    let broker = rig.start(BOOT).await;
    broker.stop().await;
    let text = repair(&files, true).await.unwrap();
    assert_served(&rig, numbered(0..RECORDS - 1), RECORDS - 1, &text).await;
}

#[tokio::test]
async fn what_is_said_of_a_tail_is_what_the_next_start_does() {
    // Half a batch, a whole one with a flipped bit, one of another history; where it stands, and in which boot.
    for (kind, in_new_segment, boot, is_cut_off) in [
        ("half", false, BOOT, true),
        ("half", false, "another", true),
        ("half", true, BOOT, true),
        ("half", true, "another", true),
        ("flipped", false, BOOT, false),
        ("flipped", false, "another", true),
        ("flipped", true, "another", true),
        ("of the future", false, BOOT, false),
    ] {
        let what = format!("{kind}, in a new segment {in_new_segment}, boot {boot}");
        let (rig, bases) = stopped().await;
        let files = files(&rig);
        let (last, bytes, batch) = bytes_of_last(&rig, &bases).await;
        remove(&files, &["clean"]).await;
        let mut tail = bytes[bytes.len() - batch..].to_vec();
        tail[..8].copy_from_slice(&RECORDS.to_be_bytes());
        match kind {
            "half" => tail.truncate(batch / 2),
            "flipped" => tail[batch - 1] ^= 1,
            _ => tail[12..16].copy_from_slice(&1000_i32.to_be_bytes()),
        }
        let path = if in_new_segment { segment(RECORDS) } else { last };
        append_to(&files, &path, &tail).await;
        let (sound, text) = check_in(&files, boot).await;
        assert_eq!(
            (sound, text.contains("saves it under torn/")),
            (is_cut_off, is_cut_off),
            "{what}: {text}"
        );
        if !is_cut_off {
            // Before a start has met it.
            repair(&files, true).await.unwrap();
        }
        let broker = rig.start(boot).await;
        let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
        assert_eq!((log.state(), log.end_offset().0), (State::Online, RECORDS), "{what}");
        assert!(broker.stop().await);
    }
}

#[tokio::test]
async fn a_loss_beside_one_that_was_accepted_is_accepted_too() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    let mut appended = 0;
    for missing in [1, 2] {
        remove(&files, &[segment(bases[missing]).to_str().unwrap()]).await;
        let text = repair(&files, false).await.unwrap();
        for _ in 0..2 {
            let mut kept = numbered((0..bases[1]).chain(bases[missing + 1]..RECORDS));
            kept.extend((RECORDS..RECORDS + appended).map(|offset| (offset, "new".to_owned())));
            assert_served(&rig, kept, RECORDS + appended, &text).await;
            appended += 1;
        }
    }
}
