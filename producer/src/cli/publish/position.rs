//! `--position-file`: up to where everything of a file is acknowledged.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::places::Place;
use super::tracker::{Ended, Results};
use crate::cli::exit::Stop;

/// So many first bytes tell a file from another one that got its number.
pub const HEAD_SIZE: usize = 256;
/// What the file says it is; another version is not understood.
const VERSION: u32 = 1;

/// What the system calls a file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn of(data: &std::fs::Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino() }
    }
}

/// Everything before this is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    version: u32,
    /// As the command line named it.
    file: String,
    device: u64,
    pub inode: u64,
    /// Bytes.
    pub offset: u64,
    /// Lines in them.
    pub lines: u64,
    /// So many first bytes have this CRC-32.
    head_bytes: usize,
    head_crc32: u32,
}

impl Position {
    pub const fn id(&self) -> FileId {
        FileId { device: self.device, inode: self.inode }
    }

    pub fn begins_with(&self, head: &[u8]) -> bool {
        head.get(..self.head_bytes).is_some_and(|head| crc32fast::hash(head) == self.head_crc32)
    }

    /// What an earlier run left, if there was one.
    #[expect(clippy::disallowed_methods, reason = "a command line reads its own notes")]
    pub fn read(path: &Path, source: &Path) -> Result<Option<Self>, Stop> {
        let told = |why: String| Stop::Failed(format!("--position-file {}: {why}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(format!("cannot be read: {error}"))),
        };
        let position: Self = serde_json::from_str(&text)
            .map_err(|error| told(format!("not a position ({error}); remove it to begin anew")))?;
        if position.version != VERSION {
            return Err(told(format!("of version {}, and {VERSION} is understood here", position.version)));
        }
        if position.file != source.display().to_string() {
            return Err(told(format!("belongs to {}, not to {}", position.file, source.display())));
        }
        Ok(Some(position))
    }
}

/// One generation of the file.
#[derive(Debug)]
struct Generation {
    source: u32,
    id: FileId,
    /// Its first bytes, as far as they are known.
    head: Vec<u8>,
    offset: u64,
    lines: u64,
    /// The lines behind, in order.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Where it ends; `None`: with the next one.
    end: Option<u64>,
    is_done: bool,
}

/// Lines under way, and how far all of them are acknowledged.
#[derive(Debug)]
pub struct Book {
    file: String,
    generations: VecDeque<Generation>,
    /// The position that was told last, or began with.
    told: Option<(FileId, u64)>,
    /// Records that failed and may be skipped are done with.
    skip_failed: bool,
}

impl Book {
    pub fn new(file: &Path, skip_failed: bool) -> Self {
        Self { file: file.display().to_string(), generations: VecDeque::new(), told: None, skip_failed }
    }

    /// What follows is of this file, from there.
    pub fn begin(&mut self, source: usize, id: FileId, head: Vec<u8>, offset: u64, lines: u64) {
        // A command line follows one file, and not through so many rotations.
        let source = source as u32;
        self.told.get_or_insert((id, offset));
        self.generations.push_back(Generation { source, id, head, offset, lines, waiting: VecDeque::new() });
        self.forget();
    }

    /// Bytes of the newest file, which stand there.
    pub fn came(&mut self, begin: u64, bytes: &[u8]) {
        if let Some(newest) = self.generations.back_mut()
            && newest.head.len() < HEAD_SIZE
            && newest.head.len() as u64 == begin
        {
            let more = bytes.len().min(HEAD_SIZE - newest.head.len());
            newest.head.extend_from_slice(bytes.get(..more).unwrap_or_default());
        }
    }

    /// The next line of the newest file ends there, if that is known.
    pub fn add(&mut self, end: Option<u64>) {
        if let Some(newest) = self.generations.back_mut() {
            newest.waiting.push_back(Waiting { end, is_done: false });
        }
    }

