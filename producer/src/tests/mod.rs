//! The whole producer against a fake cluster, in paused time.

mod admission;
mod brokers;
mod failures;
mod flow;
mod observing;
mod random;
mod reaching;
mod settle;

use std::time::Duration;

use crate::fake::Fake;
use crate::{Builder, Delivery, DeliveryError, Producer, Record};

/// As `Display` says it, so that a failing test reads well.
type Told = Result<i64, String>;

fn builder(fake: &Fake) -> Builder {
    Producer::builder().bootstrap_servers("fake:1").seams(fake.seams(1))
}

async fn producer(fake: &Fake) -> Producer {
    builder(fake).build().await.unwrap()
}

fn record(number: usize) -> Record {
    Record::new("t").value(number.to_string())
}

async fn send(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(producer.send(record(number)).await.unwrap());
    }
    deliveries
}

/// The offset, or fate and reason.
async fn told(delivery: Delivery) -> Told {
    match delivery.await {
        Ok(ack) => Ok(ack.offset.map_or(-1, |offset| offset.0)),
        Err(error) => Err(label(&error)),
    }
}

fn label(error: &DeliveryError) -> String {
    format!("{} {}", error.fate(), error.cause().label())
}

async fn all_told(deliveries: Vec<Delivery>) -> Vec<Told> {
    let mut told = Vec::new();
    for delivery in deliveries {
        told.push(self::told(delivery).await);
    }
    told
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn offsets(range: std::ops::Range<i64>) -> Vec<Told> {
    range.map(Ok).collect()
}

const SECOND: Duration = Duration::from_secs(1);
