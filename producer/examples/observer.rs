//! Metrics and traces of one's own, from what the producer tells about batches, partitions and connections:
//! `cargo run -p gapless-producer --example observer [HOST:PORT]`
#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gapless_producer::observer::{Event, Observer};
use gapless_producer::{Fate, Producer, RecordView};

/// Counts. It is called by the tasks that send, so it does no more than that.
#[derive(Default)]
struct Counters {
    acked: AtomicU64,
    failed: AtomicU64,
    attempts: AtomicU64,
    bytes: AtomicU64,
}

impl Observer for Counters {
    fn observe(&self, event: &Event) {
        match event {
            Event::Sent { batch, .. } => {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(batch.size as u64, Ordering::Relaxed);
            }
            Event::Resolved { batch, fate, .. } => {
                let counter = if matches!(fate, Fate::Acked { .. }) { &self.acked } else { &self.failed };
                counter.fetch_add(u64::from(batch.records), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let counters = Arc::new(Counters::default());
    let producer = Producer::builder()
        .bootstrap_servers(server)
        .observer(counters.clone())
        // There may be several. This one is for the eye: the number of a batch ties together what happens to it.
        .observer(Arc::new(|event: &Event| match event {
            Event::Sent { batch, attempt, broker, waited, .. } => {
                println!(
                    "batch {} sent to broker {broker}, attempt {attempt}, after {waited:?}",
                    batch.number
                );
            }
            Event::Resolved { batch, took, .. } => println!("batch {} resolved after {took:?}", batch.number),
            Event::Halted(halt) => println!("{halt}"),
            other => println!("{other:?}"),
        }))
        .build()
        .await?;

    let topic = producer.topic("examples");
    for number in 0..10_000_u32 {
        drop(topic.send(RecordView::new().value(&number.to_be_bytes())).await?);
        if number % 2_000 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    producer.close(Duration::from_secs(30)).await?;

    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!("{} records acknowledged, {} not", read(&counters.acked), read(&counters.failed));
    println!("{} batches sent, {} bytes", read(&counters.attempts), read(&counters.bytes));
    Ok(())
}
