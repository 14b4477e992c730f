//! Checkpoints: what recovery need not read again. `<offset>.producers` holds what a partition knew when `offset` was the next
//! one: what its sequencer remembers, its leader epochs, and where in which segment that was. It is written only once
//! everything before it was flushed, so it is as good as a flush mark, too.
//!
//! Taken when a segment is full, every so many bytes, and at a clean stop ([`super::notes`]); the last two are kept. One
//! that fails its check, or that speaks of another log than the one that is there, is never believed.
//!
//! File: magic `GLPS`, format version u32, topic id, partition u32, the beginning of the segment up to `offset`
//! ([`Summary::encode`]), leader epochs (number u32; each epoch 32 bits and first offset 64), producers
//! ([`Sequencer::encode`]), CRC-32 of all that. Big-endian. One that has none before it that could take its place, since
//! retention has deleted what that speaks of, is there twice in its file, each time with zeroes before the CRC up to a whole
//! number of blocks: a bad sector costs one of the two.

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
use crate::storage::{Files, is_full, is_lost, replace_file, spare::Spare};

const MAGIC: [u8; 4] = *b"GLPS";
const FORMAT_VERSION: u32 = 1;
/// So many are kept: the newest, and the one before it should that be damaged.
pub(super) const KEPT: usize = 2;
/// A file larger than this is not ours: 100,000 producers with five batches each take 13 MB.
const SIZE_MAX: u64 = 256 << 20;

/// What a disk loses at once, in bytes: the physical sector of most.
const BLOCK: usize = 4096;
const CHECKSUM: usize = 4;

/// What a partition knew when [`Summary::next_offset`] of `at` was its next offset.
pub(super) struct Checkpoint {
    /// The segment that was active, up to there.
    pub at: Summary,
    pub epochs: LeaderEpochs,
    pub sequencer: Sequencer,
    /// It is there twice, and the other copy cannot be believed.
    pub one_copy_is_bad: bool,
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
    let mut checksum = bytes.split_off(bytes.len().checked_sub(CHECKSUM)?);
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
    let is_all = bytes.iter().all(|byte| *byte == 0);
    is_all.then_some(Checkpoint { at, epochs, sequencer, one_copy_is_bad: false })
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

/// Writes one; it is durable when this returns. With `spare` it is one that nothing can take the place of: it is written twice,
/// and on a full disk once, with the room that is kept for that.
pub(super) async fn write(
    files: &dyn Files,
    spare: Option<&Spare>,
    site: &Site,
    offset: Offset,
    content: BytesMut,
) -> io::Result<()> {
    let path = path(&site.directory, offset);
    let Some(spare) = spare else {
        return replace_file(files, &path, with_checksum(content)).await.map(drop);
    };
    let mut padded = content.clone();
    padded.resize((content.len() + CHECKSUM).next_multiple_of(BLOCK) - CHECKSUM, 0);
    let padded = with_checksum(padded);
    match replace_file(files, &path, [&padded[..], &padded[..]].concat().into()).await {
        Err(error) if is_full(&error) => spare.replace_file(&path, with_checksum(content)).await.map(drop),
        written => written.map(drop),
    }
}

fn with_checksum(mut content: BytesMut) -> Bytes {
    let checksum = crc32fast::hash(&content);
    content.put_u32(checksum);
    content.freeze()
}

/// Reads one; `None` if it cannot be believed.
///
/// # Errors
/// It would not be read, nor, if it is there twice, either of its copies.
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
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let part_once = async |from: usize, len: usize| {
        let bytes = file.read_at(from as u64, len).await?;
        io::Result::Ok(decode(site, bytes, producers_max).filter(|read| read.at.next_offset == offset))
    };
    let part = async |from: usize, len: usize| match part_once(from, len).await {
        // A bit may have flipped on the way from the disk, and what cannot be believed is removed.
        Ok(None) => {
            file.forget_cached(from as u64, len as u64);
            part_once(from, len).await
        }
        read => read,
    };
    let whole = part(0, size).await;
    if matches!(&whole, Ok(Some(_))) || !size.is_multiple_of(2 * BLOCK) {
        return whole;
    }
    let (first, second) = (part(0, size / 2).await, part(size / 2, size / 2).await);
    let one_copy_is_bad = !matches!((&first, &second), (Ok(Some(_)), Ok(Some(_))));
    let of_a_copy = |read: Checkpoint| Checkpoint { one_copy_is_bad, ..read };
    match (first, second) {
        (Ok(Some(read)), _) | (_, Ok(Some(read))) => Ok(Some(of_a_copy(read))),
        // An error that may pass says more than one that does not.
        (Err(error), other) if !is_lost(&error) || other.is_ok() => Err(error),
        (_, other) => other,
    }
}

/// Removes one; durable with the next sync of the directory. One that is not there is as good as removed.
pub(super) async fn remove(files: &dyn Files, directory: &Path, offset: Offset) -> io::Result<()> {
    match files.remove(&path(directory, offset)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
