//! `completions` and `man`: made from the flags themselves, so that they are never behind.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::{Args, ManArgs};
use super::exit::Stop;

/// Prints the completions of one shell.
pub fn completions(shell: Shell) -> Result<ExitCode, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "gapless-producer", &mut script);
    print(&script)
}

/// Prints one manual page, or writes all of them to a directory.
pub fn man(args: &ManArgs) -> Result<ExitCode, Stop> {
    let mut command = Args::command();
    command.build();
    if let Some(dir) = &args.dir {
        return clap_mangen::generate_to(Args::command(), dir)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| cannot_write(dir, &error));
    }
    let mut wanted = &command;
    for word in &args.command {
        wanted = wanted
            .get_subcommands()
            .find(|sub| sub.get_name() == word)
            .ok_or_else(|| Stop::Usage(format!("{} has no command '{word}'", wanted.get_name())))?;
    }
    let mut page = Vec::new();
    Man::new(wanted.clone()).render(&mut page).map_err(|error| Stop::output(&error))?;
    print(&page)
}

fn cannot_write(dir: &Path, error: &io::Error) -> Stop {
    Stop::Failed(format!("--dir {}: the pages cannot be written: {error}", dir.display()))
}

fn print(bytes: &[u8]) -> Result<ExitCode, Stop> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Stop::output(&error))?;
    Ok(ExitCode::SUCCESS)
}
