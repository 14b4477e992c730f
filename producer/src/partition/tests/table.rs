use std::sync::Arc;
use std::time::Duration;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::Sequence;

use super::bench::{A, B, BACKOFF, Bench};
use super::*;
use crate::fate::Cause;

#[test]
fn probe_has_one_batch_in_flight_and_an_ack_lets_five_flow() {
    let mut bench = Bench::halting();
    let probe = bench.send_new(A, 3);
    assert_eq!(bench.next(A), Next::Nothing, "one at a time until it is acknowledged");
    bench.ack(probe, 0);
    for _ in 0..5 {
        bench.send_new(A, 2);
    }
    assert_eq!(bench.next(A), Next::Nothing, "five in flight");
    assert_eq!(bench.fates(), ["acked 0"]);
}

#[test]
fn sequences_follow_each_other_and_are_kept_through_retries() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 3);
    let second = bench.send_new(A, 2);
    bench.lose(first);
    assert_eq!(bench.next(B), Next::Nothing, "Rewind: not before all answers are in");
    bench.lose(second);
    let (probe, sequence, _) = bench.resend(B);
    assert_eq!(sequence, (0, 1));
    assert_eq!(bench.next(B), Next::Nothing, "Probe on a new connection");
    bench.ack(probe, 101);
    let (_, sequence, _) = bench.resend(B);
    assert_eq!(sequence, (0, 4));
    bench.push(1);
    assert_eq!(bench.send(B).1, (0, 6));
}

#[test]
fn another_connection_waits_for_what_is_in_flight_on_the_old_one_and_then_probes() {
    let mut bench = Bench::flowing();
    let old = bench.send_new(A, 1);
    assert_eq!(bench.next(B), Next::Nothing);
    bench.ack(old, 101);
    let probe = bench.send_new(B, 1);
    assert_eq!(bench.next(B), Next::Nothing);
    bench.ack(probe, 102);
    assert_eq!(bench.next(B), Next::New);
}

#[test]
fn a_retriable_refusal_rewinds_and_backs_off() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert!(bench.refresh);
    bench.refuse(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(matches!(bench.next(A), Next::NotBefore(_)));
    bench.pass(BACKOFF);
    let (probe, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (0, 1));
    bench.ack(probe, 101);
    let (last, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (0, 2));
    bench.ack(last, 102);
    assert_eq!(bench.fates(), ["acked 101", "acked 102"]);
    assert_eq!(bench.retries, [Retry::NotLeader, Retry::OutOfOrder]);
}

#[test]
fn a_refusal_that_names_the_leader_is_followed_at_once_when_all_answers_are_in() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.refer(first);
    assert_eq!(bench.next(B), Next::Nothing, "the old leader still has one");
    bench.refer(second);
    assert!(!bench.refresh, "there is nothing to find out");
    assert_eq!(bench.resend(B).1, (0, 1), "and nothing to wait for");
    assert_eq!(bench.retries, [Retry::NotLeader, Retry::NotLeader]);
}

#[test]
fn a_later_ack_proves_what_was_lost_before_it() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 2);
    let second = bench.send_new(A, 1);
    // Appended, but the flush failed: 56 proves nothing. The one behind it went through.
    bench.refuse(first, ErrorCode::KAFKA_STORAGE_ERROR);
    bench.ack(second, 103);
    assert_eq!(bench.fates(), ["acked -1", "acked 103"]);
    assert_eq!(bench.next(A), Next::New);
}

#[test]
fn an_ack_proves_nothing_of_what_was_refused_each_time() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 2);
    let second = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::CORRUPT_MESSAGE);
    bench.ack(second, 101);
    assert!(bench.fates.is_empty(), "the order of admission: {:?}", bench.fates);
    let (again, _, _) = bench.resend(A);
    bench.refuse(again, ErrorCode::INVALID_RECORD);
    assert_eq!(bench.fates(), ["not written: refused", "acked 101"]);
}

#[test]
fn the_oldest_refused_for_good_halts_and_the_rest_fails_behind_it() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    let third = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::INVALID_RECORD);
    assert_eq!(bench.next(A), Next::Nothing, "Draining");
    bench.refuse(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.generation(), None);
    bench.lose(third);
    assert_eq!(bench.fates(), ["not written: refused", "not written: behind", "unknown: behind"]);
    assert_eq!(bench.generation(), Some(1));
    assert_eq!(bench.next(A), Next::Nothing, "Halted");

    assert_eq!(bench.machine.skip(2), Err(CannotResume::Generation(1)), "another generation");
    assert_eq!(bench.machine.skip(1), Ok(()));
    assert_eq!(bench.machine.skip(1), Err(CannotResume::NotHalted), "not halted any more");
    bench.push(1);
    let (probe, sequence, _) = bench.send(A);
    assert_eq!(sequence, (1, 0), "a new epoch begins at 0");
    assert_eq!(bench.next(A), Next::Nothing, "and with a probe");
    bench.ack(probe, 101);
    assert_eq!(bench.next(A), Next::New);
}

