//! Kafka's rules for topic names hold whatever a client asks for, and no name becomes a path outside the data directory.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{
        CreateTopicsRequest, MetadataRequest, create_topics::CreatableTopic, metadata::MetadataRequestTopic,
    },
};
use gapless_tests::{batch::batch, broker::Broker, raw::RawClient, wait::wait_until};

const INVALID: ErrorCode = ErrorCode::INVALID_TOPIC_EXCEPTION;

fn bad_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "../outside",
        "../../etc/passwd",
        "/absolute",
        "a\\b",
        "a\0b",
        "\0",
        "a b",
        "a\nb",
        "a:b",
        "a*",
        "caf\u{e9}",
        "\u{2025}",
        "-\u{200b}",
        "a,b",
        "~",
        "%2e%2e",
    ]
    .map(str::to_owned)
    .into();
    names.push("x".repeat(250));
    names.push("x".repeat(30_000));
    names
}

fn good_names() -> Vec<String> {
    let mut names: Vec<String> =
        ["a", "A.b_c-9", "...", "..a", ".hidden", "-dash", "_", "con", "nul"].map(str::to_owned).into();
    names.push("y".repeat(249));
    names
}

fn create(client: &mut RawClient, name: &str, partitions: i32) -> ErrorCode {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    client.call(&request, 5).topics[0].error_code
}

fn auto_create(client: &mut RawClient, name: &str) -> ErrorCode {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    client.call(&request, 9).topics[0].error_code
}

/// Every path below `folder`.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            all.extend(paths(&path));
        }
        all.insert(path);
    }
    all
}

#[test]
fn names_that_are_not_allowed_are_refused_by_every_way_in() {
    let outside = tempfile::tempdir().unwrap();
    let broker = Broker::builder().data_dir(outside.path().join("inner/data")).start();
    let mut client = RawClient::connect(broker.address());
    let spare = outside.path().join("inner/data/spare");
    wait_until("room is kept", || fs::read_dir(&spare).is_ok_and(|names| names.count() == 5));
    let before = paths(outside.path());
    for name in bad_names() {
        let shown: String = name.chars().take(40).collect();
        assert_eq!(create(&mut client, &name, 1), INVALID, "create {shown:?}");
        assert_eq!(auto_create(&mut client, &name), INVALID, "create by asking {shown:?}");
        let answer = client.produce(&name, 0, batch(&[b"x"], None));
        assert!(
            [INVALID, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION].contains(&answer.error_code),
            "produce to {shown:?}"
        );
    }
    assert_eq!(paths(outside.path()), before, "nothing was made on disk");
}

#[test]
fn every_name_that_kafka_allows_is_a_topic_and_survives_a_restart() {
    let outside = tempfile::tempdir().unwrap();
    let mut broker = Broker::builder().data_dir(outside.path().join("inner/data")).start();
    let mut client = RawClient::connect(broker.address());
    for name in good_names() {
        assert_eq!(create(&mut client, &name, 1), ErrorCode::NONE, "{name}");
        assert_eq!(create(&mut client, &name, 1), ErrorCode::TOPIC_ALREADY_EXISTS, "{name} again");
        assert_eq!(
            client.produce(&name, 0, batch(&[name.as_bytes()], None)).error_code,
            ErrorCode::NONE,
            "{name}"
        );
    }
    broker.restart();
    let mut client = RawClient::connect(broker.address());
    for name in good_names() {
        assert_eq!(client.fetch_all(&name, 0), [(0, name.clone().into_bytes())], "{name}");
    }
    let data = outside.path().join("inner/data");
    let mut beside = paths(outside.path());
    beside.retain(|path| !path.starts_with(&data));
    assert_eq!(beside, [outside.path().join("inner")].into(), "nothing lies beside the data directory");
}

#[test]
fn absurd_numbers_of_partitions_are_refused() {
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.address());
    for partitions in [0, -2, i32::MIN, 1_000_000, i32::MAX] {
        let code = create(&mut client, "many", partitions);
        assert_ne!(code, ErrorCode::NONE, "{partitions} partitions");
    }
    assert_eq!(create(&mut client, "many", -1), ErrorCode::NONE, "-1 is the broker's default");
}

#[test]
fn without_auto_creation_asking_creates_nothing() {
    let broker = Broker::builder().flag("--auto-create-topics", "false").start();
    let mut client = RawClient::connect(broker.address());
    assert_eq!(auto_create(&mut client, "absent"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let answer = client.produce("absent", 0, batch(&[b"x"], None));
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(create(&mut client, "absent", 2), ErrorCode::NONE);
    assert_eq!(auto_create(&mut client, "absent"), ErrorCode::NONE);
}
