use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::Offset;

use super::bench::{A, B, BACKOFF, Bench};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LOG_DIVERGED: &str = "unknown: settling stopped: the log diverged: OUT_OF_ORDER_SEQUENCE_NUMBER (45) for the record after \
                            the last acknowledged one (offset 100); acknowledged records may be lost, compare the topic with \
                            what was acknowledged";

/// Halted in generation 1 behind batches of these sizes whose answers never came; the last acknowledged offset is 100, the next
/// sequence of the epoch is 1.
fn halted(batches: &[u32]) -> Bench {
    let mut bench = Bench::flowing();
    for records in batches {
        bench.send_new(A, *records);
    }
    halt(&mut bench);
    bench
}

fn halt(bench: &mut Bench) {
    bench.pass(Duration::from_secs(120));
    bench.pass(Duration::from_secs(30));
    assert!(bench.generation().is_some());
}

/// In a new epoch, that begins with a probe.
fn goes_on(bench: &mut Bench, epoch: i16) {
    bench.push(1);
    assert_eq!(bench.send(B).1, (epoch, 0));
    assert_eq!(bench.next(B), Next::Nothing, "Probe");
}

#[test]
fn the_unknown_goes_out_again_in_order_as_it_was_and_acked_ends_the_halt() {
    let mut bench = halted(&[2, 3]);
    assert_eq!(bench.fates(), ["unknown: delivery_timeout", "unknown: behind"]);
    assert_eq!(bench.settle(1, 10 * SECOND), Ok(()));
    let (first, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 1), "the old epoch and sequence");
    assert_eq!(bench.next(B), Next::Nothing, "Probe: the oldest alone");
    bench.ack(first, 101);
    let (second, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 3));
    assert_eq!(bench.next(B), Next::Nothing, "nothing new goes out meanwhile");
    assert!(bench.settled.is_none());
    bench.ack(second, 103);
    assert_eq!(bench.settled(), (vec![(2, "acked 101"), (3, "acked 103")], None));
    assert_eq!(bench.fates.len(), 2, "deliveries had their fates");
    goes_on(&mut bench, 1);
}

#[test]
fn what_was_not_written_stays_so() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.push(1);
    bench.lose(first);
    bench.refuse(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.fates(), ["unknown: delivery_timeout", "not written: behind", "not written: behind"]);
    bench.settle(1, SECOND).unwrap();
    let (first, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 1));
    bench.ack(first, 101);
    assert_eq!(bench.settled(), (vec![(1, "acked 101")], None));
    goes_on(&mut bench, 1);
}

#[test]
fn nothing_unknown_is_settled_at_once() {
    let mut bench = Bench::flowing();
    let refused = bench.send_new(A, 1);
    bench.refuse(refused, ErrorCode::INVALID_RECORD);
    bench.settle(1, SECOND).unwrap();
    assert_eq!(bench.settled(), (vec![], None));
    goes_on(&mut bench, 1);
}

#[test]
fn a_later_ack_proves_what_was_sent_before_it() {
    let mut bench = halted(&[1, 1, 1]);
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (second, _, _) = bench.resend(B);
    let (third, _, _) = bench.resend(B);
    bench.refuse(second, ErrorCode::KAFKA_STORAGE_ERROR);
    bench.ack(third, 103);
    assert_eq!(bench.settled(), (vec![(1, "acked 101"), (1, "acked -1"), (1, "acked 103")], None));
}

#[test]
fn what_a_later_ack_has_proven_is_told_when_time_is_up() {
    let mut bench = halted(&[1, 1, 1]);
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (unanswered, _, _) = bench.resend(B);
    let (third, _, _) = bench.resend(B);
    bench.ack(third, 103);
    assert!(bench.settled.is_none(), "the second may still tell its own offset");
    bench.pass(10 * SECOND);
    assert_eq!(bench.settled(), (vec![(1, "acked 101"), (1, "acked -1"), (1, "acked 103")], None));
    bench.ack(unanswered, 102);
    goes_on(&mut bench, 1);
}

#[test]
fn draining_takes_no_longer_than_the_settle_may() {
    let mut bench = halted(&[1, 1, 1]);
    let end = bench.now + 10 * SECOND;
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (second, _, _) = bench.resend(B);
    bench.resend(B);
    bench.refuse(second, ErrorCode::INVALID_TIMESTAMP);
    assert_eq!((bench.next(B), bench.machine.deadline()), (Next::Nothing, Some(end)), "Draining");
    assert!(bench.settled.is_none());
    bench.pass(10 * SECOND);
    let (batches, halted) = bench.settled();
    assert_eq!((batches[0], batches.len(), halted), ((1, "acked 101"), 3, Some(2)));
    assert!(batches[1..].iter().all(|(_, fate)| fate.contains("INVALID_TIMESTAMP")), "{batches:?}");
}

