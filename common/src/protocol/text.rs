//! UTF-8 text as a view of the bytes it came in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A name or message: valid UTF-8. A decoded one is a view of the frame and keeps the whole frame alive; what is
/// stored for longer than the request is taken with [`Text::detached`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// Text that lives as long as the program; no allocation.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text as a view of `bytes`, or `None` if they are not UTF-8.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked at construction. Checking again costs a few nanoseconds for a name and spares an `unsafe`; what
        // compares or copies uses the bytes.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes, for what compares, hashes or copies them.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy with a buffer of its own, which does not keep the received frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// Text orders by its bytes, and so does str: the order of UTF-8 is the order of its code points.
impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::Text;

    #[test]
    fn only_utf8_becomes_text() {
        assert_eq!(Text::from_utf8(Bytes::from_static(b"caf\xc3\xa9")), Some(Text::from("café")));
        assert_eq!(Text::from_utf8(Bytes::from_static(b"caf\xc3")), None);
    }

    #[test]
    fn text_is_found_in_a_map_by_str() {
        let map: BTreeMap<Text, i32> =
            [("ä", 1), ("z", 2), ("日本", 3), ("", 4)].map(|(name, at)| (Text::from(name), at)).into();
        for (name, at) in [("ä", 1), ("z", 2), ("日本", 3), ("", 4)] {
            assert_eq!(map.get(name), Some(&at));
        }
    }

    #[test]
    fn detached_text_has_a_buffer_of_its_own() {
        let frame = Bytes::from(vec![b'x'; 100]);
        let view = Text::from_utf8(frame.slice(10..20)).unwrap();
        assert!(!frame.is_unique());
        let own = view.detached();
        drop(view);
        assert!(frame.is_unique());
        assert_eq!(own, "xxxxxxxxxx");
    }
}
