//! `log check`.

use std::{io::Write, path::PathBuf};

use serde::Serialize;

use super::ToolError;
use super::args::{CheckArgs, OutputFormat};
use crate::{
    log::tools::{Finding, Severity, beside_the_topics, examine, marks},
    storage::Files,
    topics::survey::Survey,
};

/// Findings that are kept for one report; the rest are counted.
const FINDINGS_MAX: usize = 10_000;

#[derive(Default, Serialize)]
struct Report {
    sound: bool,
    partitions: usize,
    batches: u64,
    bytes: u64,
    findings: Vec<Line>,
    findings_left_out: usize,
}

#[derive(Serialize)]
struct Line {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    what: String,
}

impl Report {
    fn add(&mut self, partition: Option<String>, finding: Finding) {
        self.sound &= finding.severity == Severity::Note;
        if self.findings.len() >= FINDINGS_MAX {
            self.findings_left_out += 1;
            return;
        }
        self.findings.push(Line {
            severity: if finding.severity == Severity::Note { "note" } else { "wrong" },
            partition,
            file: finding.file,
            position: finding.position,
            offset: finding.offset.map(|offset| offset.0),
            what: finding.why,
        });
    }
}

pub(super) async fn run(
    files: &dyn Files,
    survey: Survey,
    args: &CheckArgs,
    out: &mut (dyn Write + Send),
) -> Result<bool, ToolError> {
    let mut report = Report { sound: true, partitions: survey.partitions.len(), ..Report::default() };
    let wrong = |file, why: String| Finding::of_file(Severity::Wrong, file, why);
    for (file, why) in survey.broken {
        report.add(None, wrong(file, why));
    }
    for finding in beside_the_topics(files).await {
        report.add(None, finding);
    }
    let marks = marks(files).await;
    for subject in &survey.partitions {
        let name = subject.site.to_string();
        match examine(files, subject, &marks, &mut ()).await {
            Ok(examined) => {
                report.batches += examined.batches;
                report.bytes += examined.bytes;
                for finding in examined.findings {
                    report.add(Some(name.clone()), finding);
                }
            }
            Err(error) => {
                report.add(Some(name), wrong(subject.site.directory.clone(), format!("unreadable: {error}")));
            }
        }
    }
    match args.output {
        OutputFormat::Text => print(&report, out)?,
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(report.sound)
}

fn print(report: &Report, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    for Line { severity, partition, file, position, offset, what } in &report.findings {
        write!(out, "{severity}: ")?;
        if let Some(partition) = partition {
            write!(out, "{partition}: ")?;
        }
        write!(out, "{}", file.display())?;
        if let Some(position) = position {
            write!(out, " at position {position}")?;
        }
        if let Some(offset) = offset {
            write!(out, ", offset {offset}")?;
        }
        writeln!(out, ": {what}")?;
    }
    if report.findings_left_out > 0 {
        writeln!(out, "{} more findings", report.findings_left_out)?;
    }
    let Report { partitions, batches, bytes, .. } = report;
    let verdict = if report.sound {
        "sound"
    } else {
        "NOT sound: README, \"When a partition is offline or quarantined\""
    };
    writeln!(out, "{partitions} partitions, {batches} good batches of {bytes} bytes: {verdict}")
}