#[test]
fn time_up_halts_again_and_keeps_the_rest_for_another_settle() {
    let mut bench = halted(&[1, 1]);
    bench.settle(1, 10 * SECOND).unwrap();
    assert_eq!(bench.machine.deadline(), Some(bench.now + 10 * SECOND));
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (unanswered, _, _) = bench.resend(B);
    bench.pass(10 * SECOND);
    assert_eq!(bench.settled(), (vec![(1, "acked 101"), (1, "unknown: not answered in time")], Some(2)));
    assert_eq!((bench.next(B), bench.machine.deadline()), (Next::Nothing, None), "Halted");
    bench.ack(unanswered, 102);
    assert_eq!(bench.settle(1, SECOND), Err(CannotResume::Generation(2)));

    bench.settle(2, SECOND).unwrap();
    let (again, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 2));
    bench.ack(again, 102);
    assert_eq!(bench.settled(), (vec![(1, "acked 102")], None), "what was told once is not told again");
    goes_on(&mut bench, 1);
}

#[test]
fn retriable_refusals_are_retried_within_the_time() {
    let mut bench = halted(&[1, 1]);
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.refuse(first, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert!(matches!(bench.next(B), Next::NotBefore(_)));
    bench.pass(BACKOFF);
    let (first, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 1), "the oldest first");
    bench.lose(first);
    let (first, _, _) = bench.resend(A);
    bench.ack(first, 101);
    let (second, _, _) = bench.resend(A);
    bench.ack(second, 102);
    assert_eq!(bench.settled().1, None);
}

