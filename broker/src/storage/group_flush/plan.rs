//! What is flushed next, and how: a pure decision.

/// Flushes of single files under way at once, each on a blocking thread. Measured: 100 files take 7.5 ms from 8 threads
/// and 7.4 ms from 32, so more threads only cost memory.
pub const PARALLEL_FLUSHES_MAX: usize = 8;

/// From so many dirty files on, one `syncfs` is used: more than the threads can flush at once. Measured (ext4, median of
/// 9, one append each): 8 files of 1 KiB take 0.8 ms by fdatasync and 0.15 ms by `syncfs`, 128 take 8.8 and 0.7 ms; of
/// 256 KiB, where the bytes cost and not the calls, 128 take 23 and 16 ms.
pub const WHOLE_SYNC_MIN: usize = PARALLEL_FLUSHES_MAX + 1;

/// What to start next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, before something else ends or arrives.
    Wait,
    /// The flush of the file that has waited longest.
    One,
    /// One sync of the whole file system, for all that wait.
    Whole,
}

/// How far the sync of the whole file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// There is none here, or one has failed: then nothing is known of what it should have written.
    Unusable,
    /// None is under way.
    Idle,
    /// One is under way; what arrives meanwhile forms the next group.
    UnderWay,
    /// One has been under way for so long that it seems to write what others wrote: nobody waits for it any more.
    Overdue,
}

/// The next step, with so many files waiting and so many single flushes under way.
pub(super) fn next(waiting: usize, single: usize, whole: Whole) -> Step {
    match whole {
        Whole::UnderWay => Step::Wait,
        Whole::Idle if waiting >= WHOLE_SYNC_MIN => Step::Whole,
        _ if waiting > 0 && single < PARALLEL_FLUSHES_MAX => Step::One,
        _ => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_are_flushed_one_by_one_and_many_at_once() {
        use Whole::{Idle, Overdue, UnderWay, Unusable};
        for (waiting, single, whole, expected) in [
            (0, 0, Idle, Step::Wait),
            (1, 0, Idle, Step::One),
            (8, 7, Idle, Step::One),
            (8, 8, Idle, Step::Wait),
            (9, 0, Idle, Step::Whole),
            (9, 8, Idle, Step::Whole),
            (1, 0, UnderWay, Step::Wait),
            (1000, 0, UnderWay, Step::Wait),
            (1, 0, Overdue, Step::One),
            (1000, 8, Overdue, Step::Wait),
            (0, 0, Overdue, Step::Wait),
            (1000, 0, Unusable, Step::One),
            (1000, 8, Unusable, Step::Wait),
        ] {
            let found = next(waiting, single, whole);
            assert_eq!(found, expected, "{waiting} waiting, {single} under way, whole {whole:?}");
        }
    }
}
