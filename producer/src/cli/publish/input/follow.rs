//! `--follow` and `--position-file`: one file that grows, through rotation by renaming and by truncation, and a FIFO whose writers
//! come and go; from where an earlier run came to.

use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;

use super::feed::Feed;
use super::{Input, Pump, ReadResult, Unwanted, open};
use crate::cli::publish::position::{FileId, HEAD_SIZE, Position};

/// How often a file that has ended is looked at: nothing is noticed later than this, and looking costs two system calls.
const POLL: Duration = Duration::from_millis(100);
/// So often a file that was renamed must be found unchanged before the new one is read: whoever writes may need a moment to let go
/// of it (a second).
const QUIET_POLLS: u32 = 10;

/// What is read, and from where.
#[derive(Debug, Clone)]
pub struct Following {
    pub path: PathBuf,
    /// Wait for more at the end.
    pub wait: bool,
    /// Where an earlier run came to.
    pub position: Option<Position>,
}

/// Where one generation of the file begins.
struct Begin {
    path: PathBuf,
    offset: u64,
    lines: u64,
    /// It is what stands at the path now.
    is_current: bool,
}

impl Pump {
    /// Reads the file's generations one after the other. Blocks; returns early when nobody wants more.
    pub fn follow(mut self, following: &Following) {
        let (end, generation) = self.follow_all(following);
        if let Ok(Err(error)) = end {
            let _ = self.out.blocking_send(Input::Failed { source: generation, error });
        }
    }

    fn follow_all(&mut self, following: &Following) -> (ReadResult, usize) {
        let mut generation = 0;
        let mut begin = match first(following) {
            Ok((begin, note)) => {
                if let Some(note) = note
                    && let Err(unwanted) = self.send(Input::Note(note))
                {
                    return (Err(unwanted), generation);
                }
                begin
            }
            Err(error) => return (Ok(Err(error)), generation),
        };
        loop {
            match self.follow_one(following, &begin, generation) {
                Ok(Ok(())) => {}
                end => return (end, generation),
            }
            if begin.is_current && !following.wait {
                return (Ok(Ok(())), generation);
            }
            begin = Begin { path: following.path.clone(), offset: 0, lines: 0, is_current: true };
            generation += 1;
        }
    }

    fn follow_one(&mut self, following: &Following, begin: &Begin, source: usize) -> ReadResult {
        let file = loop {
            match open(&begin.path) {
                // Renamed, and not made anew yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound && following.wait => {
                    if self.out.is_closed() {
                        return Err(Unwanted);
                    }
                    pause();
                }
                Err(error) => return Ok(Err(error)),
                Ok(file) => break file,
            }
        };
        let tail = Tail {
            file,
            path: begin.path.clone(),
            at: begin.offset,
            waits: following.wait && begin.is_current,
            quiet_polls: 0,
            out: self.out.clone(),
        };
        let (mut feed, began) = match start(tail, begin, source) {
            Ok(started) => started,
            Err(error) => return Ok(Err(error)),
        };
        self.send(began)?;
        // A last line without its newline may still get it, unless the file is out of use.
        self.read_lines(source, &mut feed)
    }
}

#[expect(clippy::disallowed_types, reason = "a command line reads the files it is given")]
type File = std::fs::File;

fn start(mut tail: Tail, begin: &Begin, source: usize) -> io::Result<(Feed, Input)> {
    let id = FileId::of(&tail.file.metadata()?);
    let mut head = Vec::new();
    if begin.offset > 0 {
        (&tail.file).take(HEAD_SIZE as u64).read_to_end(&mut head)?;
        tail.file.seek(SeekFrom::Start(begin.offset))?;
    }
    let keeps_unfinished = begin.is_current && !tail.waits;
    let feed = Feed::from_offset(tail, begin.offset, keeps_unfinished, Arc::new(AtomicU64::new(0)));
    Ok((feed, Input::Began { source, id, head, offset: begin.offset, lines: begin.lines }))
}

/// Where to begin, and what must be said about it.
fn first(following: &Following) -> io::Result<(Begin, Option<String>)> {
    let path = &following.path;
    let at = |path: &Path, position: &Position, is_current| Begin {
        path: path.to_owned(),
        offset: position.offset,
        lines: position.lines,
        is_current,
    };
    let anew = Begin { path: path.clone(), offset: 0, lines: 0, is_current: true };
    let Some(position) = &following.position else { return Ok((anew, None)) };
    if belongs(position, path)? {
        return Ok((at(path, position, true), None));
    }
    if let Some(renamed) = renamed(position, path)? {
        return Ok((at(&renamed, position, false), None));
    }
    let note = format!(
        "this is not the file that was read up to byte {} (line {}), and that one is not beside it under another name: if it got \
         more, that was not published. Reading from the beginning",
        position.offset, position.lines
    );
    Ok((anew, Some(note)))
}

/// Whether this is the file that was read up to there.
fn belongs(position: &Position, path: &Path) -> io::Result<bool> {
    let data = match path.metadata() {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !data.is_file() || FileId::of(&data) != position.id() || data.len() < position.offset {
        return Ok(false);
    }
    let mut head = Vec::new();
    open(path)?.take(HEAD_SIZE as u64).read_to_end(&mut head)?;
    Ok(position.begins_with(&head))
}

/// The file under the name that a rotation gave it.
#[expect(clippy::disallowed_methods, reason = "a command line looks for the files it is given")]
fn renamed(position: &Position, path: &Path) -> io::Result<Option<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // One that vanishes meanwhile is not it.
        if entry.metadata().is_ok_and(|data| data.ino() == position.inode)
            && belongs(position, &entry.path())?
        {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// A file whose end may not be the end.
struct Tail {
    file: File,
    path: PathBuf,
    /// Where the next byte is read.
    at: u64,
    waits: bool,
    quiet_polls: u32,
    /// Closed when nobody wants more.
    out: mpsc::Sender<Input>,
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let new = self.file.read(into)?;
            if new > 0 {
                self.at += new as u64;
                self.quiet_polls = 0;
                return Ok(new);
            }
            if !self.waits || self.out.is_closed() || self.is_over()? {
                return Ok(0);
            }
            pause();
        }
    }
}

impl Tail {
    /// Nothing more will come of this file.
    fn is_over(&mut self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        // Without writers a FIFO ends; the next one's bytes come by the same descriptor.
        if own.file_type().is_fifo() || own.file_type().is_char_device() {
            return Ok(false);
        }
        if own.len() < self.at {
            return Ok(true);
        }
        match self.path.metadata() {
            Ok(there) if FileId::of(&there) == FileId::of(&own) => {
                self.quiet_polls = 0;
                Ok(false)
            }
            Ok(_) => {
                self.quiet_polls += 1;
                Ok(self.quiet_polls > QUIET_POLLS)
            }
            // Renamed, and not made anew yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no call waits for a file to grow; this thread does nothing else, and what is waited for is looked at"
)]
fn pause() {
    std::thread::sleep(POLL);
}
