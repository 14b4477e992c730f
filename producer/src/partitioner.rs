//! Which partition a record goes to: the one the caller names, the one its key hashes to, or the one in favour.

use std::sync::atomic::{AtomicU32, Ordering};

use gapless_common::seam::Random;

use crate::config::Partitioner;

/// Where a record should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To this partition.
    Partition(u32),
    /// To the one that records without a key go to for now.
    Sticky,
    /// To the one whose turn it is.
    NextInTurn,
    /// Nowhere: it had to name one.
    Nowhere,
}

impl Partitioner {
    /// The choice for a key among `count` partitions (at least one).
    #[inline]
    pub(crate) fn choose(self, key: Option<&[u8]>, count: u32) -> Choice {
        let count = count.max(1);
        match (self, key) {
            (Self::RoundRobin, _) => Choice::NextInTurn,
            (Self::Explicit, _) => Choice::Nowhere,
            (_, None) => Choice::Sticky,
            (Self::ConsistentRandom, Some([])) => Choice::Sticky,
            (Self::Murmur2, Some(key)) => Choice::Partition((murmur2(key) & 0x7fff_ffff) % count),
            (Self::ConsistentRandom, Some(key)) => Choice::Partition(crc32fast::hash(key) % count),
        }
    }
}

/// Murmur2 as in Kafka's `Utils.murmur2`, the hash of Java's default partitioner.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's arrays are no longer than an i32 counts; the hash takes the length modulo 2^32 as it does.
    let mut hash = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Whose turn it is among the partitions of a topic. Attempts count, not admissions: a record that waits for room may find
/// that its turn has passed, and then the next partition's has come.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicU32);

impl Turns {
    /// The partition whose turn it is among `count` (at least one); then the next one's has come.
    pub(crate) fn take(&self, count: u32) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % count.max(1)
    }
}

/// The partition in favour of a topic. It changes when so many bytes have gone to it (KIP-794): by bytes, and not by
/// batches, so that a slow partition does not get more than its share.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    current: AtomicU32,
}

impl Sticky {
    /// The partition in favour among `count`.
    pub(crate) fn current(&self, count: u32) -> u32 {
        let current = self.current.load(Ordering::Relaxed);
        if current < count { current } else { 0 }
    }

    /// Favours another partition, if `from` is still the one in favour. Those for which `is_led` is false are passed over
    /// while there is another.
    pub(crate) fn switch(&self, from: u32, count: u32, random: &Random, is_led: impl Fn(u32) -> bool) {
        if count < 2 {
            return;
        }
        // Any of the others, with equal chance, and from there the next that has a leader.
        let start = u32::try_from(random.below(u64::from(count) - 1)).unwrap_or(0);
        let others = |step: u32| (from + 1 + (start + step) % (count - 1)) % count;
        let next =
            (0..count - 1).map(others).find(|candidate| is_led(*candidate)).unwrap_or_else(|| others(0));
        // Lost against another switch: then it is done.
        let _ = self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UtilsTest.testMurmur2` of Apache Kafka.
    #[test]
    fn murmur2_is_javas() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key), expected as u32, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn keys_choose_and_no_key_sticks() {
        let java = Partitioner::Murmur2;
        assert_eq!(
            java.choose(Some(b"foobar"), 7),
            Choice::Partition((-790_332_482i32 as u32 & 0x7fff_ffff) % 7)
        );
        assert_eq!(java.choose(None, 7), Choice::Sticky);
        assert!(matches!(java.choose(Some(b""), 7), Choice::Partition(_)), "Java hashes an empty key");
        let librdkafka = Partitioner::ConsistentRandom;
        // The check value of CRC-32 (IEEE): crc32("123456789") = 0xcbf43926.
        assert_eq!(librdkafka.choose(Some(b"123456789"), 10), Choice::Partition(0xcbf4_3926 % 10));
        assert_eq!(librdkafka.choose(Some(b""), 7), Choice::Sticky);
        for key in [None, Some(&b"foobar"[..])] {
            assert_eq!(Partitioner::RoundRobin.choose(key, 7), Choice::NextInTurn);
            assert_eq!(Partitioner::Explicit.choose(key, 7), Choice::Nowhere);
        }
    }

    #[test]
    fn turns_go_around_and_follow_a_topic_that_grows() {
        let turns = Turns::default();
        let taken: Vec<u32> = (0..7).map(|_| turns.take(3)).collect();
        assert_eq!(taken, [0, 1, 2, 0, 1, 2, 0]);
        assert!((0..5).map(|_| turns.take(5)).any(|number| number == 4));
        assert_eq!(Turns::default().take(0), 0);
    }

    #[test]
    fn the_favour_goes_around_and_passes_over_partitions_without_a_leader() {
        let random = Random::from_seed(7);
        let sticky = Sticky::default();
        let mut seen = [0; 5];
        for _ in 0..5000 {
            let from = sticky.current(5);
            sticky.switch(from, 5, &random, |candidate| candidate != 3);
            assert_ne!(sticky.current(5), from);
            seen[sticky.current(5) as usize] += 1;
        }
        assert_eq!(seen[3], 0);
        assert!([0, 1, 2, 4].iter().all(|at| seen[*at] > 500), "{seen:?}");
        let from = sticky.current(5);
        sticky.switch(from, 5, &random, |_| false);
        assert_ne!(sticky.current(5), from, "with no leader anywhere it still goes around");
        assert_eq!(Sticky::default().current(1), 0);
    }

    #[test]
    fn a_switch_that_comes_late_changes_nothing() {
        let random = Random::from_seed(7);
        let sticky = Sticky::default();
        sticky.switch(0, 3, &random, |_| true);
        let now = sticky.current(3);
        sticky.switch(0, 3, &random, |_| true);
        assert_eq!(sticky.current(3), now);
    }
}
