//! `publish` ends with 0 only if every record was acknowledged. Whatever is wrong with the input, the broker or the way out, it
//! says so in a sentence with file and line or with the address, delivers what came before, and drops nothing silently.

use std::{
    collections::BTreeSet, fs, io::Write, net::TcpListener, path::Path, process::Command, thread,
    time::Duration,
};

use gapless_tests::{
    broker::Broker,
    cli::{assert_ended, file, run, run_with_input, start, summary},
    librdkafka::{Record, consume},
    raw::RawClient,
    wait::wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

/// `publish` to this broker with more arguments.
fn publish(broker: &Broker, more: &[&str]) -> Vec<String> {
    publish_to(broker.address(), more)
}

fn publish_to(address: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["publish", "--bootstrap-server", address, "--topic", "lines", "--output", "json"];
    fixed.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

fn values(broker: &Broker) -> Vec<Vec<u8>> {
    consume(broker.address(), "lines", 1).into_iter().map(|record| record.value.unwrap_or_default()).collect()
}

#[test]
fn lines_are_records_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, flags, wanted) in [
        ("plain", &b"one\ntwo\n"[..], &[][..], &[&b"one"[..], b"two"][..]),
        ("without a final newline", b"one\ntwo", &[], &[b"one", b"two"]),
        ("empty lines", b"\n\none\n\n", &[], &[b"", b"", b"one", b""]),
        ("an empty file", b"", &[], &[]),
        ("only a newline", b"\n", &[], &[b""]),
        ("carriage returns are kept", b"one\r\ntwo\r\n", &[], &[b"one\r", b"two\r"]),
        (
            "carriage returns are left out on request",
            b"one\r\ntwo\n\r\n",
            &["--crlf"],
            &[b"one", b"two", b""],
        ),
        ("invalid UTF-8", b"caf\xe9\n\xff\xfe\x00\n", &[], &[b"caf\xe9", b"\xff\xfe\x00"]),
        ("NUL bytes", b"a\0b\n\0\n", &[], &[b"a\0b", b"\0"]),
    ] {
        let broker = Broker::start();
        let path = file(folder.path(), "input", content);
        let mut arguments = publish(&broker, flags);
        arguments.push(path);
        let ended = run(&arguments);
        assert_ended(&ended, 0, &[]);
        assert_eq!(summary(&ended)["records"], wanted.len(), "{name}");
        if !wanted.is_empty() {
            assert_eq!(values(&broker), wanted, "{name}");
        }
        // The same bytes through a pipe.
        let piped = run_with_input(publish(&broker, flags), content);
        assert_ended(&piped, 0, &[]);
        assert_eq!(summary(&piped)["records"], wanted.len(), "{name} by standard input");
        if !wanted.is_empty() {
            assert_eq!(values(&broker), [wanted, wanted].concat(), "{name} by standard input");
        }
    }
}

#[test]
fn a_line_that_is_no_record_is_named_and_what_came_before_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let long = [b"before\n".to_vec(), vec![b'x'; 1_200_000], b"\nafter\n".to_vec()].concat();
    let json = &["--format", "json", "--key-field", "k"][..];
    for (name, content, flags, line, words) in [
        ("an overlong line", &long[..], &[][..], 2, &["1200000", "1000000", "--batch-size"][..]),
        ("a broken JSON line", b"{\"k\":1}\n{\"k\":\n{\"k\":2}\n", json, 2, &[]),
        ("a missing key field", b"{\"k\":1}\n{\"other\":1}\n{\"k\":2}\n", json, 2, &["k"]),
        ("JSON that is no object", b"{\"k\":1}\n[1,2]\n{\"k\":2}\n", json, 2, &[]),
        ("an empty line of JSON", b"{\"k\":1}\n\n{\"k\":2}\n", json, 2, &[]),
        ("invalid UTF-8 in JSON", b"{\"k\":1}\n{\"k\":\"\xff\"}\n{\"k\":2}\n", json, 2, &[]),
        ("a missing delimiter", b"a:1\nnone\nb:2\n", &["--key-delimiter", ":"], 2, &[]),
    ] {
        let broker = Broker::start();
        let path = file(folder.path(), "input.txt", content);
        let mut arguments = publish(&broker, flags);
        arguments.push(path.clone());
        let ended = run(&arguments);
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        let told = ended.stderr.replace([',', '_'], "");
        let place = [format!("{path}:{line}"), format!("{path} line {line}"), format!("{path}, line {line}")];
        assert!(place.iter().any(|place| ended.stderr.contains(place)), "{name}: {}", ended.stderr);
        for word in words {
            assert!(told.contains(word), "{name}: {word:?} is not in {told:?}");
        }
        assert_eq!(values(&broker).len(), 1, "{name}: the line before it was delivered, none after it");
        assert_eq!(summary(&ended)["records"], 1, "{name}");

        // Asked to, it goes on and counts.
        arguments.push("--skip-failed".to_owned());
        let ended = run(&arguments);
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        assert_eq!(values(&broker).len(), 3, "{name}: the lines before and after it");
        let summary = summary(&ended);
        assert_eq!((&summary["records"], &summary["rejected"]), (&Value::from(2), &Value::from(1)), "{name}");
    }
}