    /// A batch ended.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        for (at, place) in (0..).zip(ended.places.iter()) {
            let acked = match ended.results {
                Results::AllAcked(_) => true,
                Results::Each | Results::Told(_) => matches!(ended.result(at), Some(Ok(_))),
            };
            if acked || self.skip_failed {
                self.done(place);
            }
        }
    }

    /// This line needs nothing more.
    pub fn done(&mut self, place: Place) {
        let Some(generation) = self.generations.iter_mut().find(|one| one.source == place.source) else {
            return;
        };
        let at = place.line.checked_sub(generation.lines + 1).and_then(|at| usize::try_from(at).ok());
        if let Some(line) = at.and_then(|at| generation.waiting.get_mut(at)) {
            line.is_done = true;
        }
        while generation.waiting.front().is_some_and(|line| line.is_done) {
            let Some(line) = generation.waiting.pop_front() else { break };
            generation.lines += 1;
            generation.offset = line.end.unwrap_or(generation.offset);
        }
        self.forget();
    }

    /// A file that is done with, and after which another one came.
    fn forget(&mut self) {
        while self.generations.len() > 1
            && self.generations.front().is_some_and(|oldest| oldest.waiting.is_empty())
        {
            self.generations.pop_front();
        }
    }

    /// The position, if it moved since this was asked last.
    pub fn moved(&mut self) -> Option<Position> {
        let oldest = self.generations.front()?;
        let now = (oldest.id, oldest.offset);
        if self.told.replace(now) == Some(now) {
            return None;
        }
        let head_bytes = usize::try_from(oldest.offset).unwrap_or(usize::MAX).min(oldest.head.len());
        let head = oldest.head.get(..head_bytes).unwrap_or_default();
        Some(Position {
            version: VERSION,
            file: self.file.clone(),
            device: oldest.id.device,
            inode: oldest.id.inode,
            offset: oldest.offset,
            lines: oldest.lines,
            head_bytes,
            head_crc32: crc32fast::hash(head),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    /// File, offset and lines of the position, if it moved.
    fn moved(book: &mut Book) -> Option<(u64, u64, u64)> {
        book.moved().map(|position| (position.inode, position.offset, position.lines))
    }

    #[test]
    fn the_position_moves_only_over_what_is_done_from_the_beginning() {
        let mut book = Book::new(Path::new("log"), false);
        book.begin(0, id(7), b"ab".to_vec(), 10, 2);
        for end in [15, 20, 30] {
            book.add(Some(end));
        }
        let done = |book: &mut Book, source, line| book.done(Place { source, line });
        assert_eq!(moved(&mut book), None);
        done(&mut book, 0, 4);
        assert_eq!(moved(&mut book), None);
        done(&mut book, 0, 3);
        assert_eq!(moved(&mut book), Some((7, 20, 4)));
        assert_eq!(moved(&mut book), None);
        // A line whose end is not known ends with the next one.
        book.add(None);
        book.add(Some(50));
        done(&mut book, 0, 5);
        done(&mut book, 0, 6);
        assert_eq!(moved(&mut book), Some((7, 30, 6)));
        // Another file came; the old one is not forgotten before all of it is done.
        book.begin(1, id(8), Vec::new(), 0, 0);
        book.add(Some(4));
        done(&mut book, 1, 1);
        assert_eq!(moved(&mut book), None);
        done(&mut book, 0, 7);
        assert_eq!(moved(&mut book), Some((8, 4, 1)));
        // What is asked of strangers changes nothing.
        done(&mut book, 5, 1);
        done(&mut book, 1, 1);
        done(&mut book, 1, 99);
        assert_eq!(moved(&mut book), None);
    }

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let mut book = Book::new(Path::new("log"), false);
        book.begin(0, id(7), Vec::new(), 0, 0);
        book.came(0, b"one\n");
        book.came(4, b"two\n");
        book.came(100, b"not behind it");
        book.add(Some(4));
        book.done(Place { source: 0, line: 1 });
        let position = book.moved().unwrap();
        assert!(position.begins_with(b"one\ntwo\n") && position.begins_with(b"one\n"));
        assert!(!position.begins_with(b"two\n") && !position.begins_with(b"on"));
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
    }
}
