//! Variable-length integers as records use them: zigzag, seven bits a byte, least significant first
//! (Kafka's `ByteUtils`). Lengths and counts are 32-bit, timestamp deltas 64-bit.

/// Bytes of the longest 32-bit varint.
const VARINT_SIZE_MAX: usize = 5;
/// Bytes of the longest 64-bit varint.
const VARLONG_SIZE_MAX: usize = 10;

/// Folds the sign into the lowest bit, so that small negative numbers stay short.
#[inline]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// How many bytes `value` takes: 1 to 10. The sizes of 32-bit numbers are the same when they are widened.
#[inline]
pub(super) const fn size(value: i64) -> usize {
    encoded_size(zigzag(value))
}

#[inline]
const fn encoded_size(folded: u64) -> usize {
    // Seven bits a byte, and at least one byte: ⌈bits / 7⌉ as a multiplication by 9/64, exact up to 64 bits.
    let bits = 64 - (folded | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Bytes of one [`Words`] that can be written.
pub(super) const WORDS_SIZE: usize = 8;

/// A few integers side by side in a register: written with one store of fixed size, of which only what is filled counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Words {
    bytes: u64,
    filled: usize,
}

impl Words {
    /// One integer whose absolute value is below 2^27: one to four bytes.
    #[inline]
    pub(super) const fn of(value: i64) -> Self {
        let folded = zigzag(value);
        let (bytes, filled) = if folded < 1 << 7 {
            (folded, 1)
        } else if folded < 1 << 14 {
            (folded & 0x7f | 0x80 | (folded & 0x3f80) << 1, 2)
        } else if folded < 1 << 21 {
            (folded & 0x7f | 0x8080 | (folded & 0x3f80) << 1 | (folded & 0x1f_c000) << 2, 3)
        } else {
            (
                folded & 0x7f
                    | 0x80_8080
                    | (folded & 0x3f80) << 1
                    | (folded & 0x1f_c000) << 2
                    | (folded >> 21) << 24,
                4,
            )
        };
        Self { bytes, filled }
    }

    /// One byte as it is.
    #[inline]
    pub(super) const fn of_byte(byte: u8) -> Self {
        Self { bytes: byte as u64, filled: 1 }
    }

    /// These and, behind them, others. What passes [`WORDS_SIZE`] is lost: whoever calls this knows how large the values are.
    #[inline]
    pub(super) const fn then(self, others: Self) -> Self {
        Self { bytes: self.bytes | others.bytes << (8 * self.filled), filled: self.filled + others.filled }
    }

    /// Bytes that count.
    #[inline]
    pub(super) const fn filled(self) -> usize {
        self.filled
    }

    /// All bytes, of which the first ones count.
    #[inline]
    pub(super) const fn bytes(self) -> [u8; WORDS_SIZE] {
        self.bytes.to_le_bytes()
    }
}

/// Appends one integer, 32- or 64-bit.
#[inline]
pub(super) fn write(buffer: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    // What most fields of a small record are; copies of a known size are single stores.
    if rest < 1 << 7 {
        buffer.push(rest as u8);
    } else if rest < 1 << 14 {
        buffer.extend_from_slice(&[rest as u8 | 0x80, (rest >> 7) as u8]);
    } else {
        while rest >= 1 << 7 {
            buffer.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        buffer.push(rest as u8);
    }
}

/// Appends a nullable field with its length in front.
#[inline]
pub(super) fn write_field(buffer: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => write(buffer, -1),
        Some(bytes) => {
            write(buffer, bytes.len() as i64);
            buffer.extend_from_slice(bytes);
        }
    }
}

/// Reads a 32-bit varint byte by byte. Like Kafka's reader it takes at most five bytes and ignores bits beyond the 32nd.
///
/// # Errors
/// Whatever `byte` answers when there is none left; `too_long` after five bytes with a continuation bit.
#[inline]
pub(super) fn read_i32<E>(
    mut byte: impl FnMut() -> Result<u8, E>,
    too_long: impl FnOnce() -> E,
) -> Result<i32, E> {
    // Lengths below 64 and deltas of the first 64 records are one byte.
    let first = byte()?;
    if first < 0x80 {
        return Ok(unzigzag(u64::from(first)) as i32);
    }
    let mut value = u32::from(first & 0x7f);
    for shift in (7..).step_by(7).take(VARINT_SIZE_MAX - 1) {
        let next = byte()?;
        value |= u32::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok((value >> 1) as i32 ^ -((value & 1) as i32));
        }
    }
    Err(too_long())
}

/// Reads a 64-bit varint, at most ten bytes; otherwise as [`read_i32`].
///
/// # Errors
/// As [`read_i32`].
#[inline]
pub(super) fn read_i64<E>(
    mut byte: impl FnMut() -> Result<u8, E>,
    too_long: impl FnOnce() -> E,
) -> Result<i64, E> {
    let first = byte()?;
    if first < 0x80 {
        return Ok(unzigzag(u64::from(first)));
    }
    let mut value = u64::from(first & 0x7f);
    for shift in (7..).step_by(7).take(VARLONG_SIZE_MAX - 1) {
        let next = byte()?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok(unzigzag(value));
        }
    }
    Err(too_long())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, value);
        bytes
    }

    fn reader(bytes: &[u8]) -> impl FnMut() -> Result<u8, &'static str> {
        let mut bytes = bytes.iter();
        move || bytes.next().copied().ok_or("end")
    }

    #[test]
    fn known_encodings() {
        // The examples of Kafka's ByteUtilsTest and of Protocol Buffers' description of zigzag.
        let table: &[(i64, &[u8])] = &[
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (value, bytes) in table {
            assert_eq!(written(*value), *bytes, "{value}");
            assert_eq!(size(*value), bytes.len(), "{value}");
            assert_eq!(read_i64(reader(bytes), || "long"), Ok(*value));
            if let Ok(value) = i32::try_from(*value) {
                assert_eq!(read_i32(reader(bytes), || "long"), Ok(value));
            }
        }
    }

    #[test]
    fn an_endless_varint_ends_at_its_limit() {
        assert_eq!(read_i32(reader(&[0xff; 64]), || "long"), Err("long"));
        assert_eq!(read_i64(reader(&[0xff; 64]), || "long"), Err("long"));
        assert_eq!(read_i32(reader(&[0x80]), || "long"), Err("end"));
        assert_eq!(read_i64(reader(&[]), || "long"), Err("end"));
    }

    #[test]
    fn words_side_by_side_are_what_is_written_one_after_the_other() {
        let values = [0, -1, 63, 64, -65, 8191, 8192, -8193, (1 << 20) - 1, 1 - (1 << 20)];
        assert_eq!(Words::of((1 << 27) - 1).bytes()[..4], written((1 << 27) - 1)[..]);
        for (first, second) in
            values.iter().flat_map(|first| values.iter().map(move |second| (*first, *second)))
        {
            let words = Words::of(first).then(Words::of_byte(0xa5)).then(Words::of(second));
            let (bytes, filled) = (words.bytes(), words.filled());
            assert_eq!(bytes[..filled], [written(first), vec![0xa5], written(second)].concat()[..]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_and_has_the_computed_size(value: i64, shift in 0_u32..64) {
            let value = value >> shift;
            let bytes = written(value);
            prop_assert_eq!(bytes.len(), size(value));
            prop_assert_eq!(read_i64(reader(&bytes), || "long"), Ok(value));
            if let Ok(short) = i32::try_from(value) {
                prop_assert_eq!(read_i32(reader(&bytes), || "long"), Ok(short));
            }
        }
    }
}