#[test]
fn inputs_that_cannot_be_read_are_named_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(folder.path(), "good", b"one\n");
    let absent = folder.path().join("absent").display().to_string();
    let directory = folder.path().display().to_string();
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic("lines");
    for (bad, words) in [(&absent, &["absent"][..]), (&directory, &["is a directory"])] {
        let mut arguments = publish(&broker, &[]);
        arguments.extend([good.clone(), bad.clone()]);
        let ended = run(&arguments);
        assert_ended(&ended, 1, words);
        assert!(values(&broker).is_empty(), "nothing was sent");
    }
}

#[test]
fn several_files_and_standard_input_are_read_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (file(folder.path(), "1", b"a\nb"), file(folder.path(), "2", b"e\n"));
    let broker = Broker::start();
    let mut arguments = publish(&broker, &[]);
    arguments.extend([first, "-".to_owned(), second]);
    assert_ended(&run_with_input(&arguments, b"c\nd"), 0, &[]);
    assert_eq!(values(&broker), [b"a", b"b", b"c", b"d", b"e"]);
}

#[test]
fn a_pipe_that_pauses_is_published_as_it_comes_and_its_end_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let broker = Broker::start();
    let mut arguments = publish(&broker, &[]);
    arguments.push(fifo.display().to_string());
    let process = start(&arguments);
    let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    for number in 0..3 {
        writeln!(pipe, "line {number}").unwrap();
        // It does not wait for more before it sends.
        broker.wait_for_metric(
            "gapless_broker_partition_high_watermark",
            &[("topic", "lines")],
            f64::from(number + 1),
        );
    }
    write!(pipe, "unfinished").unwrap();
    drop(pipe);
    assert_ended(&process.end(), 0, &[]);
    assert_eq!(values(&broker), [&b"line 0"[..], b"line 1", b"line 2", b"unfinished"]);
}

#[test]
fn a_broker_that_is_not_there_is_named_within_seconds() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    for (address, words) in [
        (address.as_str(), &["cannot connect", address.as_str()][..]),
        ("no-such-host.invalid:9092", &["no-such-host.invalid:9092", "resolve"]),
    ] {
        let ended = run_with_input(publish_to(address, &[]), b"one\n");
        assert_ended(&ended, 1, words);
    }
}

#[test]
fn a_port_that_speaks_something_else_is_named_with_the_stage() {
    let broker = Broker::start();
    // The broker's own HTTP port, and one that accepts and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_address = mute.local_addr().unwrap().to_string();
    for address in [broker.http_address(), &mute_address] {
        let ended = run_with_input(
            publish_to(address, &["--connect-timeout", "1s", "--request-timeout", "1s"]),
            b"one\n",
        );
        assert_ended(&ended, 1, &[address]);
    }
}

