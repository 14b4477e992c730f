//! Room that is kept for the few small files without which a full disk could not be freed: before old records are deleted, it
//! must be on disk that they are, and what their producers did last.
//!
//! Some files under `spare/` hold that room. Where there is none left, one of them is written over, in place, and renamed
//! to what is needed: that takes nothing from the disk, and nobody else can be quicker. They are made anew as soon as there
//! is room again. Those of an earlier process are never used: after a power loss such a name may lead to a file that has
//! its own by now.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::{File, Files, create_over, is_full, replace_file, write_all_at};

const DIRECTORY: &str = "spare";
/// A block of a file system: a `state.json` is smaller, unless a broker was started some fifty times.
const SMALL_BYTES: usize = 4 << 10;
/// One for each of some requests that come at once; each gives back, by the file that it replaces, what it took.
const SMALL: usize = 4;
/// Of the file system, for the large one.
const LARGE_SHARE: u64 = 64;
/// Bounds of the large one, in bytes: the producers of one partition, 250 to 4,000 of them. One with more is freed after
/// others have given room.
const LARGE_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=LARGE_BYTES_MAX;
/// The largest spare file.
pub const LARGE_BYTES_MAX: u64 = 1 << 20;

/// The spare files of one data directory; cheap to clone.
#[derive(Clone)]
pub struct Spare(Arc<Inner>);

struct Inner {
    files: Arc<dyn Files>,
    large_max: u64,
    pieces: Mutex<Pieces>,
    /// One makes them at a time.
    filling: tokio::sync::Mutex<()>,
    /// It was said that they cannot be made.
    complained: AtomicBool,
}

#[derive(Default)]
struct Pieces {
    free: Vec<Piece>,
    /// Numbers of those that are being written over, and whose names are not free before that is done.
    taken: Vec<usize>,
}

/// A file that is there for its room.
struct Piece {
    number: usize,
    bytes: usize,
    file: Arc<dyn File>,
}

/// A piece that nobody else has, and whose name nobody else gives to a file, until this is dropped.
struct Taken<'a> {
    spare: &'a Spare,
    piece: Piece,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.spare.pieces().taken.retain(|number| *number != self.piece.number);
    }
}

fn path(number: usize) -> PathBuf {
    Path::new(DIRECTORY).join(number.to_string())
}

