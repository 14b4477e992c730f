//! Checkpoints: what recovery need not read again. `<offset>.producers` holds what a partition knew when `offset` was the next
//! one: what its sequencer remembers, its leader epochs, and where in which segment that was. It is written only once
//! everything before it was flushed, so it is as good as a flush mark, too.
//!
//! Taken when a segment is full, every so many bytes, and at a clean stop ([`super::notes`]); the last two are kept. One
//! that fails its check, or that speaks of another log than the one that is there, is never believed.
//!
//! File: magic `GLPS`, format version u32, topic id, partition u32, the beginning of the segment up to `offset`
//! ([`Summary::encode`]), leader epochs (number u32; each epoch 32 bits and first offset 64), producers
//! ([`Sequencer::encode`]), CRC-32 of all that. Big-endian.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::types::{LeaderEpoch, Offset, PartitionId, TopicId};

use super::Site;
use super::epochs::LeaderEpochs;
use super::sequencer::Sequencer;
use super::summary::Summary;
use crate::storage::{Files, replace_file, spare::Spare};

const MAGIC: [u8; 4] = *b"GLPS";
const FORMAT_VERSION: u32 = 1;
/// So many are kept: the newest, and the one before it should that be damaged.
pub(super) const KEPT: usize = 2;
/// A file larger than this is not ours: 100,000 producers with five batches each take 13 MB.
const SIZE_MAX: u64 = 256 << 20;

/// What a partition knew when [`Summary::next_offset`] of `at` was its next offset.
pub(super) struct Checkpoint {
    /// The segment that was active, up to there.
    pub at: Summary,
    pub epochs: LeaderEpochs,
    pub sequencer: Sequencer,
}

/// The content of a checkpoint's file but for its checksum, which takes its time and needs no lock.
pub(super) fn encode(site: &Site, at: &Summary, epochs: &LeaderEpochs, sequencer: &Sequencer) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(&MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_slice(&site.topic_id.0);
    out.put_i32(site.partition.0);
    at.encode(&mut out);
    let epochs = epochs.before(at.next_offset);
    out.put_u32(u32::try_from(epochs.len()).unwrap_or(u32::MAX));
    for (epoch, start) in epochs {
        out.put_i32(epoch.0);
        out.put_i64(start.0);
    }
    sequencer.encode(&mut out);
    out
}

/// What a file says, if it is whole and of this partition.
fn decode(site: &Site, mut bytes: Bytes, producers_max: usize) -> Option<Checkpoint> {
    let mut checksum = bytes.split_off(bytes.len().checked_sub(4)?);
    if checksum.get_u32() != crc32fast::hash(&bytes) {
        return None;
    }
    let magic = bytes.try_get_u32().ok()?.to_be_bytes();
    let version = bytes.try_get_u32().ok()?;
    let topic = TopicId(bytes.try_get_u128().ok()?.to_be_bytes());
    let partition = PartitionId(bytes.try_get_i32().ok()?);
    if magic != MAGIC || version != FORMAT_VERSION || (topic, partition) != (site.topic_id, site.partition) {
        return None;
    }
    if bytes.len() < Summary::ENCODED_SIZE {
        return None;
    }
    let at = Summary::decode(bytes.split_to(Summary::ENCODED_SIZE))?;
    let mut epochs = LeaderEpochs::default();
    for _ in 0..bytes.try_get_u32().ok()? {
        epochs.assign(LeaderEpoch(bytes.try_get_i32().ok()?), Offset(bytes.try_get_i64().ok()?));
    }
    let sequencer = Sequencer::decode(&mut bytes, at.next_offset, producers_max)?;
    bytes.is_empty().then_some(Checkpoint { at, epochs, sequencer })
}

pub(super) fn path(directory: &Path, offset: Offset) -> PathBuf {
    directory.join(format!("{:020}.producers", offset.0))
}

/// The offset in a checkpoint's name; `None` for any other name.
pub(super) fn parse_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".producers")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok().map(Offset)).flatten()
}

/// Writes one; it is durable when this returns. With `spare` it is written even on a full disk.
pub(super) async fn write(
    files: &dyn Files,
    spare: Option<&Spare>,
    site: &Site,
    offset: Offset,
    mut content: BytesMut,
) -> io::Result<()> {
    let checksum = crc32fast::hash(&content);
    content.put_u32(checksum);
    let (path, content) = (path(&site.directory, offset), content.freeze());
    match spare {
        Some(spare) => spare.replace_file(&path, content).await.map(drop),
        None => replace_file(files, &path, content).await.map(drop),
    }
}

/// Reads one; `None` if it cannot be believed.
pub(super) async fn read(
    files: &dyn Files,
    site: &Site,
    offset: Offset,
    producers_max: usize,
) -> io::Result<Option<Checkpoint>> {
    let file = files.open(&path(&site.directory, offset)).await?;
    let size = file.size().await?;
    if size > SIZE_MAX {
        return Ok(None);
    }
    let bytes = file.read_at(0, usize::try_from(size).unwrap_or(usize::MAX)).await?;
    Ok(decode(site, bytes, producers_max).filter(|checkpoint| checkpoint.at.next_offset == offset))
}

/// Removes one; durable with the next sync of the directory. One that is not there is as good as removed.
pub(super) async fn remove(files: &dyn Files, directory: &Path, offset: Offset) -> io::Result<()> {
    match files.remove(&path(directory, offset)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
