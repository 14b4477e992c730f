//! `log dump`.

use std::io::{self, Write};

use gapless_common::{
    records::{self, DECOMPRESSED_MAX, Record},
    seam::BoxFuture,
    types::Offset,
};
use serde_json::{Value, json};

use super::ToolError;
use super::args::{DumpArgs, OutputFormat};
use crate::{
    log::{
        Site,
        tools::{BatchSink, GoodBatch, examine, marks},
    },
    storage::{Files, read_exact_at},
    topics::survey::Survey,
};

pub(super) async fn run(
    files: &dyn Files,
    survey: Survey,
    args: &DumpArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), ToolError> {
    let marks = marks(files).await;
    for subject in &survey.partitions {
        let site = &subject.site;
        let wanted = args.topic.as_ref().is_none_or(|topic| *topic == site.topic)
            && args.partition.is_none_or(|partition| partition == site.partition.0);
        if !wanted {
            continue;
        }
        let mut printer = Printer { site, args, out };
        let examined = examine(files, subject, &marks, &mut printer).await?;
        for finding in &examined.findings {
            let line = match args.output {
                OutputFormat::Text => {
                    let place = finding.position.map_or(String::new(), |at| format!(" at position {at}"));
                    format!("{site} {}{place}: {}", finding.file.display(), finding.why)
                }
                OutputFormat::Json => json!({
                    "topic": site.topic, "partition": site.partition.0, "file": finding.file,
                    "position": finding.position, "finding": finding.why,
                })
                .to_string(),
            };
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

struct Printer<'a> {
    site: &'a Site,
    args: &'a DumpArgs,
    out: &'a mut (dyn Write + Send),
}

impl BatchSink for Printer<'_> {
    fn batch<'a>(&'a mut self, batch: GoodBatch<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if batch.header.last_offset() < Offset(self.args.from) {
                return Ok(());
            }
            let line = match self.args.output {
                OutputFormat::Text => self.text(&batch),
                OutputFormat::Json => self.json(&batch).to_string(),
            };
            writeln!(self.out, "{line}")?;
            if self.args.records {
                let size = batch.header.total_size();
                let bytes = read_exact_at(batch.file, batch.position, size).await?;
                self.records(bytes)?;
            }
            Ok(())
        })
    }
}

/// As Kafka spells a codec.
fn codec(batch: &GoodBatch<'_>) -> String {
    let compression = batch.header.attributes.compression();
    compression.map_or_else(|error| error.to_string(), |codec| format!("{codec:?}").to_lowercase())
}

impl Printer<'_> {
    fn text(&self, batch: &GoodBatch<'_>) -> String {
        let header = batch.header;
        let producer = match header.sequences() {
            Some((first, last)) => format!(
                "producer {} epoch {} sequences {first}..={last}",
                header.producer_id, header.producer_epoch
            ),
            None => "no producer".to_owned(),
        };
        format!(
            "{} offsets {}..={} leader epoch {} {producer} {} {} records {} bytes at position {} of segment {}",
            self.site,
            header.base_offset,
            header.last_offset(),
            header.leader_epoch,
            codec(batch),
            header.record_count,
            header.total_size(),
            batch.position,
            batch.segment,
        )
    }

    fn json(&self, batch: &GoodBatch<'_>) -> Value {
        let header = batch.header;
        json!({
            "topic": self.site.topic, "partition": self.site.partition.0,
            "base_offset": header.base_offset.0, "last_offset": header.last_offset().0,
            "leader_epoch": header.leader_epoch.0, "producer_id": header.producer_id.0,
            "producer_epoch": header.producer_epoch.0, "base_sequence": header.base_sequence,
            "codec": codec(batch), "records": header.record_count, "bytes": header.total_size(),
            "max_timestamp": header.max_timestamp, "segment": batch.segment.0, "position": batch.position,
        })
    }

    fn records(&mut self, bytes: bytes::Bytes) -> io::Result<()> {
        let found = match records::iterate(bytes, DECOMPRESSED_MAX) {
            Ok(found) => found,
            Err(error) => return writeln!(self.out, "  {error}"),
        };
        for record in found {
            match record {
                Ok(record) => self.record(&record)?,
                Err(error) => return writeln!(self.out, "  {error}"),
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        match self.args.output {
            OutputFormat::Text => writeln!(
                self.out,
                "  offset {} timestamp {} key {} value {}",
                record.offset,
                record.timestamp_ms,
                shown(key),
                shown(value)
            ),
            OutputFormat::Json => {
                let line = json!({
                    "offset": record.offset.0, "timestamp": record.timestamp_ms,
                    "key": json_bytes(key), "value": json_bytes(value),
                });
                writeln!(self.out, "{line}")
            }
        }
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |bytes| format!("\"{}\"", bytes.escape_ascii()))
}

/// Text as it is; anything else in hexadecimal digits, so that nothing is lost.
fn json_bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => {
            let digits: String = bytes.into_iter().flatten().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": digits })
        }
    }
}