impl Spare {
    /// None yet, until [`Spare::fill`]; none of more than `large_max` bytes, and with 0 none at all.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, large_max: u64) -> Self {
        let (pieces, filling) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { files, large_max, pieces, filling, complained: AtomicBool::new(false) }))
    }

    /// Makes those that are missing. While the disk is full there may be fewer: that is said once.
    pub async fn fill(&self) {
        let Ok(_one_at_a_time) = self.0.filling.try_lock() else { return };
        if self.0.large_max == 0 {
            return;
        }
        let missing: Vec<usize> = {
            let pieces = self.pieces();
            let is_there = |number: &usize| {
                pieces.taken.contains(number) || pieces.free.iter().any(|piece| piece.number == *number)
            };
            (0..=SMALL).filter(|number| !is_there(number)).collect()
        };
        if missing.is_empty() {
            return;
        }
        let filled = self.make(&missing).await;
        match filled {
            Ok(()) => self.0.complained.store(false, Ordering::Relaxed),
            Err(error) if !self.0.complained.swap(true, Ordering::Relaxed) => {
                tracing::warn!("no room can be kept under {DIRECTORY}/ for freeing a full disk: {error}");
            }
            Err(_) => {}
        }
    }

    async fn make(&self, missing: &[usize]) -> io::Result<()> {
        let files = &*self.0.files;
        match files.create_dir(Path::new(DIRECTORY)).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let share = files.space().await?.size / LARGE_SHARE;
        let large = share.clamp(*LARGE_BYTES.start(), *LARGE_BYTES.end()).min(self.0.large_max);
        for number in missing {
            let bytes =
                if *number < SMALL { SMALL_BYTES } else { usize::try_from(large).unwrap_or(SMALL_BYTES) };
            let path = path(*number);
            let file = create_over(files, &path).await?;
            let written = async {
                write_all_at(&*file, 0, &[Bytes::from(vec![0; bytes])])
                    .await
                    .map_err(|error| error.source)?;
                // Some file systems look for room only now.
                file.flush().await
            };
            if let Err(error) = written.await {
                files.remove(&path).await?;
                return Err(error);
            }
            self.pieces().free.push(Piece { number: *number, bytes, file });
        }
        Ok(())
    }

    /// Unlinks all of them, those of an earlier process too: a start that finds the disk full needs their room for more than
    /// small files. [`Spare::fill`] makes them anew.
    pub async fn give_up(&self) {
        let _none_is_made = self.0.filling.lock().await;
        let taken = {
            let mut pieces = self.pieces();
            pieces.free.clear();
            pieces.taken.clone()
        };
        for path in (0..=SMALL).filter(|number| !taken.contains(number)).map(path) {
            match self.0.files.remove(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("{} keeps room that is needed: {error}", path.display());
                }
                _ => {}
            }
        }
    }

    /// As [`replace_file`], and if the disk is full, with the room that is kept.
    ///
    /// # Errors
    /// When any step fails; the disk is full, and there is no spare file that is large enough.
    pub async fn replace_file(&self, path: &Path, content: Bytes) -> io::Result<Arc<dyn File>> {
        let files = &*self.0.files;
        let full = match replace_file(files, path, content.clone()).await {
            Err(error) if is_full(&error) => error,
            done => return done,
        };
        let Some(taken) = self.take(content.len()) else { return Err(full) };
        let (bytes, file) = (content.len() as u64, taken.piece.file.clone());
        write_all_at(&*file, 0, &[content]).await.map_err(|error| error.source)?;
        file.truncate(bytes).await?;
        file.flush().await?;
        files.rename(&self::path(taken.piece.number), path).await?;
        files.sync_dir(path.parent().unwrap_or(Path::new(""))).await?;
        tracing::info!("the disk is full: {} took the place of a file under {DIRECTORY}/", path.display());
        Ok(file)
    }

    /// The smallest one that holds so many bytes.
    fn take(&self, bytes: usize) -> Option<Taken<'_>> {
        let mut pieces = self.pieces();
        let fits = pieces.free.iter().enumerate().filter(|(_, piece)| piece.bytes >= bytes);
        let (at, _) = fits.min_by_key(|(_, piece)| piece.bytes)?;
        let piece = pieces.free.swap_remove(at);
        pieces.taken.push(piece.number);
        Some(Taken { spare: self, piece })
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gapless_common::seam::{RealSpawn, Spawner};

    use super::*;
    use crate::storage::{
        RealFiles,
        faulty::{Faults, FaultyFiles},
        read_exact_at,
    };

    struct Disk {
        directory: tempfile::TempDir,
        faults: Arc<Faults>,
        files: Arc<dyn Files>,
    }

    fn disk() -> Disk {
        let directory = tempfile::tempdir().unwrap();
        let inner = Arc::new(RealFiles::new(directory.path(), Spawner::new(RealSpawn)));
        let faults = Arc::new(Faults::default());
        let files = Arc::new(FaultyFiles { inner, faults: faults.clone() });
        Disk { directory, faults, files }
    }

    async fn content(files: &dyn Files, name: &str) -> Bytes {
        let file = files.open(Path::new(name)).await.unwrap();
        let size = file.size().await.unwrap();
        read_exact_at(&*file, 0, size as usize).await.unwrap()
    }

    async fn names(files: &dyn Files, directory: &str) -> Vec<String> {
        files.list(Path::new(directory)).await.unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[tokio::test]
    async fn a_full_disk_takes_a_few_small_files_and_one_large_one_and_room_makes_them_anew() {
        let Disk { directory: _directory, faults, files } = disk();
        let spare = Spare::new(files.clone(), LARGE_BYTES_MAX);
        spare.fill().await;
        let all = names(&*files, DIRECTORY).await;
        assert_eq!(all.len(), SMALL + 1);
        replace_file(&*files, Path::new("state"), Bytes::from_static(b"before")).await.unwrap();
        for round in 0..2 {
            faults.fill_up_to(100);
            let large = Bytes::from(vec![7; 60_000]);
            assert!(replace_file(&*files, Path::new("state"), large.clone()).await.is_err());
            assert_eq!(names(&*files, "").await.iter().filter(|name| name.ends_with(".tmp")).count(), 0);
            faults.fill_up_to(0);
            spare.replace_file(Path::new("checkpoint"), large.clone()).await.unwrap();
            let again = spare.replace_file(Path::new("another"), large.clone()).await;
            assert!(again.is_err_and(|error| is_full(&error)), "there is one large one");
            for number in 0..SMALL {
                let small = Bytes::from(format!("{round} {number}"));
                spare.replace_file(Path::new("state"), small.clone()).await.unwrap();
                assert_eq!(content(&*files, "state").await, small);
            }
            assert!(spare.replace_file(Path::new("state"), Bytes::from_static(b"too many")).await.is_err());
            assert_eq!(content(&*files, "state").await, format!("{round} {}", SMALL - 1));
            assert_eq!(content(&*files, "checkpoint").await, large);
            spare.fill().await;
            assert_eq!(names(&*files, DIRECTORY).await, Vec::<String>::new(), "nothing half stays");
            faults.make_room();
            spare.fill().await;
            assert_eq!(names(&*files, DIRECTORY).await, all);
        }
    }

    #[tokio::test]
    async fn a_file_that_takes_the_place_of_another_is_not_made_anew_meanwhile() {
        let Disk { directory: _directory, faults, files } = disk();
        let spare = Spare::new(files.clone(), LARGE_BYTES_MAX);
        spare.fill().await;
        for round in ["first", "second"] {
            faults.fill_up_to(0);
            Faults::set(&faults.flush_held, true);
            let mut replacing = Box::pin(spare.replace_file(Path::new("state"), Bytes::from(round)));
            assert!(futures_util::poll!(&mut replacing).is_pending(), "it waits for its flush");
            // Both while the disk is still full, and when there is room again.
            for has_room in [false, true] {
                if has_room {
                    faults.make_room();
                }
                assert!(futures_util::poll!(Box::pin(spare.fill())).is_ready(), "there is nothing to make");
            }
            faults.release_flushes();
            replacing.await.unwrap();
            assert_eq!(content(&*files, "state").await, round);
            spare.fill().await;
            assert_eq!(content(&*files, "state").await, round, "no piece is the file that was made of one");
            assert_eq!(names(&*files, DIRECTORY).await.len(), SMALL + 1);
        }
        faults.fill_up_to(0);
        drop(spare.take(1));
        assert!(spare.pieces().taken.is_empty());
    }

    #[tokio::test]
    async fn spare_files_of_an_earlier_process_are_made_anew() {
        let Disk { directory, faults: _, files } = disk();
        files.create_dir(Path::new(DIRECTORY)).await.unwrap();
        // As a power loss may leave it: the new name of a file is on the disk, and so is the old one.
        let spare_name = path(0);
        let state = files.create(Path::new("state")).await.unwrap();
        write_all_at(&*state, 0, &[Bytes::from_static(b"state")]).await.unwrap();
        let root = directory.path();
        std::fs::hard_link(root.join("state"), root.join(&spare_name)).unwrap();
        let spare = Spare::new(files.clone(), LARGE_BYTES_MAX);
        spare.fill().await;
        assert_eq!(content(&*files, "state").await, b"state"[..]);
        assert_eq!(content(&*files, "spare/0").await.len(), SMALL_BYTES);
    }
}
