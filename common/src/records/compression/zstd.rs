//! Zstandard. Its contexts are costly to make, so each thread keeps one of each kind, unless a high level made it
//! large.

use std::cell::Cell;
use std::io::{self, Cursor, Read};

use zstd::stream::read::Decoder;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, compress_bound, get_error_name};

use super::super::BatchError;
use super::{Compression, ZSTD_LEVELS as LEVELS, failed};

/// Kafka's default, and zstd's.
const LEVEL_DEFAULT: i32 = 3;

/// The largest window (2^27 bytes) that is decompressed: what level 22 asks for, and the most that zstd itself and Kafka take.
/// Memory for it is touched only as far as data really come.
const WINDOW_LOG_MAX: u32 = 27;

/// The largest context that a thread keeps for its next batch.
const KEPT_SIZE_MAX: usize = 8 * 1024 * 1024;

thread_local! {
    static COMPRESSOR: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
    static DECOMPRESSOR: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

pub(super) fn compress(records: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.unwrap_or(LEVEL_DEFAULT).clamp(*LEVELS.start(), *LEVELS.end());
    let mut context = COMPRESSOR.take().or_else(CCtx::try_create).ok_or_else(no_memory)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(named)?;
    let begin = out.len() as u64;
    out.reserve(compress_bound(records.len()));
    let mut cursor = Cursor::new(out);
    cursor.set_position(begin);
    context.compress2(&mut cursor, records).map_err(named)?;
    if context.sizeof() <= KEPT_SIZE_MAX {
        COMPRESSOR.set(Some(context));
    }
    Ok(())
}

/// Frames may follow each other.
pub(super) fn with_reader<T>(
    compressed: &[u8],
    read: impl FnOnce(&mut dyn Read) -> Result<T, BatchError>,
) -> Result<T, BatchError> {
    let context = DECOMPRESSOR.take().map_or_else(new_decompressor, Ok);
    let mut context = context.map_err(|error| failed(Compression::Zstd, &error))?;
    let outcome = read(&mut Decoder::with_context(compressed, &mut context));
    if context.sizeof() <= KEPT_SIZE_MAX {
        DECOMPRESSOR.set(Some(context));
    }
    outcome
}

fn new_decompressor() -> io::Result<DCtx<'static>> {
    let mut context = DCtx::try_create().ok_or_else(no_memory)?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(named)?;
    Ok(context)
}

fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

fn named(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}
