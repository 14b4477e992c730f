use proptest::prelude::*;

use super::*;
use crate::log::Loss;

fn segment(base: i64, next: i64, bad: Option<BadKind>) -> SegmentEvidence {
    let good_bytes = ((next - base) * 100) as u64;
    let bad = bad.map(|kind| Bad { kind, why: format!("{kind:?}") });
    let size = good_bytes + if bad.is_some() { 50 } else { 0 };
    let epochs = (next > base).then_some((LeaderEpoch(1), LeaderEpoch(1)));
    SegmentEvidence { base_offset: Offset(base), size, good_bytes, next_offset: Offset(next), epochs, bad }
}

fn judged(boot: Boot, log_start: Option<i64>, segments: &[SegmentEvidence]) -> Verdict {
    let losses = Losses::default();
    let log_start = log_start.map(Offset);
    judge(&Evidence { boot, log_start, losses, mark: None, segments: segments.to_vec() })
}

/// With a mark in the segment of `base`, before the record at `end`.
fn judged_with_mark(
    boot: Boot,
    log_start: i64,
    segments: &[SegmentEvidence],
    base: i64,
    end: i64,
) -> Verdict {
    let position = ((end - base) * 100) as u64;
    let mark = Some(Mark { segment: Offset(base), position, end: Offset(end), differs: None });
    let (losses, log_start) = (Losses::default(), Some(Offset(log_start)));
    judge(&Evidence { boot, log_start, losses, mark, segments: segments.to_vec() })
}

/// What a verdict comes to: end, bytes cut off, where it is quarantined.
fn outcome(verdict: &Verdict) -> (i64, Option<u64>, Option<i64>) {
    let torn = verdict.torn.as_ref().map(|torn| torn.bytes);
    (verdict.end.0, torn, verdict.quarantine.as_ref().map(|loss| loss.at.0))
}

const KINDS: [BadKind; 4] = [BadKind::Short, BadKind::ShortButWhole, BadKind::Whole, BadKind::Unreadable];

#[test]
fn a_log_without_damage_is_taken_as_it_is() {
    for boot in [Boot::Same, Boot::Other] {
        for (log_start, segments, end) in [
            (Some(0), vec![segment(0, 0, None)], 0),
            (Some(0), vec![segment(0, 10, None)], 10),
            (Some(0), vec![segment(0, 10, None), segment(10, 10, None)], 10),
            (Some(5), vec![segment(0, 10, None), segment(10, 15, None)], 15),
            (Some(10), vec![segment(0, 10, None)], 10),
            (None, vec![segment(20, 30, None), segment(30, 40, None)], 40),
        ] {
            let verdict = judged(boot, log_start, &segments);
            assert_eq!(outcome(&verdict), (end, None, None), "{segments:?}");
            assert_eq!(verdict.log_start.0, log_start.unwrap_or(segments[0].base_offset.0));
            assert_eq!(verdict.last_segment_bytes, segments.last().unwrap().size);
        }
    }
}

#[test]
fn a_bad_place_in_the_last_segment_is_torn_or_corrupt_by_its_kind_and_the_boot() {
    let cases = [
        (Boot::Same, BadKind::Short, true),
        (Boot::Same, BadKind::ShortButWhole, false),
        (Boot::Same, BadKind::Whole, false),
        (Boot::Same, BadKind::Unreadable, false),
        (Boot::Other, BadKind::Short, true),
        (Boot::Other, BadKind::ShortButWhole, true),
        (Boot::Other, BadKind::Whole, true),
        (Boot::Other, BadKind::Unreadable, false),
    ];
    for (boot, kind, torn) in cases {
        let verdict = judged(boot, Some(0), &[segment(0, 10, None), segment(10, 17, Some(kind))]);
        let expected = if torn { (17, Some(50), None) } else { (17, None, Some(17)) };
        assert_eq!(outcome(&verdict), expected, "{boot:?} {kind:?}");
        assert_eq!(verdict.last_segment_bytes, 700, "the good part is served");
        if let Some(loss) = verdict.quarantine {
            assert_eq!(loss.place, Some((Offset(10), 700)));
        }
    }
}

