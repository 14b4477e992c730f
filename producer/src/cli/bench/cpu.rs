//! Processor time of this process.

use serde::Serialize;

/// Seconds since the process began, or between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CpuSeconds {
    pub user: f64,
    pub system: f64,
}

impl CpuSeconds {
    /// As the kernel counts them, in hundredths; `None` where it is not Linux.
    #[expect(clippy::disallowed_methods, reason = "the kernel answers through a file")]
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        /// `USER_HZ`: a constant of Linux' interface to user space, whatever the kernel's own clock.
        const TICKS_PER_SECOND: f64 = 100.0;
        // The name before it, in parentheses, may hold anything.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self { user: seconds()?, system: seconds()? })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { user: (self.user - earlier.user).max(0.0), system: (self.system - earlier.system).max(0.0) }
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 1234 56 0 0 20 0";
        assert_eq!(CpuSeconds::parse(line), Some(CpuSeconds { user: 12.34, system: 0.56 }));
        assert_eq!(CpuSeconds::parse("7 (a) S 1"), None);
    }
}
