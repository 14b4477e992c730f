//! What people have (files of any make, configurations of other clients, a shell) is taken as it is, or refused in a sentence that
//! names what is not.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use flate2::write::GzEncoder;
use gapless_tests::{
    broker::Broker,
    cli::{assert_ended, file, run, run_with_input, summary},
    librdkafka::{consume, create_topic},
};
use serde_json::Value;

#[test]
fn shells_are_told_the_flags_and_man_shows_them() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(["completions", shell]);
        assert_ended(&ended, 0, &[]);
        for word in ["publish", "key-field", "delivery-timeout"] {
            assert!(ended.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    assert_ended(&run(["completions", "csh"]), 2, &["csh", "zsh"]);
    let page = run(["man", "publish"]);
    assert_ended(&page, 0, &[]);
    assert!(page.stdout.contains(".TH") && page.stdout.contains(r"\-\-key\-field"), "{page:?}");
    assert_ended(&run(["man", "conquer"]), 2, &["no command 'conquer'"]);
    let folder = tempfile::tempdir().unwrap();
    assert_ended(&run(["man", "--dir", folder.path().to_str().unwrap()]), 0, &[]);
    for name in ["gapless-producer.1", "gapless-producer-publish.1", "gapless-producer-topic-create.1"] {
        assert!(folder.path().join(name).is_file(), "{name} is missing");
    }
    assert_ended(&run(["man", "--dir", "/dev/null/nowhere"]), 1, &["--dir /dev/null/nowhere"]);
}

#[test]
fn files_of_properties_are_those_of_java_and_librdkafka() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let input = file(folder.path(), "input", b"one\n");
    let publish = |properties: &str| {
        let path = file(folder.path(), "client.properties", properties.as_bytes());
        run(["publish", "--topic", "lines", "--quiet", "--command-config", &path, &input])
    };
    let address = broker.address();
    let (host, port) = address.split_once(':').unwrap();
    for properties in [
        format!("bootstrap.servers={address}\n"),
        format!(
            "# a comment\n! another\n\nbootstrap.servers : \\\n    {address}\nacks = all\n\
             key.serializer=org.apache.kafka.common.serialization.StringSerializer\ncompression.type=zstd\n"
        ),
        format!(
            "metadata.broker.list={host}\\:{port}\nrequest.required.acks -1\nqueue.buffering.max.ms=0.5\n"
        ),
    ] {
        assert_ended(&publish(&properties), 0, &[]);
    }
    for (properties, words) in [
        ("security.protocol=SSL", &["client.properties:1", "security.protocol", "TLS"][..]),
        ("acks=all\n\nssl.truststore.password=hunter2", &["client.properties:3", "ssl.truststore.password"]),
        ("sasl.jaas.config=hunter2", &["client.properties:1", "sasl.jaas.config", "SASL"]),
        ("interceptor.classes=a.B", &["interceptor.classes", "no counterpart"]),
        ("acks=some", &["client.properties:1", "acks is 'some'"]),
        ("hunter2", &["client.properties:1"]),
    ] {
        let ended = publish(&format!("{properties}\n"));
        assert_ended(&ended, 2, words);
        assert!(properties == "hunter2" || !ended.stderr.contains("hunter2"), "a secret is told: {ended:?}");
    }
}