#[test]
fn a_bad_place_in_an_earlier_segment_is_always_corruption() {
    for boot in [Boot::Same, Boot::Other] {
        for kind in KINDS {
            let segments = [segment(0, 7, Some(kind)), segment(10, 20, None)];
            assert_eq!(outcome(&judged(boot, Some(0), &segments)), (20, None, Some(7)), "{boot:?} {kind:?}");
            // Even before an empty one: that was created after the flush of this one.
            let segments = [segment(0, 7, Some(kind)), segment(10, 10, None)];
            assert_eq!(outcome(&judged(boot, Some(0), &segments)), (10, None, Some(7)), "{boot:?} {kind:?}");
        }
    }
}

#[test]
fn what_is_missing_is_a_loss() {
    for boot in [Boot::Same, Boot::Other] {
        for (log_start, segments, end, at) in [
            // No segment at all; the first, a middle one, the end of a middle one; two that overlap.
            (Some(0), vec![], 0, 0),
            (Some(30), vec![], 30, 30),
            (Some(0), vec![segment(10, 20, None)], 20, 0),
            (Some(0), vec![segment(0, 10, None), segment(20, 30, None)], 30, 10),
            (Some(0), vec![segment(0, 8, None), segment(10, 30, None)], 30, 8),
            (Some(0), vec![segment(0, 12, None), segment(10, 30, None)], 30, 10),
            // The log ends before it starts.
            (Some(50), vec![segment(0, 10, None)], 50, 10),
        ] {
            let verdict = judged(boot, log_start, &segments);
            assert_eq!(outcome(&verdict), (end, None, Some(at)), "{log_start:?} {segments:?}");
        }
        // A torn tail behind a loss is left alone: nothing is cut off a quarantined partition.
        let segments = [segment(0, 10, None), segment(20, 25, Some(BadKind::Short))];
        assert_eq!(outcome(&judged(boot, Some(0), &segments)), (25, None, Some(10)));
    }
}

#[test]
fn what_is_wrong_wholly_below_the_start_of_the_log_is_no_loss() {
    for boot in [Boot::Same, Boot::Other] {
        for kind in KINDS {
            for (log_start, segments, end, at) in [
                // A gap, and one that ends where the log starts; something bad; two that overlap.
                (30, vec![segment(0, 10, None), segment(20, 30, None), segment(30, 40, None)], 40, None),
                (35, vec![segment(0, 10, None), segment(30, 40, None)], 40, None),
                (
                    30,
                    vec![segment(0, 10, Some(kind)), segment(20, 30, Some(kind)), segment(30, 40, None)],
                    40,
                    None,
                ),
                (30, vec![segment(0, 12, None), segment(10, 30, None), segment(30, 40, None)], 40, None),
                // The log starts in the gap, or in what is bad.
                (15, vec![segment(0, 10, None), segment(20, 30, None)], 30, Some(10)),
                (
                    25,
                    vec![segment(0, 10, None), segment(20, 23, Some(kind)), segment(30, 40, None)],
                    40,
                    Some(23),
                ),
            ] {
                let verdict = judged(boot, Some(log_start), &segments);
                assert_eq!(outcome(&verdict), (end, None, at), "{log_start} {segments:?}");
            }
        }
    }
}

#[test]
fn nothing_below_a_flush_mark_is_torn_and_above_it_the_boot_decides() {
    for (boot, kind) in [Boot::Same, Boot::Other].into_iter().flat_map(|boot| KINDS.map(|kind| (boot, kind)))
    {
        for mark in 10..=20 {
            let segments = [segment(0, 10, None), segment(10, 17, Some(kind))];
            let verdict = judged_with_mark(boot, 0, &segments, 10, mark);
            let torn = mark <= 17 && is_torn(boot, kind);
            let expected = if torn { (17, Some(50), None) } else { (17, None, Some(17)) };
            assert_eq!(outcome(&verdict), expected, "{boot:?} {kind:?}, flushed up to {mark}");
        }
        // Of the segment before; the last one is younger than the mark.
        let segments = [segment(0, 10, None), segment(10, 17, Some(kind))];
        let verdict = judged_with_mark(boot, 0, &segments, 0, 10);
        assert_eq!(verdict.torn.is_some(), is_torn(boot, kind));
    }
}

