//! `gapless-producer`: publishes, reads back, manages topics.

mod cli;
mod client;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = cli::args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return cli::exit::Stop::Failed(format!("no threads could be started: {error}")).report();
        }
    };
    let code = runtime.block_on(cli::run(args));
    // A thread that waits for standard input would hold up an orderly shutdown for ever.
    runtime.shutdown_background();
    code
}