#[test]
fn out_of_order_behind_what_was_never_written_proves_absence() {
    let mut bench = Bench::flowing();
    let refused = bench.send_new(A, 1);
    bench.send_new(A, 2);
    bench.send_new(A, 1);
    bench.refuse(refused, ErrorCode::INVALID_RECORD);
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.fates(), ["not written: refused", "unknown: behind", "unknown: behind"]);
    bench.settle(1, 10 * SECOND).unwrap();
    for expected in [(0, 2), (0, 4)] {
        let (ticket, stamp, _) = bench.resend(B);
        assert_eq!(stamp, expected);
        bench.refuse(ticket, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    assert_eq!(bench.settled(), (vec![(2, "not written"), (1, "not written")], Some(2)));
    bench.settle(2, SECOND).unwrap();
    assert_eq!(bench.settled(), (vec![], None), "nothing is in doubt any more");
}

#[test]
fn out_of_order_without_a_hole_means_that_the_log_diverged() {
    // With and without records deleted: what may be in the log gets no new sequences silently.
    for log_start in [None, Some(500)] {
        let mut bench = halted(&[1, 1]);
        bench.settle(1, 10 * SECOND).unwrap();
        let (first, _, _) = bench.resend(B);
        bench.refuse_at(first, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, log_start);
        let (batches, halted) = bench.settled();
        assert_eq!((batches.len(), halted), (2, Some(2)));
        if log_start.is_none() {
            assert_eq!(batches, [(1, LOG_DIVERGED), (1, LOG_DIVERGED)]);
        }
        assert!(
            batches.iter().all(|(_, fate)| fate.starts_with("unknown: settling stopped: the log diverged"))
        );
    }
}

#[test]
fn a_final_refusal_of_a_repeat_proves_nothing_and_ends_the_settle() {
    for code in [
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::INVALID_TIMESTAMP,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::UNKNOWN_PRODUCER_ID,
    ] {
        let mut bench = halted(&[2]);
        bench.settle(1, 10 * SECOND).unwrap();
        let (first, _, _) = bench.resend(B);
        bench.refuse(first, code);
        let (batches, halted) = bench.settled();
        assert!(batches[0].1.starts_with("unknown: settling stopped"), "{code}: {batches:?}");
        assert_eq!(halted, Some(2));
        bench.machine.skip(2).unwrap();
        if code == ErrorCode::INVALID_PRODUCER_EPOCH {
            assert!(matches!(bench.next(B), Next::Identity { .. }));
        } else {
            goes_on(&mut bench, 1);
        }
    }
}

#[test]
fn the_first_that_does_not_fit_ends_the_keeping() {
    let mut bench = Bench::flowing();
    bench.send_new(A, 1);
    bench.bulky = true;
    bench.send_new(A, 2);
    bench.bulky = false;
    bench.send_new(A, 3);
    halt(&mut bench);
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (batches, halted) = bench.settled();
    assert_eq!(batches[0], (1, "acked 101"));
    assert!(batches[1..].iter().all(|(_, fate)| fate.contains("were not kept")), "{batches:?}");
    assert_eq!((batches[1].0, batches[2].0, halted), (2, 3, Some(2)));
    bench.settle(2, SECOND).unwrap();
    assert_eq!(bench.settled().1, Some(3), "nothing more can be found out");
    bench.machine.skip(3).unwrap();
    goes_on(&mut bench, 1);
}

#[test]
fn what_brokers_may_have_forgotten_is_not_sent_again() {
    let mut bench = halted(&[1]);
    bench.pass(Duration::from_secs(12 * 3600 - 160));
    bench.settle(1, 60 * SECOND).unwrap();
    assert_eq!(bench.machine.deadline(), Some(bench.start + Duration::from_secs(12 * 3600)));
    bench.pass(60 * SECOND);
    bench.settle(2, 60 * SECOND).unwrap();
    let (batches, halted) = bench.settled();
    assert!(batches[0].1.contains("more than 12 hours ago"), "{batches:?}");
    assert_eq!(halted, Some(3));
}

#[test]
fn a_topic_created_again_gets_nothing_of_what_was_meant_for_the_old_one() {
    // While it is halted.
    let mut bench = halted(&[1]);
    bench.topic(1);
    bench.topic(2);
    bench.settle(1, 10 * SECOND).unwrap();
    assert_eq!(bench.settled().0, [(1, "unknown: the topic was deleted and created again")]);
    // While it is being settled.
    let mut bench = halted(&[1, 1]);
    bench.topic(1);
    bench.settle(1, 10 * SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.topic(2);
    assert_eq!(bench.next(B), Next::Nothing, "Draining");
    bench.refuse(first, ErrorCode::UNKNOWN_TOPIC_ID);
    const GONE: &str = "unknown: the topic was deleted and created again";
    assert_eq!(bench.settled(), (vec![(1, GONE), (1, GONE)], Some(2)));
    bench.settle(2, SECOND).unwrap();
    assert_eq!(bench.settled(), (vec![(1, GONE), (1, GONE)], Some(3)));
}

#[test]
fn a_topic_created_again_is_noticed_in_draining() {
    let mut bench = Bench::flowing();
    bench.topic(1);
    let first = bench.send_new(A, 1);
    bench.send_new(A, 1);
    bench.pass(Duration::from_secs(120));
    bench.topic(2);
    bench.ack(first, 101);
    assert_eq!(bench.next(A), Next::Nothing, "what is left was meant for the old topic");
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.fates(), ["acked 101", "unknown: topic_recreated"]);
    bench.settle(1, SECOND).unwrap();
    assert_eq!(bench.settled().0, [(1, "unknown: the topic was deleted and created again")]);

    let mut fenced = Bench::flowing();
    fenced.topic(1);
    let first = fenced.send_new(A, 1);
    let second = fenced.send_new(A, 1);
    fenced.refuse(first, ErrorCode::INVALID_PRODUCER_EPOCH);
    fenced.topic(2);
    fenced.refuse(second, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(fenced.fates(), ["not written: topic_recreated", "not written: behind"]);
    fenced.machine.skip(1).unwrap();
    assert_eq!(fenced.next(A), Next::Identity { other_than: Some(ProducerId(7)) }, "fenced all the same");
}

#[test]
fn one_settle_at_a_time_and_one_that_is_stopped_can_be_begun_again() {
    let mut bench = halted(&[1, 1]);
    bench.settle(1, 10 * SECOND).unwrap();
    assert_eq!(bench.settle(1, SECOND), Err(CannotResume::Settling));
    assert_eq!(bench.machine.skip(1), Err(CannotResume::Settling));
    let (first, _, _) = bench.resend(B);
    bench.ack(first, 101);
    let (second, _, _) = bench.resend(B);
    bench.machine.stop_settling(2);
    assert_eq!(bench.settle(1, SECOND), Err(CannotResume::Settling), "that was another halt's");
    bench.machine.stop_settling(1);
    assert_eq!(bench.next(B), Next::Nothing);
    bench.ack(second, 102);
    assert!(bench.settled.is_none());
    bench.settle(1, 10 * SECOND).unwrap();
    let (second, stamp, _) = bench.resend(B);
    assert_eq!(stamp, (0, 2));
    bench.ack(second, 102);
    assert_eq!(bench.settled(), (vec![(1, "acked 101"), (1, "acked 102")], None));
}

#[test]
fn without_idempotence_nothing_is_sent_again() {
    let mut bench = Bench::new(Rules { idempotent: false, ..rules(OnFailure::Halt) });
    bench.push(1);
    bench.machine.send(A).unwrap();
    halt(&mut bench);
    bench.settle(1, SECOND).unwrap();
    assert!(bench.settled().0[0].1.contains("without idempotence"));
    assert_eq!(bench.settled().1, Some(2));
}

#[test]
fn close_ends_a_settle() {
    let mut bench = halted(&[1]);
    bench.settle(1, SECOND).unwrap();
    let (first, _, _) = bench.resend(B);
    bench.event(|machine, _, effects| machine.close(&Arc::new(Cause::Closed), effects));
    bench.answer(first, Answer::Acked { base: Some(Offset(101)), append_time_ms: None });
    assert_eq!(bench.fates.len(), 1, "its delivery had its fate");
    assert!(bench.settled.is_none() && bench.machine.is_empty());
}