/// `publish` to this broker and topic with more arguments.
fn publish(broker: &Broker, topic: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["publish", "--bootstrap-server", broker.address(), "--topic", topic, "--output", "json"];
    fixed.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

type Expected = (Option<&'static [u8]>, &'static [u8]);

#[test]
fn files_of_any_make_become_records() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let csv = &b"id,text\r\n1,\"a \"\"b\"\"\nc\"\r\n2,\r\n"[..];
    let cases: [(Vec<u8>, &[&str], &[Expected]); 12] = [
        (gzip(b"one\ntwo\n"), &[], &[(None, b"one"), (None, b"two")]),
        (zstd(b"one\ntwo\n"), &[], &[(None, b"one"), (None, b"two")]),
        ([gzip(b"o"), gzip(b"ne\n")].concat(), &[], &[(None, b"one")]),
        (
            csv.to_vec(),
            &["--format", "csv", "--key-field", "id"],
            &[(Some(b"1"), br#"{"id":"1","text":"a \"b\"\nc"}"#), (Some(b"2"), br#"{"id":"2","text":""}"#)],
        ),
        (
            gzip(csv),
            &["--format", "csv", "--key-field", "id", "--value-field", "text"],
            &[(Some(b"1"), b"a \"b\"\nc"), (Some(b"2"), b"")],
        ),
        (
            b"x;'1\n".to_vec(),
            &[
                "--format",
                "csv",
                "--no-header",
                "--field-delimiter",
                ";",
                "--quote",
                "none",
                "--key-field",
                "2",
            ],
            &[(Some(b"'1"), br#"{"1":"x","2":"'1"}"#)],
        ),
        (b"a\nb\xff\0".to_vec(), &["--format", "raw"], &[(None, b"a\nb\xff\0")]),
        (b"".to_vec(), &["--format", "raw"], &[(None, b"")]),
        (
            b"aabbcc".to_vec(),
            &["--format", "raw", "--framing", "fixed:2"],
            &[(None, b"aa"), (None, b"bb"), (None, b"cc")],
        ),
        (
            b"\x00\x00\x00\x02a\n\x00\x00\x00\x00".to_vec(),
            &["--format", "raw", "--framing", "u32be"],
            &[(None, b"a\n"), (None, b"")],
        ),
        (
            b"\x01a\x02bc".to_vec(),
            &["--format", "raw", "--framing", "varint"],
            &[(None, b"a"), (None, b"bc")],
        ),
        (
            b"{\"key\":\"k\",\"value_base64\":\"AP8=\"}\n{\"value\":\"plain\"}\n".to_vec(),
            &["--format", "records"],
            &[(Some(b"k"), b"\x00\xff"), (None, b"plain")],
        ),
    ];
    for (number, (content, flags, expected)) in cases.into_iter().enumerate() {
        let topic = format!("kind-{number}");
        let mut arguments = publish(&broker, &topic, flags);
        arguments.push(file(folder.path(), "input", &content));
        let ended = run(&arguments);
        assert_ended(&ended, 0, &[]);
        let read = consume(broker.address(), &topic, 1);
        let found: Vec<_> =
            read.iter().map(|record| (record.key.as_deref(), record.value.as_deref().unwrap())).collect();
        assert_eq!(found, expected, "{flags:?}");
        assert_eq!(summary(&ended)["records"], expected.len());
    }
    // Packed bytes are a record as they are, if that is what is wanted.
    let packed = gzip(b"one\n");
    let arguments = publish(&broker, "packed", &["--format", "raw", "--decompress", "never"]);
    assert_ended(&run_with_input(&arguments, &packed), 0, &[]);
    assert_eq!(consume(broker.address(), "packed", 1)[0].value.as_deref(), Some(&packed[..]));
}

#[test]
fn what_is_cut_short_or_broken_is_named_and_what_came_before_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    // Little enough that all of it is unpacked before the end is missed.
    let cut = |mut packed: Vec<u8>| {
        packed.truncate(packed.len() - 3);
        packed
    };
    let csv = ["--format", "csv"];
    let cases: [(Vec<u8>, &[&str], &str, usize); 8] = [
        (
            cut(gzip(b"one\ntwo\n")),
            &[],
            "input:3: the input cannot be read on: the gzip data is cut short",
            2,
        ),
        (cut([zstd(b"one\n"), zstd(b"two\n")].concat()), &[], "the zstd data is cut short", 1),
        (b"a,b\n1,2\n\n3\n4,5\n".to_vec(), &csv, "input:4: a row of 1 field, but the header names 2", 1),
        (b"a\n1\n2\n\"3\n4\n".to_vec(), &csv, "input:4: a quoted field of this row is never closed", 2),
        (
            b"a,b\n1,2\n".to_vec(),
            &["--format", "csv", "--key-field", "id"],
            "input:1: no column 'id'; there are: a, b",
            0,
        ),
        (
            b"\x01a\x05bc".to_vec(),
            &["--format", "raw", "--framing", "varint"],
            "input:2: the source ends in the middle of a frame: 2 of 5",
            1,
        ),
        (
            vec![b'x'; 1_200_000],
            &["--format", "raw"],
            "input:1: a file of 1200000 bytes exceeds the limit of 1000000",
            0,
        ),
        (
            b"{\"k\":1,\"t\":\"soon\"}\n".to_vec(),
            &["--format", "json", "--timestamp-field", "t"],
            "input:1: field 't' is neither milliseconds",
            0,
        ),
    ];
    for (number, (content, flags, words, delivered)) in cases.into_iter().enumerate() {
        let topic = format!("broken-{number}");
        let mut arguments = publish(&broker, &topic, flags);
        arguments.push(file(folder.path(), "input", &content));
        let ended = run(&arguments);
        assert_ended(&ended, 1, &[words]);
        assert_eq!(summary(&ended)["records"], delivered, "{flags:?}");
        if delivered > 0 {
            assert_eq!(consume(broker.address(), &topic, 1).len(), delivered, "{flags:?}");
        }
    }
}

#[test]
fn fields_say_where_and_when_and_what() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder().flag("--partitions", 3).start();
    let flags =
        ["--key-field", "id", "--value-field", "text", "--partition-field", "p", "--timestamp-field", "at"];
    let headers = ["--header", "from=test", "--header-field", "kind=k", "--header-field", "id"];
    for (format, content) in [
        (
            "json",
            "{\"id\":7,\"text\":\"v\",\"p\":2,\"at\":\"2023-11-14T22:13:20Z\",\"k\":\"x\"}\n{\"id\":8,\"text\":\"NULL\",\"p\":0,\"at\":1700000000001,\"k\":null}\n",
        ),
        ("csv", "k,id,text,p,at\nx,7,v,2,2023-11-14T22:13:20Z\n,8,NULL,0,1700000000001\n"),
    ] {
        let mut arguments = publish(&broker, format, &["--format", format, "--null-value", "NULL"]);
        arguments.extend(flags.iter().chain(&headers).map(|flag| (*flag).to_owned()));
        arguments.push(file(folder.path(), "input", content.as_bytes()));
        let ended = run(&arguments);
        assert_ended(&ended, 0, &[]);
        assert_eq!(summary(&ended)["nulls"], 1, "{format}");
        let mut read = consume(broker.address(), format, 3);
        read.sort_by_key(|record| record.timestamp_ms);
        let [first, second] = &read[..] else { panic!("{format}: {read:?}") };
        assert_eq!(
            (first.partition, first.timestamp_ms, first.key.as_deref()),
            (2, 1_700_000_000_000, Some(&b"7"[..]))
        );
        assert_eq!(first.value.as_deref(), Some(&b"v"[..]));
        let header =
            |name: &str, value: Option<&str>| (name.to_owned(), value.map(|text| text.as_bytes().to_vec()));
        assert_eq!(
            first.headers,
            [header("from", Some("test")), header("kind", Some("x")), header("id", Some("7"))]
        );
        assert_eq!(
            (second.partition, second.timestamp_ms, second.value.as_deref()),
            (0, 1_700_000_000_001, None)
        );
        // A row has no null: what is empty is empty.
        assert_eq!(second.headers[1].1.is_none(), format == "json");
    }
}

#[test]
fn a_field_names_the_topic_within_bounds() {
    let broker = Broker::start();
    let input = b"{\"to\":\"a\",\"n\":1}\n{\"to\":\"b\",\"n\":2}\n{\"to\":null,\"n\":3}\n{\"n\":4}\n{\"to\":\"a\",\"n\":5}\n";
    let ended = run_with_input(publish(&broker, "rest", &["--format", "json", "--topic-field", "to"]), input);
    assert_ended(&ended, 0, &[]);
    assert_eq!(summary(&ended)["topics"], serde_json::json!(["rest", "a", "b"]));
    assert_eq!(summary(&ended)["topic"], Value::Null);
    for (topic, count) in [("a", 2), ("b", 1), ("rest", 2)] {
        assert_eq!(consume(broker.address(), topic, 1).len(), count, "{topic}");
    }
    // Without a topic for those that name none, and with a name that no topic can have.
    for (line, words) in [
        (&b"{\"n\":1}\n"[..], "<stdin>:1: the record names no topic"),
        (b"{\"to\":\"a/b\"}\n", "'a/b' is no name for a topic: '/'"),
    ] {
        let fixed =
            ["publish", "--bootstrap-server", broker.address(), "--format", "json", "--topic-field", "to"];
        assert_ended(&run_with_input(fixed, line), 1, &[words]);
    }
    let many: String = (0..1001).map(|number| format!("{{\"to\":\"many-{number}\"}}\n")).collect();
    let fixed = ["publish", "--dry-run", "--format", "json", "--topic-field", "to"];
    assert_ended(
        &run_with_input(fixed, many.as_bytes()),
        1,
        &["<stdin>:1001: topic many-1000", "than the 1000 that one run"],
    );
}

#[test]
fn a_dry_run_prints_what_read_prints_and_publish_takes_it_back() {
    let broker = Broker::start();
    let lines = b"k1\tone\nk2\t\xff\0\nk3\tNULL\n";
    let parse = [
        "publish",
        "--dry-run",
        "--topic",
        "dry",
        "--key-delimiter",
        "\\t",
        "--null-value",
        "NULL",
        "--header",
        "a=b",
    ];
    let printed = run_with_input(parse, lines);
    assert_ended(&printed, 0, &["3 records", "nothing was sent"]);
    let told: Vec<Value> = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let header = serde_json::json!([{"key": "a", "value": "b"}]);
    assert_eq!(
        told[0],
        serde_json::json!({"topic":"dry","partition":null,"timestamp":null,"key":"k1","value":"one","headers":header})
    );
    assert_eq!((&told[1]["value_base64"], &told[2]["value"]), (&Value::from("/wA="), &Value::Null));

    let sent = run_with_input(publish(&broker, "dry", &["--format", "records"]), printed.stdout.as_bytes());
    assert_ended(&sent, 0, &[]);
    let read = |topic: &str| {
        let ended =
            run(["read", "--bootstrap-server", broker.address(), "--topic", topic, "--output", "json"]);
        assert_ended(&ended, 0, &[]);
        ended.stdout
    };
    let first = read("dry");
    for (line, told) in first.lines().zip(&told) {
        let line: Value = serde_json::from_str(line).unwrap();
        for name in ["key", "value", "value_base64", "headers", "topic"] {
            assert_eq!(line[name], told[name], "{name}");
        }
    }
    // And once more, from what read printed: all but the topic is the same, offsets and timestamps included.
    let again = run_with_input(publish(&broker, "again", &["--format", "records"]), first.as_bytes());
    assert_ended(&again, 0, &[]);
    assert_eq!(read("again"), first.replace("\"topic\":\"dry\"", "\"topic\":\"again\""));

    // A line that is no record ends it with 1; no broker is needed for that either.
    assert_ended(
        &run_with_input(["publish", "--dry-run", "--topic", "t", "--format", "json"], b"{}\n{\n"),
        1,
        &["<stdin>:2"],
    );
}

#[test]
fn a_topic_is_created_as_asked_for() {
    let broker = Broker::start();
    let publish = |more: &[&str]| run_with_input(publish(&broker, "made", more), b"one\n");
    let asked = ["--create-topic", "--topic-partitions", "3", "--topic-config", "max.message.bytes=5000"];
    assert_ended(&publish(&asked), 0, &[]);
    let described = run(["topic", "describe", "--bootstrap-server", broker.address(), "made"]);
    assert!(described.stdout.contains("3 partitions"), "{described:?}");
    assert!(described.stdout.contains("max.message.bytes = 5000\n"), "{described:?}");
    assert_ended(&publish(&asked), 0, &[]);
    assert_ended(&publish(&["--create-topic"]), 0, &[]);
    let words = ["--create-topic: topic made is there already, with 3 partitions, not 4"];
    assert_ended(&publish(&["--create-topic", "--topic-partitions", "4"]), 1, &words);
    assert_ended(&publish(&["--topic-partitions", "4"]), 2, &["--create-topic"]);
    let wrong = ["--create-topic", "--topic", "other", "--topic-config", "no.such=1"];
    assert_ended(
        &run_with_input([&["publish", "--bootstrap-server", broker.address()][..], &wrong].concat(), b"1\n"),
        1,
        &["no.such"],
    );
}

#[test]
fn flags_that_belong_elsewhere_are_refused() {
    for (flags, words) in [
        (
            &["--format", "csv", "--key-delimiter", ":"][..],
            "--key-delimiter belongs to --format lines, but the format is csv",
        ),
        (&["--quote", "none"], "--quote belongs to --format csv, but the format is lines"),
        (&["--format", "raw", "--key-field", "k"], "--key-field belongs to --format json or csv"),
        (&["--format", "json", "--framing", "whole"], "--framing belongs to --format raw"),
        (&["--format", "csv", "--null-value", "x"], "--null-value needs --value-field"),
        (&["--format", "csv", "--field-delimiter", ";;"], "one byte"),
        (&["--format", "raw", "--framing", "u8"], "expected whole, fixed:SIZE"),
        (&["--rate", "0"], "records a second"),
        (&["--dry-run", "--report", "r"], "--report"),
        (&["--topic", "a b"], "--topic 'a b' is no name for a topic"),
    ] {
        let arguments = [&["publish", "--topic", "t"][..], flags].concat();
        // The last --topic of two counts in a shell; here one is refused.
        let arguments = if flags[0] == "--topic" { [&["publish"][..], flags].concat() } else { arguments };
        assert_ended(&run(arguments), 2, &[words]);
    }
}

#[test]
fn a_rate_lets_everything_through() {
    let broker = Broker::start();
    let ended = run_with_input(publish(&broker, "even", &["--rate", "500"]), "x\n".repeat(100).as_bytes());
    assert_ended(&ended, 0, &[]);
    assert_eq!(consume(broker.address(), "even", 1).len(), 100);
}

/// Somebody else's server: answers whatever comes with these bytes, or with nothing.
fn stranger(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut some = [0; 64];
            // Who goes before it is answered is none of its business.
            if stream.read(&mut some).is_ok() && !answer.is_empty() {
                let _ = stream.write_all(answer);
            }
            held.push(stream);
        }
    });
    address
}

