//! A program that sits before a terminal, and somebody who answers its question.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// Runs `command` with a terminal as its standard input, at which `line` is typed.
///
/// # Panics
/// If there are no terminals, or the program cannot be started.
pub fn answer(command: &mut Command, line: &str) -> Output {
    let terminal: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let no_control = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag of open(2)");
    let stdin = OpenOptions::new().read(true).write(true).custom_flags(no_control).open(path);
    command.stdin(stdin.expect("the program's side")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // It waits there until somebody reads.
    let mut keyboard = std::fs::File::from(terminal);
    writeln!(keyboard, "{line}").expect("typed");
    child.wait_with_output().expect("it ends")
}
