//! Lines: what stands before a newline, byte for byte.

use std::io;

use memchr::memrchr;

use super::feed::Feed;
use super::{Cuts, Input, MEASURED_MAX, Pump, ReadResult, Unwanted, read_some};

impl Pump {
    pub(super) fn read_lines(&mut self, source: usize, from: &mut Feed) -> ReadResult {
        let mut buffer = self.buffer(0);
        // `filled` bytes have come and were not sent on; in the first `scanned` of them is no newline.
        let (mut filled, mut scanned) = (0, 0);
        loop {
            if let Some(at) = memrchr(b'\n', buffer.get(scanned..filled).unwrap_or_default()) {
                let whole = scanned + at + 1;
                let next = self.carry_over(&buffer, whole, filled);
                let begin = from.at() - filled as u64;
                self.send_block(source, from, buffer, whole, Cuts::Lines(begin))?;
                (buffer, filled) = (next, filled - whole);
            }
            scanned = filled;
            // One more than the longest, for a carriage return that is not the record's.
            if filled > self.record_max + 1 {
                match self.skip_line(source, from, &mut buffer, filled)? {
                    Ok(rest) => (filled, scanned) = (rest, 0),
                    Err(error) => return Ok(Err(error)),
                }
                continue;
            }
            if filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            match read_some(from, buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) if filled == 0 => return Ok(Ok(())),
                Ok(0) if from.keeps_unfinished => {
                    let note =
                        format!("the last {filled} bytes are no whole line yet: they are left for later");
                    self.send(Input::Note(note))?;
                    return Ok(Ok(()));
                }
                Ok(0) => {
                    let begin = from.at() - filled as u64;
                    self.send_block(source, from, buffer, filled, Cuts::Lines(begin))?;
                    return Ok(Ok(()));
                }
                Ok(new) => filled += new,
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Reads to the end of an overlong line of which `size` bytes have come. What came behind it stands at the buffer's
    /// beginning then: so many bytes.
    fn skip_line(
        &self,
        source: usize,
        from: &mut Feed,
        buffer: &mut [u8],
        size: usize,
    ) -> Result<io::Result<usize>, Unwanted> {
        let mut size = size as u64;
        let mut told = false;
        loop {
            if self.out.is_closed() {
                return Err(Unwanted);
            }
            let new = match read_some(from, buffer) {
                Ok(new) => new,
                Err(error) => return Ok(Err(error)),
            };
            let piece = buffer.get(..new).unwrap_or_default();
            let newline = memchr::memchr(b'\n', piece);
            size += newline.unwrap_or(new) as u64;
            let ended = new == 0 || newline.is_some();
            if !told && (ended || size >= MEASURED_MAX) {
                told = true;
                self.send(Input::TooLong { source, line: None, what: "line", size, at_least: !ended })?;
            }
            if let Some(at) = newline {
                let rest = at + 1..new;
                let kept = rest.len();
                buffer.copy_within(rest, 0);
                return Ok(Ok(kept));
            }
            if new == 0 {
                return Ok(Ok(0));
            }
        }
    }
}