#[test]
fn an_advertised_address_that_leads_nowhere_is_named_beside_the_one_that_answered() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = closed.local_addr().unwrap().to_string();
    drop(closed);
    let broker = Broker::builder().flag("--advertise", &nowhere).start();
    let ended = run_with_input(publish(&broker, &[]), b"one\n");
    assert_ended(&ended, 1, &[broker.address(), &nowhere, "--advertise"]);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["publish"][..],
        &["publish", "--topic", "t", "--acks", "2"],
        &["publish", "--topic", "t", "--linger", "soon"],
        &["publish", "--topic", "t", "--max-in-flight", "6"],
        &["publish", "--topic", "t", "--compression", "rar"],
        &["publish", "--topic", "t", "--no-such-flag"],
        &["publish", "--topic", "t", "-", "-"],
        &["publish", "--topic", "t", "-X", "security.protocol=SSL"],
        &["publish", "--topic", "t", "-X", "no.such.property=1"],
        &["read"],
        &["topic", "create"],
        &["conquer"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

/// Reads a report: line of the input → partition and offset.
fn report(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a report can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of the report is JSON")).collect()
}

#[test]
fn the_report_says_where_every_record_is() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder().flag("--partitions", 3).start();
    let content: String = (0..2000).map(|number| format!("{}:value {number}\n", number % 17)).collect();
    let (input, path) = (file(folder.path(), "input", content.as_bytes()), folder.path().join("report"));
    let mut arguments = publish(&broker, &["--key-delimiter", ":", "--report", path.to_str().unwrap()]);
    arguments.push(input.clone());
    assert_ended(&run(&arguments), 0, &[]);
    let read = consume(broker.address(), "lines", 3);
    let reported = report(&path);
    assert_eq!(reported.len(), 2000);
    let (mut lines, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for line in reported {
        assert_eq!(
            (&line["status"], &line["file"], &line["topic"]),
            (&"acked".into(), &input.as_str().into(), &"lines".into())
        );
        let number = line["line"].as_u64().unwrap();
        lines.insert(number);
        let at = |record: &&Record| line["partition"] == record.partition && line["offset"] == record.offset;
        let record = read.iter().find(at).unwrap_or_else(|| panic!("nothing is at {line}"));
        assert_eq!(record.value, Some(format!("value {}", number - 1).into_bytes()));
        assert_eq!(line["timestamp"], record.timestamp_ms);
        let digest = line["digest"].as_str().expect("a record has a digest").to_owned();
        assert_eq!(digest.len(), 32, "{line}");
        digests.insert(digest);
    }
    assert_eq!((lines.len(), digests.len()), (2000, 2000), "no two records are alike");
}

#[test]
fn a_report_that_cannot_be_written_ends_the_run_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic("lines");
    let input = file(folder.path(), "input", "a line\n".repeat(1000).as_bytes());
    // A full disk, found out in the middle.
    let mut arguments = publish(&broker, &["--report", "/dev/full"]);
    arguments.push(input.clone());
    assert_ended(&run(&arguments), 1, &["/dev/full"]);
    // A folder that does not exist, found out before anything is sent.
    let before = values(&broker).len();
    let absent = folder.path().join("absent/report");
    let mut arguments = publish(&broker, &["--report", absent.to_str().unwrap()]);
    arguments.push(input);
    assert_ended(&run(&arguments), 1, &["--report", "absent/report"]);
    assert_eq!(values(&broker).len(), before);
}

#[test]
fn ctrl_c_sigterm_and_a_closed_terminal_flush_what_was_read_and_report_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let broker = Broker::start();
        let mut process = start(publish(&broker, &["--report", path.to_str().unwrap()]));
        let mut stdin = process.take_stdin().unwrap();
        stdin.write_all(b"one\ntwo\nthree\n").unwrap();
        broker.wait_for_metric("gapless_broker_appended_records_total", &[], 3.0);
        process.signal(signal);
        let ended = process.end();
        assert_eq!(ended.code, 130, "{signal:?}: {ended:?}");
        let summary = summary(&ended);
        assert_eq!((&summary["records"], &summary["interrupted"]), (&3.into(), &true.into()), "{signal:?}");
        assert_eq!(report(&path).len(), 3, "{signal:?}");
        assert_eq!(values(&broker), [&b"one"[..], b"two", b"three"], "{signal:?}");
        drop(stdin);
    }
}

