//! Small files that others read while they are written anew.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Whoever reads the file sees the old text or the new one, never half of it; with `sync` a power loss leaves one of them, too.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a command line writes the files it is asked to"
)]
pub fn replace_file(path: &Path, text: &str, sync: bool) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    std::fs::rename(&temporary, path)
}
