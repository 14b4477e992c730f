//! A child process whose output is gathered and which never outlives its handle.

use std::{
    fs,
    io::{ErrorKind, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::terminal;
use crate::wait::{LIMIT, wait_for, wait_until};

/// Bytes that are taken from a stream at once.
const PIECE: usize = 16 * 1024;

/// A running program. Killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, or 128 + the signal that ended it, as a shell would say.
    pub code: i32,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command`, with pipes for all three streams.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Output::gather(child.stdout.take().expect("standard output is piped"));
        let stderr = Output::gather(child.stderr.take().expect("standard error is piped"));
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// The same, but standard error is a terminal so many columns wide.
    ///
    /// # Panics
    /// If the program cannot be started, or there are no terminals.
    pub fn start_on_terminal(name: &str, command: &mut Command, columns: u16) -> Self {
        let (ours, theirs) = terminal::open(columns).expect("a terminal can be opened");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(theirs);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // The terminal ends when nobody has its other end: neither the program nor we, in what was to be started.
        command.stderr(Stdio::null());
        let stdout = Output::gather(child.stdout.take().expect("standard output is piped"));
        Self { name: name.to_owned(), child, stdout, stderr: Output::gather(ours) }
    }

    /// The program's standard input; dropping it closes it. `None` if it was taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal`.
    ///
    /// # Panics
    /// If the process has been waited for already.
    pub fn signal(&self, signal: Signal) {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id is positive");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// SIGSTOP, and waits until every thread stands still: the kernel stops them one after the other.
    ///
    /// # Panics
    /// If they do not, or the process has been waited for already.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        wait_until("every thread to stand still", || {
            let tasks = fs::read_dir(&tasks).expect("the process is there");
            // The state stands behind the name, which is in parentheses.
            tasks
                .filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok())
                .all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
        });
    }

    /// Whether the program has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for a whole line on standard output that `wanted` accepts, and gives what it made of it.
    ///
    /// # Panics
    /// If standard output ends before, or nothing comes within [`LIMIT`].
    pub fn line<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        match self.stdout.line(LIMIT, &wanted) {
            Ok(value) => value,
            Err(text) => {
                let code = self.child.try_wait().ok().flatten().map(code);
                panic!("{} printed no {what} (exit code {code:?}); standard output: {text:?}", self.name)
            }
        }
    }

    /// As [`Process::line`], but gives how the program ended if it does so before.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// If it neither prints such a line nor ends within [`LIMIT`].
    pub fn line_or_end<T>(self, wanted: impl Fn(&str) -> Option<T>) -> Result<(Self, T), Ended> {
        match self.stdout.line(LIMIT, &wanted) {
            Ok(value) => Ok((self, value)),
            Err(_) => Err(self.end()),
        }
    }

    /// What was written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What was written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for the end, with standard input closed.
    ///
    /// # Panics
    /// If it does not end within [`LIMIT`].
    pub fn end(mut self) -> Ended {
        drop(self.take_stdin());
        let status = wait_for(&format!("the end of {}", self.name), || {
            self.child.try_wait().expect("a child can be waited for")
        });
        self.stdout.join();
        self.stderr.join();
        Ended { code: code(status), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Ends the process at once (`kill -9`) and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only if it ended before, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::print_stderr, reason = "shown beside the failed test that owned the process")]
impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            self.stderr.join();
            eprintln!("---- {} wrote to standard error ----\n{}----", self.name, tail(&self.stderr.text()));
        }
    }
}

/// The last part of a long log, on a line's border.
fn tail(text: &str) -> &str {
    const SHOWN: usize = 8 * 1024;
    let from = text.len().saturating_sub(SHOWN);
    match text.as_bytes()[from..].iter().position(|byte| *byte == b'\n') {
        Some(line_end) if from > 0 => text.get(from + line_end + 1..).unwrap_or(text),
        _ => text,
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// One stream of a process, gathered by a thread of its own so that the process never waits for its reader.
struct Output {
    shared: Arc<Gathered>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Gathered {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Output {
    fn gather(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Gathered::default());
        let to = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let mut stream = stream;
            let mut piece = vec![0; PIECE];
            loop {
                let read = stream.read(&mut piece);
                if matches!(&read, Err(error) if error.kind() == ErrorKind::Interrupted) {
                    continue;
                }
                // A terminal ends with an error: nobody has its other end any more.
                let count = read.unwrap_or(0);
                let mut state = to.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.0.extend_from_slice(&piece[..count]);
                state.1 = count == 0;
                to.changed.notify_all();
                if state.1 {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).0)
            .into_owned()
    }

    /// Waits for a whole line that `wanted` accepts; the text so far if there is none.
    fn line<T>(&self, limit: Duration, wanted: &impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |(bytes, ended)| {
                let text = String::from_utf8_lossy(bytes);
                found = text
                    .split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'))
                    .find_map(|l| wanted(l.trim_end()));
                found.is_none() && !*ended
            })
            .unwrap_or_else(PoisonError::into_inner);
        found.ok_or_else(|| String::from_utf8_lossy(&state.0).into_owned())
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has nothing more to give.
            let _ = reader.join();
        }
    }
}
