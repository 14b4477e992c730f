//! One record, sent and awaited: `cargo run -p gapless-producer --example send_one [HOST:PORT]`
#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::Duration;

use gapless_producer::{DeliveryError, Producer, Record};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    // Fails within ten seconds, and says what was tried, if no broker is there.
    let producer = Producer::builder().bootstrap_servers(server).build().await?;

    let record = Record::new("examples").key("user-7").value("signed in").header("source", "send_one");
    // The first wait is for room in the buffer. From here on the record is on its way, in this order, whatever becomes of
    // the delivery.
    let delivery = producer.send(record).await?;

    // The second wait is for the broker. One of three answers comes, and at the latest after `delivery_timeout`.
    match delivery.await {
        Ok(ack) => println!("in the log, once: {} at offset {:?}", ack.partition, ack.offset),
        Err(DeliveryError::NotWritten(failure)) => println!("certainly not in the log: {}", failure.cause),
        Err(DeliveryError::Unknown(failure)) => println!("in the log, once, or not: {}", failure.cause),
    }

    // Dropping the producer would end what is under way; `close` waits for it.
    producer.close(Duration::from_secs(30)).await?;
    Ok(())
}
