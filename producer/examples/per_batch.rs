//! What became of each of many records, for the price of one wait a batch:
//! `cargo run -p gapless-producer --example per_batch [HOST:PORT]`
//!
//! All records of a batch share one cell. Of each batch the first delivery is kept and awaited; it tells of its
//! followers too. The others are dropped at once, which costs next to nothing.
#![expect(clippy::print_stdout, reason = "an example")]

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use gapless_producer::{Delivery, Producer, RecordView};

/// Batches of which nothing is known yet; past that the oldest is awaited.
const BATCHES_MAX: usize = 64;

/// Consecutive records that travel together.
struct Batch {
    first: Delivery,
    records: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let producer = Producer::builder().bootstrap_servers(server).build().await?;
    let topic = producer.topic("examples");

    let mut batches: VecDeque<Batch> = VecDeque::new();
    for number in 0..200_000_u32 {
        let value = number.to_be_bytes();
        // One partition, so that consecutive records are consecutive in their batch.
        let delivery = topic.send(RecordView::new().partition(0).value(&value)).await?;
        match batches.back_mut() {
            Some(batch) if batch.first.shares_batch_with(&delivery) => batch.records += 1,
            _ => batches.push_back(Batch { first: delivery, records: 1 }),
        }
        if batches.len() > BATCHES_MAX
            && let Some(oldest) = batches.pop_front()
        {
            account(oldest).await;
        }
    }
    for batch in batches {
        account(batch).await;
    }
    producer.close(Duration::from_secs(30)).await?;
    Ok(())
}

async fn account(mut batch: Batch) {
    let first = (&mut batch.first).await;
    let rest = (1..batch.records).filter_map(|place| batch.first.try_result_behind(place));
    let (mut acked, mut failed) = (0, 0);
    for result in std::iter::once(first.clone()).chain(rest) {
        match result {
            Ok(_) => acked += 1,
            Err(_) => failed += 1,
        }
    }
    match first {
        Ok(ack) => {
            println!("{} from offset {:?}: {acked} acknowledged, {failed} not", ack.partition, ack.offset)
        }
        Err(error) => println!("{error}: {acked} acknowledged, {failed} not"),
    }
}
