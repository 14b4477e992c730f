//! On what, and with what, it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::failure::{During, Failure, Outcome};

/// What figures depend on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    /// Of the directory that everything is written to.
    pub file_system: String,
    /// Running processes, averaged over a minute, before the first measurement: 0 on an idle machine.
    pub load: String,
    /// Program and version.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    pub fn look(dir: &Path) -> Outcome<Self> {
        let read = |path: &str| fs::read_to_string(path).during(path);
        let (cpus, memory) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?);
        let mounts = read("/proc/self/mounts")?;
        Ok(Self {
            cpu: value_of(&cpus, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().during("the number of cores")?.get(),
            memory_bytes: value_of(&memory, "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system_of(&mounts, &dir.canonicalize().during(dir.display())?)
                .unwrap_or_else(|| "unknown".to_owned()),
            load: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
            versions: Vec::new(),
        })
    }
}

/// The value in a `name : value` line.
fn value_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Kind and options of the mount that a directory lies on: the one with the longest path.
fn file_system_of(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind, options) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), format!("{kind} ({options})")))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, what)| what)
}

/// Bytes that may still be written to a directory.
pub fn free_bytes(dir: &Path) -> Outcome<u64> {
    let found = rustix::fs::statvfs(dir).during(dir.display())?;
    Ok(found.f_bavail * found.f_frsize)
}

/// The first line that a program prints about itself.
pub fn version_of(program: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(arguments).output().during(program.display())?;
    // Java writes it to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| Failure(format!("{} says no version", program.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw,noatime 0 0\ntmpfs /data/tmp tmpfs rw 0 0\n";
        let of = |dir: &str| file_system_of(mounts, Path::new(dir));
        assert_eq!(of("/data/bench").as_deref(), Some("xfs (rw,noatime)"));
        assert_eq!(of("/database").as_deref(), Some("ext4 (rw)"));
        assert_eq!(value_of("a\t: 1\nmodel name\t: X: Y\n", "model name").as_deref(), Some("X: Y"));
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look(Path::new(".")).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty());
        assert!(free_bytes(Path::new(".")).unwrap() > 0);
    }
}
