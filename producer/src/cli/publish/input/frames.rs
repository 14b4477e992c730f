//! Raw bytes: a whole file is one record, or frames of one size, or frames behind their length.

use std::str::FromStr;

use gapless_common::units::parse_size;

use super::feed::Feed;
use super::{Cuts, Input, MEASURED_MAX, Pump, ReadResult, Unwanted, read_some};

/// A length in seven bits a byte has at most so many: of 64 bits.
const VARINT_SIZE_MAX: usize = 10;

/// Where a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With its source.
    Whole,
    /// After so many bytes.
    Fixed(usize),
    /// After as many as the bytes before it say.
    Prefixed(Prefix),
}

/// How a length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    U16Big,
    U16Little,
    U32Big,
    U32Little,
    /// Seven bits a byte, the lowest first, the eighth says that more follow: as Protocol Buffers are delimited.
    Varint,
}

impl FromStr for Framing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "whole" => Self::Whole,
            "u16be" => Self::Prefixed(Prefix::U16Big),
            "u16le" => Self::Prefixed(Prefix::U16Little),
            "u32be" => Self::Prefixed(Prefix::U32Big),
            "u32le" => Self::Prefixed(Prefix::U32Little),
            "varint" => Self::Prefixed(Prefix::Varint),
            _ => match text.strip_prefix("fixed:").map(parse_size) {
                Some(Ok(size)) if size > 0 => Self::Fixed(
                    usize::try_from(size).map_err(|_| "more than this machine can address".to_owned())?,
                ),
                Some(Ok(_)) => return Err("a frame has at least one byte".to_owned()),
                Some(Err(error)) => return Err(error.to_string()),
                None => {
                    return Err("expected whole, fixed:SIZE, u16be, u16le, u32be, u32le or varint".to_owned());
                }
            },
        })
    }
}

/// A frame's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Bytes of the length itself.
    head: usize,
    /// Bytes of the record.
    size: u64,
}

impl Framing {
    /// How long the frame is that begins here; `None` until enough has come.
    fn head(self, bytes: &[u8]) -> Result<Option<Head>, &'static str> {
        let prefix = match self {
            Self::Whole => return Ok(None),
            Self::Fixed(size) => {
                return Ok((!bytes.is_empty()).then_some(Head { head: 0, size: size as u64 }));
            }
            Self::Prefixed(prefix) => prefix,
        };
        let two = bytes.first_chunk::<2>().copied();
        let four = bytes.first_chunk::<4>().copied();
        Ok(match prefix {
            Prefix::U16Big => two.map(|two| Head { head: 2, size: u16::from_be_bytes(two).into() }),
            Prefix::U16Little => two.map(|two| Head { head: 2, size: u16::from_le_bytes(two).into() }),
            Prefix::U32Big => four.map(|four| Head { head: 4, size: u32::from_be_bytes(four).into() }),
            Prefix::U32Little => four.map(|four| Head { head: 4, size: u32::from_le_bytes(four).into() }),
            Prefix::Varint => {
                let Some(last) = bytes.iter().take(VARINT_SIZE_MAX).position(|byte| byte & 0x80 == 0) else {
                    let wrong = "no varint: its first ten bytes have no last one";
                    return if bytes.len() < VARINT_SIZE_MAX { Ok(None) } else { Err(wrong) };
                };
                let mut size = 0u64;
                for (at, byte) in bytes.iter().take(last + 1).enumerate() {
                    let bits = u64::from(byte & 0x7f);
                    let shifted = bits << (7 * at);
                    if shifted >> (7 * at) != bits {
                        return Err("a varint of more than 64 bits");
                    }
                    size |= shifted;
                }
                Some(Head { head: last + 1, size })
            }
        })
    }
}

impl Pump {
    pub(super) fn read_frames(&mut self, source: usize, from: &mut Feed, framing: Framing) -> ReadResult {
        let mut buffer = self.buffer(0);
        let mut filled = 0;
        loop {
            // What has come, cut as far as it goes.
            let mut cut = 0;
            let mut frames = Vec::new();
            let overlong = loop {
                let head = match framing.head(buffer.get(cut..filled).unwrap_or_default()) {
                    Ok(Some(head)) => head,
                    Ok(None) => break None,
                    Err(why) => {
                        self.send_frames(source, from, buffer, cut, frames)?;
                        let why = format!("{why}; what follows cannot be cut into frames");
                        self.send(Input::NoRecord { source, line: None, why })?;
                        return Ok(Ok(()));
                    }
                };
                if head.size > self.record_max as u64 {
                    break Some(head);
                }
                let begin = cut + head.head;
                let end = begin + head.size as usize;
                if end > filled {
                    break None;
                }
                // A buffer is never longer than two of the longest records and a block.
                frames.push((begin as u32, end as u32));
                cut = end;
            };
            if !frames.is_empty() {
                let next = self.carry_over(&buffer, cut, filled);
                self.send_frames(source, from, buffer, cut, frames)?;
                (buffer, filled) = (next, filled - cut);
            }
            if let Some(Head { head, size }) = overlong {
                self.send(Input::TooLong { source, line: None, what: "frame", size, at_least: false })?;
                let come = filled.min(head.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)));
                buffer.copy_within(come..filled, 0);
                let missing = size.saturating_add(head as u64).saturating_sub(come as u64);
                filled -= come;
                match self.skip(from, &mut buffer, missing)? {
                    Ok(0) => continue,
                    // It is told already that this one is no record.
                    Ok(_) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
            if framing == Framing::Whole && filled > self.record_max {
                return self.measure(source, from, &mut buffer, filled);
            }
            if filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            match read_some(from, buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(new) => filled += new,
                Err(error) => return Ok(Err(error)),
            }
        }
        if framing == Framing::Whole {
            // An empty file is an empty record.
            self.send_frames(source, from, buffer, filled, vec![(0, filled as u32)])?;
        } else if filled > 0 {
            let why = match framing.head(buffer.get(..filled).unwrap_or_default()) {
                Ok(Some(Head { head, size })) => format!(
                    "the source ends in the middle of a frame: {} of {size} bytes are there",
                    filled - head
                ),
                _ => "the source ends in the middle of a frame's length".to_owned(),
            };
            self.send(Input::NoRecord { source, line: None, why })?;
        }
        Ok(Ok(()))
    }

