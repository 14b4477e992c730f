//! `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "For bash: gapless-producer completions bash > \
                        ~/.local/share/bash-completion/completions/gapless-producer")]
pub struct CompletionsArgs {
    /// Whose
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "To read one: gapless-producer man publish | man -l -")]
pub struct ManArgs {
    /// The command that the page is about [default: the program itself]
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,

    /// Write the pages of all commands to this directory instead
    #[arg(long, env = "GAPLESS_DIR", value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}
