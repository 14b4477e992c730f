//! What a caller hands in: a record that owns its bytes, or a view of bytes that the caller keeps.

use std::sync::Arc;

use bytes::Bytes;
use gapless_common::records::{HeaderRef, OpenBatch, RecordRef};
use gapless_common::types::PartitionId;

/// A record that owns its bytes. Cloning shares them.
///
/// Without a key the partition is picked by the producer; without a value the record is a *null* record (a tombstone
/// to log compaction), which is not the same as an empty one.
///
/// ```
/// use gapless_producer::Record;
/// let record = Record::new("events").key("user-7").value("signed in").header("source", "web");
/// assert_eq!(record.topic(), "events");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    topic: Arc<str>,
    partition: Option<PartitionId>,
    timestamp_ms: Option<i64>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Arc<str>, Option<Bytes>)>,
}

impl Record {
    /// A record for `topic` with neither key nor value.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// Sets the key; records of one key go to one partition.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds a header. Names may repeat; their order is kept.
    #[must_use]
    pub fn header(mut self, name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Adds a header whose value is null.
    #[must_use]
    pub fn null_header(mut self, name: impl Into<Arc<str>>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Sends it to this partition, whatever its key.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionId(partition));
        self
    }

    /// Milliseconds since 1970-01-01 UTC; the time of `send` otherwise, see [`RecordView::timestamp_ms`].
    #[must_use]
    pub const fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Where it goes.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The key, if there is one.
    #[must_use]
    pub const fn key_bytes(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The value, if there is one.
    #[must_use]
    pub const fn value_bytes(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// Runs `with` on a view of this record. The headers' array lives on the stack unless there are many.
    pub(crate) fn with_view<T>(&self, with: impl FnOnce(&RecordView<'_>) -> T) -> T {
        const ON_STACK: usize = 8;
        let mut view = RecordView {
            partition: self.partition,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &[],
        };
        if self.headers.is_empty() {
            return with(&view);
        }
        if self.headers.len() <= ON_STACK {
            let mut refs = [HeaderRef { key: "", value: None }; ON_STACK];
            for (slot, (name, value)) in refs.iter_mut().zip(&self.headers) {
                *slot = HeaderRef { key: name, value: value.as_deref() };
            }
            view.headers = refs.get(..self.headers.len()).unwrap_or(&[]);
            return with(&view);
        }
        let refs: Vec<HeaderRef<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| HeaderRef { key: name, value: value.as_deref() })
            .collect();
        view.headers = &refs;
        with(&view)
    }
}

/// A view of a record whose bytes the caller keeps: for [`Topic::send`](crate::Topic::send), where the hot path is one
/// copy of these bytes into the open batch.
///
/// ```
/// use gapless_producer::RecordView;
/// let line = b"user-7,signed in";
/// let view = RecordView::new().key(&line[..6]).value(&line[7..]);
/// assert_eq!(view.key, Some(&b"user-7"[..]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordView<'a> {
    /// The partition, if the caller picks it.
    pub partition: Option<PartitionId>,
    /// Milliseconds since 1970-01-01 UTC; `None` takes the time of `send`: exact for the first records of a batch, as of the
    /// clock's last tick (some milliseconds ago at most) for those that come fast behind them.
    pub timestamp_ms: Option<i64>,
    /// The key; records of one key go to one partition.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a null record.
    pub value: Option<&'a [u8]>,
    /// Headers in their order.
    pub headers: &'a [HeaderRef<'a>],
}

impl<'a> RecordView<'a> {
    /// Neither key nor value nor headers.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { partition: None, timestamp_ms: None, key: None, value: None, headers: &[] }
    }

    /// Sets the key.
    #[must_use]
    #[inline]
    pub const fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the value.
    #[must_use]
    #[inline]
    pub const fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// Sets the headers.
    #[must_use]
    #[inline]
    pub const fn headers(mut self, headers: &'a [HeaderRef<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sends it to this partition, whatever its key.
    #[must_use]
    #[inline]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionId(partition));
        self
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    #[inline]
    pub const fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// What the batch encodes, with the timestamp settled.
    #[inline]
    pub(crate) const fn at(&self, timestamp_ms: i64) -> RecordRef<'a> {
        RecordRef { timestamp_ms, key: self.key, value: self.value, headers: self.headers }
    }

    /// Bytes of key, value and headers.
    pub(crate) fn content_size(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|header| header.key.len() + len(header.value));
        len(self.key) + len(self.value) + headers.sum::<usize>()
    }

    /// Bytes of a batch that holds it alone.
    pub(crate) fn encoded_size(&self) -> usize {
        OpenBatch::encoded_size_of(&self.at(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_shows_all_of_a_record_with_few_and_with_many_headers() {
        for count in [0, 1, 8, 9, 40] {
            let mut record =
                Record::new("t").key("k").value(vec![1, 2, 3]).partition(4).timestamp(1_700_000_000_000);
            for at in 0..count {
                record = if at % 2 == 0 {
                    record.header(format!("h{at}"), format!("v{at}"))
                } else {
                    record.null_header(format!("h{at}"))
                };
            }
            record.with_view(|view| {
                assert_eq!(view.partition, Some(PartitionId(4)));
                assert_eq!(view.timestamp_ms, Some(1_700_000_000_000));
                assert_eq!(view.key, Some(&b"k"[..]));
                assert_eq!(view.value, Some(&[1, 2, 3][..]));
                assert_eq!(view.headers.len(), count);
                for (at, header) in view.headers.iter().enumerate() {
                    assert_eq!(header.key, format!("h{at}"));
                    let value = format!("v{at}");
                    assert_eq!(header.value, (at % 2 == 0).then_some(value.as_bytes()));
                }
            });
        }
    }

    #[test]
    fn null_and_empty_are_told_apart() {
        let null = Record::new("t");
        let empty = Record::new("t").value("").key("");
        assert_eq!((null.key_bytes(), null.value_bytes()), (None, None));
        empty.with_view(|view| assert_eq!((view.key, view.value), (Some(&b""[..]), Some(&b""[..]))));
    }
}