#[test]
fn a_broker_that_goes_away_for_good_leaves_the_first_unacknowledged_line_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    let mut broker = Broker::start();
    let flags = ["--delivery-timeout", "2s", "--request-timeout", "1s", "--report", path.to_str().unwrap()];
    let mut process = start(publish(&broker, &flags));
    let mut stdin = process.take_stdin().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    broker.wait_for_metric("gapless_broker_partition_high_watermark", &[("topic", "lines")], 2.0);
    broker.kill();
    stdin.write_all(b"three\nfour\n").unwrap();
    drop(stdin);
    let ended = process.end();
    assert_eq!(ended.code, 1, "{ended:?}");
    let told = &ended.stderr;
    assert!(told.contains("<stdin>") && told.contains('3'), "the third line is named: {told}");
    let summary = summary(&ended);
    assert_eq!(summary["records"], 2);
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("not_written") + count("unknown"), 2, "{summary}");
    // And the report agrees with the log.
    let reported = report(&path);
    let acked: Vec<_> = reported.iter().filter(|line| line["status"] == "acked").collect();
    assert_eq!(acked.len(), 2);
    broker.restart();
    let read = values(&broker);
    assert_eq!(read[..2], [&b"one"[..], b"two"]);
    for line in reported.iter().filter(|line| line["status"] == "not_written") {
        let number = usize::try_from(line["line"].as_u64().unwrap()).unwrap();
        let value = [&b"one"[..], b"two", b"three", b"four"][number - 1];
        assert!(!read.iter().any(|have| have == value), "line {number} is said not to be written");
    }
}

#[test]
fn many_partitions_get_every_line() {
    const PARTITIONS: i32 = 300;
    const LINES: usize = 20_000;
    let broker = Broker::builder().flag("--durability", "os").start();
    let lines: String = (0..LINES).map(|number| format!("key-{number}:{number}\n")).collect();
    let flags = ["--create-topic", "--topic-partitions", "300", "--key-delimiter", ":", "--linger", "0ms"];
    let ended = run_with_input(publish(&broker, &flags), lines.as_bytes());
    assert_eq!((ended.code, summary(&ended)["records"].as_u64()), (0, Some(LINES as u64)), "{ended:?}");
    let read = consume(broker.address(), "lines", PARTITIONS);
    let found: BTreeSet<Vec<u8>> = read.iter().filter_map(|record| record.value.clone()).collect();
    assert_eq!((read.len(), found.len()), (LINES, LINES));
    let used: BTreeSet<i32> = read.iter().map(|record| record.partition).collect();
    assert_eq!(used.len(), 300);
}

#[test]
fn settings_that_drop_the_promise_are_named_in_the_summary() {
    let broker = Broker::start();
    for (flags, weakened) in [
        (&["--acks", "1"][..], true),
        (&["--idempotence", "false"], true),
        (&["--max-in-flight", "1"], false),
    ] {
        let ended = run_with_input(publish(&broker, flags), b"one\n");
        assert_ended(&ended, 0, &[]);
        assert_eq!(!summary(&ended)["weakened_by"].as_array().unwrap().is_empty(), weakened, "{flags:?}");
    }
}

#[test]
fn one_record_goes_and_the_program_ends_at_once() {
    // Not a matter of the clock: it must end although nothing else ever happens.
    let broker = Broker::start();
    let ended = run_with_input(publish(&broker, &["--linger", "60s"]), b"only\n");
    assert_ended(&ended, 0, &[]);
    assert_eq!(values(&broker), [b"only"]);
}

#[test]
fn nothing_but_the_result_is_on_standard_output() {
    let broker = Broker::start();
    let ended = run_with_input(publish(&broker, &[]), b"one\n");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert_eq!(ended.stderr, "", "no progress without a terminal");
    let ended = run_with_input(publish(&broker, &["--quiet"]), b"two\n");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let broker = Broker::start();
    let many: String = (0..200_000).map(|number| format!("line number {number}\n")).collect();
    assert_ended(&run_with_input(publish(&broker, &[]), many.as_bytes()), 0, &[]);
    // `read | head -1` in a shell that tells the exit code of both.
    let reader = gapless_tests::binaries::path("gapless-producer");
    let script = format!(
        "set -o pipefail; '{}' read --topic lines --bootstrap-server {} | head -1",
        reader.display(),
        broker.address()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "line number 0\n");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_slow_start_of_the_broker_is_waited_for() {
    // Started a moment too early, as in any script: it tries again for ten seconds.
    let mut broker = Broker::start();
    broker.kill();
    let arguments = publish(&broker, &[]);
    let early = thread::spawn(move || run_with_input(arguments, b"early\n"));
    thread::sleep(Duration::from_millis(300));
    broker.restart();
    assert_ended(&early.join().unwrap(), 0, &[]);
    wait_until("the record", || values(&broker) == [b"early"]);
}