    fn send_frames(
        &self,
        source: usize,
        from: &Feed,
        buffer: Vec<u8>,
        filled: usize,
        frames: Vec<(u32, u32)>,
    ) -> Result<(), Unwanted> {
        if frames.is_empty() {
            return Ok(());
        }
        self.send_block(source, from, buffer, filled, Cuts::Frames(frames))
    }

    /// Reads and drops so many bytes; how many did not come. What stood at the buffer's beginning is lost, so that is nothing
    /// if anything is to be dropped.
    fn skip(
        &self,
        from: &mut Feed,
        buffer: &mut [u8],
        mut missing: u64,
    ) -> Result<std::io::Result<u64>, Unwanted> {
        while missing > 0 {
            if self.out.is_closed() {
                return Err(Unwanted);
            }
            let piece = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
            match read_some(from, buffer.get_mut(..piece).unwrap_or_default()) {
                Ok(0) => break,
                Ok(new) => missing -= new as u64,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(missing))
    }

    /// Says how long a source is that is too long to be one record.
    fn measure(&self, source: usize, from: &mut Feed, buffer: &mut [u8], filled: usize) -> ReadResult {
        let mut size = filled as u64;
        let mut at_least = true;
        while size < MEASURED_MAX {
            if self.out.is_closed() {
                return Err(Unwanted);
            }
            match read_some(from, buffer) {
                Ok(0) => {
                    at_least = false;
                    break;
                }
                Ok(new) => size += new as u64,
                Err(error) => return Ok(Err(error)),
            }
        }
        self.send(Input::TooLong { source, line: None, what: "file", size, at_least })?;
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_in_words() {
        for (text, expected) in [
            ("whole", Ok(Framing::Whole)),
            ("fixed:16", Ok(Framing::Fixed(16))),
            ("fixed:4KiB", Ok(Framing::Fixed(4096))),
            ("u16be", Ok(Framing::Prefixed(Prefix::U16Big))),
            ("u32le", Ok(Framing::Prefixed(Prefix::U32Little))),
            ("varint", Ok(Framing::Prefixed(Prefix::Varint))),
            ("fixed:0", Err("at least one byte")),
            ("fixed:", Err("")),
            ("u64be", Err("expected whole, fixed:SIZE")),
        ] {
            match (text.parse::<Framing>(), expected) {
                (Ok(framing), Ok(expected)) => assert_eq!(framing, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn lengths_are_read_when_they_are_there() {
        let prefixed = Framing::Prefixed;
        let head = |head, size| Ok(Some(Head { head, size }));
        for (framing, bytes, expected) in [
            (Framing::Whole, &b"abc"[..], Ok(None)),
            (Framing::Fixed(4), b"a", head(0, 4)),
            (Framing::Fixed(4), b"", Ok(None)),
            (prefixed(Prefix::U16Big), &[1], Ok(None)),
            (prefixed(Prefix::U16Big), &[1, 2, 9], head(2, 0x102)),
            (prefixed(Prefix::U16Little), &[1, 2], head(2, 0x201)),
            (prefixed(Prefix::U32Big), &[0, 0, 1], Ok(None)),
            (prefixed(Prefix::U32Big), &[0, 0, 1, 2], head(4, 0x102)),
            (prefixed(Prefix::U32Little), &[1, 2, 0, 0x80], head(4, 0x8000_0201)),
            (prefixed(Prefix::Varint), &[], Ok(None)),
            (prefixed(Prefix::Varint), &[0], head(1, 0)),
            (prefixed(Prefix::Varint), &[0x7f], head(1, 127)),
            (prefixed(Prefix::Varint), &[0x80], Ok(None)),
            (prefixed(Prefix::Varint), &[0xac, 0x02, 7], head(2, 300)),
            (
                prefixed(Prefix::Varint),
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                head(10, u64::MAX),
            ),
            (
                prefixed(Prefix::Varint),
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                Err("a varint of more than 64 bits"),
            ),
            (prefixed(Prefix::Varint), &[0x80; 9], Ok(None)),
            (prefixed(Prefix::Varint), &[0x80; 10], Err("no varint: its first ten bytes have no last one")),
        ] {
            assert_eq!(framing.head(bytes), expected, "{framing:?} {bytes:?}");
        }
    }
}
