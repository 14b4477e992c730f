//! What becomes of a partition's files: bits, fields and lengths, whole files, files of another time or of another history,
//! with checksums that no longer fit, or that are set right afterwards.

use std::path::PathBuf;

use fastrand::Rng;

use super::history::Moment;
use crate::recovery::{HEALED, files::Kind, place::Files};

/// Bytes of one edit: which file, what, where, with what.
pub(super) const SIZE: usize = 12;

/// Numbers that decoders go wrong at.
const BORDERS: [i64; 12] = [
    0,
    -1,
    1,
    i64::MAX,
    i64::MIN,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 32,
    i64::MAX - 1,
    5,
    100,
];
/// Kinds of edits.
const KINDS: u8 = 14;
const OF_ANOTHER_MOMENT: u8 = 11;
/// Bytes that an edit takes away, repeats or wipes out, at the most.
const RUN_MAX: usize = 600;

/// One edit, of any kind, as [`apply`] takes it.
pub(super) fn random(rng: &mut Rng) -> [u8; SIZE] {
    let mut edit = [0; SIZE];
    rng.fill(&mut edit);
    edit[1] = rng.u8(..KINDS) | if rng.bool() { HEALED } else { 0 };
    if rng.bool() {
        let value = match rng.u8(..3) {
            0 => BORDERS[rng.usize(..BORDERS.len())],
            1 => rng.i64(-4..5),
            _ => rng.i64(0..200),
        };
        edit[4..].copy_from_slice(&value.to_be_bytes());
    }
    edit
}

/// Carries one out. Gives the file whose checksums, or some of them, fit all the same, if it is one.
pub(super) fn apply(edit: &[u8; SIZE], files: &mut Files, all: &[Moment]) -> Option<PathBuf> {
    let [file, kind, at_high, at_low, value @ ..] = *edit;
    let number = i64::from_be_bytes(value);
    let path = files.keys().nth(usize::from(file) % files.len().max(1)).cloned()?;
    let (known, base) = Kind::of(&path)?;
    let mut content = files.remove(&path).unwrap_or_default();
    let at = usize::from(u16::from_be_bytes([at_high, at_low])) % (content.len() + 1);
    let run = (number.unsigned_abs() % RUN_MAX as u64) as usize;
    let end = (at + run).min(content.len());
    let mut written_as = path.clone();
    let (kind, is_healed) = (kind & !HEALED, kind & HEALED != 0);
    match kind {
        0 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (number & 7);
            }
        }
        1 => overwrite(&mut content, at, &value),
        2 => overwrite(&mut content, at, &value[4..]),
        3 => add(&mut content, at, number, 8),
        4 => add(&mut content, at, number, 4),
        5 => content.truncate(at),
        6 => drop(content.drain(at..end)),
        7 => {
            let again = content[at..end].to_vec();
            drop(content.splice(at..at, again));
        }
        8 => content[at..end].fill(0),
        9 => content = with_number(&content, at, |_| number),
        10 => content = with_number(&content, at, |stands| stands.saturating_add(number % 8)),
        OF_ANOTHER_MOMENT => content = of_another_moment(&path, number, all).unwrap_or(content),
        12 => written_as = known.path(base.saturating_add(number % 8).max(0)),
        _ => return None,
    }
    if is_healed {
        content = known.sealed(content);
    }
    let is_forged = is_healed || kind == OF_ANOTHER_MOMENT;
    files.insert(written_as.clone(), content);
    is_forged.then_some(written_as)
}

fn overwrite(content: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in content.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
}

/// Adds to the number of so many bytes that stands there.
fn add(content: &mut [u8], at: usize, number: i64, len: usize) {
    let Some(field) = content.get_mut(at..at + len) else { return };
    let mut stands = [0; 8];
    stands[8 - len..].copy_from_slice(field);
    let sum = i64::from_be_bytes(stands).wrapping_add(number % 300).to_be_bytes();
    field.copy_from_slice(&sum[8 - len..]);
}

/// Changes the first number in digits from there on.
fn with_number(content: &[u8], at: usize, change: impl Fn(i64) -> i64) -> Vec<u8> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    let Some(skip) = content[at..].iter().position(is_part) else { return content.to_vec() };
    let (before, rest) = content.split_at(at + skip);
    let digits = rest.iter().take_while(|byte| is_part(byte)).count();
    let stands = std::str::from_utf8(&rest[..digits]).unwrap_or_default().parse().unwrap_or(0);
    [before, change(stands).to_string().as_bytes(), &rest[digits..]].concat()
}

/// What a file of that name, or of that kind, held at another time, or in another history.
fn of_another_moment(path: &PathBuf, number: i64, all: &[Moment]) -> Option<Vec<u8>> {
    let pick = number.unsigned_abs() as usize;
    let moment = all.get(pick % all.len())?;
    if let Some(content) = moment.files.get(path) {
        return Some(content.clone());
    }
    let kind = Kind::of(path)?.0;
    let alike: Vec<_> =
        moment.files.iter().filter(|(path, _)| Kind::of(path).is_some_and(|(of, _)| of == kind)).collect();
    let (_, content) = alike.get(pick / all.len() % alike.len().max(1))?;
    Some((*content).clone())
}
