//! What a file takes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use super::{PageCache, Sync};
use crate::failure::{During, Failure, Outcome};
use crate::run::{Latency, histogram};

/// Small enough to stay in the page cache of any machine this runs on, and to be dropped before it is written back.
const PAGE_CACHE_BYTES: usize = 512 << 20;
/// A new file is begun after so much: what is freed again is not flushed.
const SYNC_FILE_BYTES: u64 = 1 << 30;

/// Into a new file, and then over it.
pub fn page_cache(dir: &Path, write_bytes: usize) -> Outcome<PageCache> {
    let mut file = tempfile::tempfile_in(dir).during(dir.display())?;
    let cold_gb_per_second = fill(&mut file, write_bytes)?;
    let over_gb_per_second = fill(&mut file, write_bytes)?;
    Ok(PageCache { write_bytes, cold_gb_per_second, over_gb_per_second })
}

fn fill(file: &mut File, write_bytes: usize) -> Outcome<f64> {
    let bytes = vec![0x5a; write_bytes];
    file.seek(SeekFrom::Start(0)).during("rewinding")?;
    let begun = Instant::now();
    for _ in 0..PAGE_CACHE_BYTES / write_bytes {
        file.write_all(&bytes).during("writing to page cache")?;
    }
    Ok(PAGE_CACHE_BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9)
}

/// Appends so much, flushes, and so on.
pub fn append_and_sync(dir: &Path, write_bytes: usize, seconds: f64) -> Outcome<Sync> {
    let bytes = vec![0x5a; write_bytes];
    let mut file = tempfile::tempfile_in(dir).during(dir.display())?;
    let (mut latencies, mut total, mut in_file) = (histogram(), 0, 0);
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        if in_file >= SYNC_FILE_BYTES {
            (file, in_file) = (tempfile::tempfile_in(dir).during(dir.display())?, 0);
        }
        let before = Instant::now();
        file.write_all(&bytes).during("appending")?;
        file.sync_data().during("fdatasync")?;
        latencies.saturating_record(before.elapsed().as_nanos() as u64);
        total += write_bytes as u64;
        in_file += write_bytes as u64;
    }
    let mb_per_second = total as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let latency_ms = Latency::of(&latencies)
        .ok_or_else(|| Failure(format!("no flush within {seconds} s in {}", dir.display())))?;
    Ok(Sync { write_bytes, latency_ms, mb_per_second })
}
