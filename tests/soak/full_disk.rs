//! Records from our library and from librdkafka, together, to a broker on a small file system that is filled to the last byte
//! and given room again, at shares of the acknowledged records; every third time the broker dies by `kill -9` meanwhile. Then
//! every record must be in the log exactly once, in order, at the offset that was told.

use std::{env, process::ExitCode, thread, time::Duration};

use gapless_tests::{
    broker::Broker,
    librdkafka::consume,
    load::{PARTITIONS, Sender, by_library, by_librdkafka, through},
    mounts::Mount,
    oracle::verdict,
};

const USAGE: &str = "usage: full_disk [--records N] [--times N]";
/// Room for everything that is sent, and some.
const DISK_BYTES: u64 = 512 << 20;
/// How long the disk stays full: several retries of both producers.
const FULL_FOR: Duration = Duration::from_secs(1);
const TOPICS: [&str; 2] = ["library", "librdkafka"];

fn settings() -> Option<(u64, u64)> {
    let (mut records, mut times) = (300_000, 10);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--records" => records = arguments.next()?.parse().ok()?,
            "--times" => times = arguments.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some((records, times))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Some((records, times)) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Some(mount) = Mount::ext4(DISK_BYTES).or_else(|| Mount::tmpfs(DISK_BYTES)) else {
        return ExitCode::SUCCESS;
    };
    let mut broker = Broker::builder().data_dir(mount.join("data")).start();
    let senders: [Sender; 2] = [by_library, by_librdkafka];
    let mut refused = 0.0;
    let told = through(&mut broker, &TOPICS, records, times, &senders, &mut |broker, time, send_on| {
        mount.fill();
        send_on();
        broker.wait_for_metric("gapless_broker_batches_refused_total", &[("reason", "storage")], 1.0);
        thread::sleep(FULL_FOR);
        refused += broker.metric("gapless_broker_batches_refused_total", &[("reason", "storage")]);
        if time.is_multiple_of(3) {
            broker.kill();
        }
        mount.make_room();
        // Counts from zero again, too.
        broker.restart();
    });
    println!("{times} times full, {refused} batches refused meanwhile");
    let mut kept = true;
    for (topic, told) in TOPICS.iter().zip(&told) {
        let read = consume(broker.address(), topic, PARTITIONS);
        let (line, is_kept) = verdict(topic, &read, records, told);
        println!("{line}");
        kept &= is_kept;
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