#[test]
fn a_final_refusal_of_one_that_is_not_the_oldest_is_judged_when_it_is() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::CORRUPT_MESSAGE);
    bench.refuse(second, ErrorCode::INVALID_TIMESTAMP);
    bench.pass(BACKOFF);
    let (probe, _, _) = bench.resend(A);
    bench.ack(probe, 101);
    let (again, _, _) = bench.resend(A);
    bench.refuse(again, ErrorCode::INVALID_TIMESTAMP);
    assert_eq!(bench.fates(), ["acked 101", "not written: refused"]);
}

#[test]
fn a_final_error_on_a_retry_does_not_prove_absence() {
    for code in [ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::INVALID_TIMESTAMP] {
        let mut bench = Bench::flowing();
        let first = bench.send_new(A, 2);
        bench.lose(first);
        let (again, _, records) = bench.resend(B);
        assert_eq!(records, 2);
        bench.refuse(again, code);
        assert_eq!(bench.fates(), ["unknown: refused"], "{code}");
    }
}

#[test]
fn what_may_have_been_written_is_not_called_absent() {
    for (code, fate) in [
        (ErrorCode::REQUEST_TIMED_OUT, "unknown: refused"),
        (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, "unknown: refused"),
        (ErrorCode::KAFKA_STORAGE_ERROR, "unknown: refused"),
        (ErrorCode::NOT_ENOUGH_REPLICAS, "not written: refused"),
    ] {
        let mut bench = Bench::flowing();
        let first = bench.send_new(A, 1);
        bench.refuse(first, code);
        bench.pass(BACKOFF);
        let (again, _, _) = bench.resend(A);
        bench.refuse(again, ErrorCode::INVALID_RECORD);
        assert_eq!(bench.fates(), [fate], "{code}");
    }
    for code in [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode(9999)] {
        let mut bench = Bench::flowing();
        let first = bench.send_new(A, 1);
        bench.refuse(first, code);
        assert_eq!(bench.fates(), ["unknown: refused"], "{code}");
    }
}

#[test]
fn a_batch_too_large_goes_out_in_halves_with_its_sequences() {
    let mut bench = Bench::flowing();
    let large = bench.send_new(A, 5);
    let next = bench.send_new(A, 1);
    bench.refuse(large, ErrorCode::MESSAGE_TOO_LARGE);
    bench.refuse(next, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let (half, sequence, records) = bench.resend(A);
    assert_eq!((sequence, records), ((0, 1), 2));
    bench.ack(half, 101);
    let (half, sequence, records) = bench.resend(A);
    assert_eq!((sequence, records), ((0, 3), 3));
    let (next, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (0, 6));
    bench.ack(half, 103);
    bench.ack(next, 106);
    assert_eq!(bench.fates(), ["acked 101", "acked 103", "acked 106"]);
    bench.push(1);
    assert_eq!(bench.send(A).1, (0, 7));
}

#[test]
fn a_single_record_too_large_is_refused_for_good() {
    let mut bench = Bench::flowing();
    let large = bench.send_new(A, 1);
    bench.refuse(large, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(bench.fates(), ["not written: refused"]);
}

#[test]
fn a_deadline_waits_for_answers_under_way_and_an_ack_takes_it_back() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.push(1);
    bench.pass(Duration::from_secs(121));
    assert_eq!(bench.next(A), Next::Nothing, "Draining");
    assert!(bench.fates.is_empty());
    bench.ack(first, 101);
    assert_eq!(bench.generation(), None, "nothing failed so far");
    bench.pass(Duration::ZERO);
    assert_eq!(
        bench.fates(),
        ["acked 101", "not written: delivery_timeout"],
        "never sent, and its time is up too"
    );
    assert_eq!(bench.generation(), Some(1));
}

#[test]
fn draining_ends_with_its_time() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.send_new(A, 1);
    bench.pass(Duration::from_secs(120));
    bench.pass(Duration::from_secs(29));
    assert!(bench.fates.is_empty());
    assert_eq!(bench.machine.deadline(), Some(bench.start + Duration::from_secs(150)));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.fates(), ["unknown: delivery_timeout", "unknown: behind"]);
    bench.ack(first, 101);
    assert_eq!(bench.fates.len(), 2, "an answer that comes too late changes nothing");
}

