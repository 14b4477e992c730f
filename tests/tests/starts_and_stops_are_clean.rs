//! A start that can work says where; one that cannot says why in one sentence that names the flag. A stop loses nothing.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    thread,
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{ApiVersionsRequest, MetadataRequest},
};
use gapless_tests::{
    batch::{Stamp, batch},
    binaries,
    broker::{Broker, Ready},
    http,
    ports::free_port,
    process::{Ended, Process},
    raw::RawClient,
    wait::wait_until,
};
use rustix::process::Signal;

/// One sentence on standard error that holds all of `words`, and exit code 1.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(ended.stdout, "", "nothing was ready");
    let complaint = ended.stderr.lines().last().unwrap_or_default();
    for word in words {
        assert!(complaint.contains(word), "{word:?} is not in {complaint:?}");
    }
}

#[test]
fn port_0_picks_a_free_one_and_says_it() {
    let broker =
        Broker::builder().flag("--listen", "127.0.0.1:0").flag("--http-listen", "127.0.0.1:0").start();
    assert!(!broker.address().ends_with(":0"));
    let mut client = RawClient::connect(broker.address());
    let response = client.call(&MetadataRequest::default(), 9);
    let told = &response.brokers[0];
    assert_eq!(
        format!("{}:{}", told.host, told.port),
        broker.address(),
        "clients are told the port that was picked"
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http::get(broker.http_address(), path).unwrap().status, 200, "{path}");
    }
    assert_eq!(http::get(broker.http_address(), "/nonsense").unwrap().status, 404);
    let metrics = broker.metrics();
    assert_eq!(metrics.value("gapless_broker_ready", &[]), Some(1.0));
    assert_eq!(metrics.value("gapless_broker_durability_info", &[("mode", "fsync")]), Some(1.0));
    assert_eq!(
        metrics.value("gapless_broker_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        Some(1.0)
    );
}

#[test]
fn every_flag_is_an_environment_variable_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binaries::path("gapless-broker"));
    command
        .env("GAPLESS_LISTEN", "127.0.0.1:0,INSIDE=127.0.0.1:0")
        .env("GAPLESS_HTTP_LISTEN", "127.0.0.1:0")
        .env("GAPLESS_DATA_DIR", folder.path().join("by-environment"))
        .env("GAPLESS_DURABILITY", "os");
    let mut process = Process::start("gapless-broker", &mut command);
    let ready = process.line("ready line", Ready::parse);
    assert_eq!(ready.others.len(), 1);
    assert_eq!(ready.others[0].0, "INSIDE");
    assert!(folder.path().join("by-environment/meta.json").exists());
    wait_until("the mode in the log", || process.stderr().contains("--durability os"));
}

#[test]
fn each_listener_tells_its_clients_its_own_address() {
    let (outside, inside) = (free_port(), free_port());
    let broker = Broker::builder()
        .flag("--listen", format!("OUTSIDE=127.0.0.1:{outside}"))
        .flag("--listen", format!("INSIDE=0.0.0.0:{inside}"))
        .flag("--advertise", "INSIDE=broker.example:19092")
        .start();
    assert_eq!(broker.address(), format!("127.0.0.1:{outside}"));
    for (port, told) in
        [(outside, format!("127.0.0.1:{outside}")), (inside, "broker.example:19092".to_owned())]
    {
        let mut client = RawClient::connect(&format!("127.0.0.1:{port}"));
        let response = client.call(&MetadataRequest::default(), 9);
        let broker = &response.brokers[0];
        assert_eq!(format!("{}:{}", broker.host, broker.port), told);
    }
}

#[test]
fn listening_everywhere_needs_an_address_to_tell() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let ended = Broker::builder().flag("--listen", listen).start_in_vain();
        assert_eq!(ended.code, 2, "{ended:?}");
        for word in ["--advertise", "--listen", listen] {
            assert!(ended.stderr.contains(word), "{word:?} is not in {:?}", ended.stderr);
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--http-listen"] {
        let ended = Broker::builder().flag(flag, &address).start_in_vain();
        assert_refused(&ended, &[flag, &address]);
    }
}

#[test]
fn a_second_broker_on_one_directory_refuses_to_start_and_the_first_goes_on() {
    let first = Broker::start();
    let mut client = RawClient::connect(first.address());
    client.create_topic("owned");
    client.produce("owned", 0, batch(&[b"before"], None));
    let ended = Broker::builder().data_dir(first.data_dir()).start_in_vain();
    assert_refused(&ended, &["--data-dir", &first.data_dir().display().to_string()]);
    assert_eq!(client.produce("owned", 0, batch(&[b"after"], None)).base_offset, 1);
}

