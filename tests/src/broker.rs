//! The real broker, in a process and a directory of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    binaries,
    exposition::Exposition,
    http,
    ports::free_port,
    process::{Ended, Process},
    wait::{wait_for, wait_until},
};

/// A broker to be: flags, and where its data lies.
#[derive(Debug, Clone)]
pub struct BrokerBuilder {
    flags: Vec<String>,
    data_dir: Option<PathBuf>,
    descriptors: Option<u32>,
}

impl BrokerBuilder {
    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.push(name.to_owned());
        self.flags.push(value.to_string());
        self
    }

    /// Uses this directory, and leaves it behind, instead of one that goes with the broker.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Lets it open no more than so many files and connections, as `ulimit -n` does.
    #[must_use]
    pub fn descriptors(mut self, max: u32) -> Self {
        self.descriptors = Some(max);
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    pub fn start(self) -> Broker {
        self.try_start().unwrap_or_else(|ended| panic!("the broker did not get ready: {ended:?}"))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// How it ended instead.
    ///
    /// # Panics
    /// If it does neither.
    pub fn try_start(self) -> Result<Broker, Ended> {
        let temp = TempDir::with_prefix("gapless-test-").expect("a temporary directory can be made");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| temp.path().join("data"));
        let has = |flag: &str| self.flags.iter().any(|have| have == flag);
        let mut flags = self.flags.clone();
        // Ports are fixed beforehand, so that a restart finds the same one free.
        for flag in ["--listen", "--http-listen"] {
            if !has(flag) {
                flags.extend([flag.to_owned(), format!("127.0.0.1:{}", free_port())]);
            }
        }
        let limits = self.descriptors;
        let (process, ready) = launch(&flags, &data_dir, limits)?;
        let logged = String::new();
        Ok(Broker { flags, data_dir, limits, _temp: temp, process: Some(process), ready, logged })
    }

    /// Starts it and waits for its end: for starts that cannot work.
    ///
    /// # Panics
    /// If it does not end.
    pub fn start_in_vain(self) -> Ended {
        let temp = TempDir::with_prefix("gapless-test-").expect("a temporary directory can be made");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| temp.path().join("data"));
        let has = |flag: &str| self.flags.iter().any(|have| have == flag);
        let mut flags = self.flags.clone();
        for flag in ["--listen", "--http-listen"] {
            if !has(flag) {
                flags.extend([flag.to_owned(), "127.0.0.1:0".to_owned()]);
            }
        }
        Process::start("gapless-broker", &mut command(&flags, &data_dir, self.descriptors)).end()
    }
}

/// A running broker.
pub struct Broker {
    flags: Vec<String>,
    data_dir: PathBuf,
    limits: Option<u32>,
    _temp: TempDir,
    process: Option<Process>,
    ready: Ready,
    logged: String,
}

/// What the ready line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// `HOST:PORT` of the first Kafka listener.
    pub kafka: String,
    /// `HOST:PORT` of `/metrics`.
    pub http: String,
    /// The other listeners by name.
    pub others: Vec<(String, String)>,
}

impl Ready {
    /// Reads `gapless-broker ready kafka=HOST:PORT http=HOST:PORT [kafka.NAME=HOST:PORT…]`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut ready = Self { kafka: String::new(), http: String::new(), others: Vec::new() };
        for word in line.strip_prefix("gapless-broker ready ")?.split(' ') {
            let (name, address) = word.split_once('=')?;
            match name {
                "kafka" => ready.kafka = address.to_owned(),
                "http" => ready.http = address.to_owned(),
                _ => ready.others.push((name.strip_prefix("kafka.")?.to_owned(), address.to_owned())),
            }
        }
        (!ready.kafka.is_empty() && !ready.http.is_empty()).then_some(ready)
    }
}

fn command(flags: &[String], data_dir: &Path, descriptors: Option<u32>) -> Command {
    let program = binaries::path("gapless-broker");
    let mut command = match descriptors {
        None => Command::new(program),
        Some(max) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {max} && exec \"$0\" \"$@\"")).arg(program);
            shell
        }
    };
    command.args(flags).arg("--data-dir").arg(data_dir);
    clean_environment(&mut command);
    command
}

/// Takes out what would change the meaning of a command line.
pub fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GAPLESS_") {
            command.env_remove(name);
        }
    }
}

