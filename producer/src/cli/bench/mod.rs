//! `bench`: each producer sends what is due by its schedule ([`schedule`], [`load`]) from a pool of values ([`content`]);
//! what is acknowledged is counted a batch at a time ([`flight`], [`timeline`]), and told as numbers ([`outcome`]) and as a
//! picture ([`plot`]).

mod content;
mod cpu;
mod flight;
mod load;
mod outcome;
mod plot;
mod schedule;
mod timeline;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::seam::Seams;
use gapless_common::units::DisplayDuration;
use gapless_producer::{Builder, Config, Linger, Producer, Stats};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep_until};

use super::args::{BenchArgs, ConnectionSettings};
use super::exit::{Stop, complain};
use super::progress::{ProgressLine, waiting};
use super::signals::Signals;
use super::{human, result};
use crate::client::{Client, ClientError, NewTopic};
use content::Content;
use cpu::CpuSeconds;
use flight::Measured;
use load::{Load, Times};
use outcome::{Outcome, Run};

/// How long, if neither that nor a number of records is asked for.
const DURATION: Duration = Duration::from_secs(10);
/// How often the progress is drawn.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Runs to the end, or to the first failure.
pub async fn run(args: BenchArgs, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    let config = args.producer.settle(&args.connection, false)?;
    let content = match &args.sample_file {
        Some(path) => Content::sample(path, args.keys)?,
        None => Content::random(args.record_size, args.keys, &seams.random),
    };
    if content.largest() > config.batch_size {
        return Err(Stop::Usage(format!(
            "a record of {} bytes exceeds --batch-size {}; raise that, and the broker's max.message.bytes with it",
            content.largest(),
            config.batch_size
        )));
    }
    let plot = args.plot.as_deref().map(Plot::create).transpose()?;
    let broker = config.bootstrap_servers.join(", ");
    let prepared = waiting(args.output.quiet, &broker, prepare(&args, &config, &seams));
    let ready = tokio::select! {
        biased;
        () = signals.reach(1) => return Err(Stop::Interrupted),
        ready = Box::pin(prepared) => ready?,
    };
    let (measured, outcome) = Box::pin(measure(&args, &config, &seams, signals, ready, content)).await?;
    result::print(&outcome, args.output.output)?;
    if let Some(plot) = plot {
        plot.write(&plot::svg(&outcome, &measured))?;
    }
    if let Some(error) = &outcome.error {
        complain(format!("error: {error}"));
    }
    Ok(match (outcome.interrupted, &outcome.error) {
        (_, Some(_)) => ExitCode::FAILURE,
        (true, None) => return Err(Stop::Interrupted),
        (false, None) => ExitCode::SUCCESS,
    })
}

/// The topic as asked for, and producers that are connected.
async fn prepare(args: &BenchArgs, config: &Config, seams: &Seams) -> Result<Vec<Producer>, Stop> {
    if let Some(partitions) = args.partitions {
        let settings = ConnectionSettings::of(config);
        let mut client =
            Client::connect(seams.clone(), settings).await.map_err(|error| Stop::failed(&error))?;
        have_topic(&mut client, &args.topic, partitions).await?;
    }
    let mut producers = Vec::new();
    for _ in 0..args.producers {
        let building = Builder::from_config(config.clone()).seams(seams.clone()).build();
        producers.push(building.await.map_err(|error| Stop::failed(&error))?);
    }
    Ok(producers)
}

