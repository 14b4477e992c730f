//! Files and standard input, cut into blocks of whole lines on a thread that may block.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use memchr::memrchr;
use tokio::sync::mpsc;

use crate::cli::exit::Stop;

/// Bytes read at once. Larger gains nothing measurable; smaller costs calls.
const BLOCK_SIZE: usize = 256 * 1024;
/// Blocks read ahead of the one being published.
pub const BLOCKS_AHEAD: usize = 4;
/// An overlong line is measured up to here, and then called "at least" so long.
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

/// Whole lines of one source; only the source's very last line may lack its newline.
#[derive(Debug)]
pub struct Block {
    /// Which source.
    pub source: usize,
    buffer: Vec<u8>,
    filled: usize,
}

impl Block {
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Its lines without their ends. With `crlf` a carriage return before the newline is part of the end; one before
    /// the end of the source is not.
    pub fn lines(&self, crlf: bool) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes();
        let last = (!bytes.ends_with(b"\n")).then_some(bytes.len());
        let mut start = 0;
        memchr::memchr_iter(b'\n', bytes).chain(last).map(move |end| {
            let line = bytes.get(start..end).unwrap_or_default();
            start = end + 1;
            if crlf && end < bytes.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
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
    Block(Block),
    /// A line that is longer than any record may be, so many bytes, or at least so many. It is left out.
    LineTooLong {
        source: usize,
        size: u64,
        at_least: bool,
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
    /// The longest line, without its end.
    pub line_max: usize,
}

/// Nobody wants more.
struct Unwanted;

impl Pump {
    /// Reads all sources to their ends. Blocks; returns early when nobody wants more.
    pub fn run(mut self, sources: &[Source]) {
        for (at, source) in sources.iter().enumerate() {
            let end = match source {
                Source::Stdin => self.read(at, io::stdin().lock()),
                Source::File(path) => {
                    open(path).map_or_else(|error| Ok(Err(error)), |file| self.read(at, file))
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

    /// The inner result is the source's.
    fn read(&mut self, source: usize, mut from: impl Read) -> Result<io::Result<()>, Unwanted> {
        let mut buffer = self.buffer(0);
        // `filled` bytes have come and were not sent on; in the first `scanned` of them is no newline.
        let (mut filled, mut scanned) = (0, 0);
        loop {
            if let Some(at) = memrchr(b'\n', buffer.get(scanned..filled).unwrap_or_default()) {
                let whole = scanned + at + 1;
                let rest = buffer.get(whole..filled).unwrap_or_default();
                let mut next = self.buffer(rest.len() * 2);
                if let Some(head) = next.get_mut(..rest.len()) {
                    head.copy_from_slice(rest);
                }
                self.send(Input::Block(Block { source, buffer, filled: whole }))?;
                (buffer, filled) = (next, filled - whole);
            }
            scanned = filled;
            // One more than the longest, for a carriage return that is not the record's.
            if filled > self.line_max + 1 {
                match self.skip_line(source, &mut from, &mut buffer, filled)? {
                    Ok(rest) => (filled, scanned) = (rest, 0),
                    Err(error) => return Ok(Err(error)),
                }
                continue;
            }
            if filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            match read_some(&mut from, buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) if filled == 0 => return Ok(Ok(())),
                Ok(0) => {
                    self.send(Input::Block(Block { source, buffer, filled }))?;
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
        from: &mut impl Read,
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
                self.send(Input::LineTooLong { source, size, at_least: !ended })?;
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
