//! LZ4 frames. Written as Java's clients write and can read them: independent blocks of 64 KiB, no content size, no checksums of
//! content (the batch has one).

use std::io::{self, Read, Write as _};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::invalid;

/// How a frame begins. Other magics (the legacy format, skippable frames) are no clients'.
pub(super) const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

pub(super) fn compress(records: &[u8], _level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish().map_err(io::Error::from)?;
    Ok(())
}

/// Reads one frame, to its end mark, behind which nothing may follow (librdkafka refuses that too).
pub(super) struct Reader<'a> {
    decoder: FrameDecoder<Input<'a>>,
    is_frame: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Self {
        let input = Input { rest: compressed, ended: false };
        Self { decoder: FrameDecoder::new(input), is_frame: compressed.starts_with(&MAGIC) }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.is_frame {
            return Err(invalid("no lz4 frame begins here"));
        }
        let read = self.decoder.read(out)?;
        if read == 0 && !out.is_empty() {
            let input = self.decoder.get_ref();
            if input.ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the frame has no end mark"));
            }
            if !input.rest.is_empty() {
                return Err(invalid(format!("{} bytes follow the end of the frame", input.rest.len())));
            }
        }
        Ok(read)
    }
}

/// The compressed bytes, noticing a read beyond their end: the decoder takes that for the end of a frame.
struct Input<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.ended |= self.rest.is_empty();
        self.rest.read(out)
    }
}
