//! Encodes, sends, and counts answers.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::encode::Batch;
use super::{ANSWER_SIZE, HEAD_SIZE, IN_FLIGHT};
use crate::failure::{During, Failure, Outcome};
use crate::run::{Meter, Run, tell};
use crate::values::Values;

/// The sending half of the bare pair: runs for a while, and prints what that was as JSON.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Where the server listens
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Bytes of a batch
    #[arg(long, default_value_t = 1_000_000)]
    batch: usize,
    /// Measured phase
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// It ends earlier when so many bytes of values are sent: what is written has to fit into the page cache
    #[arg(long, default_value_t = u64::MAX)]
    bytes_max: u64,
    /// Process of the server, whose CPU time and memory are told too
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
}

/// Before the measured phase, so that buffers are there and code is in memory.
const WARM_UP_BATCHES: u64 = 10;

impl ClientArgs {
    pub fn run(self) -> Outcome<()> {
        let stream = TcpStream::connect(&self.address).during(&self.address)?;
        stream.set_nodelay(true).during("TCP_NODELAY")?;
        let values = Values::new(self.size);
        let mut sender = Sender { values: &values, batch: Batch::new(self.batch), sent: 0, batches: 0 };

        sender.phase(&stream, |_, batches| batches < WARM_UP_BATCHES)?;
        let warm_up = sender.sent;
        let meter = Meter::begin(self.broker_pid)?;
        let begun = Instant::now();
        let limit = Duration::from_secs_f64(self.seconds);
        let records_max = self.bytes_max / self.size as u64;
        sender.phase(&stream, |sent, _| {
            sent.saturating_sub(warm_up) < records_max && begun.elapsed() < limit
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let cost = meter.end()?;
        let records = sender.sent - warm_up;
        tell(&Run {
            records,
            bytes: records * self.size as u64,
            seconds,
            failed: 0,
            client_cpu: cost.client_cpu,
            client_peak_bytes: cost.client_peak_bytes,
            broker_cpu: cost.broker_cpu,
            broker_peak_bytes: cost.broker_peak_bytes,
            latency_ms: None,
            note: None,
        })
    }
}

struct Sender<'a> {
    values: &'a Values,
    batch: Batch,
    /// Records so far.
    sent: u64,
    batches: u64,
}

impl Sender<'_> {
    /// Sends batches while `more` says so of the numbers of records and batches so far; returns when all are answered.
    fn phase(&mut self, stream: &TcpStream, more: impl Fn(u64, u64) -> bool) -> Outcome<()> {
        // A place is taken before a batch is sent, and given back by its answer.
        // One more than waits here is in the hands of the reader.
        let (take, places) = sync_channel(IN_FLIGHT - 1);
        std::thread::scope(|scope| {
            let answers = scope.spawn(move || await_answers(stream, &places));
            let mut sending = Ok(());
            while sending.is_ok() && more(self.sent, self.batches) {
                self.fill();
                if take.send(self.batches).is_err() {
                    break; // Told by the other side.
                }
                sending = self.send(stream);
            }
            drop(take);
            answers.join().map_err(|_| Failure("the reader of answers panicked".to_owned()))??;
            sending
        })
    }

    fn fill(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.batch.begin(now.as_millis() as i64);
        while self.batch.push(self.values.get(self.sent + u64::from(self.batch.records()))) {}
        self.sent += u64::from(self.batch.records());
    }

    fn send(&mut self, mut stream: &TcpStream) -> Outcome<()> {
        let bytes = self.batch.close();
        let mut head = [0; HEAD_SIZE];
        head[..HEAD_SIZE - ANSWER_SIZE].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        head[HEAD_SIZE - ANSWER_SIZE..].copy_from_slice(&self.batches.to_be_bytes());
        self.batches += 1;
        // Both at once; what did not fit behind it.
        let written = stream.write_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]).during("sending")?;
        stream.write_all(head.get(written..).unwrap_or_default()).during("sending")?;
        stream.write_all(&bytes[written.saturating_sub(HEAD_SIZE)..]).during("sending")
    }
}

/// Ends when nothing is awaited any more, and nothing more will be sent.
fn await_answers(mut stream: &TcpStream, places: &Receiver<u64>) -> Outcome<()> {
    let mut answer = [0; ANSWER_SIZE];
    while let Ok(number) = places.recv() {
        stream.read_exact(&mut answer).during("awaiting an answer")?;
        if number != u64::from_be_bytes(answer) {
            return Err(Failure(format!("batch {number} is answered by {answer:?}")));
        }
    }
    Ok(())
}
