//! The brokers that are compared, each a process with a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gapless_tests::wait::{LIMIT, wait_within};
use gapless_tests::{binaries, broker, librdkafka, ports};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::fs::{Advice, fadvise};

use super::cell::Broker;
use super::workload::Durability;
use crate::failure::{During, Failure, Outcome};

/// A running broker.
pub struct Host {
    pub address: String,
    pub pid: u32,
    /// Where its data lies.
    pub data_dir: PathBuf,
    pub kind: Broker,
}

impl Host {
    /// Creates a topic that answers after what `durability` says; returns when all its partitions have a leader.
    pub fn create_topic(&self, topic: &str, partitions: i32, durability: Durability) -> Outcome<()> {
        // Ours has it in its command line.
        let settings: &[_] = match (self.kind, durability) {
            (Broker::Kafka, Durability::Fsync) => &[("flush.messages", "1")],
            _ => &[],
        };
        librdkafka::create_topic(&self.address, topic, partitions, settings);
        let consumer: BaseConsumer = librdkafka::config(&self.address).create().during("librdkafka")?;
        let led = wait_within(LIMIT, || {
            let found = consumer.fetch_metadata(Some(topic), LIMIT).ok()?;
            let all = found.topics().first()?.partitions();
            (all.len() == partitions as usize
                && all.iter().all(|one| one.leader() >= 0 && one.error().is_none()))
            .then_some(())
        });
        led.ok_or_else(|| Failure(format!("{topic}: not all of {partitions} partitions have a leader")))
    }

    /// Deletes it, so that disks and caches do not fill up; returns when it is gone, so that nobody else meets the work.
    pub fn delete_topic(&self, topic: &str) -> Outcome<()> {
        let client: AdminClient<DefaultClientContext> =
            librdkafka::config(&self.address).create().during("librdkafka")?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().during("a runtime")?;
        let deleted = runtime.block_on(client.delete_topics(&[topic], &AdminOptions::new()));
        for result in deleted.during("deleting a topic")? {
            result.map_err(|(name, code)| Failure(format!("topic {name} cannot be deleted: {code}")))?;
        }
        let gone = wait_within(DELETION_LIMIT, || (!has_folder_of(topic, &self.data_dir)).then_some(()));
        gone.ok_or_else(|| Failure(format!("{topic} is deleted, and still in {}", self.data_dir.display())))
    }

    /// Takes everything of its data out of the page cache, once it is on disk.
    pub fn make_cold(&self) -> Outcome<()> {
        for path in files(&self.data_dir)? {
            let file = fs::File::open(&path).during(path.display())?;
            file.sync_all().during(path.display())?;
            fadvise(&file, 0, None, Advice::DontNeed).during("posix_fadvise")?;
        }
        Ok(())
    }
}

/// A thousand partitions take Apache Kafka minutes.
const DELETION_LIMIT: Duration = Duration::from_secs(300);

/// Whether a folder of this topic is in a broker's directory: `topics/NAME`, or `NAME-PARTITION…` as Apache Kafka has it, also while
/// it deletes it.
fn has_folder_of(topic: &str, dir: &Path) -> bool {
    let is_of = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(topic).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    // One that vanishes while it is looked at is none.
    let within = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_listed = within(dir).into_iter().chain(within(&dir.join("topics"))).any(|path| is_of(&path));
    // Ours goes there first, under another name.
    is_listed || !within(&dir.join("trash")).is_empty()
}

fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).during(dir.display())? {
        let path = entry.during(dir.display())?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Our broker; gone, with its data, when dropped.
pub struct Ours {
    pub broker: broker::Broker,
    pub host: Host,
    _dir: tempfile::TempDir,
}

impl Ours {
    /// Starts one on an empty directory below `work`.
    pub fn start(work: &Path, durability: Durability) -> Outcome<Self> {
        let dir = tempfile::TempDir::with_prefix_in("gapless-", work).during(work.display())?;
        let mut broker = flags(durability).data_dir(dir.path()).start();
        let host = Host {
            address: broker.address().to_owned(),
            pid: broker.process().id(),
            data_dir: dir.path().to_owned(),
            kind: Broker::Ours,
        };
        Ok(Self { broker, host, _dir: dir })
    }
}

/// Our broker to be.
pub fn flags(durability: Durability) -> broker::BrokerBuilder {
    let builder = broker::Broker::builder();
    match durability {
        Durability::Default => builder,
        Durability::Os => builder.flag("--durability", "os"),
        Durability::Fsync => builder.flag("--durability", "fsync"),
    }
}

/// Apache Kafka, one node with a heap of 1 GB; stopped when dropped.
pub struct Kafka {
    pub host: Host,
    script: PathBuf,
    dir: PathBuf,
    /// From the script's start to the first answer.
    pub seconds_to_ready: f64,
}

/// The jars of Apache Kafka: those named, or those that the script can fetch; why not, if it cannot.
pub fn jars(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(named) = named {
        let named = named.canonicalize().during(named.display())?;
        version_of(&named)?;
        crate::machine::version_of(Path::new("java"), &["-version"])?;
        return Ok(named);
    }
    let output =
        Command::new(script()).arg("libs").stdin(Stdio::null()).output().during("apache_kafka.sh")?;
    if !output.status.success() {
        return Err(Failure(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The version in the name of the clients' jar.
pub fn version_of(jars: &Path) -> Outcome<String> {
    let names = fs::read_dir(jars).during(jars.display())?.filter_map(|entry| {
        let name = entry.ok()?.file_name().to_string_lossy().into_owned();
        Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_owned())
    });
    names.min().ok_or_else(|| Failure(format!("{}: no kafka-clients-*.jar there", jars.display())))
}

fn script() -> PathBuf {
    binaries::workspace().join("tests/peers/apache_kafka.sh")
}

impl Kafka {
    /// Starts a node on an empty directory below `work`.
    pub fn start(work: &Path, jars: &Path) -> Outcome<Self> {
        let (script, dir) = (script(), work.join("kafka"));
        let begun = std::time::Instant::now();
        let output = Command::new(&script)
            .arg("start")
            .env("KAFKA_DIR", &dir)
            .env("KAFKA_LIBS", jars)
            .env("KAFKA_PORT", ports::free_port().to_string())
            // Deleted topics leave at once, as ours do.
            .env("KAFKA_PROPERTIES", "log.segment.delete.delay.ms=100\nlog.initial.task.delay.ms=100")
            .env("GAPLESS_BIN_DIR", binaries::folder())
            .stdin(Stdio::null())
            .output()
            .during("apache_kafka.sh")?;
        let seconds_to_ready = begun.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(Failure(format!("Apache Kafka: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        let pid = fs::read_to_string(dir.join("pid")).during("Kafka's process id")?;
        let host = Host {
            address: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            pid: pid.trim().parse().during("Kafka's process id")?,
            data_dir: dir.join("data"),
            kind: Broker::Kafka,
        };
        Ok(Self { host, script, dir, seconds_to_ready })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // There is nobody left to tell; the directory goes anyway.
        let _ =
            Command::new(&self.script).arg("stop").env("KAFKA_DIR", &self.dir).stdin(Stdio::null()).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_still_there_is_seen_and_its_namesake_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["bench-1-0.0123-delete", "bench-20-0", "topics/bench-3", "trash"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let found =
            ["bench-1", "bench-2", "bench-20", "bench-3"].map(|topic| has_folder_of(topic, dir.path()));
        assert_eq!(found, [true, false, true, true]);
        fs::create_dir(dir.path().join("trash/7")).unwrap();
        assert!(has_folder_of("bench-2", dir.path()));
        assert_eq!(files(dir.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
