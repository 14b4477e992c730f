//! Files and standard input, cut into records on a thread that may block. Bytes come from a `feed`, which reads through gzip and
//! zstd; `lines`, `rows` and `frames` cut them.

mod feed;
mod follow;
mod frames;
mod lines;
mod rows;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::mpsc;

use super::position::FileId;
use crate::cli::exit::Stop;
use feed::Feed;

pub use follow::Following;
pub use frames::Framing;
use rows::Rows;
pub use rows::{Row, RowSyntax};

/// Bytes read at once. Larger gains nothing measurable; smaller costs calls.
const BLOCK_SIZE: usize = 256 * 1024;
/// Blocks read ahead of the one being published.
pub const BLOCKS_AHEAD: usize = 4;
/// An overlong record is measured up to here, and then called "at least" so long.
const MEASURED_MAX: u64 = 1 << 30;

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Stdin,
}

impl Source {
    /// As messages and reports name it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "<stdin>".to_owned(),
        }
    }

    /// How many bytes it has, if it is a regular file.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File(path) => path.metadata().ok().filter(|data| data.is_file()).map(|data| data.len()),
            Self::Stdin => None,
        }
    }
}

/// What the command line names. Nothing is sent if one of the files cannot be read.
pub fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Stop> {
    if files.is_empty() {
        return Ok(vec![Source::Stdin]);
    }
    let mut all = Vec::with_capacity(files.len());
    for path in files {
        if path == Path::new("-") {
            if all.contains(&Source::Stdin) {
                return Err(Stop::Usage("standard input (-) is named twice".to_owned()));
            }
            all.push(Source::Stdin);
            continue;
        }
        let name = path.display();
        match path.metadata() {
            Ok(data) if data.is_dir() => {
                return Err(Stop::Failed(format!(
                    "{name} is a directory; name the files in it, for example {name}/*"
                )));
            }
            Ok(_) => all.push(Source::File(path.clone())),
            Err(error) => return Err(Stop::Failed(format!("{name} cannot be read: {error}"))),
        }
    }
    Ok(all)
}

/// How bytes become records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Lines,
    Rows(RowSyntax),
    Frames(Framing),
}

/// Whole records of one source.
#[derive(Debug)]
pub struct Block {
    /// Which source.
    pub source: usize,
    /// Bytes read of all sources until now, as they lie on disk.
    pub read: u64,
    buffer: Vec<u8>,
    filled: usize,
    cuts: Cuts,
}

/// Where the records of a block are.
#[derive(Debug)]
enum Cuts {
    /// At the newlines. Only the source's very last line may lack its own. The first byte stands there in the source.
    Lines(u64),
    /// Where each begins, and where it ends.
    Frames(Vec<(u32, u32)>),
    Rows(Rows),
}

/// What one record is made of.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    Bytes(&'a [u8]),
    Row(Row<'a>),
}

impl Item<'_> {
    /// Its bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Row(row) => row.size(),
        }
    }
}

/// One record of a block.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    pub item: Item<'a>,
    /// The line where it begins, where that is not the one behind the last.
    pub line: Option<u64>,
    /// Where it ends in the source, if it is a line.
    pub end: Option<u64>,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Its records. With `crlf` a carriage return before a line's newline is part of the end; one before the end of the source
    /// is not.
    pub fn pieces(&self, crlf: bool) -> Box<dyn Iterator<Item = Piece<'_>> + Send + '_> {
        let bytes = |bytes| Piece { item: Item::Bytes(bytes), line: None, end: None };
        match &self.cuts {
            Cuts::Lines(begin) => Box::new(self.lines(crlf).map(move |(line, end)| Piece {
                item: Item::Bytes(line),
                line: None,
                end: Some(begin + end as u64),
            })),
            Cuts::Frames(frames) => Box::new(frames.iter().map(move |(begin, end)| {
                bytes(self.bytes().get(*begin as usize..*end as usize).unwrap_or_default())
            })),
            Cuts::Rows(rows) => Box::new(rows.iter(self.bytes()).map(|(line, row)| Piece {
                item: Item::Row(row),
                line: Some(line),
                end: None,
            })),
        }
    }

    /// Where its first byte stands in the source, and its bytes, if it is of lines.
    pub fn place(&self) -> Option<(u64, &[u8])> {
        match self.cuts {
            Cuts::Lines(begin) => Some((begin, self.bytes())),
            Cuts::Frames(_) | Cuts::Rows(_) => None,
        }
    }

    /// Lines without their ends, and where the next one begins.
    fn lines(&self, crlf: bool) -> impl Iterator<Item = (&[u8], usize)> {
        let bytes = self.bytes();
        let last = (!bytes.ends_with(b"\n")).then_some(bytes.len());
        let mut start = 0;
        memchr::memchr_iter(b'\n', bytes).chain(last).map(move |end| {
            let line = bytes.get(start..end).unwrap_or_default();
            start = bytes.len().min(end + 1);
            let cut = crlf && end < bytes.len();
            (if cut { line.strip_suffix(b"\r").unwrap_or(line) } else { line }, start)
        })
    }

    /// Its memory, for [`Pump::spare`].
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// What comes from the reading thread, in order.
#[derive(Debug)]
pub enum Input {
    /// The bytes that follow are of this file, from there.
    Began {
        source: usize,
        id: FileId,
        /// Its first bytes, if they do not follow.
        head: Vec<u8>,
        offset: u64,
        /// Lines before that.
        lines: u64,
    },
    /// Something to be told.
    Note(String),
    /// The names of the columns of the rows that follow.
    Header {
        source: usize,
        line: u64,
        names: Vec<Vec<u8>>,
    },
    Block(Block),
    /// Something longer than any record may be, so many bytes, or at least so many. It is left out.
    TooLong {
        source: usize,
        /// Where that is not the one behind the last.
        line: Option<u64>,
        what: &'static str,
        size: u64,
        at_least: bool,
    },
    /// Something else that is no record.
    NoRecord {
        source: usize,
        line: Option<u64>,
        why: String,
    },
    /// The source cannot be read on. No other source follows.
    Failed {
        source: usize,
        error: io::Error,
    },
}

