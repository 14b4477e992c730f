//! Finding the next good batch behind a bad place.

use std::sync::Arc;

use bytes::Bytes;
use gapless_common::records::{self, BatchHeader, HEADER_SIZE, MAGIC};
use gapless_common::types::Offset;

use crate::log::walk::Expected;
use crate::storage::{File, read_exact_at};

/// Bytes read at once.
const WINDOW: usize = 1 << 20;
/// What a disk gives back or does not, as a whole.
const SECTOR: u64 = 512;
/// Where in a batch its magic stands.
const MAGIC_AT: usize = 16;

/// The first batch behind `position` that belongs into the log: good by itself, of an offset behind the one that is
/// `expected` and below `bound`, and followed by the end or by what claims to follow it. The last keeps out a batch that
/// somebody sent as the value of a record.
pub(super) async fn next_good(
    file: &Arc<dyn File>,
    position: u64,
    end: u64,
    expected: &Expected,
    bound: Offset,
) -> Option<(u64, BatchHeader)> {
    let mut at = position + 1;
    let mut careful_until = 0;
    while at + HEADER_SIZE as u64 <= end {
        let Some(window) = window(&**file, at, end, &mut careful_until).await else {
            at += to_next_sector(at);
            continue;
        };
        let starts = window.len().saturating_sub(HEADER_SIZE - 1);
        for skip in 0..starts {
            if window.get(skip + MAGIC_AT) != Some(&(MAGIC as u8)) {
                continue;
            }
            let Some(header) = window.get(skip..).and_then(|bytes| BatchHeader::parse(bytes).ok()) else {
                continue;
            };
            let candidate = at + skip as u64;
            if fits(&header, expected, bound) && is_good(file, candidate, end, &header, bound).await {
                return Some((candidate, header));
            }
        }
        if window.is_empty() {
            return None;
        }
        // What is left of a sector that is narrower than a header begins nothing.
        at += if starts == 0 { window.len() } else { starts } as u64;
        tokio::task::yield_now().await;
    }
    None
}

fn to_next_sector(at: u64) -> u64 {
    SECTOR - at % SECTOR
}

/// What can be read from `at` on: a large piece, or, up to `careful_until`, where a large one could not be read, a sector and
/// what of the next one may belong to a header that begins in it. `None`: not even the sector.
async fn window(file: &dyn File, at: u64, end: u64, careful_until: &mut u64) -> Option<Bytes> {
    let left = usize::try_from(end - at).unwrap_or(WINDOW);
    if at >= *careful_until {
        let len = left.min(WINDOW);
        match file.read_cold(at, len).await {
            Ok(window) => return Some(window),
            Err(_) => *careful_until = at + len as u64,
        }
    }
    let sector = usize::try_from(to_next_sector(at)).unwrap_or(WINDOW);
    for len in [sector + HEADER_SIZE - 1, sector] {
        if let Ok(window) = file.read_cold(at, len.min(left)).await {
            return Some(window);
        }
    }
    None
}

fn fits(header: &BatchHeader, expected: &Expected, bound: Offset) -> bool {
    let here = Expected { offset: header.base_offset, ..*expected };
    header.base_offset > expected.offset && header.next_offset() <= bound && here.refuse(header).is_none()
}

async fn is_good(file: &Arc<dyn File>, position: u64, end: u64, header: &BatchHeader, bound: Offset) -> bool {
    let size = header.total_size();
    let behind = position + size as u64;
    if behind > end {
        return false;
    }
    let Ok(batch) = read_exact_at(&**file, position, size).await else { return false };
    if !records::check_crc(&batch) {
        return false;
    }
    if behind == end {
        return true;
    }
    let head: Bytes = file.read_at(behind, HEADER_SIZE).await.unwrap_or_default();
    BatchHeader::parse(&head).is_ok_and(|next| {
        let follows = next.base_offset == header.next_offset();
        follows && next.base_offset < bound && next.leader_epoch >= header.leader_epoch
    })
}
