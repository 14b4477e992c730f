//! Several brokers: a channel each, leaders that move, topics that grow, a broker that goes away, and a thousand partitions that
//! all want their turn.

use std::collections::BTreeMap;

use super::*;
use crate::RecordView;
use crate::fake::{Plan, Topic};

/// Brokers 1 to 3, and a topic whose partitions they lead.
fn three(leaders: &[i32]) -> Fake {
    let fake = Fake::new(0);
    let mut cluster = fake.cluster();
    for id in 2..=3 {
        cluster.brokers.insert(id, (format!("fake:{id}"), true));
    }
    cluster.topics.insert("t".to_owned(), Topic::new(1, leaders.to_vec()));
    drop(cluster);
    fake
}

fn lead(fake: &Fake, partition: usize, leader: i32) {
    fake.cluster().topics.get_mut("t").unwrap().lead(partition, leader);
}

#[tokio::test(start_paused = true)]
async fn each_broker_has_one_channel_whatever_it_leads() {
    let fake = three(&[1, 2, 3, 1, 2, 3, 3]);
    let producer = producer(&fake).await;
    let topic = producer.topic("t");
    for round in 0..20 {
        let mut deliveries = Vec::new();
        for partition in 0..7 {
            deliveries.push(topic.send(RecordView::new().value(b"v").partition(partition)).await.unwrap());
        }
        assert_eq!(all_told(deliveries).await, vec![Ok(round); 7]);
    }
    assert_eq!(fake.cluster().connections_to, BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[tokio::test(start_paused = true)]
async fn leaders_move_while_records_are_on_their_way_and_order_holds() {
    let fake = three(&[1, 2]);
    let producer = builder(&fake).batch_size(512).build().await.unwrap();
    let topic = producer.topic("t");
    let mut deliveries = [vec![], vec![]];
    for number in 0..3000usize {
        let partition = number % 2;
        let value = number.to_string();
        let view = RecordView::new().value(value.as_bytes()).partition(i32::try_from(partition).unwrap());
        deliveries[partition].push(topic.send(view).await.unwrap());
        if number % 100 == 50 {
            // Some requests of the old leader are still to be answered, late.
            fake.plan([Plan::Late(Duration::from_millis(30)), Plan::Late(Duration::from_millis(10))]);
            lead(&fake, partition, 1 + i32::try_from(number / 100 % 3).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for (partition, deliveries) in deliveries.into_iter().enumerate() {
        assert_eq!(all_told(deliveries).await, offsets(0..1500));
        let sent: Vec<String> = (0..1500).map(|number| (2 * number + partition).to_string()).collect();
        assert_eq!(fake.log("t", partition), sent);
    }
    assert!(producer.stats().retries > 0);
    assert_eq!(
        fake.cluster().connections_to.values().copied().max(),
        Some(1),
        "no channel was given up for it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_a_refusal_names_is_followed_without_asking_or_waiting() {
    let fake = three(&[1, 1]);
    fake.cluster().names_leaders = true;
    let producer = builder(&fake).batch_size(512).build().await.unwrap();
    let topic = producer.topic("t");
    let value = vec![b'x'; 300];
    let to = |partition| RecordView::new().value(&value).partition(partition);
    assert_eq!(told(topic.send(to(0)).await.unwrap()).await, Ok(0));
    let asked = fake.cluster().metadata_asked;
    for round in 1..=12 {
        // Several batches are on their way to who no longer leads; the next one is not connected to, at first.
        let leader = 1 + round % 3;
        lead(&fake, 0, leader);
        if round == 2 {
            // It moved, and only who refuses can say where it is reached now.
            fake.cluster().brokers.insert(leader, ("fake:9".to_owned(), true));
        }
        let begun = tokio::time::Instant::now();
        let mut deliveries = Vec::new();
        for _ in 0..4 {
            deliveries.push(topic.send(to(0)).await.unwrap());
        }
        let first = i64::from(round) * 4 - 3;
        assert_eq!(all_told(deliveries).await, offsets(first..first + 4));
        assert!(begun.elapsed() < Duration::from_millis(20), "{:?}", begun.elapsed());
        assert_eq!(told(topic.send(to(1)).await.unwrap()).await, Ok(i64::from(round) - 1));
    }
    assert_eq!(fake.cluster().metadata_asked, asked, "nobody had to be asked");
    assert_eq!(fake.log("t", 0).len(), 49, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_grows_is_used_once_it_is_known_and_keeps_the_order_of_what_was_there() {
    let fake = three(&[1]);
    let producer = builder(&fake).batch_size(1000).metadata_age_max(SECOND).build().await.unwrap();
    let value = vec![b'x'; 300];
    let mut first = Vec::new();
    for _ in 0..50 {
        first.push(producer.topic("t").send(RecordView::new().value(&value)).await.unwrap());
    }
    for leader in [2, 3] {
        fake.cluster().topics.get_mut("t").unwrap().grow(leader);
    }
    tokio::time::sleep(2 * SECOND).await;
    let mut later = Vec::new();
    for _ in 0..300 {
        later.push(producer.topic("t").send(RecordView::new().value(&value)).await.unwrap());
    }
    assert_eq!(all_told(first).await, offsets(0..50));
    let mut counts = [0; 3];
    for delivery in later {
        let ack = delivery.await.unwrap();
        counts[usize::try_from(ack.partition.partition.0).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_holds_up_only_what_it_leads_until_another_leads_it() {
    let fake = three(&[1, 2]);
    let producer = producer(&fake).await;
    let topic = producer.topic("t");
    let to = |partition| RecordView::new().value(b"v").partition(partition);
    for partition in 0..2 {
        topic.send(to(partition)).await.unwrap().await.unwrap();
    }
    fake.plan([Plan::AppendAndCut]);
    let in_doubt = topic.send(to(1)).await.unwrap();
    tokio::time::sleep(SECOND / 10).await;
    fake.cut_one(2, false);
    let mut waiting = Vec::new();
    for offset in 1..20 {
        waiting.push(topic.send(to(1)).await.unwrap());
        let other = topic.send(to(0)).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(told(other).await, Ok(offset), "the other broker's partition goes on");
        assert!(begun.elapsed() < SECOND / 10);
        tokio::time::sleep(SECOND / 2).await;
    }
    assert!(waiting.iter().all(|delivery| delivery.try_result().is_none()));
    lead(&fake, 1, 3);
    assert_eq!(told(in_doubt).await, Ok(1));
    assert_eq!(all_told(waiting).await, offsets(2..21));
    assert_eq!(fake.log("t", 1).len(), 21, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_full_partitions_take_turns() {
    const PARTITIONS: i32 = 1000;
    let fake = Fake::new(1000);
    let producer = builder(&fake).batch_size(8192).build().await.unwrap();
    let topic = producer.topic("t");
    topic.partition_count().await.unwrap();
    // Three batches for each, more than several requests take; the first partitions have theirs first.
    let value = vec![b'x'; 8000];
    for partition in 0..PARTITIONS {
        for _ in 0..3 {
            drop(topic.try_send(RecordView::new().value(&value).partition(partition)).unwrap());
        }
    }
    producer.flush(60 * SECOND).await.unwrap();
    let produced = fake.produced();
    assert!(produced.len() > 5, "{} requests", produced.len());
    let mut served = vec![0; 1000];
    for (number, request) in produced.iter().enumerate() {
        for (_, partition, _, _) in request {
            served[usize::try_from(*partition).unwrap()] += 1;
        }
        let seen: std::collections::BTreeSet<_> =
            request.iter().map(|(_, partition, ..)| partition).collect();
        assert_eq!(seen.len(), request.len(), "request {number} takes one batch of a partition");
    }
    assert_eq!(served, vec![3; 1000]);
    // Nobody gets its third batch while many wait for their first.
    let mut counts = vec![0; 1000];
    for (_, partition, ..) in produced.iter().flatten() {
        let at = usize::try_from(*partition).unwrap();
        counts[at] += 1;
        if counts[at] == 3 {
            let unserved = counts.iter().filter(|count| **count == 0).count();
            assert!(unserved < 500, "partition {at} was served three times while {unserved} had nothing yet");
        }
    }
}
