//! Records that say who sent them, and of which not a byte may differ.

/// Which record of which life of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// One life of one producer: the number rises with each restart of any.
    pub producer: u32,
    /// Rises with each record that this life admits, whatever its partition.
    pub number: u32,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.producer, self.number)
    }
}

/// Bytes of filling: mostly few, now and then near a batch's size.
fn filling(name: Name) -> usize {
    let mixed = (u64::from(name.producer) << 32 | u64::from(name.number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let small = usize::try_from(mixed >> 56).unwrap_or(0);
    if mixed % 41 == 0 { 2500 + small } else { small * 2 }
}

/// The value of a record.
#[must_use]
pub fn value_of(name: Name) -> Vec<u8> {
    let mut value = format!("{:06}/{:06}:", name.producer, name.number).into_bytes();
    let letter = b'a' + u8::try_from(name.number % 26).unwrap_or(0);
    value.resize(value.len() + filling(name), letter);
    value
}

/// Whose value this is; `None` if a single byte differs from what was sent.
#[must_use]
pub fn name_of(value: &[u8]) -> Option<Name> {
    let number = |range: std::ops::Range<usize>| std::str::from_utf8(value.get(range)?).ok()?.parse().ok();
    let name = Name { producer: number(0..6)?, number: number(7..13)? };
    (value_of(name) == value).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_record_and_no_byte_may_differ() {
        for number in 0..200 {
            let name = Name { producer: 7, number };
            let value = value_of(name);
            assert_eq!(name_of(&value), Some(name));
            let mut changed = value.clone();
            let at = usize::try_from(number).unwrap() % changed.len();
            changed[at] ^= 1;
            assert_ne!(name_of(&changed), Some(name));
            assert_eq!(name_of(&value[..value.len() - 1]), None);
        }
    }
}
