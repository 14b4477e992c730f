//! A record fails, its partition halts, and the caller decides how it goes on:
//! `cargo run -p gapless-producer --example halt_and_resume [HOST:PORT]`
//!
//! The failure is made on purpose: a record larger than the broker takes. Run it a second time and stop the broker in between
//! (`kill -STOP`, or Ctrl-C) to see records whose fate is unknown, and what a settle finds out once it is back.
#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::Duration;

use gapless_producer::{Halt, Producer, Record, Rejection, Resume};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let producer = Producer::builder()
        .bootstrap_servers(server)
        .request_timeout(Duration::from_secs(2))
        .delivery_timeout(Duration::from_secs(5))
        .batch_size(4_000_000)
        .build()
        .await?;

    for number in 0..20_u32 {
        let value = if number == 5 { vec![b'x'; 3_000_000] } else { format!("record {number}").into_bytes() };
        let mut record = Record::new("examples").partition(0).value(value);
        // Nothing is sent behind a failed record: `send` gives this one back, with the reason, until the partition is resumed.
        let delivery = loop {
            match producer.send(record).await {
                Ok(delivery) => break delivery,
                Err(refused) => {
                    let Rejection::Halted(halt) = &refused.reason else { return Err(refused.into()) };
                    resume(&producer, halt).await?;
                    record = *refused.record;
                }
            }
        };
        match delivery.await {
            Ok(ack) => println!("record {number}: offset {:?}", ack.offset),
            Err(error) => println!("record {number}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Finds out what became of what is in doubt; what stays in doubt is left behind.
async fn resume(producer: &Producer, halt: &Halt) -> Result<(), Box<dyn Error>> {
    println!("{halt}");
    let name = &halt.partition;
    let partition = name.partition.0;
    // The generation says which halt is meant: another task may have resumed this one, and there may be a newer one.
    let settle = Resume::Settle(Duration::from_secs(10));
    let settled = producer.resume(&name.topic, partition, halt.generation, settle).await?;
    println!("{settled}");
    if let Some(again) = settled.halt {
        // What is unknown may still appear in the log, but only before the next acknowledged record.
        producer.resume(&name.topic, partition, again.generation, Resume::Skip).await?;
    }
    Ok(())
}
