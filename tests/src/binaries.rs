//! The programs under test, built once a test process.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Folder with `gapless-broker` and `gapless-producer`: `GAPLESS_BIN_DIR` if that is set, else freshly built by the
/// Cargo that runs the test, in the same profile and target directory.
///
/// # Panics
/// If the build fails.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("GAPLESS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

/// Path of one program.
///
/// # Panics
/// If the build fails.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}

/// The root of the workspace.
///
/// # Panics
/// Never in a checkout: this crate lies one folder below.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace")
}

fn build() -> PathBuf {
    // A test runs from `target/<profile>/deps/`.
    let this = env::current_exe().expect("the test knows its own path");
    let folder = this
        .ancestors()
        .find(|path| path.file_name().is_some_and(|name| name == "deps" || name == "examples"))
        .and_then(Path::parent)
        .expect("a test runs from the target directory's deps or examples folder");
    let target = folder.parent().expect("a profile lies in the target directory");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} names no profile", folder.display()),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(workspace())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "cannot build the binaries:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.to_owned()
}
