//! The producer's command line, run as a user runs it.

use std::{
    ffi::OsStr,
    fs,
    io::{ErrorKind, Write},
    path::Path,
    process::Command,
    thread,
};

use serde_json::Value;

use crate::{
    binaries,
    broker::clean_environment,
    process::{Ended, Process},
};

/// It ended with this code and its complaint holds all of these.
///
/// # Panics
/// If not.
pub fn assert_ended(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in {:?}", ended.stderr);
    }
}

/// Writes a file for it to read; gives its path as an argument.
///
/// # Panics
/// If it cannot be written.
pub fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("a file can be written");
    path.to_str().expect("its name is text").to_owned()
}

/// Starts `gapless-producer` with these arguments and leaves it running.
///
/// # Panics
/// If it cannot be started.
pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Process {
    let mut command = Command::new(binaries::path("gapless-producer"));
    command.args(arguments);
    clean_environment(&mut command);
    Process::start("gapless-producer", &mut command)
}

/// The same, with a terminal so many columns wide for standard error.
///
/// # Panics
/// If it cannot be started.
pub fn start_on_terminal<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I, columns: u16) -> Process {
    let mut command = Command::new(binaries::path("gapless-producer"));
    command.args(arguments);
    clean_environment(&mut command);
    Process::start_on_terminal("gapless-producer", &mut command, columns)
}

/// Runs it with nothing on standard input.
///
/// # Panics
/// If it does not end.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Ended {
    start(arguments).end()
}

/// Runs it with `input` on standard input.
///
/// # Panics
/// If it does not end.
pub fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I, input: &[u8]) -> Ended {
    let mut process = start(arguments);
    let mut stdin = process.take_stdin().expect("standard input is piped");
    let input = input.to_owned();
    let writer = thread::spawn(move || match stdin.write_all(&input) {
        // A program that refuses its input may end without having read all of it.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("cannot write standard input: {error}"),
        _ => {}
    });
    let ended = process.end();
    writer.join().expect("standard input was written");
    ended
}

/// The summary that `--output json` prints.
///
/// # Panics
/// If standard output is not one JSON object.
pub fn summary(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("no summary ({error}), exit code {}: {ended:?}", ended.code))
}
