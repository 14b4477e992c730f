//! A small file system of its own: the real thing for a full disk, and for one that turns read-only.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::{NamedTempFile, TempDir};

/// The file that takes all the room.
const BALLAST: &str = "ballast";

/// A mounted file system; gone with its content when dropped.
pub struct Mount {
    folder: TempDir,
    /// What lies under a loop device; removed after the mount.
    _image: Option<NamedTempFile>,
}

impl Mount {
    /// A tmpfs of so many bytes. `None`, with a word on standard error, where this user may not mount one.
    ///
    /// # Panics
    /// If no temporary directory can be made.
    #[expect(clippy::print_stderr, reason = "who reads a test's output must see that it was skipped")]
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let folder = TempDir::with_prefix("gapless-mount-").expect("a temporary directory can be made");
        let size = format!("size={bytes}");
        let arguments = ["-t", "tmpfs", "-o", &size, "gapless-test"];
        match run(Command::new("mount").args(arguments).arg(folder.path())) {
            Ok(()) => Some(Self { folder, _image: None }),
            Err(why) => {
                eprintln!("skipped: a tmpfs cannot be mounted here ({why})");
                None
            }
        }
    }

    /// An ext4 of so many bytes in a file, mounted through a loop device: a disk whose flushes are real. `None`, with a word on
    /// standard error, where this user may not mount one.
    ///
    /// # Panics
    /// If no temporary directory can be made.
    #[expect(clippy::print_stderr, reason = "who reads a test's output must see that it was skipped")]
    pub fn ext4(bytes: u64) -> Option<Self> {
        let folder = TempDir::with_prefix("gapless-mount-").expect("a temporary directory can be made");
        let image = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        image.as_file().set_len(bytes).expect("a file can be sparse");
        let mounted = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image.path()))
            .and_then(|()| {
                run(Command::new("mount").args(["-o", "loop"]).args([image.path(), folder.path()]))
            });
        match mounted {
            Ok(()) => Some(Self { folder, _image: Some(image) }),
            Err(why) => {
                eprintln!("skipped: an ext4 cannot be mounted here ({why})");
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Takes all the room that is left, until [`Mount::make_room`].
    ///
    /// # Panics
    /// If the file that takes it cannot be made.
    pub fn fill(&self) {
        let chunk = vec![0_u8; 64 << 10];
        let mut ballast = File::create(self.join(BALLAST)).expect("a file can be made");
        for size in [chunk.len(), 4096, 1] {
            while ballast.write_all(&chunk[..size]).is_ok() {}
        }
    }

    /// Gives back what [`Mount::fill`] took.
    ///
    /// # Panics
    /// If nothing was taken.
    pub fn make_room(&self) {
        fs::remove_file(self.join(BALLAST)).expect("the room was taken before");
    }

    /// From now on nothing can be written.
    ///
    /// # Panics
    /// If it is in use, or the system refuses.
    pub fn make_read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()))
            .unwrap_or_else(|why| panic!("cannot be made read-only: {why}"));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: what still has a file open there keeps it, and the name is free.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
