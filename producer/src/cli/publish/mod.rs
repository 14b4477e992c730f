//! `publish`: sources are read in blocks on a thread of their own (`input`), cut into lines and parsed (`parse`), and sent
//! one by one (`run`); what becomes of them is followed a batch at a time (`tracker`) and told as a report and a summary.

mod input;
mod parse;
mod places;
mod progress;
mod report;
mod run;
mod summary;
mod tracker;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use gapless_common::seam::Seams;
use gapless_producer::{Builder, Config, Producer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::args::{PublishArgs, SummaryFormat};
use super::digest::RecordHasher;
use super::exit::{Stop, complain};
use super::metrics::Metrics;
use super::signals::Signals;
use input::{BLOCKS_AHEAD, Pump, Source};
use parse::Parser;
use places::SourceNames;
use progress::Progress;
use report::Report;
use run::{End, Publisher};
use summary::{Run, Summary};
use tracker::Tracker;

/// Runs to the end of the input, or to the first failure.
pub async fn run(args: PublishArgs, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    let config = args.producer.settle(&args.connection, args.skip_failed)?;
    let parser = Parser::new(&args)?;
    let sources = input::sources(&args.files)?;
    let names = SourceNames(sources.iter().map(Source::name).collect());
    let report = match &args.report {
        Some(path) => Some(Report::create(path, args.report_by, names.clone())?),
        None => None,
    };
    let tracker = Tracker::new().map_err(|error| Stop::failed(&error))?;
    let metrics =
        Metrics::start(args.metrics_listen.as_deref(), args.metrics_file.as_deref(), &seams.spawner).await?;
    let producer = connect(config.clone(), &seams, &mut signals).await?;
    let typed = sources.contains(&Source::Stdin) && io::stdin().is_terminal();
    if !args.quiet && typed {
        complain("reading standard input, Ctrl-D ends");
    }

    let total: Option<u64> = sources.iter().map(Source::size).sum();
    let (out, inputs) = mpsc::channel(BLOCKS_AHEAD);
    let (used, spare) = mpsc::channel(BLOCKS_AHEAD + 2);
    let pump = Pump { out, spare, line_max: config.batch_size };
    let spawner = seams.spawner.clone();
    // Ends by itself when the publisher takes no more; a read that blocks for ever does not hold up the exit.
    seams.spawner.spawn(async move {
        spawner.blocking(move || pump.run(&sources)).await;
    });

    let begin = Instant::now();
    let mut publisher = Publisher {
        topic: producer.topic(&args.topic),
        producer: &producer,
        wall_clock: &*seams.wall_clock,
        parser,
        args: &args,
        line_max: config.batch_size,
        names,
        inputs,
        used,
        signals,
        // Nobody wants a line drawn over what they type.
        progress: Progress::start(args.quiet || typed, total),
        report,
        hasher: RecordHasher::default(),
        tracker,
        rejected: run::Rejections::default(),
        bytes_read: 0,
    };
    let end = publisher.publish().await;
    let end = publisher.settle(end, config.delivery_timeout.saturating_add(config.request_timeout)).await;
    let elapsed = begin.elapsed();
    publisher.progress.finish();
    conclude(publisher, end, &config, elapsed, metrics.as_ref())
}

async fn connect(config: Config, seams: &Seams, signals: &mut Signals) -> Result<Producer, Stop> {
    let building = Builder::from_config(config).seams(seams.clone()).build();
    tokio::select! {
        biased;
        () = signals.reach(1) => Err(Stop::Interrupted),
        built = building => built.map_err(|error| Stop::failed(&error)),
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
            topic: &publisher.args.topic,
            counts: publisher.tracker.counts,
            rejected: publisher.rejected.count,
            latencies: &publisher.tracker.latencies,
            elapsed,
            weakened_by: config.weaknesses(),
            interrupted,
            error: error.clone(),
        },
        &publisher.producer.stats(),
    );
    if !publisher.args.quiet {
        print(&summary, publisher.args.output).map_err(|error| Stop::output(&error))?;
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

fn print(summary: &Summary, format: SummaryFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        SummaryFormat::Text => write!(out, "{summary}")?,
        SummaryFormat::Json => {
            serde_json::to_writer(&mut out, summary)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

#[cfg(test)]
pub mod testing {
    use super::parse::{JsonParser, Parsed};

    /// With the flags that `read --help` names for it.
    pub fn parse_what_read_prints(line: &[u8]) -> Parsed<'_> {
        let field = |name: &str| Some(name.to_owned());
        let parser = JsonParser {
            key: field("key"),
            value: field("value"),
            headers: field("headers"),
            partition: field("partition"),
            timestamp: field("timestamp"),
            null: None,
        };
        parser.parse(line).unwrap()
    }
}
