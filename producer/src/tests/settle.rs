//! Resuming by finding out what became of the records in doubt.

use gapless_common::types::Offset;

use super::*;
use crate::fake::Plan;
use crate::{Rejection, Resume, ResumeError, Settled, SettledFate};

fn impatient(fake: &Fake) -> Builder {
    builder(fake).request_timeout(SECOND).delivery_timeout(3 * SECOND).batch_size(1000).buffer_memory(8000)
}

/// Sends so many records of 700 bytes (a batch each) after a first one that is acknowledged, and waits until the partition is
/// halted: the first request is appended and its answer lost, nothing is answered after it.
async fn halted(fake: &Fake, producer: &Producer, count: usize) -> Vec<Told> {
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Ok(0));
    fake.plan([Plan::AppendAndCut]);
    fake.plan([Plan::Silence; 100]);
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(producer.send(Record::new("t").value(vec![b'x'; 700])).await.unwrap());
    }
    let told = all_told(deliveries).await;
    assert_eq!(producer.halts().len(), 1);
    fake.cluster().plan.clear();
    told
}

async fn settle(producer: &Producer, generation: u64, within: Duration) -> Settled {
    producer.resume("t", 0, generation, Resume::Settle(within)).await.unwrap()
}

fn bases(settled: &Settled) -> Vec<Option<i64>> {
    settled
        .records()
        .map(|fate| match fate {
            SettledFate::Acked { base, .. } => base.map(|Offset(base)| base),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_in_doubt_gets_its_offset_and_the_partition_goes_on() {
    let fake = Fake::new(1);
    let producer = impatient(&fake).build().await.unwrap();
    let told = halted(&fake, &producer, 1).await;
    assert_eq!(told, [Err("unknown delivery_timeout".to_owned())]);
    let stats = producer.stats();
    assert_eq!((stats.records_acked, stats.records_unknown), (1, 1));
    assert!(producer.handle_memory_used() >= 700, "kept, and charged");

    let settled = settle(&producer, 1, 5 * SECOND).await;
    assert_eq!((bases(&settled), &settled.halt), (vec![Some(1)], &None));
    assert_eq!(fake.log("t", 0).len(), 2, "recognised, not appended again");
    assert_eq!(producer.handle_memory_used(), 0);
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(2..5));
    let stats = producer.stats();
    assert_eq!((stats.records_acked, stats.records_unknown, stats.records_under_way()), (5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stays_silent_leaves_the_doubt_and_says_why() {
    let fake = Fake::new(1);
    let producer = impatient(&fake).build().await.unwrap();
    halted(&fake, &producer, 1).await;
    fake.cut(false);
    let begun = tokio::time::Instant::now();
    let settled = settle(&producer, 1, 5 * SECOND).await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    let halt = settled.halt.clone().expect("halted again");
    assert_eq!(halt.generation, 2);
    let [SettledFate::Unknown(why)] = &settled.records().collect::<Vec<_>>()[..] else { panic!("{settled}") };
    assert!(why.to_string().contains("cannot connect to fake:1"), "{why}");
    assert!(!settled.is_certain());
    let refused = producer.send(record(9)).await.unwrap_err();
    assert_eq!(refused.reason, Rejection::Halted(halt));
    fake.cut(true);
    assert_eq!(bases(&settle(&producer, 2, 5 * SECOND).await), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn halts_keep_half_the_buffer_and_tell_what_did_not_fit() {
    let fake = Fake::new(2);
    let producer = impatient(&fake).partitioner(crate::Partitioner::Murmur2).build().await.unwrap();
    let topic = producer.topic("t");
    let to = |partition| Record::new("t").partition(partition).value(vec![b'x'; 700]);
    for partition in 0..2 {
        producer.send(to(partition)).await.unwrap().await.unwrap();
    }
    fake.plan([Plan::Silence; 100]);
    let mut deliveries = Vec::new();
    for _ in 0..5 {
        deliveries.push(topic.send(crate::RecordView::new().partition(0).value(&[b'x'; 700])).await.unwrap());
    }
    let told = all_told(deliveries).await;
    let unknown =
        told.iter().filter(|told| told.as_ref().is_err_and(|why| why.starts_with("unknown"))).count();
    assert!(unknown >= 5, "{told:?}");
    assert!(producer.handle_memory_used() <= 4000, "half of 8000");
    fake.cluster().plan.clear();
    // Who waits for memory gets it, though nobody has resumed the other partition.
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(producer.send(to(1)).await.unwrap());
    }
    assert!(all_told(others).await.iter().all(Result::is_ok));

    let settled = settle(&producer, 1, 5 * SECOND).await;
    let fates: Vec<_> = settled.records().collect();
    assert_eq!(fates.len(), unknown);
    let acked = fates.iter().take_while(|fate| matches!(fate, SettledFate::Acked { .. })).count();
    assert!(acked >= 2, "{settled}");
    assert!(
        fates[acked..].iter().all(|fate| *fate == SettledFate::Unknown(crate::Unsettled::NoRoom))
            && acked < unknown,
        "{settled}"
    );
    let generation = settled.halt.expect("not all is known").generation;
    producer.resume("t", 0, generation, Resume::Skip).await.unwrap();
    producer.send(to(0)).await.unwrap().await.unwrap();
    assert_eq!(producer.handle_memory_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_is_dropped_stops_and_another_tells_everything() {
    let fake = Fake::new(1);
    let producer = impatient(&fake).build().await.unwrap();
    halted(&fake, &producer, 1).await;
    fake.plan([Plan::Late(3 * SECOND)]);
    let first = tokio::time::timeout(SECOND / 2, settle(&producer, 1, 60 * SECOND)).await;
    assert!(first.is_err(), "it waits");
    assert_eq!(producer.halts()[0].generation, 1, "halted as before");
    assert_eq!(bases(&settle(&producer, 1, 60 * SECOND).await), [Some(1)]);
    assert_eq!(fake.log("t", 0).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_callers_do_not_settle_at_once_and_close_ends_it() {
    let fake = Fake::new(1);
    let producer = impatient(&fake).build().await.unwrap();
    halted(&fake, &producer, 1).await;
    fake.cut(false);
    let settling = producer.resume("t", 0, 1, Resume::Settle(60 * SECOND));
    let others = async {
        tokio::time::sleep(SECOND).await;
        for how in [Resume::Skip, Resume::Settle(SECOND)] {
            assert!(matches!(producer.resume("t", 0, 1, how).await, Err(ResumeError::Settling { .. })));
        }
        assert!(producer.close(SECOND).await.is_err(), "a partition is halted");
    };
    let (settled, ()) = tokio::join!(settling, others);
    assert_eq!(settled, Err(ResumeError::Closed));
    assert_eq!(producer.handle_memory_used(), 0);
}
