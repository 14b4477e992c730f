//! Files through `publish` into the log, and out again through `read` and through librdkafka: the same bytes, the same count, the
//! same order.

use std::fs;

use gapless_tests::{
    binaries::workspace,
    broker::Broker,
    cli::{run, run_with_input, summary},
    librdkafka::{Record, consume, produce},
};
use serde_json::Value;

/// The sample that the repository carries.
fn sample() -> Vec<String> {
    let path = workspace().join("sample/packages.jsonl");
    fs::read_to_string(path).expect("the sample is there").lines().map(str::to_owned).collect()
}

fn sample_path() -> String {
    workspace().join("sample/packages.jsonl").display().to_string()
}

fn package(line: &str) -> String {
    let object: Value = serde_json::from_str(line).expect("a line of the sample is JSON");
    object["package"].as_str().expect("every package has a name").to_owned()
}

#[test]
fn the_sample_as_lines_into_one_partition() {
    let broker = Broker::start();
    let ended =
        run(["publish", "--bootstrap-server", broker.address(), "--topic", "packages", &sample_path()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("500 records acknowledged in topic packages"), "{}", ended.stdout);
    let read: Vec<_> =
        consume(broker.address(), "packages", 1).into_iter().map(|record| record.value.unwrap()).collect();
    assert!(read.iter().map(Vec::as_slice).eq(sample().iter().map(String::as_bytes)));
    // And through our own reader, the same file.
    let ended = run(["read", "--bootstrap-server", broker.address(), "--topic", "packages"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, fs::read_to_string(sample_path()).unwrap());
}

#[test]
fn the_sample_as_json_keyed_into_four_partitions_with_every_codec() {
    let lines = sample();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let broker = Broker::builder().flag("--partitions", 4).start();
        let ended = run([
            "publish",
            "--bootstrap-server",
            broker.address(),
            "--topic",
            "packages",
            "--format",
            "json",
            "--key-field",
            "package",
            "--compression",
            codec,
            "--output",
            "json",
            &sample_path(),
        ]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let summary = summary(&ended);
        assert_eq!(summary["records"], lines.len());
        let bytes: usize = lines.iter().map(|line| line.len() + package(line).len()).sum();
        assert_eq!(summary["bytes"], bytes, "{codec}");
        if codec != "none" {
            assert!(summary["bytes_sent"].as_u64().unwrap() < bytes as u64, "{codec}: {summary}");
        }
        let read = consume(broker.address(), "packages", 4);
        assert_eq!(read.len(), lines.len());
        for partition in 0..4 {
            let mut rest = lines.iter();
            let here: Vec<_> = read.iter().filter(|record| record.partition == partition).collect();
            assert!(!here.is_empty(), "partition {partition} got nothing");
            for record in here {
                // Each partition holds a subsequence of the file, in its order, keys and bytes unchanged.
                let value = record.value.as_deref().unwrap();
                let line = rest.find(|line| line.as_bytes() == value).expect("in the file's order");
                assert_eq!(record.key.as_deref(), Some(package(line).as_bytes()));
            }
        }
    }
}

#[test]
fn keys_go_where_java_and_librdkafka_put_them() {
    // The same keys by librdkafka with Java's partitioner, and by us.
    let broker = Broker::builder().flag("--partitions", 7).start();
    let keys: Vec<String> = (0..300).map(|number| format!("key-{}", number * number)).collect();
    let theirs: Vec<_> = keys
        .iter()
        .map(|key| Record {
            partition: -1,
            key: Some(key.clone().into_bytes()),
            value: Some(b"v".to_vec()),
            ..Record::default()
        })
        .collect();
    for (theirs_by, ours_by) in
        [("murmur2_random", "murmur2_random"), ("consistent_random", "consistent_random")]
    {
        let (topic_theirs, topic_ours) = (format!("theirs-{theirs_by}"), format!("ours-{ours_by}"));
        produce(broker.address(), &topic_theirs, &[("partitioner", theirs_by)], &theirs);
        let input: String = keys.iter().map(|key| format!("{key}\tv\n")).collect();
        let ended = run_with_input(
            [
                "publish",
                "--bootstrap-server",
                broker.address(),
                "--topic",
                &topic_ours,
                "--key-delimiter",
                "\\t",
                "--partitioner",
                ours_by,
            ],
            input.as_bytes(),
        );
        assert_eq!(ended.code, 0, "{ended:?}");
        let placed = |topic: &str| {
            let mut placed: Vec<_> = consume(broker.address(), topic, 7)
                .into_iter()
                .map(|record| (record.key, record.partition))
                .collect();
            placed.sort();
            placed
        };
        assert_eq!(placed(&topic_ours), placed(&topic_theirs), "{ours_by}");
    }
}

#[test]
fn what_read_prints_as_json_publish_takes_back() {
    let broker = Broker::builder().flag("--partitions", 2).start();
    let records: Vec<_> = (0..60_u8)
        .map(|number| Record {
            partition: i32::from(number % 2),
            key: (number % 3 != 0).then(|| vec![number, 0xff, b'"', b'\n']),
            value: match number % 5 {
                0 => None,
                1 => Some(Vec::new()),
                2 => Some(vec![0xff, 0xfe, number]),
                _ => Some(format!("text {number} \u{1f600} \"quoted\" \\ \t").into_bytes()),
            },
            headers: if number % 4 == 0 {
                vec![
                    ("h".to_owned(), Some(b"x".to_vec())),
                    ("h".to_owned(), None),
                    ("b".to_owned(), Some(vec![0xff])),
                ]
            } else {
                Vec::new()
            },
            timestamp_ms: 1_700_000_000_000 + i64::from(number),
            ..Record::default()
        })
        .collect();
    produce(broker.address(), "original", &[], &records);
    let printed =
        run(["read", "--bootstrap-server", broker.address(), "--topic", "original", "--output", "json"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    assert_eq!(printed.stdout.lines().count(), records.len());
    let ended = run_with_input(
        [
            "publish",
            "--bootstrap-server",
            broker.address(),
            "--topic",
            "copy",
            "--format",
            "json",
            "--key-field",
            "key",
            "--value-field",
            "value",
            "--headers-field",
            "headers",
            "--partition-field",
            "partition",
            "--timestamp-field",
            "timestamp",
        ],
        printed.stdout.as_bytes(),
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    let sorted = |topic: &str| {
        let mut read = consume(broker.address(), topic, 2);
        read.sort_by_key(|record| (record.partition, record.offset));
        read
    };
    assert_eq!(sorted("copy"), sorted("original"));
}

#[test]
fn keys_headers_partitions_and_nulls_are_set_as_asked() {
    let broker = Broker::builder().flag("--partitions", 2).start();
    let ended = run_with_input(
        [
            "publish",
            "--bootstrap-server",
            broker.address(),
            "--topic",
            "asked",
            "--partition",
            "1",
            "--key-delimiter",
            "=>",
            "--header",
            "source=test",
            "--header",
            "empty=",
            "--null-value",
            "NULL",
        ],
        b"a=>1\nb=>NULL\nc=>\nd=>x=>y\n",
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    let read = consume(broker.address(), "asked", 2);
    assert!(read.iter().all(|record| record.partition == 1));
    let pairs: Vec<_> = read.iter().map(|record| (record.key.as_deref(), record.value.as_deref())).collect();
    let pair =
        |key: &'static str, value: Option<&'static str>| (Some(key.as_bytes()), value.map(str::as_bytes));
    assert_eq!(pairs, [pair("a", Some("1")), pair("b", None), pair("c", Some("")), pair("d", Some("x=>y"))]);
    let headers = [("source".to_owned(), Some(b"test".to_vec())), ("empty".to_owned(), Some(Vec::new()))];
    assert!(read.iter().all(|record| record.headers == headers));
}

#[test]
fn read_begins_and_ends_where_it_is_told_to() {
    let broker = Broker::start();
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    let to = ["--bootstrap-server", broker.address(), "--topic", "numbers"];
    let ended = run_with_input([&["publish"][..], &to].concat(), lines.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    for (flags, first, count) in [
        (&[][..], 0, 100),
        (&["--offset", "earliest"], 0, 100),
        (&["--offset", "latest"], 100, 0),
        (&["--offset", "40"], 40, 60),
        (&["--offset=-5"], 95, 5),
        (&["--count", "3"], 0, 3),
        (&["--offset", "40", "--count", "7"], 40, 7),
        (&["--offset", "@0"], 0, 100),
        (&["--offset", "@2100-01-01T00:00:00Z"], 100, 0),
    ] {
        let ended = run([&["read"][..], &to, flags].concat());
        assert_eq!(ended.code, 0, "{flags:?}: {}", ended.stderr);
        let wanted: String = (first..first + count).map(|number| format!("{number}\n")).collect();
        assert_eq!(ended.stdout, wanted, "{flags:?}");
    }
    let template = run([&["read", "--count", "1", "--template", "%t %p %o %k %s|"][..], &to].concat());
    assert_eq!(template.stdout, "numbers 0 0  0|");
}

#[test]
fn read_follows_a_topic_while_it_grows() {
    let broker = Broker::start();
    let to = ["--bootstrap-server", broker.address(), "--topic", "growing"];
    assert_eq!(run_with_input([&["publish"][..], &to].concat(), b"one\n").code, 0);
    let mut reader = gapless_tests::cli::start([&["read", "--follow", "--count", "3"][..], &to].concat());
    reader.line("the first record", |line| (line == "one").then_some(()));
    assert_eq!(run_with_input([&["publish"][..], &to].concat(), b"two\nthree\n").code, 0);
    let ended = reader.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "one\ntwo\nthree\n"));
}

#[test]
fn topics_are_listed_created_described_and_deleted() {
    let broker = Broker::start();
    let topic = |words: &[&str]| {
        let mut arguments = vec!["topic"];
        arguments.extend(words);
        arguments.extend(["--bootstrap-server", broker.address()]);
        run(arguments)
    };
    assert_eq!(topic(&["list"]).stdout, "");
    let created = topic(&["create", "events", "--partitions", "3", "--config", "max.message.bytes=5000"]);
    assert_eq!(created.code, 0, "{}", created.stderr);
    let again = topic(&["create", "events"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("events") && again.stderr.contains("exists"), "{}", again.stderr);
    assert_eq!(topic(&["list"]).stdout, "events\n");
    let described = topic(&["describe", "events"]);
    assert_eq!(described.code, 0, "{}", described.stderr);
    assert!(described.stdout.contains("5000"), "{}", described.stdout);
    let bad = topic(&["create", "a/b"]);
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("a/b"), "{}", bad.stderr);
    assert_eq!(topic(&["delete", "events"]).code, 0);
    assert_eq!(topic(&["list"]).stdout, "");
    assert_eq!(topic(&["delete", "events"]).code, 1, "there is nothing to delete");
    assert_eq!(topic(&["describe", "events"]).code, 1);
}

#[test]
fn a_topic_that_does_not_exist_is_not_read_and_not_made() {
    let broker = Broker::start();
    let ended = run(["read", "--bootstrap-server", broker.address(), "--topic", "absent"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("absent"), "{}", ended.stderr);
    assert_eq!(run(["topic", "list", "--bootstrap-server", broker.address()]).stdout, "");
}
