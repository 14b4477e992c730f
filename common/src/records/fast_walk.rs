//! The walk through records in memory that have the form of nearly all records: no headers, lengths of up to three bytes. It
//! answers what [`walk`](super::walk::walk) answers, to which everything else is left. A broker spends more on this walk
//! than on all else it does with the bytes of small records; so positions stay in registers here, and it can be taken in
//! steps, each right behind the checksum, while the bytes are still near.

use super::RecordFault;
use super::walk::{SliceSource, Stopped, Walked, walk_record};

/// A walk through all records of a batch, as far at a time as whoever walks likes.
pub(super) struct FastWalk<'a> {
    bytes: &'a [u8],
    /// Where the next record begins.
    at: usize,
    /// Its number.
    index: u32,
    record_count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    fault: Option<RecordFault>,
}

impl<'a> FastWalk<'a> {
    pub(super) const fn new(bytes: &'a [u8], record_count: u32, base_timestamp: i64) -> Self {
        Self { bytes, at: 0, index: 0, record_count, base_timestamp, max_timestamp: i64::MIN, fault: None }
    }

    /// Walks through the records that begin before `until`.
    pub(super) fn walk_until(&mut self, until: usize) {
        let (mut at, mut index, mut max_timestamp) = (self.at, self.index, self.max_timestamp);
        while at < until && index < self.record_count && self.fault.is_none() {
            let delta = match ordinary_record(self.bytes, at, index) {
                Some((end, delta)) => {
                    at = end;
                    delta
                }
                None => match any_record(self.bytes, at, index) {
                    Ok((end, delta)) => {
                        at = end;
                        delta
                    }
                    Err(fault) => {
                        self.fault = Some(fault);
                        break;
                    }
                },
            };
            // Wrapping, as every client computes it.
            max_timestamp = max_timestamp.max(self.base_timestamp.wrapping_add(delta));
            index += 1;
        }
        (self.at, self.index, self.max_timestamp) = (at, index, max_timestamp);
    }

    /// What [`walk`](super::walk::walk) answers.
    pub(super) fn finish(mut self) -> Result<Option<Walked>, Stopped<RecordFault>> {
        self.walk_until(self.bytes.len());
        if self.index < self.record_count {
            let error = self.fault.unwrap_or(RecordFault::Truncated);
            return Err(Stopped { index: self.index, error });
        }
        let is_end = self.at == self.bytes.len();
        Ok(is_end.then_some(Walked { max_timestamp: self.max_timestamp }))
    }
}

#[cold]
fn any_record(bytes: &[u8], at: usize, index: u32) -> Result<(usize, i64), RecordFault> {
    let mut source = SliceSource::new(bytes.get(at..).unwrap_or_default());
    let delta = walk_record(&mut source, index)?;
    Ok((bytes.len() - source.into_rest().len(), delta))
}

/// Where the record at `at` ends, and its timestamp delta; `None` if it is not an ordinary one, or not a good one.
#[inline]
fn ordinary_record(bytes: &[u8], at: usize, index: u32) -> Option<(usize, i64)> {
    let (length, begin) = short_integer(bytes, at)?;
    // What follows does not wait for the fields between: the next record is known to begin here.
    let end = begin + usize::try_from(length).ok()?;
    // No attribute of a record is defined, so this byte is not looked at.
    let (timestamp_delta, at) = short_integer(bytes, begin + 1)?;
    let (offset_delta, at) = short_integer(bytes, at)?;
    let at = field_end(bytes, at)?;
    let at = field_end(bytes, at)?;
    let headers = *bytes.get(at)?;
    let is_good = headers == 0 && at + 1 == end && u32::try_from(offset_delta) == Ok(index);
    is_good.then_some((end, i64::from(timestamp_delta)))
}

/// Where a nullable field ends.
#[inline]
fn field_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (length, at) = short_integer(bytes, at)?;
    // A negative length is null.
    Some(at + usize::try_from(length).unwrap_or(0))
}

/// A varint of one to three bytes, and where it ends. Branches, since a processor foresees them and so need not wait for
/// one field to look at the next.
#[inline]
fn short_integer(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let [first, second, third] = *bytes.get(at..)?.first_chunk::<3>()?;
    let low = u32::from(first & 0x7f);
    if first < 0x80 {
        return Some((unzigzag(low), at + 1));
    }
    let low = low | u32::from(second & 0x7f) << 7;
    if second < 0x80 {
        return Some((unzigzag(low), at + 2));
    }
    if third < 0x80 {
        return Some((unzigzag(low | u32::from(third) << 14), at + 3));
    }
    None
}

#[inline]
const fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::super::HEADER_SIZE;
    use super::super::testing::some_records;
    use super::super::walk::walk;
    use super::super::{Compression, INITIAL_CAPACITY, OpenBatch};
    use super::*;
    use proptest::prelude::*;

    fn told<E>(
        result: Result<Option<Walked>, Stopped<E>>,
        fault: impl Fn(E) -> RecordFault,
    ) -> Result<Option<i64>, (u32, RecordFault)> {
        match result {
            Ok(walked) => Ok(walked.map(|walked| walked.max_timestamp)),
            Err(Stopped { index, error }) => Err((index, fault(error))),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_says_what_the_thorough_walk_says_whatever_is_wrong_with_the_bytes(
            records in some_records(), base: i64, flip in prop::option::of((any::<prop::sample::Index>(), 1_u8..)),
            cut in prop::option::of(any::<prop::sample::Index>()), missing in 0_u32..2,
            stops in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut open = OpenBatch::new(base, INITIAL_CAPACITY);
            for record in &records {
                record.with_ref(|record| open.try_push(record, 1 << 20));
            }
            let count = open.record_count().saturating_sub(missing);
            let batch = open.close(Compression::None, None).bytes();
            let mut bytes = batch[HEADER_SIZE..].to_vec();
            if let Some((place, bits)) = flip {
                let place = place.index(bytes.len());
                bytes[place] ^= bits;
            }
            if let Some(place) = cut {
                bytes.truncate(place.index(bytes.len()));
            }
            let mut fast = FastWalk::new(&bytes, count, base);
            for until in stops {
                fast.walk_until(until.index(bytes.len() + 1));
            }
            let thorough = told(walk(&mut SliceSource::new(&bytes), count, base), |fault| fault);
            prop_assert_eq!(told(fast.finish(), |fault| fault), thorough);
        }
    }
}
