//! `publish`: sources are read on a thread of their own and cut into records (`input`), parsed (`parse`), and sent one by one
//! (`run`) to their topics (`routes`); what becomes of them is followed a batch at a time (`tracker`) and told as a report and a
//! summary. Or they are only printed (`dry_run`).

mod creation;
mod dry_run;
mod input;
mod pacer;
mod parse;
mod places;
mod position;
mod progress;
mod report;
mod routes;
mod run;
mod summary;
mod tracker;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gapless_common::seam::Seams;
use gapless_producer::{Builder, Config, Producer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::args::{ConnectionSettings, Decompress, PublishArgs};
use super::digest::RecordHasher;
use super::exit::{Stop, complain};
use super::metrics::Metrics;
use super::progress::waiting;
use super::result;
use super::signals::Signals;
use creation::Creation;
use dry_run::DryRun;
use input::{BLOCKS_AHEAD, Cut, Following, Input, Pump, Source};
use pacer::Pacer;
use parse::Parser;
use places::{Cursor, SourceNames};
use position::{Book, Position};
use progress::Progress;
use report::Report;
use routes::Routes;
use run::{End, Publisher};
use summary::{Run, Summary};
use tracker::Tracker;

pub use input::Framing;
pub use parse::HeaderField;

/// Runs to the end of the input, or to the first failure.
pub async fn run(args: PublishArgs, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    let config = args.producer.settle(&args.connection, args.skip_failed)?;
    let parser = Parser::new(&args)?;
    if let Some(why) = args.topic.as_deref().and_then(routes::refusal) {
        return Err(Stop::Usage(format!("--topic {why}")));
    }
    let sources = input::sources(&args.files)?;
    let names = SourceNames(sources.iter().map(Source::name).collect());
    let following = following(&args, &sources)?;
    let typed = sources.contains(&Source::Stdin) && io::stdin().is_terminal();
    if args.dry_run {
        say_what_is_read(&args, typed);
        let (inputs, used) = start_reading(&args, sources, None, config.batch_size, &seams);
        let (record_max, cursor) = (config.batch_size, Cursor::default());
        let topics = args.topic.iter().cloned().collect();
        let mut run =
            DryRun { args: &args, parser, names, record_max, cursor, printed: 0, rejected: 0, topics };
        return run.run(inputs, used, signals).await;
    }
    let report = match &args.report {
        Some(path) => Some(Report::create(path, args.report_by, names.clone())?),
        None => None,
    };
    let tracker = Tracker::new(args.settle.is_some()).map_err(|error| Stop::failed(&error))?;
    let metrics =
        Metrics::start(args.metrics_listen.as_deref(), args.metrics_file.as_deref(), &seams.spawner).await?;
    let (producer, creation) = connect(config.clone(), &args, &seams, &mut signals).await?;
    let routes = Routes::new(&producer, &args, creation).await?;
    say_what_is_read(&args, typed);
    // What grows has no size, and of what was read before nothing is left.
    let total = if following.is_some() { None } else { sources.iter().map(Source::size).sum() };
    let position = match (&args.position_file, args.files.first()) {
        (Some(path), Some(file)) => Some((Book::new(file, args.skip_failed), path.clone())),
        _ => None,
    };
    let (inputs, used) = start_reading(&args, sources, following, config.batch_size, &seams);

    let begin = Instant::now();
    let mut publisher = Publisher {
        routes,
        producer: &producer,
        wall_clock: &*seams.wall_clock,
        parser: Arc::new(parser),
        args: &args,
        record_max: config.batch_size,
        pacer: args.rate.map(|rate| Pacer::new(rate, Instant::now())),
        names,
        inputs,
        used,
        signals,
        // Nobody wants a line drawn over what they type.
        progress: Progress::start(args.output.quiet || typed, total),
        report,
        hasher: RecordHasher::default(),
        tracker,
        rejected: run::Rejections::default(),
        bytes_read: 0,
        nulls: 0,
        position,
        position_written: begin,
    };
    let end = publisher.publish().await;
    let end = publisher.settle(end, config.delivery_timeout.saturating_add(config.request_timeout)).await;
    let elapsed = begin.elapsed();
    publisher.progress.finish();
    conclude(publisher, end, &config, elapsed, metrics.as_ref())
}

fn say_what_is_read(args: &PublishArgs, typed: bool) {
    if !args.output.quiet && typed {
        complain("reading standard input, Ctrl-D ends");
    }
}

/// A thread that reads ends by itself when nobody takes more; a read that blocks for ever does not hold up the exit.
fn start_reading(
    args: &PublishArgs,
    sources: Vec<Source>,
    following: Option<Following>,
    record_max: usize,
    seams: &Seams,
) -> (mpsc::Receiver<Input>, mpsc::Sender<Vec<u8>>) {
    let (out, inputs) = mpsc::channel(BLOCKS_AHEAD);
    let (used, spare) = mpsc::channel(BLOCKS_AHEAD + 2);
    let decompress = args.decompress == Decompress::Auto;
    let pump = Pump { out, spare, record_max, cut: parse::cut(args), decompress };
    let spawner = seams.spawner.clone();
    seams.spawner.spawn(async move {
        let reading = move || match &following {
            Some(following) => pump.follow(following),
            None => pump.run(&sources),
        };
        spawner.blocking(reading).await;
    });
    (inputs, used)
}

/// What `--follow` and `--position-file` ask for; both need one file of lines.
fn following(args: &PublishArgs, sources: &[Source]) -> Result<Option<Following>, Stop> {
    let flag = match (args.follow, &args.position_file) {
        (false, None) => return Ok(None),
        (true, _) => "--follow",
        (false, Some(_)) => "--position-file",
    };
    let [Source::File(path)] = sources else {
        return Err(Stop::Usage(format!("{flag} takes exactly one FILE, and not standard input")));
    };
    if parse::cut(args) != Cut::Lines {
        let format = args.format.name();
        return Err(Stop::Usage(format!(
            "{flag} needs a format of lines, and {format} is none: lines, json or records"
        )));
    }
    let position = match &args.position_file {
        None => None,
        Some(_) if !path.is_file() => {
            let why = "is no file that could be read again from somewhere";
            return Err(Stop::Usage(format!("--position-file: {} {why}", path.display())));
        }
        Some(file) => Position::read(file, path)?,
    };
    Ok(Some(Following { path: path.clone(), wait: args.follow, position }))
}

/// Why something is too long to be a record.
fn too_long(what: &str, size: u64, at_least: bool, limit: usize) -> String {
    let least = if at_least { "at least " } else { "" };
    format!(
        "a {what} of {least}{size} bytes exceeds the limit of {limit}; raise --batch-size, and the broker's max.message.bytes with it"
    )
}

async fn connect(
    config: Config,
    args: &PublishArgs,
    seams: &Seams,
    signals: &mut Signals,
) -> Result<(Producer, Option<Creation>), Stop> {
    let broker = config.bootstrap_servers.join(", ");
    let connecting = waiting(args.output.quiet, &broker, async {
        let connection = ConnectionSettings::of(&config);
        let built = Builder::from_config(config).seams(seams.clone()).build().await;
        let producer = built.map_err(|error| Stop::failed(&error))?;
        Ok((producer, Creation::of(args, connection, seams).await?))
    });
    tokio::select! {
        biased;
        () = signals.reach(1) => Err(Stop::Interrupted),
        connected = connecting => connected,
    }
}

/// Tells what happened, in every place that was asked for; the exit code.
fn conclude(
    publisher: Publisher<'_>,
    end: End,
    config: &Config,
    elapsed: Duration,
    metrics: Option<&Metrics>,
) -> Result<ExitCode, Stop> {
    let interrupted = matches!(end, End::Interrupted);
    let error = publisher.failure(&end);
    let summary = Summary::new(
        Run {
            topics: publisher.routes.names(),
            nulls: publisher.nulls,
            counts: publisher.tracker.totals.counts,
            rejected: publisher.rejected.count,
            latencies: &publisher.tracker.totals.latencies,
            elapsed,
            weakened_by: config.weaknesses(),
            interrupted,
            error: error.clone(),
        },
        &publisher.producer.stats(),
    );
    if !publisher.args.output.quiet {
        result::print(&summary, publisher.args.output.output)?;
    }
    if let Some(error) = &error {
        complain(format!("error: {error}"));
    }
    if let Some(metrics) = metrics {
        metrics.write_file()?;
    }
    Ok(match (interrupted, error) {
        (true, _) => return Err(Stop::Interrupted),
        (false, Some(_)) => ExitCode::FAILURE,
        (false, None) => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
pub mod testing {
    use std::borrow::Cow;

    use super::parse::{FieldNames, JsonParser, Parsed};

    /// As `--format records` does.
    pub fn parse_what_read_prints(line: &[u8]) -> Parsed<'static> {
        let parser = JsonParser { names: FieldNames::as_read_prints(), null: None, may_miss: false };
        let parsed = parser.parse(line).unwrap();
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Parsed {
            key: parsed.key.map(own),
            value: parsed.value.map(own),
            topic: None,
            headers: parsed
                .headers
                .into_iter()
                .map(|(name, value)| (Cow::Owned(name.into_owned()), value.map(own)))
                .collect(),
            ..parsed
        }
    }
}