#[test]
fn a_data_directory_that_cannot_be_used_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "not a directory").unwrap();
    assert_refused(&Broker::builder().data_dir(&file).start_in_vain(), &["--data-dir", "a-file"]);
    assert_refused(
        &Broker::builder().data_dir("/proc/gapless").start_in_vain(),
        &["--data-dir", "/proc/gapless"],
    );

    let newer = folder.path().join("newer");
    let mut broker = Broker::builder().data_dir(&newer).start();
    broker.stop();
    let meta = newer.join("meta.json");
    let sound = fs::read_to_string(&meta).unwrap();
    // A file that fails its check is never trusted.
    fs::write(&meta, sound.replace("cluster", "bluster")).unwrap();
    assert_refused(&Broker::builder().data_dir(&newer).start_in_vain(), &["meta.json"]);
    fs::write(&meta, sound).unwrap();
    Broker::builder().data_dir(&newer).start();
}

#[test]
fn a_read_only_directory_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    assert_refused(&Broker::builder().data_dir(&closed).start_in_vain(), &["--data-dir", "closed"]);
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A full device, as beside the data; what holds for it holds for a pipe that nobody reads.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"])
        .arg(binaries::path("gapless-broker"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
            "--log-level",
            "debug",
            "--data-dir",
        ])
        .arg(folder.path().join("data"));
    let mut process = Process::start("gapless-broker", &mut command);
    let ready = process.line("ready line", Ready::parse);
    let mut client = RawClient::connect(&ready.kafka);
    client.create_topic("events");
    assert_eq!(client.produce("events", 0, batch(&[b"kept"], None)).base_offset, 0);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code, 0);
}

#[test]
fn usage_errors_exit_with_2_and_name_the_flag() {
    for (flag, value) in [
        ("--durability", "perhaps"),
        ("--idle-timeout", "soon"),
        ("--max-message-bytes", "0"),
        ("--partitions", "many"),
        ("--no-such-flag", "1"),
        ("--log-level", "loud"),
    ] {
        let ended = Broker::builder().flag(flag, value).start_in_vain();
        assert_eq!(ended.code, 2, "{flag} {value}: {ended:?}");
        assert!(ended.stderr.contains(flag), "{flag} {value}: {}", ended.stderr);
    }
}

#[test]
fn sigterm_and_sigint_keep_what_was_acknowledged_and_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = Broker::start();
        RawClient::connect(broker.address()).create_topic("load");
        let address = broker.address().to_owned();
        // Senders that only end when the broker does.
        let senders: Vec<_> = (0..4)
            .map(|number: u32| {
                let address = address.clone();
                thread::spawn(move || {
                    let mut client = RawClient::connect(&address);
                    let (id, epoch) = client.init_producer_id();
                    let mut acked = 0;
                    loop {
                        let value = format!("{number}-{acked}");
                        let request = gapless_tests::raw::produce_request(
                            "load",
                            0,
                            batch(&[value.as_bytes()], Some(Stamp { id, epoch, sequence: acked })),
                        );
                        if client.write(&gapless_tests::raw::frame(acked, &request, 9)).is_err() {
                            return (number, acked);
                        }
                        let Ok(frame) = client.read_frame() else { return (number, acked) };
                        let answer = gapless_common::protocol::decode_response::<
                            gapless_common::protocol::messages::ProduceRequest,
                        >(frame, 9);
                        let answer = answer.unwrap().1.responses.remove(0).partition_responses.remove(0);
                        if answer.error_code != ErrorCode::NONE {
                            return (number, acked);
                        }
                        acked += 1;
                    }
                })
            })
            .collect();
        broker.wait_for_metric("gapless_broker_appended_records_total", &[], 200.0);
        broker.process().signal(signal);
        // A second signal changes nothing.
        broker.process().signal(signal);
        let ended = broker.wait_for_end();
        assert_eq!(ended.code, 0, "{signal:?}: {}", ended.stderr);
        let acked: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        broker.restart();
        let read = RawClient::connect(broker.address()).fetch_all("load", 0);
        for (number, count) in acked {
            let mine: Vec<_> =
                read.iter().filter(|(_, value)| value.starts_with(format!("{number}-").as_bytes())).collect();
            assert!(mine.len() >= count as usize, "sender {number}: {} of {count}", mine.len());
            for (at, (_, value)) in mine.iter().enumerate() {
                assert_eq!(*value, format!("{number}-{at}").into_bytes());
            }
        }
    }
}

#[test]
fn after_sigterm_the_port_is_closed_and_idle_connections_do_not_hold_up_the_end() {
    let mut broker = Broker::start();
    let address = broker.address().to_owned();
    let mut idle: Vec<_> = (0..10).map(|_| RawClient::connect(&address)).collect();
    for client in &mut idle {
        client.call(&ApiVersionsRequest::default(), 0);
    }
    let ended = broker.stop();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for client in &mut idle {
        client.assert_closed("the broker stopped");
    }
    assert!(TcpStream::connect(&address).is_err());
}
