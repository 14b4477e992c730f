//! `read`: fetches from each partition's leader, and prints.

mod partitions;
mod print;
mod template;
mod time;

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gapless_common::backoff::Backoff;
use gapless_common::error_code::ErrorCode;
use gapless_common::records::{DECOMPRESSED_MAX, batches, check_crc, iterate};
use gapless_common::seam::Seams;
use tokio::time::{Instant, sleep};

use super::args::ReadArgs;
use super::exit::{Stop, complain, with_causes};
use super::human;
use super::progress::waiting;
use super::signals::Signals;
use crate::client::{Client, ClientError, Fetched};
use partitions::Partitions;
use print::{Printed, Printer};

pub use print::serialize_bytes;
pub use template::Template;
pub use time::parse_time;

/// Trouble that may pass by itself ends the run after so long, unless it follows.
const PATIENCE: Duration = Duration::from_secs(10);
/// Gathers many records for one write.
const OUTPUT_BUFFER: usize = 64 * 1024;

/// Prints until the end, the count, or a signal.
pub async fn run(args: ReadArgs, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, io::stdout());
    let mut reader = Reader { printer: Printer::new(&args), args: &args, printed: 0, hidden_nulls: 0 };
    let result = tokio::select! {
        biased;
        () = signals.reach(1) => Err(Stop::Interrupted),
        result = reader.read(seams, &mut out) => result,
    };
    // What was printed before a failure is part of the result.
    let flushed = out.flush().map_err(|error| Stop::output(&error));
    if reader.hidden_nulls > 0 {
        complain(format!(
            "note: {} printed as nothing; --null-value WORD prints a word for it",
            human::plural(reader.hidden_nulls, "null value")
        ));
    }
    result.and(flushed)?;
    Ok(ExitCode::SUCCESS)
}

struct Reader<'a> {
    args: &'a ReadArgs,
    printer: Printer,
    printed: u64,
    /// Null values that look like empty ones in what was printed.
    hidden_nulls: u64,
}

/// Why a round of fetching ended.
enum Trouble {
    /// Ask the cluster again, and go on.
    Passing(ClientError),
    Final(Stop),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        if error.is_passing() { Self::Passing(error) } else { Self::Final(Stop::failed(&error)) }
    }
}

impl Reader<'_> {
    async fn read(&mut self, seams: Seams, out: &mut impl io::Write) -> Result<(), Stop> {
        let settings = self.args.connection.settle()?;
        let broker = settings.bootstrap_servers.join(", ");
        let connecting = waiting(false, &broker, Client::connect(seams.clone(), settings));
        let mut client = connecting.await.map_err(|error| Stop::failed(&error))?;
        let mut backoff = Backoff::default();
        let mut partitions = None;
        let mut well_until = Instant::now();
        loop {
            let printed = self.printed;
            let error = match self.round(&mut client, &mut partitions, out).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(stop)) => return Err(stop),
                Err(Trouble::Passing(error)) => error,
            };
            out.flush().map_err(|error| Stop::output(&error))?;
            if self.printed > printed {
                well_until = Instant::now();
                backoff.reset();
            }
            if !self.args.follow && well_until.elapsed() >= PATIENCE {
                return Err(Stop::failed(&error));
            }
            if backoff.failures() == 0 {
                tracing::warn!("{}; trying again", with_causes(&error));
            }
            sleep(backoff.next_delay(seams.random.bits64())).await;
        }
    }

    /// Learns who leads what, and fetches until all is read or something happens.
    async fn round(
        &mut self,
        client: &mut Client,
        known: &mut Option<Partitions>,
        out: &mut impl io::Write,
    ) -> Result<(), Trouble> {
        let topic = match client.topic(&self.args.topic).await {
            // A broker that restarts is waited for by who follows.
            Err(error @ ClientError::Unreachable(_)) if self.args.follow && known.is_some() => {
                return Err(Trouble::Passing(error));
            }
            // Retriable for who waits for a topic to come about; a misspelt name is told at once.
            Err(error @ ClientError::Refused { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, .. })
                if known.is_none() && !self.args.follow =>
            {
                return Err(Trouble::Final(Stop::failed(&error)));
            }
            other => other?,
        };
        let partitions = match known {
            Some(partitions) => partitions,
            None => known.insert(Partitions::find(client, &topic, self.args).await?),
        };
        partitions.update_leaders(&topic).map_err(Trouble::Final)?;
        let mut fetchers = Vec::new();
        for leader in partitions.leaders() {
            let fetcher = client.fetcher(leader, &self.args.topic, topic.topic_id).await?;
            fetchers.push((leader, fetcher));
        }
        let fetch = |leader: i32, positions: Vec<(i32, i64)>| {
            let fetcher = fetchers.iter().find(|(of, _)| *of == leader).map(|(_, fetcher)| fetcher);
            async move {
                match fetcher {
                    Some(fetcher) => (leader, fetcher.fetch(&positions).await),
                    None => (leader, Ok(Vec::new())),
                }
            }
        };
        let mut fetching: FuturesUnordered<_> = fetchers
            .iter()
            .map(|(leader, _)| (*leader, partitions.positions(*leader)))
            .filter(|(_, positions)| !positions.is_empty())
            .map(|(leader, positions)| fetch(leader, positions))
            .collect();
        while !self.is_done() {
            let Some((leader, fetched)) = fetching.next().await else { break };
            for one in fetched? {
                self.take(partitions, one, out)?;
            }
            out.flush().map_err(|error| Trouble::Final(Stop::output(&error)))?;
            let positions = partitions.positions(leader);
            if !positions.is_empty() {
                fetching.push(fetch(leader, positions));
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.args.count.is_some_and(|count| self.printed >= count)
    }

    /// Prints what came of one partition.
    fn take(
        &mut self,
        partitions: &mut Partitions,
        fetched: Fetched,
        out: &mut impl io::Write,
    ) -> Result<(), Trouble> {
        let name = format!("{}-{}", self.args.topic, fetched.partition);
        let Some(position) = partitions.position(fetched.partition) else { return Ok(()) };
        if !fetched.error.is_ok() {
            let what = format!("{name} at offset {}", position.offset);
            return Err(ClientError::Refused { what, code: fetched.error, message: None }.into());
        }
        let damaged = |why: &dyn std::fmt::Display| Trouble::Final(Stop::Failed(format!("{name}: {why}")));
        let (begin, size) = (position.offset, fetched.batches.len());
        for batch in batches(fetched.batches) {
            let (header, bytes) = batch.map_err(|error| damaged(&error))?;
            if !check_crc(&bytes) {
                let why = format!("the batch at offset {} fails its checksum", header.base_offset);
                return Err(damaged(&why));
            }
            if !header.attributes.is_control() {
                for record in iterate(bytes, DECOMPRESSED_MAX).map_err(|error| damaged(&error))? {
                    let record = record.map_err(|error| damaged(&error))?;
                    if self.is_done() {
                        return Ok(());
                    }
                    if position.wants(record.offset.0) {
                        let printed = Printed {
                            topic: &self.args.topic,
                            partition: fetched.partition,
                            record: &record,
                        };
                        self.printer
                            .print(&printed, out)
                            .map_err(|error| Trouble::Final(Stop::output(&error)))?;
                        self.printed += 1;
                        self.hidden_nulls += u64::from(self.printer.hides_null(&record));
                    }
                }
            }
            position.offset = position.offset.max(header.next_offset().0);
        }
        if position.offset == begin && size > 0 {
            return Err(damaged(&format!("{size} bytes at offset {begin} hold no whole batch")));
        }
        Ok(())
    }
}