#[test]
fn a_success_in_draining_is_reported() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.pass(Duration::from_secs(120));
    bench.refuse(first, ErrorCode::KAFKA_STORAGE_ERROR);
    bench.ack(second, 102);
    assert_eq!(bench.fates(), ["acked -1", "acked 102"], "and proves the first");
    assert_eq!(bench.generation(), None);
    assert_eq!(bench.next(A), Next::New);
}

#[test]
fn nothing_sent_expires_at_once() {
    let mut bench = Bench::halting();
    bench.push(1);
    assert_eq!(bench.machine.deadline(), Some(bench.now + Duration::from_secs(120)));
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.fates(), ["not written: delivery_timeout"]);
    let (_, first) = bench.halted.clone().unwrap();
    assert!(first.not_written);
}

#[test]
fn fenced_halts_and_goes_on_with_another_id() {
    for code in [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED] {
        let mut bench = Bench::flowing();
        let first = bench.send_new(A, 1);
        bench.refuse(first, code);
        assert_eq!(bench.fates(), ["not written: fenced"]);
        bench.machine.skip(1).unwrap();
        assert_eq!(bench.next(A), Next::Identity { other_than: Some(ProducerId(7)) });
        bench.machine.identify(identity(7, 0));
        assert!(matches!(bench.next(A), Next::Identity { .. }), "the same id is no help");
        bench.machine.identify(identity(8, 0));
        assert_eq!(bench.next(A), Next::New);
    }
}

#[test]
fn the_last_epoch_is_followed_by_another_id() {
    let mut bench = Bench::halting();
    bench.machine.identity = Some(identity(7, i16::MAX - 1));
    for generation in 1..=2 {
        bench.push(1);
        let (ticket, (epoch, _), _) = bench.send(A);
        assert_eq!(i64::from(epoch), i64::from(i16::MAX) - 2 + i64::try_from(generation).unwrap());
        bench.refuse(ticket, ErrorCode::INVALID_RECORD);
        bench.machine.skip(generation).unwrap();
    }
    assert_eq!(bench.next(A), Next::Identity { other_than: Some(ProducerId(7)) });
}

#[test]
fn out_of_order_for_the_oldest_halts_unless_retention_explains_it() {
    let cases = [
        // The last acknowledged offset is 100.
        (Some(101), "bump"),
        (Some(100), "halt"),
        (None, "halt"),
    ];
    for code in [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode::UNKNOWN_PRODUCER_ID] {
        for (log_start, expected) in cases {
            let mut bench = Bench::flowing();
            let first = bench.send_new(A, 3);
            let second = bench.send_new(A, 2);
            bench.refuse_at(first, code, log_start);
            bench.refuse_at(second, code, log_start);
            if expected == "halt" {
                assert_eq!(bench.fates(), ["not written: log_diverged", "not written: behind"]);
                continue;
            }
            bench.pass(BACKOFF);
            let (probe, sequence, _) = bench.resend(A);
            assert_eq!(sequence, (1, 0), "a new epoch, from 0");
            bench.ack(probe, 200);
            assert_eq!(bench.resend(A).1, (1, 3));
        }
    }
}

#[test]
fn no_silent_epoch_for_what_may_be_in_the_log() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.lose(first);
    let (again, _, _) = bench.resend(B);
    bench.refuse_at(again, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, Some(500));
    assert_eq!(bench.fates(), ["unknown: log_diverged"]);
    assert_eq!(bench.generation(), Some(1));
}

#[test]
fn an_unknown_last_offset_explains_nothing() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.answer(first, Answer::Acked { base: None, append_time_ms: None });
    let second = bench.send_new(A, 1);
    bench.refuse_at(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, Some(500));
    assert_eq!(bench.fates(), ["acked -1", "not written: log_diverged"]);
}

#[test]
fn a_repeat_that_an_old_broker_refuses_as_such_is_written() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert_eq!(bench.fates(), ["acked -1"]);
}

