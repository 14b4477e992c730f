//! `verify`: the report is read line by line ([`report`]), the topic partition by partition as far as each line needs
//! ([`topic`]), and what is claimed is held against what is there ([`judge`], a pure state machine of one partition; [`ledger`],
//! what all of them found). Records that nobody claimed are looked for among the claimed ones in a second reading.

mod judge;
mod ledger;
mod outcome;
mod report;
mod topic;

use std::collections::BTreeMap;
use std::process::ExitCode;

use gapless_common::seam::Seams;
use tokio::time::Instant;

use super::args::VerifyArgs;
use super::exit::{Stop, complain};
use super::human;
use super::progress::{ProgressLine, left_text, waiting};
use super::result;
use super::signals::Signals;
use crate::client::Client;
use judge::Judge;
use ledger::{Finding, Kind, Ledger};
use outcome::{Outcome, Run};
use report::{Claim, Line, ReportReader};
use topic::TopicReader;

/// After so many records the progress is drawn.
const RECORDS_PER_LOOK: u64 = 4096;

/// Reads to the end; the exit code.
pub async fn run(args: VerifyArgs, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    // Looked at before anything is asked: a misspelt name is told at once.
    ReportReader::open(&args.report, &args.topic)?.next_line()?;
    let outcome = tokio::select! {
        biased;
        () = signals.reach(1) => return Err(Stop::Interrupted),
        outcome = Box::pin(verify(&args, &seams)) => outcome?,
    };
    if !args.output.quiet {
        result::print(&outcome, args.output.output)?;
    }
    Ok(match outcome.complaint() {
        None => ExitCode::SUCCESS,
        Some(complaint) => {
            complain(format!("error: {complaint}"));
            ExitCode::FAILURE
        }
    })
}

async fn verify(args: &VerifyArgs, seams: &Seams) -> Result<Outcome, Stop> {
    let begin = Instant::now();
    let settings = args.connection.settle()?;
    let broker = settings.bootstrap_servers.join(", ");
    let connecting = Client::connect(seams.clone(), settings);
    let client =
        waiting(args.output.quiet, &broker, connecting).await.map_err(|error| Stop::failed(&error))?;
    let mut topic = TopicReader::open(seams, client, &args.topic).await?;
    let progress = ProgressLine::start(args.output.quiet, Some(topic.size()));
    let mut ledger = Ledger::default();
    let report_cut_short = read(args, &mut topic, &mut ledger, &progress).await?;
    if args.exclusive
        && let Some((partition, offset)) = ledger.first_unclaimed
    {
        let what = "is not in the report, and --exclusive allows nothing else".to_owned();
        ledger.add(Kind::Unexpected, ledger.counts.unclaimed, || {
            Finding::new(partition, None, Some(offset), what)
        });
    }
    // Once something is wrong, more readings would only tell more of it.
    let mut looking = ledger.next_reading().filter(|_| ledger.is_clean());
    while let Some(mut again) = looking {
        topic.rewind();
        read(args, &mut topic, &mut again, &progress).await?;
        looking = again.next_reading().filter(|_| again.is_clean());
        ledger.tallies.append(&mut again.tallies);
    }
    progress.finish();
    let run = Run {
        topic: &args.topic,
        report: args.report.display().to_string(),
        partitions: topic.partitions().len(),
        records_read: topic.records_read,
        report_cut_short,
        elapsed: begin.elapsed(),
    };
    Ok(Outcome::new(run, ledger))
}

/// One reading of report and topic; whether the report's last line is cut short.
async fn read(
    args: &VerifyArgs,
    topic: &mut TopicReader,
    ledger: &mut Ledger,
    progress: &ProgressLine,
) -> Result<bool, Stop> {
    let mut report = ReportReader::open(&args.report, &args.topic)?;
    let mut judges: BTreeMap<i32, Judge> =
        topic.partitions().into_iter().map(|partition| (partition, Judge::new(partition))).collect();
    let mut cut_short = false;
    while let Some(line) = report.next_line()? {
        match line {
            Line::Rejected => ledger.counts.rejected += 1,
            Line::CutShort => cut_short = true,
            Line::Claim { partition, claim } => {
                let judge = judges.entry(partition).or_insert_with(|| Judge::new(partition));
                settle(&claim, judge, topic, partition, ledger).await?;
                show(progress, topic.records_read);
            }
        }
    }
    for (partition, judge) in &mut judges {
        while let Some(stored) = topic.peek(*partition, false).await? {
            judge.rest(&stored, ledger);
            topic.advance(*partition);
            show(progress, topic.records_read);
        }
        judge.finish(ledger);
    }
    Ok(cut_short)
}

async fn settle(
    claim: &Claim,
    judge: &mut Judge,
    topic: &mut TopicReader,
    partition: i32,
    ledger: &mut Ledger,
) -> Result<(), Stop> {
    loop {
        let stored = topic.peek(partition, true).await?;
        let step = judge.hold(claim, stored.as_ref(), ledger);
        if step.consumed {
            topic.advance(partition);
        }
        if step.settled {
            break;
        }
    }
    while judge.is_full() {
        match topic.peek(partition, false).await? {
            Some(stored) => {
                judge.rest(&stored, ledger);
                topic.advance(partition);
            }
            None => judge.finish(ledger),
        }
    }
    Ok(())
}

fn show(progress: &ProgressLine, records: u64) {
    if records.is_multiple_of(RECORDS_PER_LOOK) {
        progress.update(records, |left| format!("{}{}", human::plural(records, "record"), left_text(left)));
    }
}
