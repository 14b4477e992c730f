//! Many records, as fast as the broker takes them, from a task that may be stopped at any moment:
//! `cargo run -p gapless-producer --example many [HOST:PORT]`
//!
//! `reserve` waits for room *before* the next record is taken from its source. So when Ctrl-C wins the `select!`, no record has
//! been taken that was not sent.
#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::Duration;

use gapless_producer::{Compression, Producer, RecordView};

/// The most that one of these records takes: key, value and headers.
const RECORD_SIZE_MAX: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let producer = Producer::builder()
        .bootstrap_servers(server)
        .compression(Compression::Lz4, None)
        // Room for all that is not yet acknowledged. The backpressure begins when it is full.
        .buffer_memory(8 * 1024 * 1024)
        .build()
        .await?;
    // Spares the look-up for each record, and takes bytes that stay the caller's.
    let events = producer.topic("examples");

    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut source = (0..1_000_000_u32).map(|number| format!("event {number}"));
    loop {
        let permit = tokio::select! {
            biased;
            _ = &mut stop => break,
            permit = events.reserve(RECORD_SIZE_MAX) => permit?,
        };
        let Some(event) = source.next() else { break };
        // Does not wait. Its delivery may be dropped: a record that fails halts its partition, and then `reserve` and `send` here
        // and `close` below say so.
        drop(permit.send(RecordView::new().value(event.as_bytes()))?);
    }

    producer.close(Duration::from_secs(30)).await?;
    let stats = producer.stats();
    println!("{} of {} records acknowledged", stats.records_acked, stats.records_admitted);
    println!("{} requests, batches {:.0} % full", stats.requests, stats.batch_fill() * 100.0);
    Ok(())
}