/// The reading thread's side.
pub struct Pump {
    /// Where to.
    pub out: mpsc::Sender<Input>,
    /// Buffers that were used up come back, so that their pages are not asked of the system anew.
    pub spare: mpsc::Receiver<Vec<u8>>,
    /// The longest record, without its end.
    pub record_max: usize,
    pub cut: Cut,
    /// Read through gzip and zstd.
    pub decompress: bool,
}

/// Nobody wants more.
#[derive(Debug)]
struct Unwanted;

/// How reading one source ended; the inner result is the source's.
type ReadResult = Result<io::Result<()>, Unwanted>;

impl Pump {
    /// Reads all sources to their ends. Blocks; returns early when nobody wants more.
    pub fn run(mut self, sources: &[Source]) {
        let read = Arc::new(AtomicU64::new(0));
        for (at, source) in sources.iter().enumerate() {
            let end = match source {
                Source::Stdin => self.read(at, io::stdin().lock(), &read),
                Source::File(path) => {
                    open(path).map_or_else(|error| Ok(Err(error)), |file| self.read(at, file, &read))
                }
            };
            match end {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let _ = self.out.blocking_send(Input::Failed { source: at, error });
                    return;
                }
                Err(Unwanted) => return,
            }
        }
    }

    fn read(&mut self, source: usize, from: impl Read + 'static, read: &Arc<AtomicU64>) -> ReadResult {
        let mut feed = match Feed::open(from, Arc::clone(read), self.decompress) {
            Ok(feed) => feed,
            Err(error) => return Ok(Err(error)),
        };
        match self.cut {
            Cut::Lines => self.read_lines(source, &mut feed),
            Cut::Rows(syntax) => self.read_rows(source, &mut feed, syntax),
            Cut::Frames(framing) => self.read_frames(source, &mut feed, framing),
        }
    }

    fn buffer(&mut self, at_least: usize) -> Vec<u8> {
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        if buffer.len() < at_least.max(BLOCK_SIZE) {
            buffer.resize(at_least.max(BLOCK_SIZE), 0);
        }
        buffer
    }

    fn send(&self, input: Input) -> Result<(), Unwanted> {
        self.out.blocking_send(input).map_err(|_| Unwanted)
    }

    fn send_block(
        &self,
        source: usize,
        feed: &Feed,
        buffer: Vec<u8>,
        filled: usize,
        cuts: Cuts,
    ) -> Result<(), Unwanted> {
        self.send(Input::Block(Block { source, read: feed.count(), buffer, filled, cuts }))
    }

    /// A new buffer that begins with the bytes from `from` to `filled`: what is not cut yet.
    fn carry_over(&mut self, buffer: &[u8], from: usize, filled: usize) -> Vec<u8> {
        let rest = buffer.get(from..filled).unwrap_or_default();
        let mut next = self.buffer(rest.len() * 2);
        if let Some(head) = next.get_mut(..rest.len()) {
            head.copy_from_slice(rest);
        }
        next
    }
}

/// As `Read::read`, but a signal in between is nothing.
fn read_some(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[expect(clippy::disallowed_types, reason = "a command line reads the files it is given")]
fn open(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::open(path)
}

#[cfg(test)]
mod tests;
