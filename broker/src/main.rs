//! The binary: flags in, a ready line out, signals to a clean stop.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory as _, Parser};
use gapless_broker::{
    Broker,
    cli::{Args, LogFormat},
    storage::{Files, RealFiles},
    tools::{
        self, ToolError,
        args::{Command, LogCommand},
    },
};
use gapless_common::seam::Seams;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(&args);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("no threads could be started: {error}")),
    };
    let code = match &args.command {
        Some(Command::Log(command)) => runtime.block_on(run_tool(command)),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "gapless-broker", &mut script);
            print_page(&script)
        }
        Some(Command::Man { dir: Some(dir) }) => match clap_mangen::generate_to(Args::command(), dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("--dir {}: the pages cannot be written: {error}", dir.display())),
        },
        Some(Command::Man { dir: None }) => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Args::command()).render(&mut page) {
                Ok(()) => print_page(&page),
                Err(error) => complain(&format!("the page cannot be made: {error}")),
            }
        }
        None => runtime.block_on(run(args)),
    };
    // Does not wait for a thread that the disk holds: the stop has waited for as long as it was told.
    runtime.shutdown_background();
    code
}

fn print_page(page: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(page).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output cannot be written: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn complain(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "gapless-broker: {why}");
    ExitCode::FAILURE
}

/// `gapless-broker log`: 0 sound or done, 1 something is wrong or could not be done.
async fn run_tool(command: &LogCommand) -> ExitCode {
    let dir = match command {
        LogCommand::Check(args) => &args.dir,
        LogCommand::Dump(args) => &args.dir,
        LogCommand::Repair(args) => &args.dir,
    };
    let files = RealFiles::new(dir, Seams::real().spawner);
    let mut out = io::BufWriter::new(io::stdout());
    // Where it cannot be read what is said of a torn tail is what a start after a power loss makes of it.
    let boot_id = boot_id().unwrap_or_default();
    let result = tools::run(&files, &boot_id, command, &mut out, &mut ask).await;
    let result = result.and_then(|sound| Ok(out.flush().map(|()| sound)?));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read it has seen enough.
        Err(ToolError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "gapless-broker log: {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// On a terminal, whether to go on.
fn ask() -> bool {
    let mut answer = String::new();
    io::IsTerminal::is_terminal(&io::stdin())
        && write!(io::stderr(), "Go on? [y/N] ").is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}

async fn run(args: Args) -> ExitCode {
    let (data_dir, mut config) = match args.into_config() {
        Ok(config) => config,
        Err(error) => {
            // A flag that contradicts another is a mistake in usage, as one that cannot be read is.
            let _ = writeln!(io::stderr(), "error: {error}\n\nFor more information, try '--help'.");
            return ExitCode::from(2);
        }
    };
    config.descriptors = raise_descriptor_limit();
    let boot_id = match boot_id() {
        Ok(id) => id,
        Err(error) => return refuse(&format!("the machine's boot id cannot be read: {error}")),
    };
    // Before the start, so that a signal during recovery is not lost.
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                return refuse(&format!("signals cannot be caught: {error}"));
            }
        };
    let seams = Seams::real();
    let files: Arc<dyn Files> = Arc::new(RealFiles::new(&data_dir, seams.spawner.clone()));
    let start = Broker::start(config, files, &boot_id, seams);
    let broker = tokio::select! {
        biased;
        started = start => match started {
            Ok(broker) => broker,
            Err(error) => return refuse(&error.sentence(&data_dir)),
        },
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    if let Err(error) = say_ready(&broker) {
        tracing::warn!("the ready line could not be printed: {error}");
    }
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: finishing what is in flight");
    if broker.stop().await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "gapless-broker cannot start: {why}");
    ExitCode::FAILURE
}

fn say_ready(broker: &Broker) -> io::Result<()> {
    let mut line = String::from("gapless-broker ready");
    for (at, (name, address)) in broker.kafka_addresses().iter().enumerate() {
        if at == 0 {
            line.push_str(&format!(" kafka={address}"));
        } else {
            line.push_str(&format!(" kafka.{name}={address}"));
        }
        if at == 0
            && let Some(http) = broker.http_address()
        {
            line.push_str(&format!(" http={http}"));
        }
    }
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

fn start_logging(args: &Args) {
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(args.log_level)
        .with_target(false)
        // It would tell of them on standard error, which panics when that is full or closed, in the middle of whatever
        // had something to log.
        .log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Each partition and each connection holds descriptors; the usual soft limit of 1,024 is a relic of `select`. Gives the
/// limit that is in force now.
fn raise_descriptor_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("the limit of file descriptors stays at {:?}: {error}", limit.current);
    }
    getrlimit(Resource::Nofile).current.and_then(|current| usize::try_from(current).ok())
}

/// Changes whenever the machine is started anew, and with it the page cache is empty.
#[expect(clippy::disallowed_methods, reason = "not a file of the data directory")]
fn boot_id() -> io::Result<String> {
    std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).map(|id| id.trim().to_owned())
}