#[test]
fn a_log_that_ends_before_its_flush_mark_has_lost_something() {
    for boot in [Boot::Same, Boot::Other] {
        for (segments, base, end, at) in [
            // Cut off; empty; the segment gone; all segments behind the first gone.
            (vec![segment(0, 10, None), segment(10, 15, None)], 10, 16, Some(15)),
            (vec![segment(0, 10, None), segment(10, 10, None)], 10, 16, Some(10)),
            (vec![segment(0, 10, None)], 10, 16, Some(10)),
            (vec![segment(0, 10, None)], 30, 31, Some(10)),
            (vec![segment(10, 20, None)], 0, 5, None),
            // All there.
            (vec![segment(0, 10, None), segment(10, 15, None)], 10, 15, None),
            (vec![segment(0, 10, None), segment(10, 15, None)], 0, 10, None),
            // An empty segment holds nothing that could be lost.
            (vec![segment(0, 10, None)], 10, 10, None),
        ] {
            let log_start = segments[0].base_offset.0;
            let verdict = judged_with_mark(boot, log_start, &segments, base, end);
            assert_eq!(outcome(&verdict).2, at, "{segments:?} flushed up to {end}");
            assert_eq!(verdict.torn, None);
        }
        // What was deleted from the start of the log is not missed, mark or no mark.
        let verdict = judged_with_mark(boot, 10, &[segment(10, 10, None)], 0, 10);
        assert_eq!(outcome(&verdict), (10, None, None));
    }
}

#[test]
fn what_was_flushed_and_is_lost_may_be_missing_once_that_was_accepted() {
    for boot in [Boot::Same, Boot::Other] {
        for (accepted, at) in [(Some((15, 30)), None), (Some((15, 31)), Some(15)), (None, Some(15))] {
            let mut losses = Losses::default();
            if let Some((from, to)) = accepted {
                losses.accept(Loss { from: Offset(from), to: Offset(to) });
            }
            let mark = Some(Mark { segment: Offset(10), position: 2000, end: Offset(30), differs: None });
            let segments = vec![segment(0, 10, None), segment(10, 15, None), segment(30, 30, None)];
            let evidence = Evidence { boot, log_start: Some(Offset(0)), losses, mark, segments };
            assert_eq!(outcome(&judge(&evidence)).2, at, "{accepted:?}");
        }
    }
}

#[test]
fn another_batch_where_one_was_flushed_is_corruption() {
    for boot in [Boot::Same, Boot::Other] {
        let differs = Some(Differs { at: Offset(12), position: 200 });
        let mark = Mark { segment: Offset(10), position: 300, end: Offset(13), differs };
        let segments = vec![segment(0, 10, None), segment(10, 15, Some(BadKind::Short))];
        let (losses, log_start) = (Losses::default(), Some(Offset(0)));
        let verdict = judge(&Evidence { boot, log_start, losses, mark: Some(mark), segments });
        let loss = verdict.quarantine.unwrap();
        assert_eq!((loss.at, loss.place, verdict.torn), (Offset(12), Some((Offset(10), 200)), None));
    }
}

#[test]
fn a_leader_epoch_that_falls_from_one_segment_to_the_next_is_corruption() {
    let with_epochs = |segment: SegmentEvidence, first, last| SegmentEvidence {
        epochs: Some((LeaderEpoch(first), LeaderEpoch(last))),
        ..segment
    };
    for boot in [Boot::Same, Boot::Other] {
        for (first, quarantined) in [(2, Some(10)), (3, None), (4, None)] {
            let segments =
                [with_epochs(segment(0, 10, None), 1, 3), with_epochs(segment(10, 20, None), first, 4)];
            assert_eq!(outcome(&judged(boot, Some(0), &segments)), (20, None, quarantined), "{first}");
        }
    }
}

