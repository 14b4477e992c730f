//! A disk without room costs the batches that it cannot take, retriably, and nothing else: reads go on, and writes do once
//! there is room. On a real file system of a few megabytes, where this user may mount one.

use std::{fs, io::Write};

use gapless_common::error_code::ErrorCode;
use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    cli,
    mounts::Mount,
    process::Ended,
    raw::{Fetched, RawClient},
    wait::wait_until,
};

const MIB: u64 = 1 << 20;

fn value(number: i32) -> Vec<u8> {
    let mut value = format!("{number}-").into_bytes();
    value.resize(100_000, b'x');
    value
}

fn wanted(count: i32) -> Vec<Fetched> {
    (0..count).map(|number| (i64::from(number), value(number))).collect()
}

#[test]
fn a_full_disk_refuses_retriably_serves_what_it_has_and_takes_the_rest_once_there_is_room() {
    let Some(mount) = Mount::tmpfs(12 * MIB) else { return };
    let mut broker = Broker::builder().data_dir(mount.join("data")).start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("full");
    let (id, epoch) = client.init_producer_id();
    let send = |client: &mut RawClient, sequence: i32| {
        client.produce("full", 0, batch(&[&value(sequence)], Some(Stamp { id, epoch, sequence })))
    };
    for number in 0..5 {
        assert_eq!(send(&mut client, number).error_code, ErrorCode::NONE);
    }
    room_is_kept(&mount);
    mount.fill();
    for _ in 0..3 {
        let answer = send(&mut client, 5);
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "retriable for every client");
        // What comes behind the refused one must not take its place.
        assert_ne!(send(&mut client, 6).error_code, ErrorCode::NONE);
    }
    assert!(client.fetch_all("full", 0) == wanted(5), "reads go on, and show no half of a batch");
    assert!(broker.metric("gapless_broker_batches_refused_total", &[("reason", "storage")]) >= 3.0);
    assert_eq!(broker.metric("gapless_broker_partitions_offline", &[]), 0.0);
    // Death on a full disk: a start there takes the room that is kept.
    broker.kill();
    broker.restart();
    assert!(RawClient::connect(broker.address()).fetch_all("full", 0) == wanted(5));
    // Where there is none it cannot make durable what it would serve, and says so.
    broker.kill();
    fs::remove_dir_all(mount.join("data/spare")).unwrap();
    mount.fill();
    assert_refused(&Broker::builder().data_dir(mount.join("data")).start_in_vain(), "No space left");

    mount.make_room();
    broker.restart();
    let mut client = RawClient::connect(broker.address());
    assert!(client.fetch_all("full", 0) == wanted(5));
    for number in 5..20 {
        let answer = send(&mut client, number);
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, i64::from(number)));
    }
    broker.restart();
    assert!(RawClient::connect(broker.address()).fetch_all("full", 0) == wanted(20));
}

#[test]
fn a_full_disk_is_freed_by_deleting_records() {
    for mount in [Mount::tmpfs(12 * MIB), Mount::ext4(24 * MIB)] {
        let Some(mount) = mount else { return };
        let mut broker = Broker::builder().data_dir(mount.join("data")).start();
        let mut client = RawClient::connect(broker.address());
        client.create_topic("full");
        let (id, epoch) = client.init_producer_id();
        let send = |client: &mut RawClient, sequence: i32| {
            client.produce("full", 0, batch(&[&value(sequence)], Some(Stamp { id, epoch, sequence })))
        };
        for number in 0..20 {
            assert_eq!(send(&mut client, number).error_code, ErrorCode::NONE);
        }
        room_is_kept(&mount);
        mount.fill();
        assert_eq!(send(&mut client, 20).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        // Twice in the middle of a segment, which frees nothing.
        for before in [5, 10, 20] {
            assert_eq!(client.delete_records("full", 0, before), Ok(before));
        }
        wait_until("there is room", || send(&mut client, 20).error_code == ErrorCode::NONE);
        // Of the last five batches it is known where they are.
        for number in 16..20 {
            let again = send(&mut client, number);
            assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, i64::from(number)));
        }
        broker.restart();
        let mut client = RawClient::connect(broker.address());
        assert_eq!(client.offset_at("full", 0, -2), 20);
        let again = send(&mut client, 20);
        assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, 20));
        assert_eq!(client.end_offset("full", 0), 21, "nothing twice");
    }
}

#[test]
fn publish_waits_for_room_and_loses_nothing() {
    let Some(mount) = Mount::tmpfs(12 * MIB) else { return };
    let broker = Broker::builder().data_dir(mount.join("data")).start();
    RawClient::connect(broker.address()).create_topic("full");
    let to = ["--bootstrap-server", broker.address(), "--topic", "full"];
    let mut process = cli::start([&["publish"], &to[..], &["-"]].concat());
    let mut stdin = process.take_stdin().unwrap();
    let mut line = |number| stdin.write_all(&[&value(number)[..], b"\n"].concat()).unwrap();
    line(0);
    broker.wait_for_metric("gapless_broker_appended_records_total", &[], 1.0);
    mount.fill();
    (1..20).for_each(&mut line);
    drop(stdin);
    broker.wait_for_metric("gapless_broker_batches_refused_total", &[("reason", "storage")], 2.0);
    mount.make_room();
    let ended = process.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(RawClient::connect(broker.address()).fetch_all("full", 0) == wanted(20));
}

/// One sentence on standard error that names `word`, and exit code 1.
fn room_is_kept(mount: &Mount) {
    wait_until("room is kept", || {
        fs::read_dir(mount.join("data/spare")).is_ok_and(|names| names.count() == 5)
    });
}

fn assert_refused(ended: &Ended, word: &str) {
    assert_eq!(ended.code, 1, "{ended:?}");
    let said = ended.stderr.lines().last().unwrap_or_default();
    assert!(said.contains("--data-dir") && said.contains(word), "{said:?} does not name {word}");
}

#[test]
fn a_disk_that_is_full_or_read_only_at_the_start_is_named_in_one_sentence() {
    let Some(mount) = Mount::tmpfs(2 * MIB) else { return };
    mount.fill();
    assert_refused(&Broker::builder().data_dir(mount.join("data")).start_in_vain(), "data");
    mount.make_room();
    let mut broker = Broker::builder().data_dir(mount.join("data")).start();
    RawClient::connect(broker.address()).create_topic("events");
    broker.stop();
    mount.make_read_only();
    assert_refused(&Broker::builder().data_dir(mount.join("data")).start_in_vain(), "data");
}

#[test]
fn a_directory_of_a_newer_format_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut broker = Broker::builder().data_dir(&data).start();
    RawClient::connect(broker.address()).create_topic("events");
    broker.stop();
    let meta = data.join("meta.json");
    let sound = fs::read_to_string(&meta).unwrap();
    // The last line is the checksum of all before it.
    let body = sound
        .trim_end()
        .rsplit_once('\n')
        .unwrap()
        .0
        .replace("\"format_version\": 1", "\"format_version\": 99")
        + "\n";
    let newer = format!("{body}{:08x}\n", crc32fast::hash(body.as_bytes()));
    assert_ne!(newer, sound);
    fs::write(&meta, &newer).unwrap();
    let ended = Broker::builder().data_dir(&data).start_in_vain();
    assert_eq!(ended.code, 1, "{ended:?}");
    let said = ended.stderr.lines().last().unwrap_or_default();
    for word in ["meta.json", "format version 99", "--data-dir"] {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    assert_eq!(fs::read_to_string(&meta).unwrap(), newer);
}
