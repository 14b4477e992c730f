//! A broker frozen for longer than the delivery timeout, several times, under our library and under librdkafka.

use std::{
    env,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gapless_producer::Producer;
use gapless_tests::{
    broker::Broker,
    frozen::{Progress, send_without_a_hole},
    librdkafka::{self, Delivered, Record, consume},
    oracle::{number_of, value_of},
    raw::RawClient,
};

const USAGE: &str = "usage: freezes [--freezes N] [--frozen-ms N] [--delivery-timeout-ms N] [--between-ms N]";
const OURS: &str = "ours";
const THEIRS: &str = "librdkafka";
/// Records that librdkafka sends in a burst, with a pause after it: as fast as our sender.
const BURST: u64 = 50;
const PAUSE: Duration = Duration::from_millis(2);

struct Settings {
    freezes: u32,
    frozen: Duration,
    delivery_timeout: Duration,
    between: Duration,
}

fn settings() -> Option<Settings> {
    let mut settings = Settings {
        freezes: 3,
        frozen: Duration::from_millis(4500),
        delivery_timeout: Duration::from_secs(3),
        between: Duration::from_secs(2),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number: u32 = arguments.next()?.parse().ok()?;
        let duration = Duration::from_millis(number.into());
        match argument.as_str() {
            "--freezes" => settings.freezes = number,
            "--frozen-ms" => settings.frozen = duration,
            "--delivery-timeout-ms" => settings.delivery_timeout = duration,
            "--between-ms" => settings.between = duration,
            _ => return None,
        }
    }
    Some(settings)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built")
}

async fn our_producer(address: &str, delivery_timeout: Duration) -> Producer {
    Producer::builder()
        .bootstrap_servers(address)
        .request_timeout(delivery_timeout / 3)
        .delivery_timeout(delivery_timeout)
        .build()
        .await
        .expect("the broker is there")
}

/// Sends until there is enough, whatever fails; what became of each record, in their order.
fn by_librdkafka(address: &str, delivery_timeout: Duration, enough: &AtomicBool) -> Vec<Delivered> {
    let timeout = delivery_timeout.as_millis().to_string();
    let request_timeout = (delivery_timeout / 3).as_millis().to_string();
    let sender = librdkafka::Sender::new(
        address,
        &[
            ("enable.idempotence", "true"),
            ("delivery.timeout.ms", &timeout),
            ("request.timeout.ms", &request_timeout),
            ("socket.timeout.ms", &request_timeout),
        ],
    );
    let mut number = 0;
    while !enough.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            sender.send(THEIRS, number, &Record { value: Some(value_of(number)), ..Record::default() });
            number += 1;
        }
        thread::sleep(PAUSE);
    }
    let mut told = sender.finish();
    told.sort_by_key(|delivered| delivered.number);
    told
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some(Settings { freezes, frozen, delivery_timeout, between }) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut broker = Broker::start();
    for topic in [OURS, THEIRS] {
        RawClient::connect(broker.address()).create_topic(topic);
    }
    let address = broker.address().to_owned();
    let (progress, enough) = (Progress::default(), AtomicBool::new(false));
    let runtime = runtime();
    let producer = runtime.block_on(our_producer(&address, delivery_timeout));
    let (tally, theirs) = thread::scope(|scope| {
        let ours = scope.spawn(|| runtime.block_on(send_without_a_hole(&producer, OURS, &progress)));
        let theirs = scope.spawn(|| by_librdkafka(&address, delivery_timeout, &enough));
        for freeze in 1..=freezes {
            thread::sleep(between);
            broker.freeze();
            thread::sleep(frozen);
            broker.thaw();
            eprintln!("freeze {freeze} is over");
        }
        thread::sleep(between);
        progress.enough.store(true, Ordering::Relaxed);
        enough.store(true, Ordering::Relaxed);
        (ours.join().expect("our sender ran to its end"), theirs.join().expect("librdkafka ran to its end"))
    });

    let read = |topic| -> Vec<Option<u64>> {
        consume(&address, topic, 1).iter().map(|record| record.value.as_deref().and_then(number_of)).collect()
    };
    let is_whole = read(OURS).into_iter().eq((0..tally.written).map(Some));
    println!(
        "{OURS}: {} records in the log, {}; {} halts, {} records in doubt of which {} were found in the log, {} sent again",
        tally.written,
        if is_whole { "every number once, in order, without a hole" } else { "NOT what was told" },
        tally.halts,
        tally.in_doubt,
        tally.found,
        tally.sent_again,
    );
    let last_acked = theirs.iter().filter(|told| told.outcome.is_ok()).map(|told| told.number).max();
    let failed: Vec<u64> =
        theirs.iter().filter(|told| told.outcome.is_err()).map(|told| told.number).collect();
    let below = failed.iter().filter(|number| Some(**number) < last_acked).count();
    let in_log: std::collections::BTreeSet<u64> = read(THEIRS).into_iter().flatten().collect();
    let untrue = failed.iter().filter(|number| in_log.contains(number)).count();
    println!(
        "{THEIRS}: {} records sent, {} failed, {below} of them below the last acknowledged one; {untrue} of those reported as \
         failed are in the log",
        theirs.len(),
        failed.len(),
    );
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