#[test]
fn an_error_says_what_was_tried_what_was_seen_and_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (tls, http) =
        (stranger(b"\x15\x03\x03\x00\x02\x02\x46"), stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let mute = stranger(b"");
    let elsewhere = Broker::builder().flag("--advertise", &closed).start();
    let strict = Broker::builder().flag("--auto-create-topics", "false").start();
    create_topic(strict.address(), "small", 1, &[("max.message.bytes", "5000")]);
    let record = vec![b'x'; 10_000];
    let cases: [(&str, &str, &[&str]); 8] = [
        ("no-such-host.invalid:9092", "t", &["no-such-host.invalid:9092", "resolve", "--bootstrap-server"]),
        (&closed, "t", &[&closed, "refused", "Is a broker running there?", "--bootstrap-server"]),
        (&http, "t", &[&http, "does not answer as a Kafka broker", "this is HTTP"]),
        (&tls, "t", &[&tls, "does not answer as a Kafka broker", "this is TLS"]),
        (&mute, "t", &[&mute, "does not answer as a Kafka broker", "1s"]),
        (elsewhere.address(), "t", &[elsewhere.address(), &closed, "refused", "--advertise"]),
        (strict.address(), "t", &["<stdin>:1", "topic t", "UNKNOWN_TOPIC_OR_PARTITION", "--create-topic"]),
        (strict.address(), "small", &["<stdin>:1", "not written to small-0", "MESSAGE_TOO_LARGE", "5000"]),
    ];
    thread::scope(|scope| {
        for (address, topic, words) in cases {
            let record = &record;
            scope.spawn(move || {
                // As they are by default, but for the patience.
                let patience =
                    ["-X", "max.block.ms=2000", "--connect-timeout", "1s", "--request-timeout", "1s"];
                let fixed = ["publish", "--bootstrap-server", address, "--topic", topic];
                assert_ended(&run_with_input([&fixed[..], &patience].concat(), record), 1, words);
            });
        }
    });
}