async fn have_topic(client: &mut Client, name: &str, partitions: i32) -> Result<(), Stop> {
    match client.topic(name).await {
        Ok(topic) if i32::try_from(topic.partitions.len()) == Ok(partitions) => Ok(()),
        Ok(topic) => Err(Stop::Failed(format!(
            "--partitions {partitions}: topic {name} has {}; leave the flag out, or name another topic",
            topic.partitions.len()
        ))),
        Err(ClientError::Refused { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
            let topic =
                NewTopic { name, partitions: Some(partitions), replication_factor: None, settings: &[] };
            client.create_topic(&topic).await.map_err(|error| Stop::failed(&error))
        }
        Err(error) => Err(Stop::failed(&error)),
    }
}

/// What was spent up to a moment.
struct Spent {
    stats: Vec<Stats>,
    cpu: Option<CpuSeconds>,
}

impl Spent {
    fn now(producers: &[Producer]) -> Self {
        Self { stats: producers.iter().map(Producer::stats).collect(), cpu: CpuSeconds::now() }
    }
}

async fn measure(
    args: &BenchArgs,
    config: &Config,
    seams: &Seams,
    mut signals: Signals,
    producers: Vec<Producer>,
    content: Content,
) -> Result<(Measured, Outcome), Stop> {
    // The first request to a topic may have to create it: not what is measured.
    for producer in &producers {
        let known = producer.topic(&args.topic).partition_count().await;
        known.map_err(|error| Stop::failed(&error))?;
    }
    let start = Instant::now();
    let begin = start + args.warm_up;
    let duration = args.duration.or_else(|| args.records.is_none().then_some(DURATION));
    let times = Times { start, begin, end: duration.map(|duration| begin + duration) };
    let (stop, stopped) = watch::channel(false);
    let (done, mut results) = mpsc::channel(producers.len().max(1));
    let acked = Arc::new(AtomicU64::new(0));
    let content = Arc::new(content);
    let count = u64::from(args.producers);
    for (number, producer) in (0..).zip(&producers) {
        let load = Load {
            topic: producer.topic(&args.topic),
            producer: producer.clone(),
            content: Arc::clone(&content),
            times,
            rate: args.rate.map(|rate| rate / count as f64),
            // The first ones take what cannot be shared evenly.
            records: args.records.map(|records| records / count + u64::from(number < records % count)),
            stop: stopped.clone(),
            acked: Arc::clone(&acked),
            wall_clock: Arc::clone(&seams.wall_clock),
            patience: config.delivery_timeout.saturating_add(config.request_timeout),
        };
        let empty = Measured::new(begin).map_err(|error| Stop::failed(&error))?;
        let (done, spawner) = (done.clone(), seams.spawner.clone());
        seams.spawner.spawn(async move {
            // Nobody waits any more after a second signal.
            let _ = done.send(Box::pin(load.run(&spawner, empty)).await).await;
        });
    }
    drop(done);

    let total = duration.map(millis);
    let progress = ProgressLine::start(args.output.quiet, total);
    let mut tick = interval(PROGRESS_INTERVAL);
    let mut warm_up = std::pin::pin!(sleep_until(begin));
    let mut before = None;
    let mut all = Measured::new(begin).map_err(|error| Stop::failed(&error))?;
    let mut error = None;
    let mut interrupted = 0;
    loop {
        tokio::select! {
            biased;
            () = signals.reach(interrupted + 1) => {
                interrupted += 1;
                if interrupted > 1 {
                    return Err(Stop::Interrupted);
                }
                stop.send_replace(true);
            }
            () = &mut warm_up, if before.is_none() => before = Some(Spent::now(&producers)),
            result = results.recv() => match result {
                None => break,
                Some((measured, failure)) => {
                    all.add(measured);
                    error = error.or(failure);
                    if error.is_some() || all.failed > 0 {
                        stop.send_replace(true);
                    }
                }
            },
            _ = tick.tick() => show(&progress, begin, acked.load(Ordering::Relaxed)),
        }
    }
    progress.finish();
    let after = Spent::now(&producers);
    // Ended before its warm-up did: nothing was measured.
    let before = before.unwrap_or_else(|| Spent::now(&producers));
    let run = Run {
        topic: args.topic.clone(),
        load: outcome::Load {
            rate: args.rate,
            producers: args.producers,
            record_size: args.sample_file.is_none().then_some(args.record_size),
            keys: args.keys,
            acks: config.acks.name().to_owned(),
            compression: config.compression.name().to_owned(),
            linger: match config.linger {
                Linger::Fixed(linger) => DisplayDuration(linger).to_string(),
                Linger::Auto { .. } => "auto".to_owned(),
            },
            batch_size: config.batch_size,
            warm_up_seconds: args.warm_up.as_secs_f64(),
        },
        stats: spent_between(&before.stats, &after.stats),
        cpu_seconds: after.cpu.zip(before.cpu).map(|(after, before)| after.since(before)),
        weakened_by: config.weaknesses(),
        interrupted: interrupted > 0,
        // The record's own cause says more than that its partition is halted.
        error: all.first_failure.clone().or(error),
    };
    let outcome = Outcome::new(run, &all);
    Ok((all, outcome))
}

/// Totals of all producers between two moments.
fn spent_between(before: &[Stats], after: &[Stats]) -> Stats {
    let mut sum = Stats::default();
    for (before, after) in before.iter().zip(after) {
        sum.records_acked += after.records_acked - before.records_acked;
        sum.batches_acked += after.batches_acked - before.batches_acked;
        sum.bytes_acked += after.bytes_acked - before.bytes_acked;
        sum.bytes_uncompressed += after.bytes_uncompressed - before.bytes_uncompressed;
        sum.requests += after.requests - before.requests;
        sum.retries += after.retries - before.retries;
        sum.reconnects += after.reconnects - before.reconnects;
        sum.batch_size = after.batch_size;
    }
    sum
}

/// The file of the picture: created before the run, so that a wrong name is told at once.
#[expect(clippy::disallowed_types, reason = "a command line writes the files it is asked to")]
struct Plot {
    file: std::fs::File,
    name: String,
}

#[expect(clippy::disallowed_types, reason = "a command line writes the files it is asked to")]
impl Plot {
    fn create(path: &std::path::Path) -> Result<Self, Stop> {
        let name = path.display().to_string();
        match std::fs::File::create(path) {
            Ok(file) => Ok(Self { file, name }),
            Err(error) => Err(Stop::Failed(format!("--plot {name} cannot be written: {error}"))),
        }
    }

    fn write(mut self, svg: &str) -> Result<(), Stop> {
        self.file
            .write_all(svg.as_bytes())
            .map_err(|error| Stop::Failed(format!("--plot {} cannot be written: {error}", self.name)))
    }
}

/// What the line of the progress shows: warm-up apart, how much of the time is over.
fn show(progress: &ProgressLine, begin: Instant, acked: u64) {
    let now = Instant::now();
    let since = now.saturating_duration_since(begin);
    progress.update(millis(since), |_| {
        let warming = if now < begin { ", warming up" } else { "" };
        format!("{} acknowledged{warming}", human::plural(acked, "record"))
    });
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
