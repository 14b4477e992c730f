//! Programs that sit before a terminal, and somebody who answers their questions.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    process::{Command, Output, Stdio},
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// A terminal so many columns wide: the end of the person, and the one of the program.
///
/// # Errors
/// There is none to be had.
pub fn open(columns: u16) -> io::Result<(File, OwnedFd)> {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&person)?;
    unlockpt(&person)?;
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&person, size)?;
    let name = ptsname(&person, Vec::new())?;
    let not_ours = i32::try_from(OFlags::NOCTTY.bits()).map_err(io::Error::other)?;
    let program = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(not_ours)
        .open(OsStr::from_bytes(name.to_bytes()))?;
    Ok((File::from(person), program.into()))
}

/// Runs `command` with a terminal as its standard input, at which `line` is typed.
///
/// # Panics
/// If there are no terminals, or the program cannot be started.
pub fn answer(command: &mut Command, line: &str) -> Output {
    let (mut person, program) = open(80).expect("a terminal can be opened");
    command.stdin(program).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // It waits there until somebody reads.
    writeln!(person, "{line}").expect("typed");
    child.wait_with_output().expect("it ends")
}
