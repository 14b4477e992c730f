//! How the file descriptors that the process may have (`RLIMIT_NOFILE`) are shared out, as plain arithmetic. Logs come first:
//! what would leave one without a descriptor is refused, be it a connection or a topic.
//!
//! Of the limit are taken, in this order: [`BROKER`] for what the broker itself holds, [`AT_WORK`] for files that are open for a
//! moment, one for each partition (its active segment), an eighth for the files of sealed segments. The rest is for
//! connections; a sixteenth of the limit no partition may take.

/// What a broker without topics and clients holds: standard streams, the runtime's own, signals, listeners, the lock, the
/// file of flush marks, spare files. An idle broker held 15 before there were spare files and flush marks, of which six are open.
const BROKER: usize = 24;
/// Small files being written and directories being synced: as many as are worked on at once, and a scrape or two.
const AT_WORK: usize = 24;
/// Of the limit, for the files of sealed segments.
const SEALED_SHARE: usize = 8;
/// Bounds of that share. To open a file again costs a system call, so even few do.
const SEALED: std::ops::RangeInclusive<usize> = 8..=8192;
/// Of the limit, for connections at the least.
const CONNECTIONS_SHARE: usize = 16;
/// POSIX's usual soft limit: what is assumed where nothing is known.
const UNKNOWN: usize = 1024;

/// Shares out the descriptors of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    limit: Option<usize>,
}

impl Descriptors {
    /// Of so many; `None`: it is not known how many, and only the files of sealed segments are bounded.
    #[must_use]
    pub const fn new(limit: Option<usize>) -> Self {
        Self { limit }
    }

    /// Files of sealed segments that may be open at once.
    #[must_use]
    pub fn sealed_files_max(self) -> usize {
        (self.limit.unwrap_or(UNKNOWN) / SEALED_SHARE).clamp(*SEALED.start(), *SEALED.end())
    }

    /// Partitions of all topics together.
    #[must_use]
    pub fn partitions_max(self) -> usize {
        let connections = self.limit.unwrap_or(usize::MAX) / CONNECTIONS_SHARE;
        self.logs_and_connections_max().saturating_sub(connections)
    }

    /// Connections beside so many partitions.
    #[must_use]
    pub fn connections_max(self, partitions: usize) -> usize {
        self.logs_and_connections_max().saturating_sub(partitions)
    }

    /// The limit, for people.
    #[must_use]
    pub fn limit(self) -> String {
        self.limit.map_or_else(|| "not known".to_owned(), |limit| limit.to_string())
    }

    /// For partitions and connections together.
    #[must_use]
    pub fn logs_and_connections_max(self) -> usize {
        let limit = self.limit.unwrap_or(usize::MAX);
        limit.saturating_sub(BROKER + AT_WORK + self.sealed_files_max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_of_any_limit() {
        for (limit, sealed, partitions, connections_beside_ten) in [
            (Some(64), 8, 4, 0),
            (Some(100), 12, 34, 30),
            (Some(1024), 128, 784, 838),
            (Some(4096), 512, 3280, 3526),
            (Some(20_000), 2500, 16_202, 17_442),
            (Some(1 << 20), 8192, 974_800, 1_040_326),
            (None, 128, usize::MAX - 176 - usize::MAX / 16, usize::MAX - 186),
        ] {
            let descriptors = Descriptors::new(limit);
            assert_eq!(descriptors.sealed_files_max(), sealed, "{limit:?}");
            assert_eq!(descriptors.partitions_max(), partitions, "{limit:?}");
            assert_eq!(descriptors.connections_max(10), connections_beside_ten, "{limit:?}");
        }
    }

    #[test]
    fn what_is_shared_out_never_exceeds_the_limit() {
        for limit in (0..3000).chain([20_000, 1 << 20]) {
            let descriptors = Descriptors::new(Some(limit));
            let partitions = descriptors.partitions_max();
            let connections = descriptors.connections_max(partitions);
            let fixed = BROKER + AT_WORK + descriptors.sealed_files_max();
            assert!(partitions + connections == 0 || partitions + connections + fixed <= limit, "{limit}");
            assert!(partitions == 0 || connections >= limit / CONNECTIONS_SHARE, "{limit}");
        }
    }
}
