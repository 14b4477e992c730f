//! `log repair`.

use std::io::Write;

use super::args::RepairArgs;
use super::{Confirm, ToolError};
use crate::{
    log::tools::{Saved, Way, carry_out, examine, marks, plan},
    storage::Files,
    topics::survey::Survey,
};

pub(super) async fn run(
    files: &dyn Files,
    survey: Survey,
    args: &RepairArgs,
    out: &mut (dyn Write + Send),
    confirm: Confirm<'_>,
) -> Result<(), ToolError> {
    let is_it = |site: &crate::log::Site| site.topic == args.topic && site.partition.0 == args.partition;
    let subject = survey
        .partitions
        .iter()
        .find(|subject| is_it(&subject.site))
        .ok_or_else(|| ToolError::NoPartition { topic: args.topic.clone(), partition: args.partition })?;
    let marks = marks(files).await;
    let examined = examine(files, subject, &marks, &mut ()).await?;
    for finding in &examined.findings {
        let place = finding.position.map_or(String::new(), |position| format!(" at position {position}"));
        writeln!(out, "found: {}{place}: {}", finding.file.display(), finding.why)?;
    }
    let way = if args.truncate { Way::Truncate } else { Way::SetAside };
    let plan = plan(subject, &examined, way)?;
    writeln!(out, "to do in partition {}:", subject.site)?;
    for step in &plan.steps {
        writeln!(out, "  {step}")?;
    }
    writeln!(out, "  lift the quarantine")?;
    out.flush()?;
    if !args.yes && !confirm() {
        return Err(ToolError::NotConfirmed);
    }
    for Saved { path, base, unreadable } in carry_out(files, subject, &examined, &plan).await? {
        writeln!(out, "saved {}", path.display())?;
        for bytes in unreadable {
            let (from, count) = (bytes.start, bytes.end - bytes.start);
            writeln!(
                out,
                "  {count} bytes at position {from} of segment {base} cannot be read: zeroes in there"
            )?;
        }
    }
    writeln!(out, "done: the next start of the broker serves the partition")?;
    Ok(())
}
