//! What is sent: random bytes, or the lines of a file.

use std::path::Path;

use gapless_common::seam::Random;

use crate::cli::exit::Stop;

/// Random bytes that values are cut from: more than a compressor's window, so that no value repeats within one.
const RANDOM_BYTES: usize = 4 * 1024 * 1024;
/// The largest sample that is held in memory.
const SAMPLE_MAX: u64 = 1024 * 1024 * 1024;

/// Values in turn.
#[derive(Debug)]
pub struct Content {
    bytes: Vec<u8>,
    cut: Cut,
    keys: Option<u32>,
}

#[derive(Debug)]
enum Cut {
    /// Each value so long, from somewhere.
    Anywhere(usize),
    /// Each value between these places.
    Lines(Vec<(usize, usize)>),
}

impl Content {
    /// Values of `size` random bytes.
    pub fn random(size: usize, keys: Option<u32>, random: &Random) -> Self {
        let length = (size.saturating_mul(2)).max(RANDOM_BYTES);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&random.bits64().to_ne_bytes());
        }
        Self { bytes, cut: Cut::Anywhere(size), keys }
    }

    /// The lines of a file.
    #[expect(clippy::disallowed_methods, reason = "a command line reads the files it is given")]
    pub fn sample(path: &Path, keys: Option<u32>) -> Result<Self, Stop> {
        let failed = |why: &dyn std::fmt::Display| {
            Stop::Failed(format!("--sample-file {} cannot be used: {why}", path.display()))
        };
        let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
        if size > SAMPLE_MAX {
            return Err(failed(&format!("it has {size} bytes, and at most {SAMPLE_MAX} are held in memory")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let mut lines = Vec::new();
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', &bytes).chain([bytes.len()]) {
            // Behind a last newline there is no line.
            if end < bytes.len() || begin < end {
                lines.push((begin, end));
            }
            begin = end + 1;
        }
        if lines.is_empty() {
            return Err(failed(&"it is empty"));
        }
        Ok(Self { bytes, cut: Cut::Lines(lines), keys })
    }

    /// The value of the record of this number.
    pub fn value(&self, number: u64) -> &[u8] {
        match &self.cut {
            Cut::Anywhere(size) => {
                // An odd step visits every place before it comes back to the first.
                const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
                let room = (self.bytes.len() - size) as u64;
                let at = if room == 0 { 0 } else { (number.wrapping_mul(STEP) % room) as usize };
                self.bytes.get(at..at + size).unwrap_or_default()
            }
            Cut::Lines(lines) => {
                let at = (number % lines.len() as u64) as usize;
                lines.get(at).and_then(|(begin, end)| self.bytes.get(*begin..*end)).unwrap_or_default()
            }
        }
    }

    /// The key of the record of this number, if it has one, written into `buffer`.
    pub fn key<'a>(&self, number: u64, buffer: &'a mut [u8; KEY_SIZE]) -> Option<&'a [u8]> {
        let mut number = number % u64::from(self.keys?);
        *buffer = *b"key-00000000";
        for digit in buffer.iter_mut().rev() {
            if number == 0 {
                break;
            }
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Some(buffer)
    }

    /// Bytes of the longest record.
    pub fn largest(&self) -> usize {
        let value = match &self.cut {
            Cut::Anywhere(size) => *size,
            Cut::Lines(lines) => lines.iter().map(|(begin, end)| end - begin).max().unwrap_or(0),
        };
        value + self.keys.map_or(0, |_| KEY_SIZE)
    }
}

/// `key-` and eight digits.
pub const KEY_SIZE: usize = 12;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn random_values_have_their_size_and_differ() {
        let random = Random::from_seed(1);
        for size in [0, 1, 100, 10_000, RANDOM_BYTES] {
            let content = Content::random(size, None, &random);
            let values: BTreeSet<_> = (0..100).map(|number| content.value(number).to_vec()).collect();
            assert!(values.iter().all(|value| value.len() == size));
            assert!(values.len() > 90 || size < 2, "{size}: {} values differ", values.len());
            assert_eq!(content.largest(), size);
        }
    }

    #[test]
    fn a_sample_is_its_lines_again_and_again() {
        let sample = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            Content::sample(file.path(), None)
        };
        for (text, expected) in
            [("one\n\nthree", vec!["one", "", "three"]), ("one\n", vec!["one"]), ("\n", vec![""])]
        {
            let content = sample(text).unwrap();
            for number in 0..2 * expected.len() {
                assert_eq!(content.value(number as u64), expected[number % expected.len()].as_bytes());
            }
        }
        assert!(sample("").is_err());
    }

    #[test]
    fn keys_come_in_turn() {
        let content = Content::random(10, Some(1200), &Random::from_seed(1));
        let mut buffer = [0; KEY_SIZE];
        assert_eq!(content.key(0, &mut buffer), Some(&b"key-00000000"[..]));
        assert_eq!(content.key(1199, &mut buffer), Some(&b"key-00001199"[..]));
        assert_eq!(content.key(1203, &mut buffer), Some(&b"key-00000003"[..]));
        assert_eq!(Content::random(10, None, &Random::from_seed(1)).key(5, &mut buffer), None);
    }
}
