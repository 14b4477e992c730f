//! The bytes of one source, unpacked: gzip and zstd are known by their first bytes, not by the file's name.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::read_some;

/// What unpacking may remember of what it has unpacked: the limit of the zstd command line, 128 MiB. More is only made on
/// request (`zstd --long=28` and above); gzip never needs more than 32 KiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// So many first bytes tell what they are.
const MAGIC_SIZE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Packed(Codec),
    Plain,
    /// A few more are needed.
    Unclear,
}

fn look_at(head: &[u8]) -> Head {
    const KNOWN: [(&[u8], Head); 3] = [
        (&[0x1f, 0x8b, 0x08], Head::Packed(Codec::Gzip)),
        (&[0x28, 0xb5, 0x2f, 0xfd], Head::Packed(Codec::Zstd)),
        // A byte order mark comes in one piece to who looks for it.
        (&[0xef, 0xbb, 0xbf], Head::Plain),
    ];
    // A frame to be skipped, as parallel compressors write one first: its low four bits are free.
    let is_skippable = |head: &[u8]| match head {
        [first, rest @ ..] => first & 0xf0 == 0x50 && [0x2a, 0x4d, 0x18].starts_with(rest),
        [] => false,
    };
    let Some(head) = head.get(..head.len().min(MAGIC_SIZE)).filter(|head| !head.is_empty()) else {
        return Head::Unclear;
    };
    if head.len() == MAGIC_SIZE && is_skippable(head) {
        return Head::Packed(Codec::Zstd);
    }
    if let Some((_, known)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return *known;
    }
    if is_skippable(head) || KNOWN.iter().any(|(magic, _)| magic.starts_with(head)) {
        return Head::Unclear;
    }
    Head::Plain
}

/// Counts what it reads.
struct Counted<R> {
    from: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let new = self.from.read(into)?;
        self.count.fetch_add(new as u64, Ordering::Relaxed);
        Ok(new)
    }
}

/// The bytes of one source.
pub(super) struct Feed {
    from: Box<dyn Read>,
    count: Arc<AtomicU64>,
    /// Where the next byte stands in the source, unpacked.
    at: u64,
    /// A last line without its newline is not taken.
    pub keeps_unfinished: bool,
}

impl Feed {
    /// `count` goes on counting bytes as they lie on disk.
    pub fn open(from: impl Read + 'static, count: Arc<AtomicU64>, decompress: bool) -> io::Result<Self> {
        let mut from = Counted { from, count: Arc::clone(&count) };
        if !decompress {
            return Ok(Self { from: Box::new(from), count, at: 0, keeps_unfinished: false });
        }
        let mut head = [0; MAGIC_SIZE];
        let mut filled = 0;
        let what = loop {
            let what = look_at(head.get(..filled).unwrap_or_default());
            if what != Head::Unclear {
                break what;
            }
            match read_some(&mut from, head.get_mut(filled..).unwrap_or_default())? {
                0 => break Head::Plain,
                new => filled += new,
            }
        };
        let head = Cursor::new(head).take(filled as u64);
        let whole = head.chain(from);
        let from: Box<dyn Read> = match what {
            Head::Packed(codec @ Codec::Gzip) => {
                Box::new(Unpacking { codec, from: MultiGzDecoder::new(whole) })
            }
            Head::Packed(codec @ Codec::Zstd) => {
                let mut from = zstd::stream::read::Decoder::new(whole)?;
                from.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(Unpacking { codec, from })
            }
            Head::Plain | Head::Unclear => Box::new(whole),
        };
        Ok(Self { from, count, at: 0, keeps_unfinished: false })
    }

    /// Bytes as they are, the first of which stands at this place.
    pub fn from_offset(
        from: impl Read + 'static,
        at: u64,
        keeps_unfinished: bool,
        count: Arc<AtomicU64>,
    ) -> Self {
        let from = Box::new(Counted { from, count: Arc::clone(&count) });
        Self { from, count, at, keeps_unfinished }
    }

