//! The tools on the directory of a broker that has stopped, damaged in every way that they are for.

mod evidence;

use std::{path::PathBuf, sync::Arc};

use gapless_common::{records, seam::Seams, types::Offset};

use super::*;
use crate::{
    broker::Broker,
    log::State,
    storage::{
        RealFiles,
        faulty::{Faults, FaultyFiles},
        read_exact_at,
    },
    testing::{Rig, append, client, create},
    tools::args::{CheckArgs, DumpArgs, OutputFormat, RepairArgs},
};

const TOPIC: &str = "events";
const BOOT: &str = "boot";
/// Records of one value each; segments hold three.
const RECORDS: i64 = 11;

/// A broker that has stopped, with a partition of several segments, and where these begin.
async fn stopped() -> (Rig, Vec<i64>) {
    let mut rig = Rig::new();
    rig.config.segment_bytes = 250;
    rig.config.scrub_bytes_per_second = 0;
    let broker = rig.start(BOOT).await;
    let peer = client(&broker).await;
    create(&peer, TOPIC).await;
    create(&peer, "other").await;
    for offset in 0..RECORDS {
        append(&peer, TOPIC, &format!("{offset:02}")).await;
    }
    append(&peer, "other", "sound").await;
    assert!(broker.stop().await);
    let names = files(&rig).list(&directory()).await.unwrap();
    let bases: Vec<i64> = names
        .iter()
        .filter_map(|entry| entry.name.strip_suffix(".log").map(|base| base.parse().unwrap()))
        .collect();
    assert!(bases.len() >= 4, "{bases:?}");
    (rig, bases)
}

fn files(rig: &Rig) -> RealFiles {
    RealFiles::new(rig.data_dir(), Seams::real().spawner)
}

fn directory() -> PathBuf {
    PathBuf::from("topics").join(TOPIC).join("0")
}

fn segment(base: i64) -> PathBuf {
    directory().join(format!("{base:020}.log"))
}

async fn bytes_of(files: &dyn Files, path: &Path) -> Vec<u8> {
    let file = files.open(path).await.unwrap();
    let size = file.size().await.unwrap();
    file.read_at(0, size as usize).await.unwrap().to_vec()
}

async fn flip(rig: &Rig, base: i64, at: usize) {
    let file = files(rig).open(&segment(base)).await.unwrap();
    let byte = file.read_at(at as u64, 1).await.unwrap()[0] ^ (1 << (at % 8));
    file.write_at(at as u64, &[vec![byte].into()]).await.unwrap();
}

async fn check(files: &dyn Files) -> (bool, String) {
    check_in(files, BOOT).await
}

async fn check_in(files: &dyn Files, boot: &str) -> (bool, String) {
    let args = CheckArgs { dir: PathBuf::new(), output: OutputFormat::Text };
    let mut out = Vec::new();
    let sound = run(files, boot, &LogCommand::Check(args), &mut out, &mut || false).await.unwrap();
    (sound, String::from_utf8(out).unwrap())
}

async fn repair(files: &dyn Files, truncate: bool) -> Result<String, ToolError> {
    let args = RepairArgs {
        dir: PathBuf::new(),
        topic: TOPIC.into(),
        partition: 0,
        truncate,
        set_aside: !truncate,
        yes: true,
    };
    let mut out = Vec::new();
    run(files, BOOT, &LogCommand::Repair(args), &mut out, &mut || false).await?;
    Ok(String::from_utf8(out).unwrap())
}

