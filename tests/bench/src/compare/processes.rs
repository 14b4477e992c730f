//! Clients as processes of their own: this program again, the Java client, the command lines.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::failure::{During, Failure, Outcome};
use crate::usage::{Cpu, Watched};

/// How often a foreign process's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// This program with other arguments.
pub fn own(arguments: &[String]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe().during("this program's path")?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Runs it to its end; what it said of itself in its last line.
pub fn told<T: DeserializeOwned>(arguments: &[String]) -> Outcome<T> {
    let output = own(arguments)?.stderr(Stdio::piped()).output().during("this program")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("{}: {}", arguments.join(" "), why.trim())));
    }
    last_line(&String::from_utf8_lossy(&output.stdout)).during(arguments.join(" "))
}

fn last_line<T: DeserializeOwned>(text: &str) -> Outcome<T> {
    let line = text.lines().last().ok_or_else(|| Failure("it said nothing".to_owned()))?;
    serde_json::from_str(line).during(line)
}

/// This program in the background: it runs until its standard input ends. Killed when dropped.
pub struct Background {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Background {
    /// Starts it; what it said first.
    pub fn start<T: DeserializeOwned>(arguments: &[String]) -> Outcome<(Self, T)> {
        let mut child = own(arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .during("this program")?;
        let stdout = child.stdout.take().ok_or_else(|| Failure("no standard output".to_owned()))?;
        let mut background = Self { child, lines: BufReader::new(stdout) };
        let said = background.next().during(arguments.join(" "))?;
        Ok((background, said))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn next<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let mut line = String::new();
        self.lines.read_line(&mut line).during("its standard output")?;
        last_line(&line)
    }

    /// Ends its standard input; what it said then.
    pub fn end<T: DeserializeOwned>(mut self) -> Outcome<T> {
        drop(self.child.stdin.take());
        self.next()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a foreign program cost from its start to its end.
pub struct Foreign {
    pub seconds: f64,
    pub cpu: Cpu,
    pub peak_bytes: u64,
    pub stdout: String,
}

/// Runs a foreign program to its end. No other child may end meanwhile: CPU time is what the kernel adds up of those that
/// did.
pub fn foreign(command: &mut Command) -> Outcome<Foreign> {
    let name = command.get_program().to_string_lossy().into_owned();
    let before = Watched::this().children_cpu()?;
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.during(&name)?;
    let (watched, peak, over) = (Watched::process(child.id()), AtomicU64::new(0), AtomicBool::new(false));
    let output = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // At its very end it has no memory any more.
                peak.fetch_max(watched.peak_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::park_timeout(LOOK);
            }
        });
        let output = child.wait_with_output();
        over.store(true, Ordering::Relaxed);
        looking.thread().unpark();
        output
    });
    let seconds = begun.elapsed().as_secs_f64();
    let output = output.during(&name)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("{name} ended with {}: {}", output.status, why.trim())));
    }
    Ok(Foreign {
        seconds,
        cpu: Watched::this().children_cpu()?.since(before),
        peak_bytes: peak.into_inner(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// A file of `lines` values, a line each.
pub fn write_lines(path: &Path, values: &crate::values::Values, lines: u64) -> Outcome<()> {
    let file = std::fs::File::create(path).during(path.display())?;
    let mut to = std::io::BufWriter::with_capacity(1 << 20, file);
    for number in 0..lines {
        to.write_all(values.get(number)).and_then(|()| to.write_all(b"\n")).during(path.display())?;
    }
    to.flush().during(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        assert_eq!(last_line::<u32>("something\n7\n").unwrap(), 7);
        assert!(last_line::<u32>("").is_err());
        assert!(last_line::<u32>("7\nelse").is_err());
    }

    #[test]
    fn a_foreign_program_is_measured() {
        let ran = foreign(Command::new("sh").args(["-c", "echo here"])).unwrap();
        assert_eq!(ran.stdout, "here\n");
        assert!(
            foreign(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
                .is_err_and(|why| why.0.contains("why"))
        );
    }
}