    /// Where the next byte stands in the source, unpacked.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Bytes read by now, of this source and those before it, as they lie on disk.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let new = self.from.read(into)?;
        self.at += new as u64;
        Ok(new)
    }
}

/// Says of its errors what they are about.
struct Unpacking<R> {
    codec: Codec,
    from: R,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.from.read(into).map_err(|error| {
            let name = self.codec.name();
            let about = match error.kind() {
                // Of the file itself.
                _ if error.raw_os_error().is_some() => return error,
                io::ErrorKind::Interrupted => return error,
                io::ErrorKind::UnexpectedEof => {
                    format!("the {name} data is cut short: it ends before its end")
                }
                _ if error.to_string().contains("too much memory") => format!(
                    "the {name} data needs more than {} MiB to be unpacked: unpack it first (zstd --long=31 -dc FILE)",
                    (1u64 << ZSTD_WINDOW_LOG_MAX) >> 20
                ),
                _ => format!("no valid {name} data: {error}; --decompress never takes it as it is"),
            };
            io::Error::new(error.kind(), about)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(text, 1).unwrap()
    }

    /// One byte at a time, as the meanest pipe.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into.get_mut(..1).unwrap_or_default())
        }
    }

    fn unpack(bytes: &[u8], decompress: bool) -> io::Result<Vec<u8>> {
        let count = Arc::new(AtomicU64::new(5));
        let mut feed = Feed::open(Dripping(Cursor::new(bytes.to_vec())), Arc::clone(&count), decompress)?;
        let mut out = Vec::new();
        feed.read_to_end(&mut out)?;
        assert_eq!(feed.count(), 5 + bytes.len() as u64);
        Ok(out)
    }

    #[test]
    fn packed_and_plain_bytes_are_told_apart_by_their_beginning() {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(b"one\n")].concat();
        for (packed, plain) in [
            (gzip(b"one\ntwo\n"), &b"one\ntwo\n"[..]),
            (gzip(b""), b""),
            ([gzip(b"one\n"), gzip(b"two\n")].concat(), b"one\ntwo\n"),
            (zstd(b"one\ntwo\n"), b"one\ntwo\n"),
            ([zstd(b"one\n"), zstd(b"two\n")].concat(), b"one\ntwo\n"),
            (skippable, b"one\n"),
        ] {
            assert_eq!(unpack(&packed, true).unwrap(), plain);
            assert_eq!(unpack(&packed, false).unwrap(), packed);
        }
        for plain in
            [&b""[..], b"P", b"Part", b"\x1f", b"\x1f\x8b", b"(", b"(\xb5/", b"plain", b"\xef\xbb\xbfa"]
        {
            assert_eq!(unpack(plain, true).unwrap(), plain);
        }
    }

    #[test]
    fn packed_bytes_cut_anywhere_are_said_to_be_cut() {
        let text = b"some text that is long enough to be packed, packed, packed\n".repeat(20);
        for packed in [gzip(&text), zstd(&text)] {
            for end in MAGIC_SIZE..packed.len() {
                let error = unpack(&packed[..end], true).unwrap_err().to_string();
                assert!(error.contains("is cut short"), "{end} of {}: {error}", packed.len());
            }
        }
    }

    #[test]
    fn what_is_no_packed_data_and_what_needs_too_much_memory_is_named() {
        let mut damaged = gzip(b"one\ntwo\n");
        let end = damaged.len() - 6;
        damaged[end] ^= 1;
        let error = unpack(&damaged, true).unwrap_err().to_string();
        assert!(error.contains("no valid gzip data") && error.contains("--decompress never"), "{error}");
        let trailing = [gzip(b"one\n"), b"rubbish that is longer than a header".to_vec()].concat();
        assert!(unpack(&trailing, true).unwrap_err().to_string().contains("no valid gzip data"));
        // A frame header that asks for a window of 256 MiB.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0, 0, 0, 0, 0];
        let error = unpack(&huge, true).unwrap_err().to_string();
        assert!(error.contains("more than 128 MiB"), "{error}");
    }
}