/// A sound log: how many records each segment holds.
fn sound() -> impl Strategy<Value = Vec<SegmentEvidence>> {
    prop::collection::vec(1..20_i64, 1..6).prop_map(|sizes| {
        let mut base = 0;
        sizes
            .into_iter()
            .map(|size| {
                base += size;
                segment(base - size, base, None)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to one place of a sound log: what lies before it is served; what lies behind it is cut off only
    /// in the last segment, and only where nobody can have been promised it.
    #[test]
    fn one_bad_place_costs_what_is_behind_it_and_nothing_else(
        segments in sound(),
        pick in any::<prop::sample::Index>(),
        keep in 0..20_i64,
        kind in prop::sample::select(&KINDS),
        same_boot in any::<bool>(),
        mark in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let boot = if same_boot { Boot::Same } else { Boot::Other };
        let mut damaged = segments.clone();
        let at = pick.index(segments.len());
        let is_last = at + 1 == segments.len();
        let base = segments[at].base_offset.0;
        let next = base + keep.min(segments[at].next_offset.0 - base - 1);
        damaged[at] = segment(base, next, Some(kind));
        // Flushed up to some record of the sound log.
        let total = segments.last().unwrap().next_offset.0;
        let mark = mark.map(|index| index.index(total as usize + 1) as i64).map(|end| {
            let inside = segments.iter().rev().find(|segment| segment.base_offset.0 <= end).unwrap();
            let position = ((end - inside.base_offset.0) * 100) as u64;
            Mark { segment: inside.base_offset, position, end: Offset(end), differs: None }
        });
        let flushed = mark.as_ref().map_or(Offset(0), |mark| mark.end);
        let (losses, log_start) = (Losses::default(), Some(Offset(0)));
        let verdict = judge(&Evidence { boot, log_start, losses, mark, segments: damaged });

        prop_assert!(verdict.torn.is_none() || Offset(next) >= flushed, "nothing below the mark is cut off");
        prop_assert!(verdict.torn.is_some() != verdict.quarantine.is_some(), "it is seen, and is one or the other");
        if let Some(loss) = &verdict.quarantine {
            prop_assert_eq!(loss.at, Offset(next), "everything before it is served");
        }
        if verdict.torn.is_some() {
            prop_assert!(is_last && kind != BadKind::Unreadable);
            prop_assert!(!same_boot || kind == BadKind::Short, "a killed process leaves no other");
            prop_assert_eq!(verdict.end, Offset(next));
        }
    }

    #[test]
    fn a_missing_segment_is_never_passed_over(segments in sound(), pick in any::<prop::sample::Index>(), same_boot in any::<bool>()) {
        prop_assume!(segments.len() > 1);
        // The last one leaves no trace: without it, the log is one that ended earlier.
        let at = pick.index(segments.len() - 1);
        let mut damaged = segments.clone();
        let missing = damaged.remove(at);
        let boot = if same_boot { Boot::Same } else { Boot::Other };
        let (losses, log_start) = (Losses::default(), Some(Offset(0)));
        let verdict = judge(&Evidence { boot, log_start, losses, mark: None, segments: damaged });
        prop_assert_eq!(verdict.quarantine.map(|loss| loss.at), Some(missing.base_offset));
        prop_assert_eq!(verdict.torn, None);
    }
}

#[test]
fn a_hole_is_no_loss_once_it_was_accepted_and_no_other_hole_is_accepted_with_it() {
    let judge_with = |losses: &[(i64, i64)], log_start, bases: &[(i64, i64)]| {
        let mut accepted = Losses::default();
        for (from, to) in losses {
            accepted.accept(Loss { from: Offset(*from), to: Offset(*to) });
        }
        let segments = bases.iter().map(|(base, next)| segment(*base, *next, None)).collect();
        let evidence = Evidence {
            boot: Boot::Other,
            log_start: Some(Offset(log_start)),
            losses: accepted,
            mark: None,
            segments,
        };
        judge(&evidence).quarantine.map(|quarantine| quarantine.at.0)
    };
    let with_hole = [(0, 10), (20, 30)];
    assert_eq!(judge_with(&[], 0, &with_hole), Some(10));
    assert_eq!(judge_with(&[(10, 20)], 0, &with_hole), None);
    assert_eq!(judge_with(&[(10, 19)], 0, &with_hole), Some(10));
    assert_eq!(judge_with(&[(9, 20)], 0, &with_hole), Some(10));
    assert_eq!(judge_with(&[(10, 20)], 0, &[(0, 10), (20, 30), (31, 40)]), Some(30));
    assert_eq!(judge_with(&[(0, 10)], 0, &[(10, 30)]), None);
    assert_eq!(judge_with(&[(0, 10)], 5, &[(10, 30)]), None, "the log's start has moved into the hole");
    assert_eq!(judge_with(&[(6, 10)], 5, &[(10, 30)]), Some(5));
}