/// What the broker gives out, as (offset, value).
async fn values(broker: &Broker) -> Vec<(i64, String)> {
    let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
    let (mut at, mut values) = (log.log_start_offset(), Vec::new());
    while let Ok(Some(range)) = log.read(at, 1 << 20, true).await {
        let bytes = read_exact_at(&*range.file, range.position, range.len as usize).await.unwrap();
        for batch in records::batches(bytes) {
            for record in records::iterate(batch.unwrap().1, 1 << 20).unwrap() {
                let record = record.unwrap();
                values.push((record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            }
        }
        at = Offset(values.last().unwrap().0 + 1);
    }
    values
}

fn numbered(offsets: impl Iterator<Item = i64>) -> Vec<(i64, String)> {
    offsets.map(|offset| (offset, format!("{offset:02}"))).collect()
}

/// Starts the broker, and looks that it serves exactly `kept` and appends at `next`; then stops it.
async fn assert_served(rig: &Rig, kept: Vec<(i64, String)>, next: i64, what: &str) {
    let broker = rig.start(BOOT).await;
    let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
    assert_eq!(log.state(), State::Online, "{what}");
    assert_eq!(values(&broker).await, kept, "{what}");
    assert_eq!(append(&client(&broker).await, TOPIC, "new").await, next, "{what}");
    assert!(broker.stop().await, "{what}");
}

#[tokio::test]
async fn a_directory_that_was_stopped_cleanly_is_sound_and_is_not_written_to() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    let before = files.list(&directory()).await.unwrap();
    let (sound, text) = check(&files).await;
    assert!(sound, "{text}");
    assert!(text.contains("2 partitions, 12 good batches"), "{text}");
    assert_eq!(files.list(&directory()).await.unwrap(), before);
    assert!(matches!(
        repair(&files, true).await,
        Err(ToolError::Repair(crate::log::tools::RepairError::Sound))
    ));
    assert_served(&rig, numbered(0..RECORDS), RECORDS, &format!("{bases:?}")).await;
}

#[tokio::test]
async fn a_running_broker_keeps_the_tools_out() {
    let (rig, _) = stopped().await;
    let broker = rig.start(BOOT).await;
    let refused = repair(&files(&rig), true).await.unwrap_err();
    assert_eq!(refused.to_string(), "a broker runs on this data directory; stop it first");
    assert!(broker.stop().await);
    let nothing = RealFiles::new(rig.data_dir().join("torn"), Seams::real().spawner);
    assert!(matches!(repair(&nothing, true).await, Err(ToolError::NoDataDirectory(_))));
}

#[tokio::test]
async fn whichever_bit_flips_only_its_batch_is_set_aside() {
    let (mut rig, bases) = stopped().await;
    let size = bytes_of(&files(&rig), &segment(bases[1])).await.len();
    let batch = size / (bases[2] - bases[1]) as usize;
    for at in (0..size).step_by(5) {
        rig = stopped().await.0;
        let files = files(&rig);
        let damaged = bases[1] + (at / batch) as i64;
        flip(&rig, bases[1], at).await;
        let (sound, text) = check(&files).await;
        let place =
            format!("{} at position {}, offset {damaged}", segment(bases[1]).display(), at / batch * batch);
        assert!(!sound && text.contains(&place), "byte {at}: {text}");
        repair(&files, false).await.unwrap_or_else(|error| panic!("byte {at}: {error}: {text}"));
        let (sound, text) = check(&files).await;
        assert!(sound, "byte {at}: {text}");
        let kept = numbered((0..RECORDS).filter(|offset| *offset != damaged));
        assert_served(&rig, kept, RECORDS, &format!("byte {at}")).await;
        let saved = files.list(&Path::new("torn").join(TOPIC)).await.unwrap();
        assert_eq!(saved.len(), 1, "byte {at}: {saved:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_ends_before_the_bad_batch_and_what_was_cut_off_is_saved() {
    for (at_segment, at_batch) in [(0, 0), (1, 1), (3, 0), (3, 1)] {
        let (rig, bases) = stopped().await;
        let files = files(&rig);
        let bytes = bytes_of(&files, &segment(bases[at_segment])).await;
        let end = bases.get(at_segment + 1).copied().unwrap_or(RECORDS);
        let batch = bytes.len() / (end - bases[at_segment]) as usize;
        flip(&rig, bases[at_segment], batch * at_batch + batch / 2).await;
        let damaged = bases[at_segment] + at_batch as i64;
        let text = repair(&files, true).await.unwrap();
        assert!(text.contains("to torn/"), "{text}");
        let (sound, text) = check(&files).await;
        assert!(sound, "{text}");
        assert_served(&rig, numbered(0..damaged), damaged, &format!("{at_segment} {at_batch}")).await;
        let saved = files.list(&Path::new("torn").join(TOPIC)).await.unwrap();
        assert_eq!(saved.len(), bases.len() - at_segment, "{saved:?}");
    }
}

#[tokio::test]
async fn what_is_bad_below_the_start_of_a_log_costs_at_most_what_is_behind_it() {
    // In the segment in which the log starts; and in one before it, which a deletion that was cut short has left.
    for (left_over, truncate) in [(false, false), (false, true), (true, false), (true, true)] {
        let (rig, bases) = stopped().await;
        let files = files(&rig);
        let first = bytes_of(&files, &segment(bases[0])).await;
        let broker = rig.start(BOOT).await;
        let start = bases[1] + 1;
        let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
        assert_eq!(log.delete_records(Some(Offset(start))).await.unwrap(), Offset(start));
        assert!(broker.stop().await);
        drop(log);
        let what = format!("left over {left_over}, truncate {truncate}");
        if left_over {
            let path = segment(bases[0]);
            let file = match files.open(&path).await {
                Ok(file) => file,
                Err(_) => files.create(&path).await.unwrap(),
            };
            file.write_at(0, &[first.into()]).await.unwrap();
            flip(&rig, bases[0], 100).await;
            let (sound, text) = check(&files).await;
            assert!(sound && text.contains("wholly below the start"), "{what}: {text}");
            assert!(repair(&files, truncate).await.is_err(), "{what}: there is nothing to repair");
            assert_served(&rig, numbered(start..RECORDS), RECORDS, &what).await;
            continue;
        }
        // In its first batch, which lies before the start.
        flip(&rig, bases[1], 40).await;
        let text = repair(&files, truncate).await.unwrap();
        let (sound, found) = check(&files).await;
        assert!(sound, "{what}: {found}{text}");
        let (kept, next) = if truncate { (Vec::new(), start) } else { (numbered(start..RECORDS), RECORDS) };
        assert_served(&rig, kept, next, &what).await;
    }
}

#[tokio::test]
async fn several_bad_places_are_set_aside_at_once() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    let batch = bytes_of(&files, &segment(bases[1])).await.len() / (bases[2] - bases[1]) as usize;
    // The first and the last batch of one segment, all of the next, and the very last of the log.
    flip(&rig, bases[1], batch / 2).await;
    flip(&rig, bases[1], batch * 5 / 2).await;
    for at in 0..3 {
        flip(&rig, bases[2], batch * at + batch / 2).await;
    }
    let last = bytes_of(&files, &segment(bases[3])).await.len();
    flip(&rig, bases[3], last - 1).await;
    let text = repair(&files, false).await.unwrap();
    let (sound, found) = check(&files).await;
    assert!(sound, "{found}{text}");
    let lost: Vec<i64> = [bases[1], bases[1] + 2].into_iter().chain(bases[2]..bases[3]).collect();
    let kept = numbered((0..RECORDS - 1).filter(|offset| !lost.contains(offset)));
    assert_served(&rig, kept, RECORDS - 1, &text).await;
}

#[tokio::test]
async fn a_missing_segment_is_accepted_as_lost_or_ends_the_log() {
    for truncate in [false, true] {
        for missing in 0..3 {
            let (rig, bases) = stopped().await;
            let files = files(&rig);
            files.remove(&segment(bases[missing])).await.unwrap();
            let (sound, text) = check(&files).await;
            assert!(!sound && text.contains("a segment is missing"), "{text}");
            let text = repair(&files, truncate).await.unwrap();
            let (sound, found) = check(&files).await;
            assert!(sound, "{found}{text}");
            let gap = bases[missing]..bases[missing + 1];
            let (kept, next) = if truncate {
                (numbered(0..gap.start), gap.start)
            } else {
                (numbered((0..RECORDS).filter(|offset| !gap.contains(offset))), RECORDS)
            };
            assert_served(&rig, kept, next, &text).await;
        }
    }
}

#[tokio::test]
async fn a_quarantine_of_what_is_sound_by_now_is_lifted() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    flip(&rig, bases[1], 100).await;
    let broker = rig.start(BOOT).await;
    let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
    assert!(values(&broker).await.len() < RECORDS as usize);
    assert!(matches!(log.state(), State::Quarantined { .. }), "{:?}", log.state());
    assert!(broker.stop().await);
    // A copy of the segment was found.
    flip(&rig, bases[1], 100).await;
    assert!(!check(&files).await.0);
    repair(&files, false).await.unwrap();
    assert_served(&rig, numbered(0..RECORDS), RECORDS, "lifted").await;
}

#[tokio::test]
async fn a_repair_that_dies_at_any_step_can_be_done_again() {
    for truncate in [false, true] {
        let mut steps = 0;
        loop {
            let (rig, bases) = stopped().await;
            let real = files(&rig);
            let batch = bytes_of(&real, &segment(bases[1])).await.len() / (bases[2] - bases[1]) as usize;
            flip(&rig, bases[1], batch + batch / 2).await;
            let damaged = bases[1] + 1;
            let faults = Arc::new(Faults::default());
            faults.die_after(steps);
            let dying = FaultyFiles { inner: Arc::new(files(&rig)), faults };
            let died = repair(&dying, truncate).await.is_err();
            if died {
                // Whoever starts a broker now is told.
                let broker = rig.start(BOOT).await;
                let log = broker.shared.catalogue.partition(TOPIC, 0).unwrap();
                let served = values(&broker).await;
                assert!(served.starts_with(&numbered(0..damaged)), "step {steps}: {served:?}");
                assert!(served.iter().all(|value| numbered(0..RECORDS).contains(value)), "step {steps}");
                let is_over = log.state() == State::Online;
                assert!(broker.stop().await);
                if !is_over {
                    let again = repair(&real, truncate).await;
                    again.unwrap_or_else(|error| panic!("truncate {truncate}, step {steps}: {error}"));
                }
            }
            let kept = match truncate {
                true => numbered(0..damaged),
                false => numbered((0..RECORDS).filter(|offset| *offset != damaged)),
            };
            let next = if truncate { damaged } else { RECORDS };
            assert_served(&rig, kept, next, &format!("truncate {truncate}, step {steps}")).await;
            if !died {
                assert!(steps > 10, "{steps} steps");
                break;
            }
            steps += 1;
        }
    }
}

#[tokio::test]
async fn an_unreadable_sector_costs_the_batch_it_is_in_and_is_named() {
    const SECTOR: usize = 512;
    for truncate in [false, true] {
        let mut rig = Rig::new();
        rig.config.scrub_bytes_per_second = 0;
        let value = |offset: i64| format!("{offset:02}{}", "x".repeat(3000));
        let broker = rig.start(BOOT).await;
        let peer = client(&broker).await;
        create(&peer, TOPIC).await;
        for offset in 0..RECORDS {
            append(&peer, TOPIC, &value(offset)).await;
        }
        assert!(broker.stop().await);
        let before = bytes_of(&files(&rig), &segment(0)).await;
        let batch = before.len() / RECORDS as usize;
        // In the sixth batch, and behind the end of every other file.
        let sector = batch * 11 / 2 / SECTOR * SECTOR;
        let faults = Arc::new(Faults::default());
        faults.unreadable(sector as u64 + 3, 5);
        let dying = FaultyFiles { inner: Arc::new(files(&rig)), faults: faults.clone() };
        let (sound, text) = check(&dying).await;
        let place = format!("at position {}, offset 5: unreadable", 5 * batch);
        assert!(!sound && text.contains(&place) && text.contains("goes on at offset 6"), "{text}");
        let text = repair(&dying, truncate).await.unwrap();
        let named = format!("512 bytes at position {sector} of segment 0 cannot be read");
        assert!(text.contains(&named), "{text}");
        let folder = Path::new("torn").join(TOPIC);
        let saved = files(&rig).list(&folder).await.unwrap();
        assert_eq!(saved.len(), 1, "{saved:?}");
        let end = if truncate { before.len() } else { 6 * batch };
        let mut expected = before[5 * batch..end].to_vec();
        expected[sector - 5 * batch..sector - 5 * batch + SECTOR].fill(0);
        assert_eq!(bytes_of(&files(&rig), &folder.join(&saved[0].name)).await, expected);
        faults.readable();
        assert!(check(&dying).await.0);
        let kept = (0..RECORDS).filter(|offset| if truncate { *offset < 5 } else { *offset != 5 });
        let kept = kept.map(|offset| (offset, value(offset))).collect();
        assert_served(&rig, kept, if truncate { 5 } else { RECORDS }, &text).await;
    }
}

#[tokio::test]
async fn a_dump_shows_batches_and_records_and_where_it_was_told_to_begin() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    flip(&rig, bases[1], 100).await;
    for (output, records) in
        [(OutputFormat::Text, true), (OutputFormat::Json, true), (OutputFormat::Json, false)]
    {
        let args = DumpArgs {
            dir: PathBuf::new(),
            topic: Some(TOPIC.into()),
            partition: Some(0),
            from: bases[2],
            records,
            output,
        };
        let mut out = Vec::new();
        assert!(run(&files, BOOT, &LogCommand::Dump(args), &mut out, &mut || false).await.unwrap());
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let batches = (RECORDS - bases[2]) as usize;
        let findings = lines.iter().filter(|line| line.contains("checksum")).count();
        assert_eq!((lines.len(), findings), (batches * (1 + usize::from(records)) + 1, 1), "{text}");
        if output == OutputFormat::Json {
            for line in &lines {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
            assert!(lines[0].contains(&format!("\"base_offset\":{}", bases[2])), "{}", lines[0]);
        }
        assert_eq!(text.contains("10\""), records, "the last value: {text}");
    }
    let args = CheckArgs { dir: PathBuf::new(), output: OutputFormat::Json };
    let mut out = Vec::new();
    assert!(!run(&files, BOOT, &LogCommand::Check(args), &mut out, &mut || false).await.unwrap());
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(report["sound"], false);
    assert_eq!(report["findings"][0]["partition"], "events-0");
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_that_saves_reading_is_told_and_costs_nothing() {
    for kind in [".producers", "flush-marks", "clean"] {
        let (rig, _) = stopped().await;
        let files = files(&rig);
        let names = files.list(&directory()).await.unwrap();
        let of_partition = names.iter().find(|entry| entry.name.ends_with(kind));
        let path = of_partition.map_or_else(|| kind.into(), |entry| directory().join(&entry.name));
        let name = path.display().to_string();
        let whole = bytes_of(&files, &path).await;
        for at in (0..whole.len()).step_by(7) {
            let file = files.open(&path).await.unwrap();
            file.write_at(at as u64, &[vec![whole[at] ^ 1 << (at % 8)].into()]).await.unwrap();
            let (sound, text) = check(&files).await;
            let line = text.lines().find(|line| line.contains(&name));
            let line = line.unwrap_or_else(|| panic!("{name} {at}: {text}"));
            // One entry of many may be what a crash has cut off.
            let is_entry = kind == "flush-marks" && at >= 12;
            assert_eq!((sound, line.starts_with("note: ")), (is_entry, is_entry), "{name} {at}: {text}");
            file.write_at(at as u64, &[whole[at..=at].to_vec().into()]).await.unwrap();
        }
        let file = files.open(&path).await.unwrap();
        file.write_at(20, &[vec![whole[20] ^ 1].into()]).await.unwrap();
        assert_served(&rig, numbered(0..RECORDS), RECORDS, &name).await;
    }
}

#[tokio::test]
async fn a_checkpoint_of_another_history_is_told() {
    let (rig, bases) = stopped().await;
    let files = files(&rig);
    let names = files.list(&directory()).await.unwrap();
    let newest =
        names.iter().map(|entry| &entry.name).filter(|name| name.ends_with(".producers")).max().unwrap();
    // As if a backup had brought the last segment back as it was earlier.
    let last = segment(*bases.last().unwrap());
    let size = bytes_of(&files, &last).await.len() as u64;
    files.open(&last).await.unwrap().truncate(size / 2).await.unwrap();
    let (sound, text) = check(&files).await;
    let told = format!("{}: says what the log does not", directory().join(newest).display());
    assert!(!sound && text.contains(&told), "{text}");
}
