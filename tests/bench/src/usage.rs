//! What a process has cost so far, as the kernel counts it.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::failure::{During, Failure, Outcome};

/// `USER_HZ`: a constant of Linux' interface to user space, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds in user space and in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { user: (self.user - earlier.user).max(0.0), system: (self.system - earlier.system).max(0.0) }
    }
}

/// A process of this machine.
#[derive(Debug, Clone)]
pub struct Watched(String);

impl Watched {
    pub fn this() -> Self {
        Self("self".to_owned())
    }

    pub fn process(id: u32) -> Self {
        Self(id.to_string())
    }

    /// Since it began; threads that have ended included.
    pub fn cpu(&self) -> Outcome<Cpu> {
        self.fields(11)
    }

    /// Of the children that have ended and were waited for.
    pub fn children_cpu(&self) -> Outcome<Cpu> {
        self.fields(13)
    }

    fn fields(&self, first: usize) -> Outcome<Cpu> {
        let path = format!("/proc/{}/stat", self.0);
        let stat = fs::read_to_string(&path).during(&path)?;
        cpu_fields(&stat, first).ok_or_else(|| Failure(format!("{path} is not as proc(5) says: {stat}")))
    }

    /// The most bytes that were resident since the process began, or since [`Watched::forget_peak`].
    pub fn peak_bytes(&self) -> Outcome<u64> {
        self.status("VmHWM:")
    }

    /// Resident bytes now.
    pub fn resident_bytes(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> Outcome<u64> {
        let path = format!("/proc/{}/status", self.0);
        let status = fs::read_to_string(&path).during(&path)?;
        status_bytes(&status, name).ok_or_else(|| Failure(format!("{path} has no {name}")))
    }

    /// Begins to look for the peak anew.
    pub fn forget_peak(&self) -> Outcome<()> {
        let path = format!("/proc/{}/clear_refs", self.0);
        fs::write(&path, "5").during(&path)
    }
}

/// The fields are counted from 0 behind the name, which stands in parentheses and may hold anything.
fn cpu_fields(stat: &str, first: usize) -> Option<Cpu> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(first);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Cpu { user: seconds()?, system: seconds()? })
}

fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 1234 56 700 8 20 0";
        assert_eq!(cpu_fields(stat, 11), Some(Cpu { user: 12.34, system: 0.56 }));
        assert_eq!(cpu_fields(stat, 13), Some(Cpu { user: 7.0, system: 0.08 }));
        assert_eq!(cpu_fields("7 (a) S 1", 11), None);
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(status_bytes(status, "VmHWM:"), Some(2048 * 1024));
        assert_eq!(status_bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_can_be_watched() {
        let this = Watched::this();
        assert!(this.cpu().unwrap().total() >= 0.0);
        assert!(this.peak_bytes().unwrap() >= 1024 * 1024);
    }
}