fn launch(flags: &[String], data_dir: &Path, descriptors: Option<u32>) -> Result<(Process, Ready), Ended> {
    Process::start("gapless-broker", &mut command(flags, data_dir, descriptors)).line_or_end(Ready::parse)
}

impl Broker {
    /// A broker with the defaults, but for its ports and its directory.
    ///
    /// # Panics
    /// If it does not get ready.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A broker to be.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder { flags: Vec::new(), data_dir: None, descriptors: None }
    }

    /// `HOST:PORT` of the first Kafka listener.
    pub fn address(&self) -> &str {
        &self.ready.kafka
    }

    /// `HOST:PORT` of `/metrics`.
    pub fn http_address(&self) -> &str {
        &self.ready.http
    }

    /// Everything the ready line said.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where its data lies.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The running process.
    ///
    /// # Panics
    /// If it was killed and not started again.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the broker is running")
    }

    /// What it logged so far, over all its starts.
    pub fn log(&self) -> String {
        self.logged.clone() + &self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.logged.push_str(&process.stderr());
        }
    }

    /// SIGTERM; returns how it ended.
    ///
    /// # Panics
    /// If it does not end, or does not run.
    pub fn stop(&mut self) -> Ended {
        self.process().signal(Signal::TERM);
        self.wait_for_end()
    }

    /// How it ended, after a signal that was sent otherwise.
    ///
    /// # Panics
    /// If it does not end, or does not run.
    pub fn wait_for_end(&mut self) -> Ended {
        let ended = self.process.take().expect("the broker is running").end();
        self.logged.push_str(&ended.stderr);
        ended
    }

    /// SIGSTOP: every connection stays open, nothing moves.
    pub fn freeze(&mut self) {
        self.process().freeze();
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process().signal(Signal::CONT);
    }

    /// Starts it again on the same ports and the same directory, killing it first if it still runs.
    ///
    /// # Panics
    /// If it does not get ready again, or says another address than before.
    pub fn restart(&mut self) {
        self.kill();
        let (process, ready) = launch(&self.flags, &self.data_dir, self.limits)
            .unwrap_or_else(|ended| panic!("the broker did not get ready again: {ended:?}"));
        self.process = Some(process);
        if !self.flags.iter().any(|flag| flag.ends_with(":0")) {
            assert_eq!(ready, self.ready, "the same flags give the same addresses");
        }
        self.ready = ready;
    }

    /// One scrape of `/metrics`.
    ///
    /// # Panics
    /// If it cannot be had or read.
    pub fn metrics(&self) -> Exposition {
        let answer = http::get(&self.ready.http, "/metrics").expect("metrics can be scraped");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Exposition::parse(&answer.body).unwrap_or_else(|why| panic!("metrics cannot be read: {why}"))
    }

    /// The sum of a metric's samples whose labels include `labels`.
    ///
    /// # Panics
    /// If metrics cannot be scraped.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// Waits until a metric has reached `at_least`; gives its value.
    ///
    /// # Panics
    /// If it never does.
    pub fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], at_least: f64) -> f64 {
        wait_for(&format!("{name}{labels:?} >= {at_least}"), || {
            Some(self.metric(name, labels)).filter(|value| *value >= at_least)
        })
    }

    /// Waits until the log holds a line with `text`.
    ///
    /// # Panics
    /// If it never does.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("a log line with {text:?}"), || self.log().contains(text));
    }

    /// Open file descriptors.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn open_descriptors(&mut self) -> usize {
        let path = format!("/proc/{}/fd", self.process().id());
        std::fs::read_dir(path).expect("the kernel knows its processes").count()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn resident_bytes(&mut self) -> u64 {
        let path = format!("/proc/{}/status", self.process().id());
        let status = std::fs::read_to_string(path).expect("the kernel knows its processes");
        let kib: Option<u64> = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        1024 * kib.expect("the kernel says how much memory is resident")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let ready =
            Ready::parse("gapless-broker ready kafka=127.0.0.1:1 http=127.0.0.1:2 kafka.inside=[::1]:3")
                .unwrap();
        assert_eq!(ready.kafka, "127.0.0.1:1");
        assert_eq!(ready.http, "127.0.0.1:2");
        assert_eq!(ready.others, [("inside".to_owned(), "[::1]:3".to_owned())]);
        assert_eq!(Ready::parse("gapless-broker ready kafka=127.0.0.1:1"), None);
        assert_eq!(Ready::parse("something else"), None);
    }
}