#[test]
fn a_topic_created_again_halts_what_was_written_to_the_old_one() {
    let mut bench = Bench::flowing();
    bench.topic(1);
    bench.topic(1);
    assert_eq!(bench.next(A), Next::New, "its id became known");
    let under_way = bench.send_new(A, 1);
    bench.topic(2);
    assert_eq!(bench.next(A), Next::Nothing, "Draining");
    bench.refuse(under_way, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(bench.fates(), ["not written: topic_recreated"]);
    assert_eq!(bench.generation(), Some(1));

    let mut untouched = Bench::halting();
    untouched.topic(1);
    untouched.push(1);
    untouched.topic(2);
    assert_eq!(untouched.next(A), Next::Held, "nothing was written to the old one");
}

#[test]
fn who_skips_failures_goes_on_with_what_was_never_written() {
    let mut bench = Bench::new(rules(OnFailure::Skip));
    let probe = bench.send_new(A, 1);
    bench.ack(probe, 100);
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 2);
    bench.push(1);
    bench.refuse(first, ErrorCode::INVALID_RECORD);
    bench.refuse(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.fates(), ["acked 100", "not written: refused"]);
    assert_eq!(bench.generation(), None);
    let (probe, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (1, 0), "refused behind the failed one, and goes on in the new epoch");
    bench.ack(probe, 101);
    let (last, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (1, 2));
    bench.ack(last, 103);
    assert_eq!(bench.fates()[2..], ["acked 101", "acked 103"]);
}

#[test]
fn who_skips_failures_leaves_what_stands_before_something_unknown() {
    let mut bench = Bench::new(rules(OnFailure::Skip));
    let probe = bench.send_new(A, 1);
    bench.ack(probe, 100);
    let tickets: Vec<Ticket> = (0..4).map(|_| bench.send_new(A, 1)).collect();
    bench.refuse(tickets[0], ErrorCode::INVALID_RECORD);
    bench.refuse(tickets[1], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.lose(tickets[2]);
    bench.refuse(tickets[3], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.fates()[1..], ["not written: refused", "not written: behind", "unknown: behind"]);
    let (_, sequence, _) = bench.resend(A);
    assert_eq!(sequence, (1, 0));
}

#[test]
fn who_skips_failures_hears_of_a_log_that_diverged_once() {
    let mut bench = Bench::new(rules(OnFailure::Skip));
    let probe = bench.send_new(A, 1);
    bench.ack(probe, 100);
    let first = bench.send_new(A, 1);
    let second = bench.send_new(A, 1);
    bench.refuse(first, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.refuse(second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.fates()[1..], ["not written: log_diverged"]);
    assert_eq!(bench.resend(A).1, (1, 0));
}

#[test]
fn close_tells_the_sent_from_the_unsent() {
    let mut bench = Bench::flowing();
    let refused = bench.send_new(A, 1);
    let unanswered = bench.send_new(A, 1);
    bench.push(1);
    bench.refuse(refused, ErrorCode::NOT_ENOUGH_REPLICAS);
    bench.event(|machine, _, effects| machine.close(&Arc::new(Cause::Closed), effects));
    assert_eq!(bench.fates(), ["not written: closed", "unknown: closed", "not written: closed"]);
    assert_eq!(bench.next(A), Next::Nothing);
    bench.ack(unanswered, 101);
    assert_eq!(bench.fates.len(), 3);
    assert_eq!(bench.machine.skip(0), Err(CannotResume::NotHalted));
}

#[test]
fn without_idempotence_there_are_no_sequences_and_45_is_final() {
    let mut bench = Bench::new(Rules { idempotent: false, max_in_flight: 2, ..rules(OnFailure::Halt) });
    bench.machine.identity = None;
    bench.push(1);
    let sending = bench.machine.send(A).unwrap();
    assert_eq!(sending.batch.stamp, None);
    let ticket = sending.ticket;
    bench.refuse(ticket, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.fates(), ["not written: refused"]);
}

#[test]
fn what_was_never_handed_to_a_socket_is_not_lost() {
    let mut bench = Bench::flowing();
    let first = bench.send_new(A, 1);
    bench.answer(first, Answer::NotSent("the peer closed the connection".into()));
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.fates(), ["not written: delivery_timeout"]);
}

#[test]
fn sequences_wrap_around() {
    let mut bench = Bench::halting();
    bench.machine.next_sequence = Sequence::new(i32::MAX - 1).unwrap();
    let probe = bench.send_new(A, 1);
    bench.ack(probe, 0);
    bench.push(2);
    assert_eq!(bench.send(A).1, (0, i32::MAX));
    bench.push(1);
    assert_eq!(bench.send(A).1, (0, 1));
}
