//! A file that grows is followed through rotation and truncation, a FIFO through its writers; and a position that moves only with the
//! acknowledgement lets the next run begin where this one ended.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
};

use gapless_tests::{
    broker::Broker,
    cli::{run, start, summary},
    librdkafka::consume,
    process::{Ended, Process},
};
use rustix::process::Signal;
use serde_json::Value;

fn values(broker: &Broker) -> Vec<String> {
    let read = consume(broker.address(), "lines", 1).into_iter();
    read.map(|record| String::from_utf8(record.value.unwrap_or_default()).unwrap()).collect()
}

fn publish(broker: &Broker, file: &Path, more: &[&str]) -> Vec<String> {
    let fixed = ["publish", "--bootstrap-server", broker.address(), "--topic", "lines", "--output", "json"];
    fixed.iter().chain(more).chain([&file.to_str().unwrap()]).map(|text| (*text).to_owned()).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn wait_for(broker: &Broker, records: u32) {
    let topic = [("topic", "lines")];
    broker.wait_for_metric("gapless_broker_partition_high_watermark", &topic, f64::from(records));
}

fn interrupt(process: Process) -> Ended {
    process.signal(Signal::INT);
    let ended = process.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    ended
}

fn position(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a position was written")).unwrap()
}

#[test]
fn through_rotation_and_truncation_and_from_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (log, noted) = (folder.path().join("app.log"), folder.path().join("position"));
    let broker = Broker::start();
    append(&log, "one\ntwo\nunfinish");
    let flags = ["--follow", "--position-file", noted.to_str().unwrap()];
    let process = start(publish(&broker, &log, &flags));
    wait_for(&broker, 2);
    append(&log, "ed\n");
    wait_for(&broker, 3);
    // Renamed and made anew; what is still written to the old file belongs before the new one's.
    fs::rename(&log, folder.path().join("app.log.1")).unwrap();
    append(&log, "four in the new file\n");
    append(&folder.path().join("app.log.1"), "last of the old file");
    wait_for(&broker, 5);
    File::create(&log).unwrap();
    append(&log, "six\n");
    wait_for(&broker, 6);
    append(&log, "not yet a line");
    assert_eq!(summary(&interrupt(process))["records"], 6);
    assert_eq!(position(&noted)["offset"], 4, "before what is not yet a line");

    // Renamed while nobody looked: the rest of the old file, then the new one.
    append(&log, ", now it is\n");
    fs::rename(&log, folder.path().join("app.log.2")).unwrap();
    append(&log, "eight\nnine is not whole");
    let ended = run(publish(&broker, &log, &flags[1..]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("the last 17 bytes are no whole line yet"), "{ended:?}");
    let again = run(publish(&broker, &log, &flags[1..]));
    assert_eq!(summary(&again)["records"], 0, "nothing twice");
    let expected = [
        "one",
        "two",
        "unfinished",
        "last of the old file",
        "four in the new file",
        "six",
        "not yet a line, now it is",
        "eight",
    ];
    assert_eq!(values(&broker), expected);

    // Another file altogether: said, and read from its beginning.
    fs::remove_file(&log).unwrap();
    append(&log, "ten\n");
    let ended = run(publish(&broker, &log, &flags[1..]));
    assert!(ended.stderr.contains("is not the file that was read up to byte 6 (line 1)"), "{ended:?}");
    assert_eq!(summary(&ended)["records"], 1);
}

#[test]
fn a_position_stays_before_what_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (log, noted) = (folder.path().join("app.log"), folder.path().join("position"));
    let broker = Broker::builder().flag("--partitions", 3).start();
    append(&log, "{\"k\":1}\n{\"k\":2}\n{\"k\":oops\n{\"k\":4}\n");
    let flags = ["--position-file", noted.to_str().unwrap(), "--format", "json", "--key-field", "k"];
    let ended = run(publish(&broker, &log, &flags));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("app.log:3: not a JSON object"), "{ended:?}");
    let at = position(&noted);
    assert_eq!((&at["offset"], &at["lines"]), (&16.into(), &2.into()));
    // Mended in place, the run goes on there; lines are counted from the file's beginning.
    let mended = fs::read_to_string(&log).unwrap().replace("oops", "3}\n{");
    OpenOptions::new().write(true).open(&log).unwrap().write_all(mended.as_bytes()).unwrap();
    let ended = run(publish(&broker, &log, &flags));
    assert!(ended.stderr.contains("app.log:4: not a JSON object"), "{ended:?}");
    // Skipped on request, it is done with.
    let ended = run(publish(&broker, &log, &[&flags[..], &["--skip-failed"]].concat()));
    assert_eq!((ended.code, &summary(&ended)["records"]), (1, &1.into()), "{ended:?}");
    assert_eq!(position(&noted)["lines"], 5);
    assert_eq!(consume(broker.address(), "lines", 3).len(), 4);

    for (text, words) in [
        ("{", "not a position"),
        (&fs::read_to_string(&noted).unwrap().replace("app.log", "other.log"), "other.log, not to"),
        (&fs::read_to_string(&noted).unwrap().replace("\"version\":1", "\"version\":2"), "of version 2"),
    ] {
        fs::write(&noted, text).unwrap();
        let ended = run(publish(&broker, &log, &flags));
        assert!(ended.code == 1 && ended.stderr.contains(words), "{ended:?}");
    }
}

#[test]
fn a_fifo_outlives_its_writers() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let broker = Broker::start();
    let process = start(publish(&broker, &fifo, &["--follow"]));
    for writer in 1..=3 {
        let mut pipe = OpenOptions::new().write(true).open(&fifo).unwrap();
        writeln!(pipe, "writer {writer}").unwrap();
        drop(pipe);
        wait_for(&broker, writer);
    }
    interrupt(process);
    assert_eq!(values(&broker), ["writer 1", "writer 2", "writer 3"]);
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "one\n");
    let log = log.to_str().unwrap();
    for (flags, words) in [
        (&["--follow"][..], "--follow takes exactly one FILE"),
        (&["--follow", "-"], "--follow takes exactly one FILE"),
        (&["--position-file", "p", log, log], "--position-file takes exactly one FILE"),
        (&["--follow", "--format", "csv", log], "csv is none: lines, json or records"),
        (&["--position-file", "p", "/dev/null"], "/dev/null is no file that could be read again"),
        (&["--follow", "--dry-run", log], "--dry-run"),
    ] {
        let ended = run([&["publish", "--topic", "lines"][..], flags].concat());
        assert!(ended.code == 2 && ended.stderr.contains(words), "{flags:?}: {ended:?}");
    }
}
